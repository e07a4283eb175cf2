#!/usr/bin/env bash
# Builds the module, release profile: target/wasm32-wasip1/release/genesys_mtls_filter.wasm
# (under CARGO_TARGET_DIR if that is set). Arguments go to cargo: scripts/build-wasm.sh --features x
#
#   scripts/build-wasm.sh --rivals   the filters of bench/rivals instead, to measure ours against
set -euo pipefail
target_dir=${CARGO_TARGET_DIR:-}
[[ -z $target_dir || $target_dir == /* ]] || target_dir=$PWD/$target_dir
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target_dir=${target_dir:-$PWD/target}
package=(-p genesys-mtls-filter --lib)
linker=(CARGO_TARGET_WASM32_WASIP1_LINKER="$PWD/scripts/wasm-ld.sh")
if [[ ${1:-} == --rivals ]]; then
    package=(-p rivals --examples)
    linker=()
    shift
fi

scripts/provision.sh wasm
# shellcheck source=/dev/null
source .tools/wasm.sh

# Panic messages carry source paths. Replacing what differs between machines keeps their layout out of the
# module and lets anyone reproduce it. A later mapping wins over an earlier one. The sources must be there
# first: their directory is named after the registry in use.
env "${WASM_ENV[@]}" cargo tree --quiet --locked "${package[@]:0:2}" --edges normal,build --target wasm32-wasip1 >/dev/null
cargo_home=${CARGO_HOME:-$HOME/.cargo}
flags=(
    ${WASM_RUSTFLAGS[@]+"${WASM_RUSTFLAGS[@]}"}
    # Envoy compiles every function before the listener opens. Inlining less makes the module smaller and that faster;
    # a warm request takes the same.
    "-Cllvm-args=-inline-threshold=35"
    "--remap-path-prefix=$PWD=/src"
    "--remap-path-prefix=$target_dir=/target"
    "--remap-path-prefix=$cargo_home=/cargo"
)
for registry in "$cargo_home"/registry/src/*/; do
    flags+=("--remap-path-prefix=${registry%/}=/cargo/registry")
done
sysroot=$(env "${WASM_ENV[@]}" rustc --print sysroot)
flags+=("--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rust")
if [[ -d $sysroot/lib/rustlib/src/rust ]]; then
    flags+=("--remap-path-prefix=$(cd -P "$sysroot/lib/rustlib/src/rust" && pwd)=/rust")
fi

# What scripts/wasm-ld.sh runs: the linker that would be used without it.
if [[ " ${WASM_ENV[*]} " == *" WASM_TOOLCHAIN=debian "* ]]; then
    export WASM_LD=wasm-ld
else
    WASM_LD=$(compgen -G "$sysroot/lib/rustlib/*/bin/rust-lld")
    export WASM_LD
fi

# The encoded form takes paths with spaces, and wins over a RUSTFLAGS that would replace these.
printf -v encoded '%s\x1f' "${flags[@]}"
env "${WASM_ENV[@]}" "${linker[@]}" CARGO_ENCODED_RUSTFLAGS="${encoded%$'\x1f'}" \
    cargo build --release --locked "${package[@]}" "${WASM_ARGS[@]}" --target-dir "$target_dir" "$@"

[[ ${package[1]} == genesys-mtls-filter ]] || exit 0
module=$target_dir/wasm32-wasip1/release/genesys_mtls_filter.wasm
sum=$(if command -v sha256sum >/dev/null; then sha256sum "$module"; else shasum -a 256 "$module"; fi)
printf '==> %s: %d bytes, sha256 %s\n' "${module#"$PWD/"}" "$(wc -c <"$module")" "${sum%% *}"
