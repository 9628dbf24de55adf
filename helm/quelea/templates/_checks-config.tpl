{{/* What cannot work of the nodes' configuration and environment, and of what watches them. */}}

{{- define "quelea.checkConfig" -}}
{{- $own := fromJson (include "quelea.ownConfig" .) -}}
{{- $_ := set $own.node "name" "" -}}
{{- $_ := set $own.cluster "advertise" "" -}}
{{- $_ := set $own.cluster "bootstrap" "" -}}
{{- $conflicts := include "quelea.conflicts" (dict "own" $own "given" .Values.config "path" "") -}}
{{- with $conflicts -}}
{{- fail (printf "config.%s is set by the chart itself: see the other values." (first (splitList "\n" .))) -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- $name := toString .name -}}
{{- if hasPrefix "QUELEA__" $name -}}
{{- $given := "" -}}
{{- range reverse (splitList "__" (lower (trimPrefix "QUELEA__" $name))) -}}
{{- $given = dict . $given -}}
{{- end -}}
{{- if include "quelea.conflicts" (dict "own" $own "given" $given "path" "") -}}
{{- fail (printf "extraEnv has %s, which the chart sets itself: see the other values." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "quelea.checkMonitoring" -}}
{{- with .Values.monitoring.serviceMonitor -}}
{{- if and .enabled (gt (int (include "quelea.seconds" .scrapeTimeout)) (int (include "quelea.seconds" .interval))) -}}
{{- fail (printf "monitoring.serviceMonitor.scrapeTimeout is %s, but may be no longer than monitoring.serviceMonitor.interval, %s." .scrapeTimeout .interval) -}}
{{- end -}}
{{- end -}}
{{- end -}}
