#!/usr/bin/env bash
# Makes the images of a release for amd64 and arm64, as OCI archives, with buildah (no daemon):
#
#   scripts/images.sh DIRECTORY IMAGE...   envoy, tool, testbed: DIRECTORY/genesys-mtls-<version>-<image>.oci.tar
#
# target/dist-stage holds what goes in, from scripts/dist.sh: the module, and the programs by platform.
#
#   ENVOY_IMAGE           the Envoy to add the module to, for both platforms
#   ENVOY_IMAGE_INSECURE  set: its registry may speak HTTP, as one on this machine does
#
# Same input, same bytes, as far as the base image is the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

directory=$1
shift
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
storage=$(mktemp -d)
# Without root the files have other owners, in a user namespace.
if [[ $(id -u) -eq 0 ]]; then trap 'rm -rf "$storage"' EXIT; else trap 'buildah unshare rm -rf "$storage"' EXIT; fi
in_buildah() { command buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs "$@"; }

arguments=(--isolation chroot --timestamp 0 --file envoy/release.Dockerfile --layers=false
    --label org.opencontainers.image.title=genesys-mtls --label "org.opencontainers.image.version=$version"
    --label org.opencontainers.image.licenses=Apache-2.0)
[[ -z ${ENVOY_IMAGE:-} ]] || arguments+=(--build-arg "ENVOY_IMAGE=$ENVOY_IMAGE")
[[ -z ${ENVOY_IMAGE_INSECURE:-} ]] || arguments+=(--tls-verify=false)
for image; do
    name=genesys-mtls-$image:$version
    archive=$directory/genesys-mtls-$version-$image.oci.tar
    # One after the other: in one call, the order of the platforms is a matter of luck.
    for platform in linux/amd64 linux/arm64; do
        in_buildah build "${arguments[@]}" --platform "$platform" --target "$image" --manifest "$name" target/dist-stage \
            >"$storage/log" 2>&1 || { tail -n 20 "$storage/log" >&2; exit 1; }
    done
    in_buildah manifest push --quiet --all "$name" "oci:$storage/$image:$version"
    # An archive that says nothing about this machine.
    tar --directory "$storage/$image" --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        --create . >"$archive"
    echo "==> $archive: $(sha256sum "$archive" | cut -d' ' -f1)"
done
