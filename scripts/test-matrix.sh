#!/usr/bin/env bash
# Runs the Envoy suite on each supported Envoy (or those given as arguments), and reports what passed in
# target/reports/envoy-versions.md. Arguments after `--` go to the test binary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

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
    {
        printf '| Envoy | Tests passed | Certificate can be read from | Environment of a second plugin of one module |\n|---|---|---|---|\n'
        cat "$scratch/rows"
    } | scripts/report.sh envoy-versions
fi
printf '\n==> the suite passed on Envoy %s\n' "${versions[*]}"
