#!/usr/bin/env bash
# Gets the module of an earlier release, or builds that of an earlier commit, once, and prints where it is:
# target/old/.../genesys_mtls_filter.wasm
#
#   scripts/old-module.sh [COMMIT]         the last one before the core's redesign, unless another is given
#   scripts/old-module.sh docker://IMAGE   as a release's image has it (a registry on 127.0.0.1 speaks HTTP)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=${1:-1392991}
if [[ $name == docker://* ]]; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    tls=()
    [[ $name != docker://127.0.0.1:* ]] || tls=(--src-tls-verify=false)
    skopeo copy --quiet "${tls[@]}" "$name" "dir:$scratch" >&2
    layer=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["layers"][0]["digest"].split(":")[1])' "$scratch/manifest.json")
    mkdir -p "$PWD/target/old/$layer"
    tar -xzf "$scratch/$layer" -C "$PWD/target/old/$layer" plugin.wasm
    mv "$PWD/target/old/$layer/plugin.wasm" "$PWD/target/old/$layer/genesys_mtls_filter.wasm"
    echo "$PWD/target/old/$layer/genesys_mtls_filter.wasm"
    exit 0
fi
commit=$(git rev-parse --verify --quiet "$name^{commit}") || {
    echo "==> error: there is no commit $name here: fetch it, or give a module that is built (make upgrade OLD=path)" >&2
    exit 1
}
dir=$PWD/target/old/${commit:0:12}
module=$dir/genesys_mtls_filter.wasm
if [[ ! -f $module ]]; then
    rm -rf "$dir"
    mkdir -p "$dir/source"
    git archive "$commit" | tar -x -C "$dir/source"
    # Its own script knows its toolchain; without a checkout the build learns the commit from here.
    CARGO_TARGET_DIR=$dir/build GENESYS_MTLS_COMMIT=${commit:0:12} "$dir/source/scripts/build-wasm.sh" >&2
    mv "$dir/build/wasm32-wasip1/release/genesys_mtls_filter.wasm" "$module"
    rm -rf "$dir/source" "$dir/build"
fi
echo "$module"
