#!/usr/bin/env bash
# Writes stdin to target/reports/NAME.md, with date and commit at its top: scripts/report.sh NAME <text
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p target/reports
{
    printf '%s, commit %s\n\n' "$(date -u +%Y-%m-%d)" "$(git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown)"
    cat
} >"target/reports/$1.md"
echo "==> written: target/reports/$1.md" >&2
