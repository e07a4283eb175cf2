#!/usr/bin/env bash
# Builds a program so that it runs on any machine of its kind, and prints where it is.
#
#   scripts/portable.sh TARGET PACKAGE PROGRAM [CARGO OPTION...]
#
# Linux: linked statically against musl, on any Linux, with zig as C compiler and linker (from PyPI, in .tools/zig). Other systems: by
# the machine itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$1 package=$2 program=$3
shift 3
readonly CARGO_ZIGBUILD=0.24.0 ZIG=0.17.0
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
[[ $target_dir == /* ]] || target_dir=$PWD/$target_dir

rustup target list --installed | grep -qx "$target" || rustup target add "$target" >&2
cargo=(cargo build)
if [[ $target == *-linux-musl ]]; then
    if [[ ! -x .tools/zig/bin/cargo-zigbuild ]]; then
        python3 -m venv .tools/zig
        .tools/zig/bin/pip install --quiet --disable-pip-version-check "cargo-zigbuild==$CARGO_ZIGBUILD" "ziglang==$ZIG" >&2
    fi
    export PATH=$PWD/.tools/zig/bin:$PATH
    cargo=(cargo zigbuild)
fi

# Same sources, same bytes: no path of this machine, in Rust or in C, as in scripts/build-wasm.sh.
cargo fetch --locked --target "$target" >&2
cargo_home=${CARGO_HOME:-$HOME/.cargo}
flags=("--remap-path-prefix=$PWD=/src" "--remap-path-prefix=$target_dir=/target" "--remap-path-prefix=$cargo_home=/cargo")
c_flags="-ffile-prefix-map=$PWD=/src -ffile-prefix-map=$target_dir=/target -ffile-prefix-map=$cargo_home=/cargo"
for registry in "$cargo_home"/registry/src/*/; do
    flags+=("--remap-path-prefix=${registry%/}=/cargo/registry")
    c_flags+=" -ffile-prefix-map=${registry%/}=/cargo/registry"
done
printf -v encoded '%s\x1f' "${flags[@]}"
[[ $PWD != *' '* ]] || c_flags=
env CARGO_ENCODED_RUSTFLAGS="${encoded%$'\x1f'}" "CFLAGS_${target//-/_}=$c_flags" \
    "${cargo[@]}" --locked --release --target "$target" --target-dir "$target_dir" -p "$package" --bin "$program" "$@" >&2
echo "$target_dir/$target/release/$program"
