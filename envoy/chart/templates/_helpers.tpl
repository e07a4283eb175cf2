{{/* Names: genesys-mtls, or genesys-mtls-<policy> for a second policy in one namespace. */}}
{{- define "genesys.policyName" -}}{{ .Values.policy.name | default "default" }}{{- end }}
{{- define "genesys.name" -}}
{{- $policy := include "genesys.policyName" . -}}
genesys-mtls{{ if ne $policy "default" }}-{{ $policy | replace "_" "-" }}{{ end }}
{{- end }}
{{- define "genesys.key" -}}wasm.genesys_mtls.{{ include "genesys.policyName" . }}{{- end }}

{{- define "genesys.labels" -}}
app.kubernetes.io/name: genesys-mtls-filter
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "genesys.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "genesys.labels" $root | nindent 2 }}
{{- end }}

{{/* The regions as the templates need them: id, env (prefix of the variables), domain, api, oauthSecret. */}}
{{- define "genesys.regions" -}}
{{- $catalogue := dict -}}
{{- range $line := splitList "\n" (.Files.Get "files/regions.csv") -}}
{{- if and $line (not (hasPrefix "#" $line)) -}}
{{- $cells := splitList "," $line -}}
{{- $_ := set $catalogue (index $cells 0) (dict "domain" (index $cells 2) "name" (index $cells 3)) -}}
{{- end -}}
{{- end -}}
{{- $regions := list -}}
{{- range $region := .Values.regions -}}
{{- $known := get $catalogue $region.id | default dict -}}
{{- $pins := ($region.digicert | default dict).pins | default list -}}
{{- $regions = append $regions (dict
      "id" $region.id
      "known" (hasKey $catalogue $region.id)
      "name" ($region.certificateName | default $known.name | default "")
      "domain" ($region.domain | default $known.domain | default "")
      "api" (has "api" $pins)
      "env" (printf "GENESYS_%s" ($region.id | upper | replace "-" "_"))
      "oauthSecret" ($region.oauthSecret | default "")) -}}
{{- end -}}
{{- dict "regions" $regions | toYaml -}}
{{- end }}

{{/* The revocation lists' hosts: host, port, cluster. */}}
{{- define "genesys.crlHosts" -}}
{{- $hosts := dict -}}
{{- range .Values.revocation.lists -}}
{{- $authority := (urlParse .url).host -}}
{{- $parts := splitList ":" $authority -}}
{{- $port := 80 -}}
{{- if gt (len $parts) 1 }}{{ $port = index $parts 1 | int }}{{ end -}}
{{- $_ := set $hosts $authority (dict "host" (index $parts 0 | lower) "port" $port) -}}
{{- end -}}
{{- $hosts | toYaml -}}
{{- end }}
{{- define "genesys.crlCluster" -}}
{{- $root := index . 0 -}}{{- $host := index . 1 -}}
{{- if eq $root.Values.platform "envoy-gateway" -}}
backend/{{ $root.Release.Namespace }}/{{ include "genesys.crlBackend" (list $root $host) }}/{{ $host.port }}/http
{{- else -}}
outbound|{{ $host.port }}||{{ $host.host }}
{{- end -}}
{{- end }}
{{- define "genesys.crlBackend" -}}{{ include "genesys.name" (index . 0) }}-crl-{{ (index . 1).host | replace "." "-" | trunc 40 | trimSuffix "-" }}{{- end }}

{{- define "genesys.enforces" -}}{{ if has .Values.rollout (list "B" "D") }}true{{ end }}{{- end }}
{{- define "genesys.guards" -}}{{ if has .Values.rollout (list "C" "D") }}true{{ end }}{{- end }}

