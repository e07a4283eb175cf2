#!/usr/bin/env bash
# Writes what is made of envoy/chart: its copies of other files, and envoy/examples/*/{shadow,enforce}.yaml from values.yaml there.
# Needs helm: .tools/mesh/helm (scripts/mesh.sh helm), or the one on PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

helm=.tools/mesh/helm
[[ -x $helm ]] || helm=$(command -v helm) || { echo "==> error: no helm: run scripts/mesh.sh helm" >&2; exit 1; }

cp src/regions.csv envoy/observability/{alerts.yaml,dashboard.json} envoy/chart/files/

for values in envoy/examples/*/values.yaml; do
    directory=${values%/*}
    namespace=istio-ingress
    [[ $directory != */envoy-gateway ]] || namespace=default
    for state in A:shadow D:enforce; do
        # In the handshake of this profile strangers are denied: it has no shadow.
        [[ $directory != */istio-strict || $state != A:* ]] || continue
        out=$directory/${state#*:}.yaml
        { echo "# Written by \`make examples\` from values.yaml: roll-out state ${state%:*}."
          "$helm" template genesys envoy/chart --namespace "$namespace" --no-hooks --values "$values" --set "rollout=${state%:*}"; } >"$out.new"
        mv "$out.new" "$out"
    done
done
