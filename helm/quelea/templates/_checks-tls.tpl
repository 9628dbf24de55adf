{{/* What cannot work of certificates, of listeners and of nodes. */}}

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
{{- if and .Values.tls.clientCertificates (not (include "quelea.hasTls" .)) -}}
{{- fail "tls.clientCertificates is true, but no listener with TLS is enabled: nobody would be asked for one." -}}
{{- end -}}
{{- include "quelea.checkRenewal" (dict "key" "tls.certManager" "made" .Values.tls.certManager) -}}
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
{{- include "quelea.checkRenewal" (dict "key" "cluster.tls.certManager" "made" .Values.cluster.tls.certManager) -}}
{{- end -}}

{{/* cert-manager refuses what would be renewed before it is issued. */}}
{{- define "quelea.checkRenewal" -}}
{{- with .made -}}
{{- if and .enabled (ge (int (include "quelea.seconds" .renewBefore)) (int (include "quelea.seconds" .duration))) -}}
{{- fail (printf "%s.renewBefore is %s, but has to be shorter than %s.duration, %s." $.key .renewBefore $.key .duration) -}}
{{- end -}}
{{- end -}}
{{- end -}}
