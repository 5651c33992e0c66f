{{/* The name of every object of the release. */}}
{{- define "oai.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "oai.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "oai.labels" -}}
{{ include "oai.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The name and the labels of an object; takes (list context suffix). */}}
{{- define "oai.metadata" -}}
{{- $context := index . 0 -}}
metadata:
  name: {{ include "oai.name" $context }}{{ index . 1 }}
  namespace: {{ $context.Release.Namespace }}
  labels: {{- include "oai.labels" $context | nindent 4 }}
{{- end -}}

{{- define "oai.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "oai.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* An image, and when it is pulled; takes (list context image). */}}
{{- define "oai.image" -}}
{{- $image := index . 1 -}}
{{- $version := printf ":%s" ($image.tag | default (index . 0).Chart.AppVersion) -}}
image: {{ $image.repository }}{{ empty $image.digest | ternary $version (printf "@%s" $image.digest) }}
imagePullPolicy: {{ $image.pullPolicy }}
{{- end -}}

{{/* What Envoy and the worker read at start only: pods are made anew when it changes, and only then. */}}
{{- define "oai.readAtStart" -}}
{{- $gateway := .Values.config.gateway -}}
{{- $rates := $gateway.rate_limits | default dict -}}
{{- list (pick $gateway "transport" "trusted_hops" "regions" "limits" "catalogue" "cors" "jwt" "metrics" "usage" "redis")
         (pick $rates "sqlite" "by" "service" "domain")
         (ternary (pick $rates "on_store_error") dict (eq ($rates.by | default "" | toString) "envoy"))
         (pick ($gateway.budgets | default dict) "sqlite")
         (pick ($gateway.streaming | default dict) "idle_seconds")
         (pick ($gateway.embeddings | default dict) "seconds")
         (pick ($gateway.media | default dict) "seconds" "deny") | toJson | sha256sum -}}
{{- end -}}

{{- define "oai.workerHost" -}}
{{ include "oai.name" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}

{{- define "oai.bedrockHost" -}}
bedrock-runtime.{{ .Values.region }}.amazonaws.com
{{- end -}}

{{/* The environment of whatever asks AWS's settings. */}}
{{- define "oai.environment" -}}
- {name: AWS_REGION, value: {{ .Values.region }}}
{{- if .Values.bedrockLocal.enabled }}
{{- $url := printf "http://%s-bedrock-local:9000" (include "oai.name" .) }}
- {name: AWS_ENDPOINT_URL_BEDROCK, value: {{ $url | quote }}}
- {name: AWS_ENDPOINT_URL_BEDROCK_RUNTIME, value: {{ $url | quote }}}
- {name: AWS_ACCESS_KEY_ID, value: local}
- {name: AWS_SECRET_ACCESS_KEY, value: local-secret}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What the pods of both kinds have, beside containers and volumes. */}}
{{- define "oai.pod" -}}
serviceAccountName: {{ include "oai.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
# 15 s of notice, an hour for what is in flight, and a minute to spare.
terminationGracePeriodSeconds: 3675
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
topologySpreadConstraints:
{{- with .Values.topologySpreadConstraints }}
{{ toYaml . | indent 2 }}
{{- else }}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels: {{- include "oai.selector" $ | nindent 8 }}
{{- end }}
{{- end }}
{{- range $key := list "imagePullSecrets" "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with get $.Values $key }}
{{ dict $key . | toYaml }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The worker's environment: AWS's keys are its alone. */}}
{{- define "oai.workerEnvironment" -}}
{{ include "oai.environment" . }}
{{- if .Values.aws.existingSecret }}
- {name: AWS_SHARED_CREDENTIALS_FILE, value: /etc/oai/aws/credentials}
{{- end }}
{{- end -}}

{{/* What every pod mounts. */}}
{{- define "oai.volumes" -}}
- name: config
  configMap: {name: {{ .Values.config.existingConfigMap | default (include "oai.name" .) }}}
- name: tokens
  secret: {secretName: {{ .Values.tokens.existingSecret }}, defaultMode: 0440}
- name: run
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- with .Values.aws.existingSecret }}
- name: oai-aws-keys
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- if eq .Values.mode "gateway" }}
{{- with .Values.service.tls.existingSecret }}
- name: callers-tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "oai.workerMounts" -}}
{{ include "oai.mounts" . }}
{{- if .Values.aws.existingSecret }}
- {name: oai-aws-keys, mountPath: /etc/oai/aws, readOnly: true}
{{- end }}
{{- end -}}

{{- define "oai.mounts" -}}
- {name: config, mountPath: /etc/oai/config, readOnly: true}
- {name: tokens, mountPath: /etc/oai/tokens, readOnly: true}
- {name: run, mountPath: /run/oai}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
