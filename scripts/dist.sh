#!/usr/bin/env bash
# Makes what a release consists of, in target/dist:
#
#   genesys-mtls-filter-<version>.wasm          the module
#   genesys-mtls-filter-<version>.oci.tar       the same as OCI images, see scripts/oci.sh
#   genesys-mtls-<version>-<host>               the command-line tool, for this machine's kind
#   config.schema.json                          JSON Schema of the configuration
#   genesys-mtls-filter-<version>-envoy.tar.gz  configurations and manifests: envoy/
#   *.cdx.json                                  software bills of material (CycloneDX) of module and tool
#   SHA256SUMS                                  checksums of all of these
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CYCLONEDX=0.5.9
out=target/dist
target_dir=${CARGO_TARGET_DIR:-target}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=genesys-mtls-filter-$version

say() { printf '==> [%3d s] %s\n' "$SECONDS" "$*"; }

rm -rf "$out"
mkdir -p "$out"

say "module"
scripts/build-wasm.sh
install -m 644 "$target_dir/wasm32-wasip1/release/genesys_mtls_filter.wasm" "$out/$name.wasm"
scripts/oci.sh "$out/oci"
rm -rf "$out/oci"
mv "$out/oci.tar" "$out/$name.oci.tar"

say "command-line tool"
cargo build --locked --release -p genesys-mtls
host=$(rustc --version --verbose | sed -n 's/^host: //p')
install -m 755 "$target_dir/release/genesys-mtls" "$out/genesys-mtls-$version-$host"
install -m 644 config.schema.json "$out/"

say "manifests"
tar --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --create envoy \
    | gzip --no-name -9 >"$out/$name-envoy.tar.gz"

say "bills of material"
cyclonedx() { PATH=$PWD/.tools/cargo/bin:$PATH cargo cyclonedx "$@"; }
if ! cyclonedx --version >/dev/null 2>&1; then
    cargo install --quiet --debug --locked --root .tools/cargo "cargo-cyclonedx@$CYCLONEDX"
fi
# It leaves a file beside the manifest of every package.
bill=sbom-$$
root=$PWD
trap 'find "$root" -name "$bill.json" -not -path "$root/target/*" -delete' EXIT
# bill_of PACKAGE DIRECTORY TARGET: without a time and without this machine's paths. It counts in what features of other packages, and
# optional dependencies, would bring along; what is in here for certain is what cargo builds.
bill_of() {
    SOURCE_DATE_EPOCH=0 cyclonedx --quiet --format json --spec-version 1.5 --target "$3" --override-filename "$bill"
    cargo tree --locked --package "$1" --edges normal,build --target "$3" --prefix none --format '{p}' \
        | ROOT=$root python3 -c '
import json, os, sys
built = {(name, version[1:]) for name, version in (line.split()[:2] for line in sys.stdin)}
with open(sys.argv[1]) as file:
    bill = json.loads(file.read().replace(os.environ["ROOT"], "/src"))
bill["components"] = [c for c in bill["components"] if (c["name"], c["version"]) in built]
missing = built - {(c["name"], c["version"]) for c in bill["components"] + [bill["metadata"]["component"]]}
assert not missing, missing
kept = {c["bom-ref"] for c in bill["components"] + [bill["metadata"]["component"]]}
bill["dependencies"] = [
    {key: [ref for ref in value if ref in kept] if key == "dependsOn" else value for key, value in entry.items()}
    for entry in bill["dependencies"] if entry["ref"] in kept
]
json.dump(bill, sys.stdout, indent=2)
' "$2/$bill.json" >"$out/$1-$version.cdx.json"
}
bill_of genesys-mtls-filter . wasm32-wasip1
bill_of genesys-mtls cli "$host"

cd "$out"
if command -v sha256sum >/dev/null; then sha256sum -- *; else shasum -a 256 -- *; fi >../SHA256SUMS
mv ../SHA256SUMS .
say "$out"
cat SHA256SUMS