{{/* The filter's configuration. */}}
{{- define "genesys.policy" -}}
{{- $root := . -}}
{{- $policy := deepCopy .Values.policy -}}
{{- $details := (include "genesys.regions" . | fromYaml).regions -}}
{{- $regions := dict -}}
{{- $api := false -}}
{{- range $index, $region := .Values.regions -}}
{{- $detail := index $details $index -}}
{{- $out := dict -}}
{{- with $region.certificateName }}{{ $_ := set $out "certificate_name" . }}{{ end -}}
{{- with $region.domain }}{{ $_ := set $out "domain" . }}{{ end -}}
{{- with ($region.genesys | default dict).caCertificates }}{{ $_ := set $out "genesys" (dict "ca_certificates" .) }}{{ end -}}
{{- with $region.digicert -}}
{{- $digicert := dict "pins" .pins -}}
{{- with .issuers }}{{ $_ := set $digicert "issuers" . }}{{ end -}}
{{- $_ := set $out "digicert" $digicert -}}
{{- end -}}
{{- if $detail.api -}}
{{- $api = true -}}
{{- $_ := set $out "refresh" (dict "oauth" (dict "client_id_env" (printf "%s_CLIENT_ID" $detail.env) "client_secret_env" (printf "%s_CLIENT_SECRET" $detail.env))) -}}
{{- end -}}
{{- $_ := set $regions $region.id $out -}}
{{- end -}}
{{- $_ := set $policy "regions" $regions -}}
{{- if $api -}}
{{- $clusters := dict "api" "outbound|443||{host}" "login" "outbound|443||{host}" -}}
{{- if eq .Values.platform "envoy-gateway" -}}
{{- $backend := printf "backend/%s/%s" .Release.Namespace (include "genesys.name" .) -}}
{{- $clusters = dict "api" (printf "%s-api-{region}/443/http" $backend) "login" (printf "%s-login-{region}/443/http" $backend) -}}
{{- end -}}
{{- $_ := set $policy "refresh" (merge (dict "clusters" $clusters) ($policy.refresh | default dict)) -}}
{{- end -}}
{{- if ne .Values.revocation.mode "off" -}}
{{- $hosts := include "genesys.crlHosts" . | fromYaml -}}
{{- $lists := list -}}
{{- range .Values.revocation.lists -}}
{{- $host := get $hosts (urlParse .url).host -}}
{{- $lists = append $lists (merge (dict "cluster" (include "genesys.crlCluster" (list $root $host))) .) -}}
{{- end -}}
{{- $revocation := dict "mode" .Values.revocation.mode "lists" $lists -}}
{{- with .Values.revocation.interval }}{{ $_ := set $revocation "interval" . }}{{ end -}}
{{- with .Values.revocation.maxSize }}{{ $_ := set $revocation "max_size" (int .) }}{{ end -}}
{{- $_ := set $policy "revocation" $revocation -}}
{{- end -}}
{{- $_ := set $policy "mode" (ternary "enforce" "shadow" (eq (include "genesys.enforces" .) "true")) -}}
{{- $policy | toYaml -}}
{{- end }}

{{/* Environment of the proxy's container: the OAuth clients. */}}
{{- define "genesys.env" -}}
{{- range (include "genesys.regions" . | fromYaml).regions }}
{{- if .api }}
- name: {{ .env }}_CLIENT_ID
  valueFrom: {secretKeyRef: {name: {{ .oauthSecret }}, key: client-id}}
- name: {{ .env }}_CLIENT_SECRET
  valueFrom: {secretKeyRef: {name: {{ .oauthSecret }}, key: client-secret}}
{{- end }}
{{- end }}
{{- end }}
{{- define "genesys.envNames" -}}
{{- $names := list -}}
{{- range (include "genesys.regions" . | fromYaml).regions -}}
{{- if .api }}{{ $names = concat $names (list (printf "%s_CLIENT_ID" .env) (printf "%s_CLIENT_SECRET" .env)) }}{{ end -}}
{{- end -}}
{{- dict "names" $names | toYaml -}}
{{- end }}

{{- define "genesys.moduleUrl" -}}
{{- if eq .Values.module.delivery "volume" -}}file:///genesys-mtls/plugin.wasm
{{- else -}}oci://{{ .Values.module.image }}@{{ .Values.module.digest }}
{{- end -}}
{{- end }}

{{/* Labels of the gateway's pods; empty where policies attach by the Gateway's name. */}}
{{- define "genesys.selector" -}}
{{- if .Values.gateway.selector -}}
{{ toYaml .Values.gateway.selector }}
{{- else if and (eq .Values.platform "istio") (eq .Values.gateway.use "own") -}}
{{/* With the namespace in it: Istio opens a Gateway's hosts on pods of every namespace that carry its labels. */ -}}
genesys-mtls/gateway: {{ .Release.Namespace }}.{{ .Values.gateway.name }}
{{- end -}}
{{- end }}
{{- define "genesys.targetRefs" -}}
targetRefs:
  - {group: gateway.networking.k8s.io, kind: Gateway, name: {{ .Values.gateway.name }}}
{{- end }}
{{- define "genesys.attach" -}}
{{- $labels := include "genesys.selector" . -}}
{{- if $labels -}}
selector:
  matchLabels:
    {{- $labels | nindent 4 }}
{{- else -}}
{{ include "genesys.targetRefs" . }}
{{- end -}}
{{- end }}
{{- define "genesys.attachEnvoyFilter" -}}
{{- $labels := include "genesys.selector" . -}}
{{- if $labels -}}
workloadSelector:
  labels:
    {{- $labels | nindent 4 }}
{{- else -}}
{{ include "genesys.targetRefs" . }}
{{- end -}}
{{- end }}

