#!/usr/bin/env bash
# Prints what the last run of each fuzz target came to, from libFuzzer's logs: scripts/fuzz-table.sh [target...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mapfile -t targets < <(sed -n 's|^path = "targets/\(.*\)\.rs"$|\1|p' fuzz/Cargo.toml)
[[ $# -eq 0 ]] || targets=("$@")

grouped() { sed ':a; s/\([0-9]\)\([0-9]\{3\}\)\($\|,\)/\1,\2\3/; ta' <<<"$1"; }
row() { printf '| %-14s | %10s | %7s | %7s | %7s | %6s | %8s |\n' "$@"; }

row target executions seconds 'per s' edges corpus findings
echo '|----------------|-----------:|--------:|--------:|--------:|-------:|---------:|'
for target in "${targets[@]}"; do
    log=target/fuzz/logs/$target.log
    [[ -f $log ]] || { row "\`$target\`" 'not run' '' '' '' '' ''; continue; }
    # #123	DONE   cov: 4 ft: 5 corp: 6/7Kb lim: 8 exec/s: 9 rss: 10Mb
    last=$(grep -aE '^#[0-9]+.* cov: [0-9]+ ' "$log" | tail -1 || true)
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    seconds=$(sed -nE 's/^Done [0-9]+ runs in ([0-9]+) second.*/\1/p' "$log")
    edges=$(sed -nE 's/.* cov: ([0-9]+) .*/\1/p' <<<"$last")
    corpus=$(sed -nE 's/.* corp: ([0-9]+).*/\1/p' <<<"$last")
    findings=$({ find "target/fuzz/artifacts/$target" -type f 2>/dev/null || true; } | wc -l)
    row "\`$target\`" "$(grouped "${runs:-0}")" "${seconds:--}" \
        "$(grouped $((${runs:-0} / (${seconds:-0} > 0 ? seconds : 1))))" "$(grouped "${edges:-0}")" \
        "$(grouped "${corpus:-0}")" "$findings"
done
