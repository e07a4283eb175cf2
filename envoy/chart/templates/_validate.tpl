{{/* What values.schema.json cannot say, with what to do about it. */}}
{{- define "genesys.validate" -}}
{{- $gateway := .Values.gateway -}}
{{- $istio := ne .Values.platform "envoy-gateway" -}}
{{- if not .Values.hosts }}{{ fail "hosts: name each host that Genesys Cloud calls: --set 'hosts={service.example}'" }}{{ end -}}
{{- if not .Values.regions }}{{ fail "regions: name the region of your Genesys Cloud organisation: regions: [{id: us-east-1, ...}]" }}{{ end -}}
{{- if not .Values.module.image }}{{ fail "module.image: where the module's image lies: registry.example/genesys-mtls-filter" }}{{ end -}}
{{- if not .Values.module.digest }}{{ fail "module.digest: sha256:<64 hex digits> of the image, as `make oci` prints it. A tag can change under a running gateway." }}{{ end -}}

{{- $ids := list -}}{{- $secrets := list -}}
{{- $details := (include "genesys.regions" . | fromYaml).regions -}}
{{- range $index, $region := .Values.regions -}}
{{- $detail := index $details $index -}}
{{- if has .id $ids }}{{ fail (printf "regions: %s is there twice: put its authorities into one entry" .id) }}{{ end -}}
{{- $ids = append $ids .id -}}
{{- if and (not $detail.name) $detail.known }}{{ fail (printf "regions: Genesys does not publish the name in the certificate of %s: set certificateName" .id) }}{{ end -}}
{{- if not $detail.name }}{{ fail (printf "regions: %s is no region of files/regions.csv: correct it, or set certificateName (and domain, for the pin `api`)" .id) }}{{ end -}}
{{- if and $detail.api (not $detail.domain) }}{{ fail (printf "regions: %s has the pin `api`, and no domain: set domain; the API is api.<domain>" .id) }}{{ end -}}
{{- if and (not (.genesys | default dict).caCertificates) (not .digicert) }}{{ fail (printf "regions: %s trusts no authority: set genesys.caCertificates, digicert.pins, or both" .id) }}{{ end -}}
{{- if and $detail.api (not .oauthSecret) }}{{ fail (printf "regions: %s has the pin `api`: set oauthSecret to the Secret with the OAuth client's client-id and client-secret" .id) }}{{ end -}}
{{- if and $detail.api (has .oauthSecret $secrets) }}{{ fail (printf "regions: %s names the Secret of another region, and would send it to its own login host: an OAuth client belongs to one region" .id) }}{{ end -}}
{{- if $detail.api }}{{ $secrets = append $secrets .oauthSecret }}{{ end -}}
{{- end -}}

{{- $mode := .Values.revocation.mode -}}
{{- if and (eq $mode "off") .Values.revocation.lists }}{{ fail "revocation.lists: mode is off, so nothing reads them: set revocation.mode to soft or hard" }}{{ end -}}
{{- if and (ne $mode "off") (not .Values.revocation.lists) }}{{ fail "revocation.mode: there is no list: set revocation.lists, or mode off" }}{{ end -}}
{{- range .Values.regions -}}
{{- if and (ne $mode "off") .digicert (not .digicert.issuers) }}{{ fail (printf "revocation: %s has no digicert.issuers, whose signature a list is verified with: set them" .id) }}{{ end -}}
{{- end -}}
{{- range $list := .Values.revocation.lists -}}
{{- if not (has .region $ids) }}{{ fail (printf "revocation.lists: %s is not among regions" .region) }}{{ end -}}
{{- range $.Values.regions -}}
{{- if and (eq .id $list.region) (eq $list.authority "genesys") (not (.genesys | default dict).caCertificates) }}{{ fail (printf "revocation.lists: %s has no genesys.caCertificates, whose signature the list is verified with: set them" .id) }}{{ end -}}
{{- end -}}
{{- end -}}