{{/* Any spelling of the protected hosts in :authority. Envoy ignores all that follows the last colon. */}}
{{- define "genesys.hostPattern" -}}
{{- $quoted := list -}}
{{- range .Values.hosts }}{{ $quoted = append $quoted (regexQuoteMeta .) }}{{ end -}}
(?i)({{ join "|" $quoted }})\.?(:.*)?
{{- end }}

{{- define "genesys.identityHeader" -}}{{ (.Values.policy.identity | default dict).header | default "x-genesys-cloud-client" }}{{- end }}
{{/* The header in any spelling that a service may take for it, such as x_genesys_cloud_client. */}}
{{- define "genesys.identityPattern" -}}{{ regexReplaceAll "[^a-z0-9]" (include "genesys.identityHeader" . | lower) "[^a-z0-9]" }}{{- end }}

{{- define "genesys.allowed" -}}
genesys_mtls_allowed:
  permissions: [{any: true}]
  principals:
    - filter_state:
        key: {{ include "genesys.key" . }}
        string_match: {prefix: "allow;"}
{{- end }}

{{/* The verdict as a line of JSON, for Envoy's log formatter. */}}
{{- define "genesys.accessLogFormat" -}}
time: "%START_TIME%"
host: "%REQ(:AUTHORITY)%"
request: "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"
status: "%RESPONSE_CODE%"
details: "%RESPONSE_CODE_DETAILS%"
verdict: "%FILTER_STATE({{ include "genesys.key" . }}:PLAIN)%"
certificate: "%DOWNSTREAM_PEER_FINGERPRINT_256%"
request_id: "%REQ(X-REQUEST-ID)%"
{{- end }}

{{/* CAs whose certificates TLS accepts, and names in the handshake. */}}
{{- define "genesys.clientCas" -}}
{{- $cas := list -}}
{{- $digicert := false -}}
{{- range .Values.regions -}}
{{- with (.genesys | default dict).caCertificates }}{{ $cas = append $cas (trim .) }}{{ end -}}
{{- if .digicert }}{{ $digicert = true }}{{ end -}}
{{- end -}}
{{- if $digicert }}{{ $cas = append $cas (.Files.Get "files/digicert-assured-id-root-g2.pem" | trim) }}{{ end -}}
{{- with .Values.tls.clientCas }}{{ $cas = append $cas (trim .) }}{{ end -}}
{{- join "\n" $cas -}}
{{- end }}

{{/* Istio publishes no custom statistic unless its name is asked for. */}}
{{- define "genesys.proxyConfig" -}}
proxyStatsMatcher:
  inclusionRegexps:
    - wasmcustom\.genesys_mtls\..*
    - .*\.genesys_guard_\..*
    - wasm\..*\.vm_reload_.*
    - .*\.wasm-default-deny.*
    - listener_manager\.lds\.update_rejected
{{- end }}

{{/* What the proxy's pods need on Istio. */}}
{{- define "genesys.podAnnotations" -}}
# Labels for the metrics.
sidecar.istio.io/bootstrapOverride: {{ include "genesys.name" . }}-bootstrap
# The filter's start-up summary, and its lines on pins.
sidecar.istio.io/componentLogLevel: misc:error,wasm:info
proxy.istio.io/config: |
  {{- include "genesys.proxyConfig" . | nindent 2 }}
{{- end }}
{{- define "genesys.volumes" -}}
{{- if eq .Values.module.delivery "volume" -}}
- name: genesys-mtls
  image: {reference: {{ .Values.module.image }}@{{ .Values.module.digest }}}
{{- end -}}
{{- end }}
{{- define "genesys.volumeMounts" -}}
{{- if eq .Values.module.delivery "volume" -}}
- {name: genesys-mtls, mountPath: /genesys-mtls, readOnly: true}
{{- end -}}
{{- end }}
