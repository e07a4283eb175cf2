#!/usr/bin/env bash
# Writes envoy/istio/regions/<region>/kustomization.yaml for every region of src/regions.csv.
#
#   scripts/istio-regions.sh           write them
#   scripts/istio-regions.sh --check   fail if what is there differs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly DIRECTORY=envoy/istio/regions

overlay() { # REGION TITLE DOMAIN CERTIFICATE_NAME
    cat <<END
# Genesys Cloud $1: $2. Written by scripts/istio-regions.sh.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../base]
patches:
  - target: {kind: ServiceEntry, name: genesys-cloud}
    patch: |-
      - {op: replace, path: /spec/hosts, value: [api.$3, login.$3]}
END
    local service
    for service in api login; do
        cat <<END
  - target: {kind: DestinationRule, name: genesys-$service}
    patch: |-
      - {op: replace, path: /spec/host, value: $service.$3}
      - {op: replace, path: /spec/trafficPolicy/tls/sni, value: $service.$3}
      - {op: replace, path: /spec/trafficPolicy/tls/subjectAltNames, value: [$service.$3]}
END
    done
    cat <<END
  - target: {kind: WasmPlugin, name: genesys-mtls}
    patch: |-
      - op: replace
        path: /spec/pluginConfig/regions
        value:
          $1:
END
    # Genesys does not publish the name everywhere; until it is filled in nobody is let in.
    [[ -n $4 ]] || printf '            certificate_name: replace-with-the-name-in-the-certificate.invalid\n'
    cat <<END
            digicert:
              pins: [api]
END
}

out=$DIRECTORY
[[ ${1:-} != --check ]] || { out=$(mktemp -d); trap 'rm -rf "$out"' EXIT; }
while IFS=, read -r region title domain name; do
    [[ $region != '#'* ]] || continue
    mkdir -p "$out/$region"
    overlay "$region" "$title" "$domain" "$name" >"$out/$region/kustomization.yaml"
done <src/regions.csv
if [[ $out != "$DIRECTORY" ]]; then
    diff -r "$DIRECTORY" "$out" || { echo "==> error: $DIRECTORY is out of date: run scripts/istio-regions.sh" >&2; exit 1; }
fi