{{- range list "regions" "mode" "revocation" -}}
{{- if hasKey $.Values.policy . }}{{ fail (printf "policy.%s: the chart writes it: set %s" . (ternary "rollout" . (eq . "mode"))) }}{{ end -}}
{{- end -}}
{{- if or ((.Values.policy.refresh | default dict).clusters) ((.Values.policy.refresh | default dict).oauth) }}{{ fail "policy.refresh: the chart writes clusters and oauth: set regions[].oauthSecret" }}{{ end -}}

{{- if and (eq .Values.rollout "A") (eq .Values.tls.profile "strict") }}{{ fail "rollout A denies nothing, but tls.profile strict denies in the handshake: set tls.profile to explain" }}{{ end -}}
{{- if and (eq $gateway.use "own") (not $gateway.certificate) }}{{ fail "gateway.certificate: the Secret (tls.crt, tls.key) with the server certificate of the hosts" }}{{ end -}}
{{- if and (eq .Values.platform "istio") (ne $gateway.use "own") (not $gateway.selector) }}{{ fail "gateway.selector: the labels of the gateway's pods, such as {istio: ingressgateway}: nothing else ties the filter to them" }}{{ end -}}
{{- if and $gateway.selector (not $istio) }}{{ fail "gateway.selector: Envoy Gateway attaches policies by gateway.name: leave it out" }}{{ end -}}
{{- if and $gateway.redirectHttp (or (ne $gateway.use "own") (eq .Values.platform "envoy-gateway")) }}{{ fail "gateway.redirectHttp: only for a gateway that the chart makes on Istio (gateway.use own)" }}{{ end -}}
{{- if and (eq .Values.platform "envoy-gateway") (ne $gateway.use "own") (not .Values.backend.service) (not $gateway.routes) }}{{ fail "gateway.routes: the HTTPRoutes of the hosts, which filter and guard attach to; or backend.service, and the chart makes one" }}{{ end -}}
{{- if and (eq .Values.platform "envoy-gateway") (eq $gateway.use "shared") (not $gateway.listener) }}{{ fail "gateway.listener: the listener of these hosts alone: whether a client certificate is asked for is a matter of the listener" }}{{ end -}}
{{- if and (eq .Values.guard "authorization-policy") (or (not $istio) (eq $gateway.use "shared")) }}{{ fail "guard authorization-policy: only on Istio, for a gateway that serves these hosts alone: set guard to native" }}{{ end -}}

{{- if and (eq .Values.module.delivery "volume") (not $istio) }}{{ fail "module.delivery volume: Envoy Gateway fetches images only: set it to fetch" }}{{ end -}}
{{- if and .Values.module.trafficExtension (or (not $istio) (eq $gateway.use "shared")) }}{{ fail "module.trafficExtension: only on Istio, for a gateway that serves these hosts alone: leave it out" }}{{ end -}}
{{- if and .Values.module.registryCa $istio }}{{ fail "module.registryCa: Istio's agent takes the CAs of the proxy's image: leave it out" }}{{ end -}}
{{- if and .Values.module.pullSecret (eq $gateway.use "shared") $istio (ne .Values.module.delivery "volume") }}{{ fail "module.pullSecret: Istio hands it over for plugins only, not for one host of a shared gateway: set module.delivery to volume" }}{{ end -}}

{{/* Istio attaches policies by a label that it puts on its own Deployments only. Without a cluster (helm template) this sees nothing. */}}
{{- if and (eq .Values.platform "istio-gateway-api") (ne $gateway.use "own") (not $gateway.selector) -}}
{{- $there := lookup "gateway.networking.k8s.io/v1" "Gateway" .Release.Namespace $gateway.name | default dict -}}
{{- range (($there.spec | default dict).addresses) -}}
{{- if eq .type "Hostname" }}{{ fail (printf "gateway.name: %s has a Deployment of your own (%s), where policies by its name attach to nothing: set gateway.selector to its pods' labels" $gateway.name .value) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}
