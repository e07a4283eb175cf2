#!/usr/bin/env bash
# Makes what a release consists of, in target/dist:
#
#   genesys-mtls-filter-<version>.wasm              the module
#   genesys-mtls-filter-<version>.oci.tar           the same as OCI images for Istio and Envoy Gateway, see scripts/oci.sh
#   genesys-mtls-filter-<version>.tgz               the Helm chart, with the digest of that image in it
#   genesys-mtls-<version>-<target>.tar.gz, .deb    the command-line tool, its man pages and completions, see scripts/tool.sh
#   genesys-mtls-<version>-<image>.oci.tar          images for amd64 and arm64: envoy, tool, testbed, see scripts/images.sh
#   config.schema.json                              JSON Schema of the configuration
#   genesys-mtls-filter-<version>-envoy.tar.gz      configurations and manifests: envoy/
#   *.cdx.json                                      software bills of material (CycloneDX) of module and tool, see scripts/sbom.sh
#   NOTES.md                                        what CHANGELOG.md says of this version
#   SHA256SUMS, provenance.json                     checksums of all of these; and what they were made from, as an in-toto statement
#
#   TARGETS               of the tool; by default Linux on amd64 and arm64, on macOS that machine's
#   GENESYS_MTLS_IMAGES   where the images will be, without `-filter`: the chart then names the module's
#   DIST_EXTRA            a directory with what other machines have built; it is added
#
# Same commit, same bytes, on machines of one kind (compilers, tar, gzip, buildah, the Envoy image).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=target/dist
stage=target/dist-stage
target_dir=${CARGO_TARGET_DIR:-target}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=genesys-mtls-filter-$version
linux=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl)
read -ra targets <<<"${TARGETS:-${linux[*]}}"

say() { printf '==> [%3d s] %s\n' "$SECONDS" "$*"; }
die() { printf '==> error: %s\n' "$*" >&2; exit 1; }

# archive FILE DIRECTORY FILE...: a tar.gz that says nothing about this machine.
archive() {
    tar --directory "$2" --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        --create "${@:3}" | gzip --no-name -9 >"$1"
}

[[ -r /usr/share/ca-certificates/mozilla ]] || die "no ca-certificates (Debian's), which the tool's image takes its CAs from"
command -v buildah >/dev/null || {
    [[ $(id -u) -eq 0 ]] || die "buildah is missing, which the images are made with"
    apt-get -qq update >&2 || true
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends buildah >&2
}
GENESYS_MTLS_COMMIT=${GENESYS_MTLS_COMMIT:-$(git rev-parse --short=12 HEAD)}
export GENESYS_MTLS_COMMIT

rm -rf "$out" "$stage"
mkdir -p "$out" "$stage"/{amd64,arm64,world}
[[ -z ${DIST_EXTRA:-} ]] || cp "$DIST_EXTRA"/* "$out"

say "module"
scripts/build-wasm.sh
install -m 644 "$target_dir/wasm32-wasip1/release/genesys_mtls_filter.wasm" "$out/$name.wasm"
install -m 644 "$out/$name.wasm" "$stage/genesys_mtls_filter.wasm"
scripts/oci.sh "$stage/oci" | tee "$stage/digests"
mv "$stage/oci.tar" "$out/$name.oci.tar"

say "chart"
digest=$(sed -n 's/.*: image, sha256 //p' "$stage/digests")
mkdir "$stage/chart"
cp -r envoy/chart "$stage/chart/genesys-mtls-filter"
sed -i -e "s|^  digest: \"\"|  digest: sha256:$digest|" \
    ${GENESYS_MTLS_IMAGES:+-e "s|^  image: \"\"|  image: $GENESYS_MTLS_IMAGES-filter|"} "$stage/chart/genesys-mtls-filter/values.yaml"
grep -q "^  digest: sha256:$digest$" "$stage/chart/genesys-mtls-filter/values.yaml" || die "values.yaml has no empty module.digest"
archive "$out/$name.tgz" "$stage/chart" genesys-mtls-filter

for target in "${targets[@]}"; do
    say "command-line tool: $target"
    scripts/tool.sh "$target" "$out"
done

say "images"
for target in "${linux[@]}"; do
    [[ $target == x86_64* ]] && platform=amd64 || platform=arm64
    install -m 755 "$target_dir/$target/release/genesys-mtls" "$stage/$platform/"
    # The demo's part is neither fast nor small, but built soon.
    install -m 755 "$(scripts/portable.sh "$target" testbed compose --config profile.release.lto=false \
        --config profile.release.codegen-units=16)" "$stage/$platform/"
done
cat /usr/share/ca-certificates/mozilla/*.crt >"$stage/ca-certificates.crt"
images=(tool testbed)
envoy=${ENVOY_IMAGE:-$(sed -n 's/^ARG ENVOY_IMAGE=//p' envoy/release.Dockerfile)}
if [[ -n ${ENVOY_IMAGE:-} ]] || timeout 120 skopeo inspect --raw "docker://$envoy" >/dev/null 2>&1; then
    images+=(envoy)
else
    printf '\n==> SKIPPED: the Envoy image. %s cannot be pulled here.\n\n' "$envoy" >&2
fi
scripts/images.sh "$out" "${images[@]}"

say "schema, configurations, bills of material, notes"
install -m 644 config.schema.json "$out/"
archive "$out/$name-envoy.tar.gz" . envoy
scripts/sbom.sh "$out"
scripts/release.sh --notes "$version" >"$out/NOTES.md"

cd "$out"
sums=$(if command -v sha256sum >/dev/null; then sha256sum -- *; else shasum -a 256 -- *; fi)
SUMS=$sums VERSION=$version python3 - >provenance.json <<'PYTHON'
import json, os, subprocess
run = lambda *command: subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
subjects = [line.split(maxsplit=1) for line in os.environ["SUMS"].splitlines()]
print(json.dumps({
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": name.lstrip("*"), "digest": {"sha256": digest}} for digest, name in subjects],
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {
        "buildDefinition": {
            "buildType": "make dist",
            "externalParameters": {"version": os.environ["VERSION"]},
            "resolvedDependencies": [
                {"name": "source", "digest": {"gitCommit": run("git", "rev-parse", "HEAD")}},
                {"name": "Cargo.lock", "digest": {"sha256": run("sha256sum", "../../Cargo.lock").split()[0]}},
                {"name": run("rustc", "--version")},
            ],
        },
        "runDetails": {"builder": {"id": "make dist"}},
    },
}, indent=2))
PYTHON
{ printf '%s\n' "$sums"; sha256sum provenance.json; } >SHA256SUMS
say "$out"
cat SHA256SUMS
