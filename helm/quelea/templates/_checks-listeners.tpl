{{/* What cannot work of listeners, and of what leads to them: Services and the Ingress. */}}

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
{{- range $name, $listener := .Values.listeners -}}
{{- if has $name (list "cluster" "http" "scale-down") -}}
{{- fail (printf "listeners.%s: the chart has a port of that name itself, call the listener otherwise." $name) -}}
{{- end -}}
{{- if gt (len $name) 15 -}}
{{- fail (printf "listeners.%s: names of ports have 15 characters at most, this one has %d." $name (len $name)) -}}
{{- end -}}
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
{{- end -}}

{{- define "quelea.checkListener" -}}
{{- if not (hasKey .listeners .name) -}}
{{- fail (printf "%s names %s, which is no listener that is enabled." .key .name) -}}
{{- end -}}
{{- end -}}

{{- define "quelea.checkServices" -}}
{{- $listeners := fromJson (include "quelea.listeners" .) -}}
{{- range $name := .Values.service.listeners -}}
{{- include "quelea.checkListener" (dict "listeners" $listeners "key" "service.listeners" "name" $name) -}}
{{- end -}}
{{- with .Values.externalService -}}
{{- if .enabled -}}
{{- range $name := .listeners -}}
{{- include "quelea.checkListener" (dict "listeners" $listeners "key" "externalService.listeners" "name" $name) -}}
{{- end -}}
{{- $named := .listeners -}}
{{- range $name, $_ := .nodePorts -}}
{{- if not (has $name $named) -}}
{{- fail (printf "externalService.nodePorts names %s, which is not in externalService.listeners." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "quelea.checkIngress" -}}
{{- $listeners := fromJson (include "quelea.listeners" .) -}}
{{- $service := .Values.service -}}
{{- with .Values.ingress -}}
{{- if .enabled -}}
{{- include "quelea.checkListener" (dict "listeners" $listeners "key" "ingress.listener" "name" .listener) -}}
{{- $listener := get $listeners .listener -}}
{{- if ne $listener.protocol "ws" -}}
{{- fail (printf "ingress.listener is %s, whose protocol is not ws: an Ingress passes on HTTP alone." .listener) -}}
{{- end -}}
{{- if and $service.listeners (not (has .listener $service.listeners)) -}}
{{- fail (printf "ingress.listener is %s, which is not in service.listeners: the Ingress leads to that Service." .listener) -}}
{{- end -}}
{{- $told := keys (merge (dict) (default dict .annotations) (default dict $service.annotations)) | join " " -}}
{{- if and $listener.proxyProtocol (not (contains "proxy-protocol" $told)) -}}
{{- fail (printf "listeners.%s.proxyProtocol is true and ingress.listener is %s, but no key of ingress.annotations or service.annotations has proxy-protocol in it: no Ingress controller sends PROXY headers unasked." .listener .listener) -}}
{{- end -}}
{{- if empty .hosts -}}
{{- fail "ingress.enabled is true, but ingress.hosts is empty." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
