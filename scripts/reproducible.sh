#!/usr/bin/env bash
# Builds the module twice, in two directories of different names and with nothing built before, and compares the results.
#
# What makes them equal: rust-toolchain.toml pins the compiler, Cargo.lock the dependencies, scripts/build-wasm.sh replaces every
# path that would end up in the module, and the commit is the same. Another compiler (Debian's, where rustup has none for
# wasm32-wasip1) gives another module, also reproducibly.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/provision.sh wasm
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
GENESYS_MTLS_COMMIT=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
export GENESYS_MTLS_COMMIT

sums=()
for copy in "$scratch/one" "$scratch/another place, further down/two"; do
    mkdir -p "$copy"
    tar --create --exclude=./target --exclude=./.git --exclude='./.tools/envoy-*' . | tar --extract --directory "$copy"
    (unset CARGO_TARGET_DIR && "$copy/scripts/build-wasm.sh") | tail -n 1
    sums+=("$(sha256sum "$copy/target/wasm32-wasip1/release/genesys_mtls_filter.wasm" | cut -d' ' -f1)")
    rm -rf "$copy/target"
done
[[ ${sums[0]} == "${sums[1]}" ]] || { echo "==> error: the two builds differ: ${sums[*]}" >&2; exit 1; }
echo "==> reproducible: ${sums[0]}"
