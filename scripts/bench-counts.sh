#!/usr/bin/env bash
# Counts instructions and host calls of the built module. Arguments go to the tool: --write writes table and baseline.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/build-wasm.sh --rivals
# shellcheck source=/dev/null
source .tools/wasm.sh
# Two compilers make two modules: each has its own baseline.
compiler=$(env "${WASM_ENV[@]}" rustc --version | cut -d' ' -f1,2)
cargo run --quiet --locked -p bench --bin counts -- --compiler "$compiler" "$@"
