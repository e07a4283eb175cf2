#!/usr/bin/env bash
# Runs the demo and puts its first act and its result into README.md, so that what is shown there is what it prints.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
make --no-print-directory demo | tee "$scratch/demo"
{
    # The callers' table; the log lines after it are of no use without the run.
    sed -n '/^Act 1 /,/forging the identity header/p' "$scratch/demo"
    printf '\n    ... acts 2 to 5 ...\n\n'
    # Without the time it took, which is another one every time.
    sed -n 's/^\(demo: .* as announced\).*/\1/p' "$scratch/demo"
} >"$scratch/block"
[[ $(wc -l <"$scratch/block") -gt 15 ]] || { echo "==> error: the demo's output has changed its shape" >&2; exit 1; }
awk -v block="$scratch/block" '
    /^<!-- demo-output -->$/ { print; getline; print; while ((getline line < block) > 0) print line; inside = 1; next }
    inside && /^```$/ { inside = 0 }
    !inside { print }' README.md >"$scratch/README.md"
cat "$scratch/README.md" >README.md
