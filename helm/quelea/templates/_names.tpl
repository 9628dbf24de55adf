{{/* Names and labels, and what follows from several values. Used by all other templates; they make no object. */}}

{{- define "quelea.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* 52 characters: pods have a number behind it, and their labels a hash, of 63 in all. */}}
{{- define "quelea.fullname" -}}
{{- $name := include "quelea.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "quelea.headless" -}}
{{ include "quelea.fullname" . }}-headless
{{- end -}}

{{/* The domain in which each pod has its name. */}}
{{- define "quelea.podDomain" -}}
{{ include "quelea.headless" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}

{{- define "quelea.selectorLabels" -}}
app.kubernetes.io/name: {{ include "quelea.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Labels of all objects, before those that values give. */}}
{{- define "quelea.ownLabels" -}}
{{ include "quelea.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "quelea.labels" -}}
{{ include "quelea.ownLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "quelea.serviceAccount" -}}
{{- $made := ternary (include "quelea.fullname" .) "default" .Values.serviceAccount.create -}}
{{ default $made .Values.serviceAccount.name }}
{{- end -}}

{{- define "quelea.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The listeners that there are, as JSON. */}}
{{- define "quelea.listeners" -}}
{{- $enabled := dict -}}
{{- range $name, $listener := .Values.listeners -}}
{{- if $listener.enabled -}}
{{- $_ := set $enabled $name $listener -}}
{{- end -}}
{{- end -}}
{{- toJson $enabled -}}
{{- end -}}

{{/* Whether a listener with TLS is enabled: "true" or nothing. */}}
{{- define "quelea.hasTls" -}}
{{- range $listener := fromJson (include "quelea.listeners" .) -}}
{{- if has $listener.protocol (list "tls" "wss") -}}true{{- break -}}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "quelea.tlsSecret" -}}
{{- default (printf "%s-tls" (include "quelea.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{/* Whether nodes know each other by certificates: "true" or nothing. */}}
{{- define "quelea.hasClusterTls" -}}
{{- with .Values.cluster.tls -}}
{{- if or .existingSecret .certManager.enabled -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* The Secret by which nodes know each other: with certificates, or with their secret. */}}
{{- define "quelea.clusterSecret" -}}
{{- $name := include "quelea.fullname" . -}}
{{- if include "quelea.hasClusterTls" . -}}
{{- default (printf "%s-cluster-tls" $name) .Values.cluster.tls.existingSecret -}}
{{- else -}}
{{- default (printf "%s-cluster" $name) .Values.cluster.existingSecret -}}
{{- end -}}
{{- end -}}

{{/* Whether there is a Secret or ConfigMap with rules: "true" or nothing. */}}
{{- define "quelea.hasRules" -}}
{{- if or .Values.acl.rules .Values.acl.existingConfigMap -}}true{{- end -}}
{{- end -}}

{{/* The first pods found the cluster, three at most: from three nodes on it stays the same which they are, and scaling restarts nobody. */}}
{{- define "quelea.founders" -}}
{{- min 3 (int .Values.replicaCount) -}}
{{- end -}}

{{/* Seconds that a pod needs from its deletion to its end. */}}
{{- define "quelea.stopSeconds" -}}
{{- add (int .Values.drain.delaySeconds) (int .Values.drain.timeoutSeconds) 10 -}}
{{- end -}}

{{- define "quelea.graceSeconds" -}}
{{- $given := int .Values.terminationGracePeriodSeconds -}}
{{- ternary $given (add 5 (int (include "quelea.stopSeconds" .))) (gt $given 0) -}}
{{- end -}}

{{/* The seconds of a duration such as 1h30m. */}}
{{- define "quelea.seconds" -}}
{{- $units := dict "h" 3600 "m" 60 "s" 1 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+[hms]" . -1 -}}
{{- $sum = add $sum (mul (int64 (regexFind "[0-9]+" .)) (get $units (regexFind "[hms]" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* By what a pod knows that its user is another one. It is slow to guess a password by it, as everybody may read it who sees pods. */}}
{{- define "quelea.userSum" -}}
{{- with .Values.auth -}}
{{- derivePassword 1 "maximum" (default "drawn" .password) .user (include "quelea.fullname" $) | sha256sum -}}
{{- end -}}
{{- end -}}

{{/* The listener that the pod of `helm test` connects to: a plain one, where its password is known; else there is no such pod. */}}
{{- define "quelea.testListener" -}}
{{- if not .Values.auth.existingSecret -}}
{{- $plain := "" -}}
{{- range $name, $listener := fromJson (include "quelea.listeners" .) -}}
{{- if and (eq $listener.protocol "tcp") (not $listener.proxyProtocol) (or (empty $.Values.service.listeners) (has $name $.Values.service.listeners)) -}}
{{- $plain = $name -}}
{{- end -}}
{{- end -}}
{{- $plain -}}
{{- end -}}
{{- end -}}
