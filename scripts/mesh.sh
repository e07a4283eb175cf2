#!/usr/bin/env bash
# Builds what the tests of chart and meshes need, from Go modules whose versions and sums lie in testbed/go. It goes to a cache outside the
# checkout (~/.cache/genesys-mtls, or GENESYS_MTLS_CACHE), with links in .tools/mesh.
#
#   scripts/mesh.sh helm            helm, for the chart's tests and examples (2 CPU minutes)
#   scripts/mesh.sh istio           istiod, its agent, its charts, kube-apiserver, kubectl (16 CPU minutes), helm
#   scripts/mesh.sh envoy-gateway   Envoy Gateway (10 CPU minutes), kube-apiserver, kubectl, helm
#
# Exits with 77, and says why, where it cannot: without Go, without a module, or if it takes longer than MESH_BUILD_SECONDS. What is there
# already is not built again, and a build that was cut off goes on where it was.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TOOLS=$PWD/.tools/mesh
readonly CACHE=${GENESYS_MTLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/genesys-mtls}
readonly LIMIT=${MESH_BUILD_SECONDS:-}

say() { printf '==> %s\n' "$*"; }
skip() { say "SKIPPED: $*" >&2; exit 77; }
late() { skip "$1: not built within $LIMIT s; what is compiled is kept, run it again"; }

command -v go >/dev/null || skip "no go on PATH (https://go.dev/dl); the module files in testbed/go say which version"

# within COMMAND...: ends it when the time is up; 124 then.
within() {
    [[ -n $LIMIT ]] || { "$@"; return; }
    local left=$((LIMIT - SECONDS))
    [[ $left -gt 0 ]] || return 124
    timeout --foreground "$left" "$@"
}

# fetch MODULE PACKAGE...: a module that no registry serves is no failed test.
fetch() {
    local try code
    for try in 1 2 3; do
        code=0
        (cd "testbed/go/$1" && within go list -deps "${@:2}" >/dev/null) || code=$?
        [[ $code -ne 0 ]] || return 0
        [[ $code -ne 124 ]] || late "$1"
        sleep "$try"
    done
    skip "$1: the registry of Go modules did not serve what testbed/go/$1/go.mod names (see above)"
}

# build MODULE [LINKER FLAG]: the tools of testbed/go/MODULE, in a directory of their sums.
build() {
    local sums directory tools tool code begun=$SECONDS
    sums=$(cat "testbed/go/$1"/go.{mod,sum} | sha256sum | cut -c1-16)
    directory=$CACHE/$1-$sums
    if [[ ! -d $directory ]]; then
        tools=$(cd "testbed/go/$1" && go list -f '{{.ImportPath}}' tool) || skip "$1: go list failed (see above)"
        say "$1: fetching modules"
        # shellcheck disable=SC2086
        fetch "$1" $tools
        say "$1: building its tools"
        mkdir -p "$directory.new"
        for tool in $tools; do
            (cd "testbed/go/$1" && within nice go build -ldflags "-s -w ${2:-}" -o "$directory.new/${tool##*/}" "$tool") || {
                code=$?
                [[ $code -ne 124 ]] || late "$1"
                exit "$code"
            }
        done
        case $1 in
            istio)
                copy "$1" "$directory.new" istio.io/istio istio manifests/charts tools/packaging/common
                copy "$1" "$directory.new" sigs.k8s.io/gateway-api gateway-api config/crd
                ;;
            envoy-gateway) copy "$1" "$directory.new" github.com/envoyproxy/gateway envoy-gateway-crds charts/gateway-helm/charts/crds/crds ;;
        esac
        mv -T "$directory.new" "$directory"
        say "$1: built in $((SECONDS - begun)) s"
    fi
    for tool in "$directory"/*; do
        rm -rf "${TOOLS:?}/${tool##*/}"
        ln -s "$tool" "$TOOLS/"
    done
}

# copy OF TO MODULE NAME DIRECTORY...: directories of a module's source, to TO/NAME.
copy() {
    local from directory
    from=$(cd "testbed/go/$1" && go mod download -json "$3" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' | head -n 1)
    for directory in "${@:5}"; do
        mkdir -p "$2/$4/$directory"
        cp -r --no-preserve=mode "$from/$directory/." "$2/$4/$directory"
    done
}

kubernetes() {
    local version
    version=$(cd testbed/go/kubernetes && go list -m -f '{{.Version}}' k8s.io/kubernetes)
    version=${version#v}
    # The versions that it names itself by; clients ask for them.
    build kubernetes "-X k8s.io/component-base/version.gitVersion=v$version -X k8s.io/component-base/version.gitMajor=${version%%.*} \
        -X k8s.io/component-base/version.gitMinor=$(cut -d. -f2 <<<"$version")"
}

# What comes from Debian: it is not built of Go modules here.
debian() {
    local missing=() pair
    for pair in etcd:etcd-server ip:iproute2 openssl:openssl curl:curl prometheus:prometheus; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    { command -v apt-get >/dev/null && [[ $(id -u) -eq 0 ]]; } || skip "install ${missing[*]}"
    say "installing Debian packages: ${missing[*]}"
    apt-get -qq update >&2 || true
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2
}

mkdir -p "$TOOLS"
case ${1:-} in
    helm) build helm ;;
    istio) debian; build helm; build istio; kubernetes ;;
    envoy-gateway) debian; build helm; build envoy-gateway; kubernetes ;;
    *) echo "Usage: scripts/mesh.sh helm|istio|envoy-gateway" >&2; exit 2 ;;
esac
