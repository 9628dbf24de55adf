{{/* What a pod of the StatefulSet is. */}}

{{- define "quelea.pod" -}}
serviceAccountName: {{ include "quelea.serviceAccount" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "quelea.graceSeconds" . }}
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- include "quelea.placement" . }}
{{- if or (not .Values.auth.existingSecret) .Values.extraInitContainers }}
initContainers:
  {{- if not .Values.auth.existingSecret }}
  - name: users
    image: {{ include "quelea.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command:
      - /usr/bin/quelea
      - passwd
      - --password-file=/run/secrets/quelea/password
      - /etc/quelea/auth/users
      - {{ .Values.auth.user | quote }}
    securityContext: {{- toYaml .Values.securityContext | nindent 6 }}
    resources:
      requests: {cpu: 50m, memory: 64Mi}
      limits: {memory: 64Mi}
    volumeMounts:
      - {name: auth, mountPath: /etc/quelea/auth}
      - {name: user, mountPath: /run/secrets/quelea, readOnly: true}
  {{- end }}
  {{- with .Values.extraInitContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
containers:
  - name: quelea
    {{- include "quelea.container" . | nindent 4 }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "quelea.fullname" . | quote }}
  {{- if .Values.auth.existingSecret }}
  - name: auth
    secret:
      secretName: {{ .Values.auth.existingSecret | quote }}
      items: [{key: {{ .Values.auth.existingSecretKey | quote }}, path: users}]
  {{- else }}
  - name: auth
    emptyDir: {medium: Memory, sizeLimit: 1Mi}
  - name: user
    secret:
      secretName: {{ include "quelea.fullname" . }}-user
  {{- end }}
  - name: cluster
    secret:
      secretName: {{ include "quelea.clusterSecret" . | quote }}
  {{- if include "quelea.hasRules" . }}
  - name: acl
    configMap:
      name: {{ default (printf "%s-acl" (include "quelea.fullname" .)) .Values.acl.existingConfigMap | quote }}
  {{- end }}
  {{- if include "quelea.hasTls" . }}
  - name: tls
    secret:
      secretName: {{ include "quelea.tlsSecret" . | quote }}
  {{- end }}
  {{- if not .Values.persistence.enabled }}
  - name: data
    emptyDir: {}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "quelea.container" -}}
image: {{ include "quelea.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [/usr/bin/quelea]
args: [run, --config, /etc/quelea/config/quelea.toml]
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
env:
  - name: QUELEA__NODE__NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: QUELEA__CLUSTER__ADVERTISE
    value: $(QUELEA__NODE__NAME).{{ include "quelea.podDomain" . }}:{{ .Values.cluster.port }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  {{- range $name, $listener := fromJson (include "quelea.listeners" .) }}
  - name: {{ $name | quote }}
    containerPort: {{ $listener.port }}
  {{- end }}
  - name: cluster
    containerPort: {{ .Values.cluster.port }}
  {{- if .Values.scaleDown.enabled }}
  - name: scale-down
    containerPort: {{ .Values.scaleDown.port }}
  {{- end }}
  - name: http
    containerPort: 8080
startupProbe:
  httpGet: {path: /healthz, port: http}
  {{- toYaml .Values.startupProbe | nindent 2 }}
livenessProbe:
  httpGet: {path: /healthz, port: http}
  {{- toYaml .Values.livenessProbe | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: http}
  {{- toYaml .Values.readinessProbe | nindent 2 }}
{{- if gt (int .Values.drain.delaySeconds) 0 }}
lifecycle:
  preStop:
    # Until everybody has heard that no clients are to come here. The drain itself follows, on SIGTERM.
    sleep:
      seconds: {{ .Values.drain.delaySeconds }}
{{- end }}
resources: {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - {name: data, mountPath: /var/lib/quelea}
  - {name: config, mountPath: /etc/quelea/config, readOnly: true}
  - {name: auth, mountPath: /etc/quelea/auth, readOnly: true}
  - {name: cluster, mountPath: /etc/quelea/cluster, readOnly: true}
  {{- if include "quelea.hasRules" . }}
  - {name: acl, mountPath: /etc/quelea/acl, readOnly: true}
  {{- end }}
  {{- if include "quelea.hasTls" . }}
  - {name: tls, mountPath: /etc/quelea/tls, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* On which machines pods may be. */}}
{{- define "quelea.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- /* Nodes alone: the pod of `helm test` has labels of the release too, and must find a place. */}}
{{- $nodes := set (fromYaml (include "quelea.selectorLabels" .)) "app.kubernetes.io/component" "node" }}
topologySpreadConstraints:
  {{- with .Values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- toYaml $nodes | nindent 8 }}
  {{- end }}
{{- $term := dict
      "topologyKey" "kubernetes.io/hostname"
      "labelSelector" (dict "matchLabels" $nodes) }}
{{- if .Values.affinity }}
affinity: {{- toYaml .Values.affinity | nindent 2 }}
{{- else if eq .Values.podAntiAffinity "hard" }}
affinity:
  podAntiAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - {{- toYaml $term | nindent 8 }}
{{- else if eq .Values.podAntiAffinity "soft" }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm: {{- toYaml $term | nindent 10 }}
{{- end }}
{{- end -}}
