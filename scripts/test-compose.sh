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
    [[ ${#made[@]} -eq 0 || -n ${KEEP:-} ]] || docker rmi --force "${made[@]}" >/dev/null 2>&1 || true
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

# make_image NAME DIRECTORY: from the Dockerfile in that directory. Without BuildKit, which would ask a registry for the
# base image although it is here.
make_image() {
    say "stand-in for $1"
    DOCKER_BUILDKIT=0 docker build --network host --tag "$1" "$2" >"$scratch/image.log" 2>&1 \
        || { tail -n 20 "$scratch/image.log" >&2; die "building a stand-in for $1 failed"; }
    made+=("$1")
}

# Debian as on its image, with the CAs of this machine: it may sit behind a proxy that has its own.
make_debian() {
    scripts/provision.sh debootstrap
    say "debootstrap"
    debootstrap --variant=minbase --include=ca-certificates bookworm "$scratch/root" http://deb.debian.org/debian \
        >"$scratch/debootstrap.log" 2>&1 || { tail -n 20 "$scratch/debootstrap.log" >&2; die "debootstrap failed"; }
    printf 'deb http://deb.debian.org/debian%s main\n' ' bookworm' ' bookworm-updates' '-security bookworm-security' \
        >"$scratch/root/etc/apt/sources.list"
    cp -L /etc/ssl/certs/ca-certificates.crt "$scratch/root/etc/ssl/certs/ca-certificates.crt"
    rm -rf "$scratch/root/var/cache/apt/archives"/*.deb
    tar -C "$scratch/root" -c . | docker import - "$1" >/dev/null
    made+=("$1")
    rm -rf "$scratch/root"
}

# Rust from Debian; scripts/build-wasm.sh finds its way with it.
make_rust() {
    mkdir -p "$scratch/rust"
    cat >"$scratch/rust/Dockerfile" <<END
FROM $debian
RUN apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install \
    gcc libc6-dev rustc-web cargo-web rust-web-src rust-web-clippy wasi-libc lld
END
    make_image "$1" "$scratch/rust"
}

make_envoy() {
    local version=${1##*:v}
    ENVOY='' ENVOY_VERSION=$version scripts/provision.sh envoy >/dev/null
    mkdir -p "$scratch/envoy"
    cp ".tools/envoy-$version/envoy" "$scratch/envoy/envoy"
    cat >"$scratch/envoy/Dockerfile" <<END
FROM $debian
COPY envoy /usr/local/bin/envoy
RUN groupadd --system --gid 101 envoy && useradd --system --gid 101 --uid 101 --no-create-home envoy
END
    make_image "$1" "$scratch/envoy"
}

missing=$(missing_images)
if [[ -n $missing ]]; then
    [[ ${STAND_INS:-auto} != never ]] || die "missing images: $missing"
    debian=$(grep '^debian:' <<<"$missing" || base_images | grep '^debian:')
    # The others are made from it.
    for image in $debian $(grep -v '^debian:' <<<"$missing" || true); do
        case $image in
            debian:*) grep -q "^$image\$" <<<"$missing" && make_debian "$image" ;;
            rust:*) make_rust "$image" ;;
            envoyproxy/envoy:*) make_envoy "$image" ;;
            *) die "no stand-in is known for $image" ;;
        esac
    done
fi

# ---- the test ----

# Any port that is free; nobody but the compose network uses Envoy here.
export GENESYS_MTLS_PORT=0
say "build"
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
    "somebody without a certificate +403 no_client_certificate +yes" \
    "Genesys Cloud, another region +403 wrong_region +yes"; do
    grep -Eq "$row" "$scratch/table.txt" || failed "not in the client's table: $row"
done
! grep -q ' NO$' "$scratch/table.txt" || failed "a caller met the wrong answer"
say "compose: the client's table is as it should be"
