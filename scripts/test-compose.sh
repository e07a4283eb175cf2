#!/usr/bin/env bash
# Runs envoy/docker-compose.yaml, unmodified, and checks what its client saw.
#
# Where the base images cannot be pulled, stand-ins for them are built from Debian's packages and the Envoy that
# scripts/provision.sh knows, under the same names, and removed afterwards. Without a Docker daemon it says so and ends
# with code 77, which the callers count as skipped.
#
#   STAND_INS=always|auto|never   auto (the default) builds one only for an image that is neither here nor to be pulled
#   KEEP=1                        leaves them for the next run
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly COMPOSE_FILE=envoy/docker-compose.yaml
readonly PROJECT=genesys-mtls-test-$$
readonly LABEL=genesys-mtls.stand-in=$PROJECT
readonly SKIPPED=77

say()  { printf '==> [%3d s] %s\n' "$SECONDS" "$*"; }
die()  { printf '==> error: %s\n' "$*" >&2; exit 1; }
skip() { printf '\n==> SKIPPED: %s. The compose file was NOT tested.\n\n' "$*" >&2; exit "$SKIPPED"; }
have() { command -v "$1" >/dev/null 2>&1; }

have docker || skip "docker is not installed"
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || skip "no Docker daemon answers"
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif have docker-compose; then
    compose=(docker-compose)
else
    skip "neither Compose v2 nor docker-compose is installed"
fi
say "engine $(docker version --format '{{.Server.Version}}'), compose $("${compose[@]}" version --short)"

