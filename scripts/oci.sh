#!/usr/bin/env bash
# Packs the module as OCI images for `oci://` URLs, without a registry or a daemon: an OCI image layout in target/oci (or the
# directory given) with two tags, and the same as one archive next to it, target/oci.tar.
#
#   <version>            a plain image: one tar+gzip layer that holds plugin.wasm. For Istio and Envoy Gateway.
#   <version>-artifact   an artifact: the module itself as a layer of type application/vnd.module.wasm.content.layer.v1+wasm
#
# To publish, with any tool that reads layouts:
#   skopeo copy oci:target/oci:0.1.0 docker://registry.example/genesys-mtls-filter:0.1.0
#   oras cp --from-oci-layout target/oci:0.1.0 registry.example/genesys-mtls-filter:0.1.0
#
# Same module, same bytes: the digests depend on nothing else but the versions of tar and gzip.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${1:-target/oci}
module=${GENESYS_MTLS_WASM:-${CARGO_TARGET_DIR:-target}/wasm32-wasip1/release/genesys_mtls_filter.wasm}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
readonly MANIFEST=application/vnd.oci.image.manifest.v1+json

[[ -s $module ]] || { echo "==> error: $module is missing: run \`make wasm\`" >&2; exit 1; }
tar --version 2>/dev/null | grep -q GNU || { echo "==> error: this needs GNU tar" >&2; exit 1; }

sha256() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
rm -rf "$out"
mkdir -p "$out/blobs/sha256"

# archive DIRECTORY FILE...: a tar that says nothing about this machine.
archive() {
    local directory=$1
    shift
    tar --directory "$directory" --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        --create "$@"
}

# blob TYPE FILE: stores a file, and prints its descriptor.
blob() {
    local digest
    digest=$(sha256 "$2")
    install -m 644 "$2" "$out/blobs/sha256/$digest"
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%d}' "$1" "$digest" "$(wc -c <"$2")"
}

# manifest NAME TAG CONFIG LAYERS: prints the descriptor, with its tag, for the index.
manifest() {
    local annotations descriptor
    annotations="{\"org.opencontainers.image.title\":\"genesys-mtls-filter\",\"org.opencontainers.image.version\":\"$version\","
    annotations+="\"org.opencontainers.image.licenses\":\"Apache-2.0\"}"
    printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s],"annotations":%s}' \
        "$MANIFEST" "$3" "$4" "$annotations" >"$scratch/$1.json"
    descriptor=$(blob "$MANIFEST" "$scratch/$1.json")
    printf '%s,"annotations":{"org.opencontainers.image.ref.name":"%s"}}' "${descriptor%\}}" "$2"
}

# ---- the image ----

install -m 644 "$module" "$scratch/plugin.wasm"
archive "$scratch" plugin.wasm >"$scratch/layer.tar"
gzip --no-name -9 <"$scratch/layer.tar" >"$scratch/layer.tar.gz"
printf '{"architecture":"wasm","os":"wasi","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(sha256 "$scratch/layer.tar")" >"$scratch/config.json"
image=$(manifest image "$version" \
    "$(blob application/vnd.oci.image.config.v1+json "$scratch/config.json")" \
    "$(blob application/vnd.oci.image.layer.v1.tar+gzip "$scratch/layer.tar.gz")")

# ---- the artifact ----

# Istio wants exactly two layers: a configuration, and the module.
printf '{"type":"envoy_proxy","abiVersions":["v0-2-1"]}' >"$scratch/runtime-config.json"
config=$(blob application/vnd.module.wasm.config.v1+json "$scratch/runtime-config.json")
artifact=$(manifest artifact "$version-artifact" "$config" \
    "$config,$(blob application/vnd.module.wasm.content.layer.v1+wasm "$module")")

printf '{"imageLayoutVersion":"1.0.0"}' >"$out/oci-layout"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s,%s]}' \
    "$image" "$artifact" >"$out/index.json"
archive "$out" . >"$out.tar"

# In a WasmPlugin, `sha256` of an oci:// URL is the manifest's digest.
for name in image artifact; do
    printf '==> %s: %s, sha256 %s\n' "$out" "$name" "$(sha256 "$scratch/$name.json")"
done
