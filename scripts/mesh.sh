#!/usr/bin/env bash
# Builds what the tests of chart and meshes need, into .tools/mesh: from Go modules, whose versions and sums lie in testbed/go.
#
#   scripts/mesh.sh helm            helm, for the chart's tests and examples (2 minutes)
#   scripts/mesh.sh istio           istiod, its agent, its charts, kube-apiserver, kubectl (20 minutes), helm
#   scripts/mesh.sh envoy-gateway   Envoy Gateway (10 minutes), helm
#
# Exits with 77, and says why, where it cannot: without Go. What is there already is not built again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TOOLS=$PWD/.tools/mesh

say() { printf '==> %s\n' "$*"; }

command -v go >/dev/null || { say "SKIPPED: no go on PATH (https://go.dev/dl); the module files in testbed/go say which version" >&2; exit 77; }

# build MODULE [LINKER FLAG]: the tools of testbed/go/MODULE. A file remembers which sums they were built with.
build() {
    local sums tool
    sums=$(cat "testbed/go/$1"/go.{mod,sum} | sha256sum)
    [[ $(cat "$TOOLS/$1.sums" 2>/dev/null) != "$sums" ]] || return 0
    say "$1: building its tools"
    mkdir -p "$TOOLS/new"
    while read -r tool; do
        (cd "testbed/go/$1" && nice go build -ldflags "-s -w ${2:-}" -o "$TOOLS/new/${tool##*/}" "$tool")
        mv -f "$TOOLS/new/${tool##*/}" "$TOOLS/"
    done < <(cd "testbed/go/$1" && go list -f '{{.ImportPath}}' tool)
    case $1 in
        istio)
            copy istio.io/istio istio manifests/charts tools/packaging/common
            copy sigs.k8s.io/gateway-api gateway-api config/crd
            ;;
    esac
    printf '%s\n' "$sums" >"$TOOLS/$1.sums"
}

# copy MODULE NAME DIRECTORY...: directories of a module's source, to .tools/mesh/NAME.
copy() {
    local from directory
    from=$(cd testbed/go/istio && go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' | head -n 1)
    for directory in "${@:3}"; do
        mkdir -p "$TOOLS/$2/$directory"
        cp -r --no-preserve=mode "$from/$directory/." "$TOOLS/$2/$directory"
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
    for pair in etcd:etcd-server ip:iproute2 openssl:openssl curl:curl; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    command -v apt-get >/dev/null && [[ $(id -u) -eq 0 ]] || { say "SKIPPED: install ${missing[*]}" >&2; exit 77; }
    say "installing Debian packages: ${missing[*]}"
    apt-get -qq update >&2 || true
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2
}

mkdir -p "$TOOLS"
case ${1:-} in
    helm) build helm ;;
    istio) debian; build helm; build istio; kubernetes ;;
    envoy-gateway) build helm; build envoy-gateway ;;
    *) echo "Usage: scripts/mesh.sh helm|istio|envoy-gateway" >&2; exit 2 ;;
esac
