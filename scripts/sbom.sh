#!/usr/bin/env bash
# Writes software bills of material (CycloneDX) of module and tool into a directory: scripts/sbom.sh DIRECTORY
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CYCLONEDX=0.5.9
out=$1
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

cyclonedx() { PATH=$PWD/.tools/cargo/bin:$PATH cargo cyclonedx "$@"; }
if ! cyclonedx --version >/dev/null 2>&1; then
    cargo install --quiet --debug --locked --root .tools/cargo "cargo-cyclonedx@$CYCLONEDX"
fi
# It leaves a file next to the manifest of every package.
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
bill_of genesys-mtls cli x86_64-unknown-linux-musl
