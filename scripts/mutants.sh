#!/usr/bin/env bash
# Mutation testing: cargo-mutants makes one change after the other in the files that .cargo/mutants.toml names, and the unit tests have to
# notice each. Fails if one goes unnoticed, or keeps the tests from ending.
#
#   scripts/mutants.sh                    all of them; writes target/reports/mutants.md
#   scripts/mutants.sh --re src/x509/name.rs   some (arguments of cargo-mutants)
#   scripts/mutants.sh --report DIR...    writes the table from earlier results (mutants.out directories) that make all of them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VERSION=27.1.0
readonly OUT=$PWD/target/mutants

# report DIRECTORY...: one row per file.
report() {
    local kind directory
    for kind in caught unviable timeout missed; do
        for directory in "$@"; do
            sed "s|^\([^:]*\):.*|\1 $kind|" "$directory/$kind.txt"
        done
    done | awk '
        { all[$1]++; count[$1, $2]++; total++; totals[$2]++ }
        function row(order, name, n, caught, unviable, timeouts, missed) {
            printf "%d | %s | %d | %d | %d | %d | %d |\n", order, name, n, caught, unviable, timeouts, missed
        }
        END {
            print "0 | | mutants | caught | do not compile | do not end | not noticed |"
            print "1 |---|--:|--:|--:|--:|--:|"
            for (file in all) row(2, "`" file "`", all[file], count[file, "caught"], count[file, "unviable"], count[file, "timeout"], count[file, "missed"])
            row(3, "**all**", total, totals["caught"], totals["unviable"], totals["timeout"], totals["missed"])
        }' | LC_ALL=C sort | cut -c3- | scripts/report.sh mutants
}

if [[ ${1:-} == --report ]]; then
    shift
    report "$@"
    exit
fi

export PATH=$PWD/.tools/bin:$PATH
if [[ $(cargo mutants --version 2>/dev/null) != "cargo-mutants $VERSION" ]]; then
    echo "==> installing cargo-mutants $VERSION to .tools"
    cargo install --quiet --locked --root .tools "cargo-mutants@$VERSION"
fi
status=0
mkdir -p target
nice -n 10 cargo mutants --jobs 1 --package genesys-mtls-filter --output "$OUT" "$@" || status=$?
# 2 and 3 are cargo-mutants' codes for results that are not all good; any other code but 0 is no result.
[[ $status -eq 0 || $status -eq 2 || $status -eq 3 ]] || exit "$status"
[[ $# -gt 0 ]] || report "$OUT/mutants.out"
exit "$status"
