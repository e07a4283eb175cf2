#!/usr/bin/env bash
# Runs envoy/docker-compose.yaml, unmodified, twice: built from this clone, and with images from a registry. Checks what its client
# saw, and what curl sees with certificates from the volume.
#
# Where the base images cannot be pulled, stand-ins for them are built (scripts/stand-ins.sh), and removed afterwards. Without a Docker
# daemon it says so and ends with code 77, which the callers count as skipped.
#
#   GENESYS_MTLS_IMAGES=registry/name   builds nothing: only the second run, with the images that are there
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
# shellcheck source=scripts/stand-ins.sh
. scripts/stand-ins.sh
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
in_compose() { "${compose[@]}" -f "$COMPOSE_FILE" -p "$PROJECT" "$@"; }
clean_up() {
    in_compose down --volumes --timeout 2 >/dev/null 2>&1 || true
    [[ ! -f $scratch/registry/pid ]] || kill "$(cat "$scratch/registry/pid")" 2>/dev/null || true
    if [[ ${#made[@]} -gt 0 && -z ${KEEP:-} ]]; then
        # The stand-ins, and what was built upon them; that has their label.
        docker rmi --force "${made[@]}" "genesys-mtls-testbed:$version" "genesys-mtls-envoy:$version" >/dev/null 2>&1 || true
        docker image prune --force --filter "label=$LABEL" >/dev/null 2>&1 || true
    fi
    rm -rf "$scratch"
}
trap clean_up EXIT

# Any port that is free.
export GENESYS_MTLS_PORT=0

failed() {
    tail -n 60 "$scratch/up.log" >&2
    die "$1"
}

# The client's table. Each line begins with the service's or the container's name, with a number, and a bar.
check_table() {
    sed -n 's/^[^|]*client[-_]1 *| *//p' "$scratch/up.log" >"$scratch/table.txt"
    cat "$scratch/table.txt"
    local row
    for row in "region's own CA +200 from the service" "DigiCert, .* +200 from the service" "403 no_client_certificate" \
        "403 wrong_region" "403 not_pinned" "403 bad_signature"; do
        grep -Eq "$row +yes$" "$scratch/table.txt" || failed "not in the client's table: $row"
    done
    ! grep -q ' NO$' "$scratch/table.txt" || failed "a caller met the wrong answer"
}

# answer EXPECTED [CURL OPTION...]: as the compose file's head says, with the address that Docker chose.
answer() {
    local expected=$1 address
    shift
    address=$(in_compose port envoy 8443)
    [[ $(curl --silent --output "$scratch/body" --write-out '%{http_code}' --cacert "$scratch/certs/api-ca.pem" "$@" \
        "https://localhost:${address##*:}/") == "$expected" ]] || { cat "$scratch/body" >&2; failed "curl $*: not $expected"; }
}

# ---- from the clone ----

if [[ -z ${GENESYS_MTLS_IMAGES:-} ]]; then
    for image in $(missing_images); do
        [[ ${STAND_INS:-auto} != never ]] || die "missing image: $image"
        [[ $(id -u) -eq 0 ]] || skip "$image cannot be pulled, and a stand-in for it needs root"
        make_root
        case $image in
            debian:*) say "stand-in for $image" && as_image "$image" "$scratch/root" ;;
            rust:*) make_rust "$image" ;;
            envoyproxy/envoy:*) make_envoy "$image" ;;
            *) die "no stand-in is known for $image" ;;
        esac
    done
    rm -rf "$scratch/root"

    say "build"
    # BuildKit would ask a registry for the stand-ins although they are here. And without it, Compose v2 builds every service at once,
    # and what they share as often.
    if [[ ${#made[@]} -gt 0 || -n ${KEEP:-} ]]; then
        export DOCKER_BUILDKIT=0
        [[ ${compose[0]} != docker ]] || export COMPOSE_PARALLEL_LIMIT=1
    fi
    in_compose build >"$scratch/build.log" 2>&1 || { tail -n 40 "$scratch/build.log" >&2; die "the build failed"; }
    say "up"
    code=0
    in_compose up --no-build --no-color --exit-code-from client >"$scratch/up.log" 2>&1 || code=$?
    check_table
    [[ $code -eq 0 ]] || failed "the client ended with code $code"
    in_compose down --volumes --timeout 2 >/dev/null 2>&1

    say "the same images, by a registry"
    code=0
    address=$(scripts/registry.sh "$scratch/registry") || code=$?
    [[ $code -ne 77 ]] || { say "compose from the clone: as it should be"; skip "there is no registry for released images"; }
    [[ $code -eq 0 ]] || die "the registry does not start"
    export GENESYS_MTLS_IMAGES=$address/genesys-mtls
    for image in envoy testbed; do
        docker tag "genesys-mtls-$image:$version" "$GENESYS_MTLS_IMAGES-$image:$version"
        docker push --quiet "$GENESYS_MTLS_IMAGES-$image:$version" >/dev/null
        docker rmi "$GENESYS_MTLS_IMAGES-$image:$version" >/dev/null
    done
fi

# ---- with images of a registry ----

say "pull and up: $GENESYS_MTLS_IMAGES-*:$version"
in_compose pull >"$scratch/up.log" 2>&1 || failed "the images cannot be pulled"
in_compose up --no-build --detach >"$scratch/up.log" 2>&1 || failed "no start"
code=$(docker wait "$(in_compose ps --all --quiet client 2>/dev/null || in_compose ps --quiet client)")
in_compose logs --no-color >"$scratch/up.log" 2>&1
check_table
[[ $code -eq 0 ]] || failed "the client ended with code $code"

docker cp "$(in_compose ps --quiet genesys)":/world "$scratch/certs"
answer 200 --cert "$scratch/certs/genesys.pem" --key "$scratch/certs/genesys.key"
answer 403 --cert "$scratch/certs/stranger.pem" --key "$scratch/certs/stranger.key"
answer 403
grep -q '"no_client_certificate"' "$scratch/body" || failed "curl without a certificate: another reason"
docker rmi --force "$GENESYS_MTLS_IMAGES-envoy:$version" "$GENESYS_MTLS_IMAGES-testbed:$version" >/dev/null 2>&1 || true
say "compose: every answer is as it should be"