made=()
scratch=$(mktemp -d)
clean_up() {
    "${compose[@]}" -f "$COMPOSE_FILE" -p "$PROJECT" down --volumes --timeout 2 >/dev/null 2>&1 || true
    if [[ ${#made[@]} -gt 0 && -z ${KEEP:-} ]]; then
        # The stand-ins, and what was built upon them; that has their label.
        docker rmi --force "${made[@]}" genesys-mtls-testbed genesys-mtls-envoy >/dev/null 2>&1 || true
        docker image prune --force --filter "label=$LABEL" >/dev/null 2>&1 || true
    fi
    rm -rf "$scratch"
}
trap clean_up EXIT

# ---- base images ----

# The names behind FROM that are not stages of the same file.
base_images() {
    awk '$1 == "FROM" { if (!($2 in stage)) print $2; if (tolower($3) == "as") stage[$4] = 1 }' envoy/Dockerfile | sort -u
}

missing_images() {
    local image
    for image in $(base_images); do
        if [[ ${STAND_INS:-auto} == always ]]; then
            echo "$image"
        elif ! docker image inspect "$image" >/dev/null 2>&1; then
            [[ ${STAND_INS:-auto} == auto ]] && timeout 300 docker pull --quiet "$image" >/dev/null 2>&1 || echo "$image"
        fi
    done
}

# as_image NAME DIRECTORY CHANGE...: the label finds everything that is built upon it, see clean_up.
as_image() {
    local name=$1 directory=$2 change changes=(--change "LABEL $LABEL")
    shift 2
    for change in "$@"; do changes+=(--change "$change"); done
    tar -C "$directory" -c . | docker import "${changes[@]}" - "$name" >/dev/null
    made+=("$name")
}

# Debian as on its image, with the CAs of this machine: it may sit behind a proxy that has its own. What the slim image leaves out
# is left out. In a directory of this machine, since a container's file system can be many times as slow.
make_root() {
    [[ ! -d $scratch/root ]] || return 0
    scripts/provision.sh mmdebstrap
    say "a small Debian"
    local mirror=http://deb.debian.org/debian
    mmdebstrap --quiet --variant=minbase --include=ca-certificates --dpkgopt=force-unsafe-io --aptopt='Acquire::Retries "3"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --format=directory bookworm "$scratch/root" \
        "deb $mirror bookworm main" "deb $mirror bookworm-updates main" "deb $mirror-security bookworm-security main" \
        >"$scratch/root.log" 2>&1 || { tail -n 20 "$scratch/root.log" >&2; die "mmdebstrap failed"; }
    cp -L /etc/ssl/certs/ca-certificates.crt "$scratch/root/etc/ssl/certs/ca-certificates.crt"
}

# install_into DIRECTORY PACKAGE...
install_into() {
    local root=$1
    shift
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    { chroot "$root" apt-get -qq update && DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -qq -y --no-install-recommends install "$@"; } \
        >"$scratch/install.log" 2>&1 || { tail -n 20 "$scratch/install.log" >&2; die "installing $* failed"; }
    rm -rf "$root/var/cache/apt/archives"/*.deb "$root/var/lib/apt/lists"/* "$root/etc/resolv.conf"
}

# The Rust of its image: the toolchain of that version that this machine has, by rustup as there. If it has none that can build the
# module, Debian's Rust; scripts/build-wasm.sh finds its way with it.
make_rust() {
    local version sysroot host root=$scratch/rust
    version=${1#rust:}
    version=${version%%-*}
    cp -a "$scratch/root" "$root"
    if sysroot=$(rustup run "$version" rustc --print sysroot 2>/dev/null) \
        && compgen -G "$sysroot/lib/rustlib/wasm32-wasip1/lib/libstd-*.rlib" >/dev/null; then
        say "stand-in for $1: this machine's toolchain $version"
        install_into "$root" gcc libc6-dev
        host=$(rustup run "$version" rustc -vV | sed -n 's/^host: //p')
        mkdir -p "$root/usr/local/cargo/bin" "$root/usr/local/rustup/toolchains/$version-$host"
        tar -C "$sysroot/" --exclude=./share -c . | tar -C "$root/usr/local/rustup/toolchains/$version-$host" -x --no-same-owner
        cp -L "$(command -v rustup)" "$root/usr/local/cargo/bin/rustup"
        ln -s rustup "$root/usr/local/cargo/bin/cargo"
        ln -s rustup "$root/usr/local/cargo/bin/rustc"
        printf 'version = "12"\nprofile = "minimal"\n' >"$root/usr/local/rustup/settings.toml"
    else
        say "stand-in for $1: Debian's Rust"
        install_into "$root" gcc libc6-dev rustc-web cargo-web rust-web-src rust-web-clippy wasi-libc lld
    fi
    as_image "$1" "$root" "ENV RUSTUP_HOME=/usr/local/rustup" "ENV CARGO_HOME=/usr/local/cargo" \
        "ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    rm -rf "$root"
}

make_envoy() {
    local version=${1##*:v} root=$scratch/envoy
    say "stand-in for $1"
    ENVOY='' ENVOY_VERSION=$version scripts/provision.sh envoy >/dev/null
    cp -a "$scratch/root" "$root"
    install -m 755 ".tools/envoy-$version/envoy" "$root/usr/local/bin/envoy"
    chroot "$root" groupadd --system --gid 101 envoy
    chroot "$root" useradd --system --gid 101 --uid 101 --no-create-home envoy
    as_image "$1" "$root"
    rm -rf "$root"
}

for image in $(missing_images); do
    [[ ${STAND_INS:-auto} != never ]] || die "missing image: $image"
    [[ $(id -u) -eq 0 ]] || skip "$image can neither be pulled nor, without root, be stood in for"
    make_root
    case $image in
        debian:*) say "stand-in for $image" && as_image "$image" "$scratch/root" ;;
        rust:*) make_rust "$image" ;;
        envoyproxy/envoy:*) make_envoy "$image" ;;
        *) die "no stand-in is known for $image" ;;
    esac
done
rm -rf "$scratch/root"

# ---- the test ----

# Any free port: only the compose network uses Envoy here.
export GENESYS_MTLS_PORT=0
say "build"
# BuildKit would ask a registry for the stand-ins although they are here. And without it, Compose v2 builds every service at once,
# and what they share as often.
if [[ ${#made[@]} -gt 0 || -n ${KEEP:-} ]]; then
    export DOCKER_BUILDKIT=0
    [[ ${compose[0]} != docker ]] || export COMPOSE_PARALLEL_LIMIT=1
fi
"${compose[@]}" -f "$COMPOSE_FILE" -p "$PROJECT" build >"$scratch/build.log" 2>&1 \
    || { tail -n 40 "$scratch/build.log" >&2; die "the build failed"; }
say "up"
code=0
"${compose[@]}" -f "$COMPOSE_FILE" -p "$PROJECT" up --no-build --no-color --exit-code-from client >"$scratch/up.log" 2>&1 || code=$?
# Each line begins with the service's or the container's name, with a number, and a bar.
sed -n 's/^[^|]*client[-_]1 *| *//p' "$scratch/up.log" >"$scratch/table.txt"
cat "$scratch/table.txt"

failed() {
    tail -n 60 "$scratch/up.log" >&2
    die "$1"
}

[[ $code -eq 0 ]] || failed "the client ended with code $code"
for row in \
    "Genesys Cloud, by the region's own CA +200 from the service +yes" \
    "Genesys Cloud, by DigiCert, named by the API +200 from the service +yes" \
    "a caller without a certificate +403 no_client_certificate +yes" \
    "Genesys Cloud, another region +403 wrong_region +yes"; do
    grep -Eq "$row" "$scratch/table.txt" || failed "not in the client's table: $row"
done
! grep -q ' NO$' "$scratch/table.txt" || failed "a caller met the wrong answer"
say "compose: the client's table is as it should be"
