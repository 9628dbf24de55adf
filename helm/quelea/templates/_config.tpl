{{/* The configuration of the nodes: the same for all of them, what differs is in the pods' environment. */}}

{{/* What the chart sets, as JSON. */}}
{{- define "quelea.ownConfig" -}}
{{- $domain := include "quelea.podDomain" . -}}
{{- $seeds := list -}}
{{- range $number := until (int (include "quelea.founders" .)) -}}
{{- $seeds = append $seeds (printf "%s-%d.%s:%d" (include "quelea.fullname" $) $number $domain (int $.Values.cluster.port)) -}}
{{- end -}}
{{- $listeners := dict -}}
{{- range $name, $listener := fromJson (include "quelea.listeners" .) -}}
{{- $_ := set $listeners $name (fromJson (include "quelea.listener" (dict "listener" $listener "values" $.Values))) -}}
{{- end -}}
{{- $auth := dict
      "allow_anonymous" .Values.auth.allowAnonymous
      "client_ids" .Values.auth.clientIds
      "password" (dict "file" "/etc/quelea/auth/users") -}}
{{- $drain := dict
      "clients_per_second" .Values.drain.clientsPerSecond
      "timeout" (printf "%ds" (int .Values.drain.timeoutSeconds)) -}}
{{- with .Values.drain.serverReference -}}{{- $_ := set $drain "server_reference" . -}}{{- end -}}
{{- $cluster := dict
      "listen" (printf ":%d" (int .Values.cluster.port))
      "seeds" $seeds
      "expected_nodes" (len $seeds)
      "profile" .Values.cluster.profile -}}
{{- if include "quelea.hasClusterTls" . -}}
{{- $_ := set $cluster "tls" (dict
      "certificate" "/etc/quelea/cluster/tls.crt"
      "key" "/etc/quelea/cluster/tls.key"
      "ca" "/etc/quelea/cluster/ca.crt"
      "domain" $domain) -}}
{{- else -}}
{{- $_ := set $cluster "secret_file" "/etc/quelea/cluster/secret" -}}
{{- end -}}
{{- $admin := dict "listen" "localhost:9883" -}}
{{- if .Values.scaleDown.enabled -}}
{{- $_ := set $admin "cluster_listen" (printf ":%d" (int .Values.scaleDown.port)) -}}
{{- end -}}
{{- $config := dict
      "node" (dict "data_dir" "/var/lib/quelea")
      "auth" $auth
      "cluster" $cluster
      "http" (dict "address" ":8080")
      "admin" $admin
      "drain" $drain
      "log" (dict "level" .Values.log.level "format" .Values.log.format)
      "listener" $listeners -}}
{{- if include "quelea.hasRules" . -}}
{{- $_ := set $config "acl" (dict "file" "/etc/quelea/acl/rules") -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{- define "quelea.listener" -}}
{{- $listener := .listener -}}
{{- $made := dict "protocol" $listener.protocol "address" (printf ":%d" (int $listener.port)) -}}
{{- with $listener.maxConnections -}}{{- $_ := set $made "max_connections" . -}}{{- end -}}
{{- if $listener.proxyProtocol -}}
{{- $_ := set $made "proxy_protocol" "accept" -}}
{{- $_ := set $made "proxy_trusted" .values.proxyTrusted -}}
{{- end -}}
{{- with $listener.path -}}{{- $_ := set $made "ws_path" . -}}{{- end -}}
{{- with $listener.origins -}}{{- $_ := set $made "ws_origins" . -}}{{- end -}}
{{- if has $listener.protocol (list "tls" "wss") -}}
{{- $files := dict "certificate" "/etc/quelea/tls/tls.crt" "key" "/etc/quelea/tls/tls.key" -}}
{{- if .values.tls.clientCertificates -}}{{- $_ := set $files "client_ca" "/etc/quelea/tls/ca.crt" -}}{{- end -}}
{{- $_ := set $made "tls" $files -}}
{{- end -}}
{{- toJson $made -}}
{{- end -}}

{{/* Everything, as TOML. */}}
{{- define "quelea.config" -}}
{{- $own := fromJson (include "quelea.ownConfig" .) -}}
{{- include "quelea.table" (dict "path" "" "table" (mergeOverwrite $own (deepCopy .Values.config))) | trim -}}
{{- end -}}

{{/* Keys of `config` that the chart sets itself, or that differ from node to node; a line each. */}}
{{- define "quelea.conflicts" -}}
{{- range $key, $value := .given -}}
{{- $path := ternary $key (printf "%s.%s" $.path $key) (eq $.path "") -}}
{{- if hasKey $.own $key -}}
{{- $own := get $.own $key -}}
{{- if and (kindIs "map" $own) (kindIs "map" $value) -}}
{{ include "quelea.conflicts" (dict "own" $own "given" $value "path" $path) }}
{{- else -}}
{{ $path }}{{ "\n" }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A table of TOML: its values, then its tables. What is null is left out, as Helm says that a key is not to be. */}}
{{- define "quelea.table" -}}
{{- range $key, $value := .table -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "quelea.key" $key }} = {{ include "quelea.value" (dict "path" (printf "%s.%s" $.path $key) "value" $value) }}
{{- end -}}
{{- end -}}
{{- range $key, $value := .table -}}
{{- if kindIs "map" $value }}
{{- $key = include "quelea.key" $key }}
{{- $path := ternary $key (printf "%s.%s" $.path $key) (eq $.path "") }}

[{{ $path }}]
{{- include "quelea.table" (dict "path" $path "table" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A key of TOML, in quotes where it needs them. */}}
{{- define "quelea.key" -}}
{{ ternary . (toJson .) (regexMatch "^[A-Za-z0-9_-]+$" .) }}
{{- end -}}

{{/* A value of TOML. Numbers of values files come as floats, which are exact up to 2^53. */}}
{{- define "quelea.value" -}}
{{- $path := .path -}}
{{- with dict "it" .value -}}
{{- if kindIs "string" .it -}}
{{ toJson .it }}
{{- else if kindIs "slice" .it -}}
[{{ range $at, $item := .it }}{{ if $at }}, {{ end }}{{ include "quelea.value" (dict "path" $path "value" $item) }}{{ end }}]
{{- else if kindIs "map" .it -}}
{ {{ $first := true }}{{ range $key, $value := .it }}{{ if not (kindIs "invalid" $value) }}{{ if not $first }}, {{ end }}{{ include "quelea.key" $key }} = {{ include "quelea.value" (dict "path" (printf "%s.%s" $path $key) "value" $value) }}{{ $first = false }}{{ end }}{{ end }} }
{{- else if kindIs "invalid" .it -}}
{{- fail (printf "config.%s has an item that is null, which TOML cannot say." $path) -}}
{{- else if and (kindIs "float64" .it) (eq (floor .it) .it) -}}
{{- if or (gt .it 9007199254740992.0) (lt .it -9007199254740992.0) -}}
{{- fail (printf "config.%s is %.0f, a number too large to be exact: write it as text with a unit." $path .it) -}}
{{- end -}}
{{ int64 .it }}
{{- else -}}
{{ .it }}
{{- end -}}
{{- end -}}
{{- end -}}
