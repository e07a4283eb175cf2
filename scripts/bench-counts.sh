#!/usr/bin/env bash
# Counts instructions and host calls of the built module, and gauges how long V8 compiles it. Arguments go to the tool: --write writes table and baseline.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/build-wasm.sh --rivals
# shellcheck source=/dev/null
source .tools/wasm.sh
# Two compilers make two modules: each has its own baseline.
compiler=$(env "${WASM_ENV[@]}" rustc --version | cut -d' ' -f1,2)
cargo run --quiet --locked -p bench --bin counts -- --compiler "$compiler" "$@"
# Bytes mislead about it. 77: there is no Node to gauge it with.
scripts/compile-gauge.sh || { code=$?; [[ $code -eq 77 ]] || exit "$code"; }
