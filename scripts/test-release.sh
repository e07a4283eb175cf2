#!/usr/bin/env bash
# Uses what `make dist` has made as a user would: pushed to a registry on this machine, and taken from there.
#
# The Envoy image is made here, if `make dist` could not: on a stand-in for its base. Exits with 77, and says why, where it cannot run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly LABEL=genesys-mtls.stand-in=release-$$
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
dist=target/dist

say()  { printf '==> [%3d s] %s\n' "$SECONDS" "$*"; }
die()  { printf '==> error: %s\n' "$*" >&2; exit 1; }
skip() { printf '\n==> SKIPPED: %s. The release was NOT tested.\n\n' "$*" >&2; exit 77; }

[[ -f $dist/SHA256SUMS ]] || die "there is no release: make dist"
(cd "$dist" && sha256sum --quiet --check SHA256SUMS) || die "what is in $dist is not what was made"
command -v skopeo >/dev/null || skip "skopeo is missing"
scripts/mesh.sh helm >&2 || skip "helm cannot be built here"
scratch=$(mktemp -d)
# shellcheck source=scripts/stand-ins.sh
. scripts/stand-ins.sh
clean_up() {
    [[ ! -f $scratch/registry/pid ]] || kill "$(cat "$scratch/registry/pid")" 2>/dev/null || true
    rm -rf "$scratch"
}
trap clean_up EXIT
code=0
registry=$(scripts/registry.sh "$scratch/registry") || code=$?
[[ $code -eq 0 ]] || skip "there is no registry"
name=$registry/owner/genesys-mtls

if [[ ! -f $dist/genesys-mtls-$version-envoy.oci.tar ]]; then
    [[ $(id -u) -eq 0 ]] || skip "a stand-in for Envoy's image needs root"
    base=$(sed -n 's/^ARG ENVOY_IMAGE=.*:v//p' envoy/release.Dockerfile)
    say "stand-in for Envoy's image: $base"
    stand_in_envoy "$base" "$registry/stand-in/envoy:v$base"
    ENVOY_IMAGE=$registry/stand-in/envoy:v$base ENVOY_IMAGE_INSECURE=1 scripts/images.sh "$scratch" envoy
    mv "$scratch/genesys-mtls-$version-envoy.oci.tar" "$dist/"
    # It is not to be released.
    trap 'rm -f "$dist/genesys-mtls-$version-envoy.oci.tar"; clean_up' EXIT
fi

say "push"
scripts/push.sh "$name" | tee "$scratch/pushed"
[[ $(wc -l <"$scratch/pushed") -eq 6 ]] || die "not everything was pushed"

say "module"
cmp "$(scripts/old-module.sh "docker://$name-filter:$version")" "$dist/genesys-mtls-filter-$version.wasm" \
    || die "the image's module is another one"

say "chart"
helm=.tools/mesh/helm
"$helm" pull --plain-http "oci://$registry/owner/charts/genesys-mtls-filter" --version "$version" --destination "$scratch" >/dev/null 2>&1
cmp "$scratch/genesys-mtls-filter-$version.tgz" "$dist/genesys-mtls-filter-$version.tgz"
digest=$(sed -n "s|^$name-filter:$version@||p" "$scratch/pushed")
for values in envoy/examples/*/values.yaml; do
    # The examples name an image; the digest is to be the release's.
    sed -e "s|^\( *\)image: .*genesys-mtls-filter.*|\1image: $name-filter|" -e '/^ *digest: /d' "$values" >"$scratch/values.yaml"
    "$helm" template genesys "$scratch/genesys-mtls-filter-$version.tgz" --namespace test --values "$scratch/values.yaml" --set rollout=D \
        >"$scratch/manifests.yaml" || die "$values: the chart does not render"
    grep -q "${digest#sha256:}" "$scratch/manifests.yaml" || die "$values: the chart does not name the release's module, $digest"
done

say "tool"
tar -xzf "$dist/genesys-mtls-$version-x86_64-unknown-linux-musl.tar.gz" -C "$scratch"
tool=$scratch/genesys-mtls-$version/genesys-mtls
if [[ $(uname -m) == x86_64 ]]; then
    [[ $("$tool" --version) == *"$version"* ]] || die "the tool is of another version"
    "$tool" schema | cmp - "$dist/config.schema.json"
fi
if docker version >/dev/null 2>&1; then
    docker run --rm --read-only --cap-drop ALL "$name:$version" regions | grep -q us-east-1 || die "the tool's image does not run"
    docker rmi --force "$name:$version" >/dev/null 2>&1 || true
    say "demo"
    GENESYS_MTLS_IMAGES=$name scripts/test-compose.sh
else
    say "no Docker engine: the tool's image and the demo were NOT run"
fi
say "the release is as it should be"
