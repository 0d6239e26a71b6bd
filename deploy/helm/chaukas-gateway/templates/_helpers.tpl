{{- define "chaukas.labels" -}}
app.kubernetes.io/name: chaukas-gateway
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- define "chaukas.selector" -}}
app.kubernetes.io/name: chaukas-gateway
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "chaukas.name" -}}
{{ printf "%s-%s" .root.Release.Name .component | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "chaukas.kafka" -}}
- {name: KAFKA_BOOTSTRAP_SERVERS, value: {{ .Values.kafka.bootstrapServers | quote }}}
{{- range $name, $value := .Values.kafka.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "chaukas.secret" -}}
- name: {{ .variable }}
  valueFrom: {secretKeyRef: {name: {{ .ref.name | quote }}, key: {{ .ref.key | quote }}}}
{{- end -}}

{{/* What every pod of ours has; `process` are its values, `module` what Python runs, `probe` its status port, of one that stays. */}}
{{- define "chaukas.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 30
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "chaukas.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}

{{- define "chaukas.container" -}}
name: {{ .component }}
image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: ["python", "-P", "-m", "{{ .module }}"]
{{- with .arguments }}
args: {{ toJson . }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources: {{- toYaml .process.resources | nindent 2 }}
{{- if .probe }}
# Starting may mean waiting for Kafka or the store; after that, who does not answer at all is started again.
startupProbe:
  httpGet: {path: /healthz, port: {{ .probe }}{{ if .tls }}, scheme: HTTPS{{ end }}}
  periodSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: {{ .probe }}{{ if .tls }}, scheme: HTTPS{{ end }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: {{ .probe }}{{ if .tls }}, scheme: HTTPS{{ end }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}
{{- end -}}

{{- define "chaukas.settings" -}}
{{- range $name, $value := .settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{/* Settings of a door: its certificate, or the word that it needs none. `prefix`: GATEWAY or SINK; `secret`: the Secret or empty. */}}
{{- define "chaukas.door" -}}
{{- if .secret }}
- {name: {{ .prefix }}_TLS_CERT_FILE, value: /tls/tls.crt}
- {name: {{ .prefix }}_TLS_KEY_FILE, value: /tls/tls.key}
{{- else if .root.Values.allowPlaintext }}
- {name: {{ .prefix }}_ALLOW_PLAINTEXT, value: "true"}
{{- else }}
{{- fail (printf "set tls.%s to a Secret, or allowPlaintext to true where something else encrypts" (lower .prefix)) }}
{{- end }}
{{- end -}}
