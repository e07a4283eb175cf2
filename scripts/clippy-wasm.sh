#!/usr/bin/env bash
# Clippy for the code that only the wasm target compiles. Arguments go to cargo, before the `--`.
set -euo pipefail
target_dir=${CARGO_TARGET_DIR:-}
[[ -z $target_dir || $target_dir == /* ]] || target_dir=$PWD/$target_dir
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target_dir=${target_dir:-$PWD/target}

scripts/provision.sh wasm
# shellcheck source=/dev/null
source .tools/wasm.sh

printf -v encoded '%s\x1f' ${WASM_RUSTFLAGS[@]+"${WASM_RUSTFLAGS[@]}"}
env "${WASM_ENV[@]}" CARGO_ENCODED_RUSTFLAGS="${encoded%$'\x1f'}" \
    cargo clippy --locked -p genesys-mtls-filter --lib "${WASM_ARGS[@]}" --target-dir "$target_dir" "$@" -- -D warnings
