#!/usr/bin/env bash
# Writes what the last runs of the fuzz targets came to into target/reports/fuzzing.md, from their logs and corpora.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

scripts/fuzz-table.sh >"$scratch/report"
! grep -q 'not run' "$scratch/report" || { echo "==> error: not all targets were run (make fuzz)" >&2; exit 1; }
echo >>"$scratch/report"
# 77: the tools that read coverage are missing, which it has said.
scripts/fuzz-coverage.sh >>"$scratch/report" || { code=$?; [[ $code -eq 77 ]] || exit "$code"; }
scripts/report.sh fuzzing <"$scratch/report"
