{{- define "amphi.name" -}}
{{- if contains "amphi" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-amphi" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "amphi.selector" -}}
app.kubernetes.io/name: amphi
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "amphi.labels" -}}
{{ include "amphi.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "amphi.secret" -}}
{{ .Values.secrets.existingSecret | default (printf "%s-secrets" (include "amphi.name" .)) }}
{{- end }}

{{- define "amphi.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* How many visitor nodes there may ever be: the main node knows them all. */}}
{{- define "amphi.visitors" -}}
{{- if .Values.visitors.autoscaling.enabled }}{{ .Values.visitors.autoscaling.maxReplicas }}{{ else }}{{ .Values.visitors.replicas }}{{ end }}
{{- end }}

{{- define "amphi.pod" -}}
automountServiceAccountToken: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "amphi.container" -}}
name: amphi
image: {{ include "amphi.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
resources: {{- toYaml .values.resources | nindent 2 }}
{{- end }}

{{- define "amphi.env" -}}
- { name: AMPHI__DOMAIN, value: {{ required "domain is needed: the address that people type" .Values.domain | quote }} }
- { name: AMPHI__DATA_DIR, value: /var/lib/amphi/data }
- { name: AMPHI__LOG__LEVEL, value: {{ .Values.log.level | quote }} }
- { name: AMPHI__LOG__FORMAT, value: {{ .Values.log.format | quote }} }
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
