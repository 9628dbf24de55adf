{{/* Combinations of values that cannot work: each fails the template with a sentence. What is wrong by itself is the schema's. */}}

{{- define "quelea.checks" -}}
{{- include "quelea.checkNodes" . -}}
{{- include "quelea.checkStop" . -}}
{{- include "quelea.checkListeners" . -}}
{{- include "quelea.checkTls" . -}}
{{- include "quelea.checkClusterTls" . -}}
{{- include "quelea.checkConfig" . -}}
{{- end -}}

{{- define "quelea.checkNodes" -}}
{{- $nodes := int .Values.replicaCount -}}
{{- if and (eq $nodes 2) (not .Values.allowTwoReplicas) -}}
{{- fail "replicaCount is 2: two nodes survive the death of none of them, and one that is down stops both. Take 1 or 3, or set allowTwoReplicas." -}}
{{- end -}}
{{- if and (gt $nodes 1) (not .Values.persistence.enabled) -}}
{{- fail (printf "persistence.enabled is false with %d nodes: a pod that is made anew would have lost what the others count on. Enable it, or take replicaCount 1." $nodes) -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- if and .enabled (lt (int .maxUnavailable) 1) -}}
{{- fail "podDisruptionBudget.maxUnavailable is 0: no machine could ever be emptied. Take 1." -}}
{{- end -}}
{{- if and .enabled (gt $nodes 1) (gt (int .maxUnavailable) 1) -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable is %d: a shard has three replicas and survives the loss of one. Take 1." (int .maxUnavailable)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.acl.rules .Values.acl.existingConfigMap -}}
{{- fail "acl.rules and acl.existingConfigMap are both set: only one of them can count." -}}
{{- end -}}
{{- end -}}

{{- define "quelea.checkStop" -}}
{{- $given := int .Values.terminationGracePeriodSeconds -}}
{{- $needed := int (include "quelea.stopSeconds" .) -}}
{{- if and (gt $given 0) (le $given $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, but a stop may take %d s (drain.delaySeconds, drain.timeoutSeconds and 10 s): nodes would be killed while they drain. Take more, or 0 for what is needed." $given $needed) -}}
{{- end -}}
{{- end -}}

{{- define "quelea.checkListeners" -}}
{{- $listeners := fromJson (include "quelea.listeners" .) -}}
{{- $ports := dict "8080" "metrics and probes" "9883" "the admin API" -}}
{{- $own := dict "cluster.port" .Values.cluster.port -}}
{{- if .Values.scaleDown.enabled -}}{{- $_ := set $own "scaleDown.port" .Values.scaleDown.port -}}{{- end -}}
{{- range $key, $given := $own -}}
{{- $port := toString (int $given) -}}
{{- with get $ports $port -}}
{{- fail (printf "%s %s is taken by %s." $key $port .) -}}
{{- end -}}
{{- $_ := set $ports $port $key -}}
{{- end -}}
{{- range $name, $listener := $listeners -}}
{{- $port := toString (int $listener.port) -}}
{{- with get $ports $port -}}
{{- fail (printf "listeners.%s.port %s is taken by %s." $name $port .) -}}
{{- end -}}
{{- $_ := set $ports $port (printf "listener %s" $name) -}}
{{- if and $listener.proxyProtocol (empty $.Values.proxyTrusted) -}}
{{- fail (printf "listeners.%s.proxyProtocol is true, but proxyTrusted is empty: no load balancer would be believed." $name) -}}
{{- end -}}
{{- end -}}
{{- if empty $listeners -}}
{{- fail "no listener is enabled: nobody could connect." -}}
{{- end -}}
{{- range $name := .Values.service.listeners -}}
{{- include "quelea.checkListener" (dict "listeners" $listeners "key" "service.listeners" "name" $name) -}}
{{- end -}}
{{- if .Values.externalService.enabled -}}
{{- range $name := .Values.externalService.listeners -}}
{{- include "quelea.checkListener" (dict "listeners" $listeners "key" "externalService.listeners" "name" $name) -}}
{{- end -}}
{{- end -}}
{{- with .Values.ingress -}}
{{- if .enabled -}}
{{- include "quelea.checkListener" (dict "listeners" $listeners "key" "ingress.listener" "name" .listener) -}}
{{- if ne (get $listeners .listener).protocol "ws" -}}
{{- fail (printf "ingress.listener is %s, whose protocol is not ws: an Ingress passes on HTTP alone." .listener) -}}
{{- end -}}
{{- if empty .hosts -}}
{{- fail "ingress.enabled is true, but ingress.hosts is empty." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "quelea.checkListener" -}}
{{- if not (hasKey .listeners .name) -}}
{{- fail (printf "%s names %s, which is no listener that is enabled." .key .name) -}}
{{- end -}}
{{- end -}}

{{- define "quelea.checkTls" -}}
{{- $made := .Values.tls.certManager.enabled -}}
{{- if and $made .Values.tls.existingSecret -}}
{{- fail "tls.existingSecret and tls.certManager.enabled are both set: only one of them can count." -}}
{{- end -}}
{{- if and $made (empty .Values.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.enabled is true, but tls.certManager.issuerRef.name is empty: nobody would issue the certificate." -}}
{{- end -}}
{{- if and (include "quelea.hasTls" .) (not $made) (empty .Values.tls.existingSecret) -}}
{{- fail "a listener with TLS is enabled, but there is no certificate: set tls.existingSecret or tls.certManager.enabled." -}}
{{- end -}}
{{- end -}}

{{- define "quelea.checkClusterTls" -}}
{{- with .Values.cluster -}}
{{- $made := .tls.certManager.enabled -}}
{{- if and $made .tls.existingSecret -}}
{{- fail "cluster.tls.existingSecret and cluster.tls.certManager.enabled are both set: only one of them can count." -}}
{{- end -}}
{{- if and $made (empty .tls.certManager.issuerRef.name) -}}
{{- fail "cluster.tls.certManager.enabled is true, but cluster.tls.certManager.issuerRef.name is empty: nobody would issue the certificate." -}}
{{- end -}}
{{- if and (or $made .tls.existingSecret) (or .secret .existingSecret) -}}
{{- fail "cluster.tls and a secret of the cluster are both set: nodes know each other by one of them." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "quelea.checkConfig" -}}
{{- $own := fromJson (include "quelea.ownConfig" .) -}}
{{- $_ := set $own.node "name" "" -}}
{{- $_ := set $own.cluster "advertise" "" -}}
{{- $_ := set $own.cluster "bootstrap" "" -}}
{{- $conflicts := include "quelea.conflicts" (dict "own" $own "given" .Values.config "path" "") -}}
{{- with $conflicts -}}
{{- fail (printf "config.%s is set by the chart itself: see the other values." (first (splitList "\n" .))) -}}
{{- end -}}
{{- end -}}
