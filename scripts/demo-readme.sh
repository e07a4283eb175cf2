#!/usr/bin/env bash
# Runs the demo and puts the callers of its first act into README.md, so that what is shown there is what it prints.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
make --no-print-directory demo | tee "$scratch/demo"
# The callers, without the column `announced`.
sed -n '/^Act 1 /,/forging the identity header/p' "$scratch/demo" \
    | LC_ALL=C.UTF-8 sed -nE 's/^  (✓ .{44}|  caller.{38}).{27}/\1/p' >"$scratch/block"
[[ $(wc -l <"$scratch/block") -gt 10 ]] || { echo "==> error: the demo's output has changed its shape" >&2; exit 1; }
awk -v block="$scratch/block" '
    /^<!-- demo-output -->$/ { print; getline; print; while ((getline line < block) > 0) print line; inside = 1; next }
    inside && /^```$/ { inside = 0 }
    !inside { print }' README.md >"$scratch/README.md"
cat "$scratch/README.md" >README.md
