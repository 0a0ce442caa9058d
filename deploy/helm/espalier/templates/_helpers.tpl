{{- define "espalier.labels" -}}
app.kubernetes.io/name: espalier
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* StatefulSets add -0, and a pod's name is a worker's: at most 64 bytes. */}}
{{- define "espalier.name" -}}
{{ .Release.Name | trunc 32 | trimSuffix "-" }}
{{- end }}

{{- define "espalier.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "espalier.tokenSecret" -}}
{{ .Values.worker.tokenSecret | default (printf "%s-worker-token" (include "espalier.name" .)) }}
{{- end }}

{{- define "espalier.pod" -}}
automountServiceAccountToken: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  # Once: what the programs make later is theirs alone.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "espalier.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
