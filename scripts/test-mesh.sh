#!/usr/bin/env bash
# The chart on real control planes, with traffic: scripts/test-mesh.sh [istio | envoy-gateway]; both, if neither is named.
# Exits with 77, and says why, where it cannot run. A module that the Go registry does not serve is no failed test: 77 as well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

(($#)) || set -- istio envoy-gateway
[[ $(id -u) -eq 0 ]] || { echo "==> SKIPPED: network namespaces need root" >&2; exit 77; }
scripts/provision.sh envoy
begun=$SECONDS
for name; do scripts/mesh.sh "$name"; done
echo "==> control planes: $((SECONDS - begun)) s"
if [[ -z ${GENESYS_MTLS_WASM:-} ]]; then scripts/provision.sh wasm; scripts/build-wasm.sh; fi
# shellcheck source=/dev/null
. .tools/env.sh
cargo build --locked -p testbed --bin mesh
for name; do "${CARGO_TARGET_DIR:-target}/debug/mesh" "$name"; done
