{{/* Combinations of values that cannot work: each fails the template with a sentence that names the keys. What is wrong by itself is
     the schema's. Here are names and nodes; the files beside this one have listeners, certificates and the configuration. */}}

{{- define "quelea.checks" -}}
{{- include "quelea.checkNames" . -}}
{{- include "quelea.checkNodes" . -}}
{{- include "quelea.checkStop" . -}}
{{- include "quelea.checkUsers" . -}}
{{- include "quelea.checkListeners" . -}}
{{- include "quelea.checkServices" . -}}
{{- include "quelea.checkIngress" . -}}
{{- include "quelea.checkTls" . -}}
{{- include "quelea.checkClusterTls" . -}}
{{- include "quelea.checkMonitoring" . -}}
{{- include "quelea.checkConfig" . -}}
{{- end -}}

{{- define "quelea.checkNames" -}}
{{- $name := include "quelea.fullname" . -}}
{{- if not (regexMatch "^[a-z][-a-z0-9]*$" $name) -}}
{{- fail (printf "the release would have objects called %s, but names of Services begin with a letter and have no dot: set fullnameOverride, or take another release name." $name) -}}
{{- end -}}
{{- $own := fromYaml (include "quelea.ownLabels" .) -}}
{{- $_ := set $own "app.kubernetes.io/component" "" -}}
{{- $given := dict
      "commonLabels" .Values.commonLabels
      "podLabels" .Values.podLabels
      "monitoring.serviceMonitor.labels" .Values.monitoring.serviceMonitor.labels
      "monitoring.prometheusRule.labels" .Values.monitoring.prometheusRule.labels
      "monitoring.dashboards.labels" .Values.monitoring.dashboards.labels -}}
{{- range $key, $labels := $given -}}
{{- range $label, $_ := $labels -}}
{{- if hasKey $own $label -}}
{{- fail (printf "%s has %s, which the chart sets itself: objects find each other by it." $key $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $annotation, $_ := .Values.podAnnotations -}}
{{- if hasPrefix "checksum/" $annotation -}}
{{- fail (printf "podAnnotations has %s, but names with checksum/ are the chart's: another configuration restarts nodes by them." $annotation) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "quelea.checkNodes" -}}
{{- $nodes := int .Values.replicaCount -}}
{{- if and (eq $nodes 2) (not .Values.allowTwoReplicas) -}}
{{- fail "replicaCount is 2: two nodes survive the death of none of them, and one that is down stops both. Take 1 or 3, or set allowTwoReplicas." -}}
{{- end -}}
{{- if and (gt $nodes 1) (not .Values.persistence.enabled) -}}
{{- fail (printf "persistence.enabled is false with %d nodes: a pod that is made anew would have lost what the others count on. Enable it, or take replicaCount 1." $nodes) -}}
{{- end -}}
{{- if and .Values.persistence.enabled (eq .Values.persistence.whenScaled "Delete") (not .Values.scaleDown.enabled) -}}
{{- fail "persistence.whenScaled is Delete, but scaleDown.enabled is false: a smaller replicaCount would delete what nodes hold that nobody had leave. Take Retain, and delete claims by hand, or enable scaleDown." -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- if and .enabled (lt (int .maxUnavailable) 1) -}}
{{- fail "podDisruptionBudget.maxUnavailable is 0: no machine could ever be emptied. Take 1." -}}
{{- end -}}
{{- if and .enabled (gt $nodes 1) (gt (int .maxUnavailable) 1) -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable is %d: a shard has three replicas and survives the loss of one. Take 1." (int .maxUnavailable)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "quelea.checkStop" -}}
{{- $given := int .Values.terminationGracePeriodSeconds -}}
{{- $needed := int (include "quelea.stopSeconds" .) -}}
{{- if and (gt $given 0) (le $given $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, but a stop may take %d s (drain.delaySeconds, drain.timeoutSeconds and 10 s): nodes would be killed while they drain. Take more, or 0 for what is needed." $given $needed) -}}
{{- end -}}
{{- end -}}

{{- define "quelea.checkUsers" -}}
{{- if and .Values.auth.password .Values.auth.existingSecret -}}
{{- fail "auth.password and auth.existingSecret are both set: only one of them can count." -}}
{{- end -}}
{{- if and .Values.cluster.secret .Values.cluster.existingSecret -}}
{{- fail "cluster.secret and cluster.existingSecret are both set: only one of them can count." -}}
{{- end -}}
{{- if and .Values.acl.rules .Values.acl.existingConfigMap -}}
{{- fail "acl.rules and acl.existingConfigMap are both set: only one of them can count." -}}
{{- end -}}
{{- end -}}
