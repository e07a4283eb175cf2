#!/usr/bin/env bash
# Runs the Envoy suite on each supported Envoy (or those given as arguments), and writes the table in docs/envoy-versions.md
# and README.md when all of them passed. Arguments after `--` go to the test binary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TABLES="docs/envoy-versions.md README.md"
versions=()
while [[ $# -gt 0 && $1 != -- ]]; do versions+=("$1"); shift; done
[[ ${#versions[@]} -gt 0 ]] || read -r -a versions <<<"$(sed -n 's/^readonly ENVOY_SUPPORTED="\(.*\)"/\1/p' scripts/provision.sh)"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=()
for version in "${versions[@]}"; do
    printf '\n==> Envoy %s\n' "$version"
    ENVOY='' ENVOY_VERSION=$version scripts/provision.sh envoy
    row=$scratch/row
    rm -f "$row"
    if ENVOY=$PWD/.tools/envoy-$version/envoy ENVOY_VERSION_ROW=$row cargo test --locked -p tests --test envoy --test signatures "$@" 2>&1 \
        | tee "$scratch/log" && [[ -s $row ]]; then
        passed=$(awk '/^test result: ok\. / { sum += $4 } END { print sum }' "$scratch/log")
        printf '| %s | %s | %s\n' "$version" "$passed" "$(cat "$row")" >>"$scratch/rows"
    else
        failed+=("$version")
    fi
done
# What `make test` uses without further ado.
ENVOY='' scripts/provision.sh envoy >/dev/null

[[ ${#failed[@]} -eq 0 ]] || { printf '\n==> error: the suite failed on Envoy %s\n' "${failed[*]}" >&2; exit 1; }
# A run of some versions, or of some tests, says nothing about the rest.
if [[ ${#versions[@]} -gt 1 && $# -eq 0 ]]; then
    for table in $TABLES; do
        awk -v rows="$scratch/rows" '
            inside && /^<!-- end/ { while ((getline row < rows) > 0) print row; inside = 0 }
            !(inside && /^\| [0-9]/) { print }
            /^<!-- begin: written by scripts\/test-matrix.sh/ { inside = 1 }' "$table" >"$scratch/table"
        cat "$scratch/table" >"$table"
    done
fi
printf '\n==> the suite passed on Envoy %s\n' "${versions[*]}"
