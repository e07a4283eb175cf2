#!/usr/bin/env bash
# Writes what the last runs of the fuzz targets came to into docs/fuzzing.md, from their logs and corpora.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly DOCUMENT=docs/fuzzing.md
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

scripts/fuzz-table.sh >"$scratch/fuzz-runs"
! grep -q 'not run' "$scratch/fuzz-runs" || { echo "==> error: not all targets were run (make fuzz)" >&2; exit 1; }
sections=(fuzz-runs)
code=0
scripts/fuzz-coverage.sh >"$scratch/fuzz-coverage" || code=$?
case $code in
    0) sections+=(fuzz-coverage) ;;
    77) echo "==> the table of lines stays as it is" >&2 ;;
    *) exit "$code" ;;
esac
for section in "${sections[@]}"; do
    [[ $(wc -l <"$scratch/$section") -gt 5 ]] || { echo "==> error: no table for $section" >&2; exit 1; }
    awk -v section="$section" -v table="$scratch/$section" '
        $0 == "<!-- " section " -->" { print; print ""; while ((getline line < table) > 0) print line; print ""; inside = 1; next }
        $0 == "<!-- end -->" { inside = 0 }
        !inside { print }' "$DOCUMENT" >"$scratch/document"
    cat "$scratch/document" >"$DOCUMENT"
done
