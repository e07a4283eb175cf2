#!/usr/bin/env bash
# Which lines of the filter its unit tests run. Fails if one of the decision core is left out.
#
#   scripts/coverage.sh           prints the table, and every line of the core that no test runs
#   scripts/coverage.sh --write   also writes the table to target/reports/coverage.md
#
# Only the filter's own crate is instrumented, so nothing else is built anew. What needs a host (src/filter, src/host) is compiled for
# Wasm only, and is run by the tests on Envoy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The decision core, from the bytes that a client has chosen to the verdict, and the engine: folders and files of src.
readonly CORE="decision engine peer policy/names time x509"

scripts/provision.sh coverage
# shellcheck source=/dev/null
. .tools/coverage.sh
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

binary=$(cargo rustc --quiet --locked --lib --profile test --message-format json -- -C instrument-coverage \
    | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
LLVM_PROFILE_FILE="$out/%p.profraw" "$binary" --quiet >"$out/tests" 2>&1 || { cat "$out/tests"; exit 1; }
"$LLVM_PROFDATA" merge --sparse --output "$out/profile" "$out"/*.profraw
"$LLVM_COV" export --format=lcov --instr-profile "$out/profile" "$binary" --sources "$PWD/src" >"$out/lcov"

# lcov to `file line count`; without test code: test files, and in others what follows #[cfg(test)].
awk -v root="$PWD/src/" '
    /^SF:/ {
        path = substr($0, 4)
        file = substr(path, length(root) + 1)
        wanted = index(path, root) == 1 && file !~ /(^|\/)(tests|test_support)[.\/]/
        end = 1e9
        if (wanted) {
            number = 0
            while ((getline line < path) > 0) { number++; if (line ~ /^#\[cfg\(test\)\]/) { end = number; break } }
            close(path)
        }
    }
    /^DA:/ && wanted { split(substr($0, 4), da, ","); if (da[1] < end) print file, da[1], da[2] }
' "$out/lcov" >"$out/lines"

awk -v core="$CORE" -v missed="$out/missed" '
    BEGIN { n = split(core, names, " ") }
    function core_of(file,   i) {
        for (i = 1; i <= n; i++) if (file == names[i] ".rs" || index(file, names[i] "/") == 1) { seen[names[i]] = 1; return 1 }
        return 0
    }
    {
        is_core = core_of($1)
        if (is_core) row = "`src/" $1 "`"
        else if (split($1, parts, "/") > 1) row = "`src/" parts[1] "/`"
        else row = "other files of `src/`"
        all[row]++; run[row] += $3 > 0
        if (is_core) { sum++; hit += $3 > 0; kind[row] = 1; if ($3 == 0) print "src/" $1 ":" $2 > missed }
    }
    function line(order, row) {
        printf "%d | %s | %d | %d | %.1f %% |\n", order, row, all[row], run[row], int(1000 * run[row] / all[row]) / 10
    }
    END {
        for (i = 1; i <= n; i++) if (!(names[i] in seen)) print "src/" names[i] ": not compiled" > missed
        print "0 | | lines | run | |"
        print "1 |---|--:|--:|--:|"
        for (row in all) line(kind[row] ? 2 : 4, row)
        all["**decision core and engine**"] = sum; run["**decision core and engine**"] = hit
        line(3, "**decision core and engine**")
    }' "$out/lines" | LC_ALL=C sort | cut -c3- >"$out/table"

cat "$out/table"
if [[ ${1:-} == --write ]]; then scripts/report.sh coverage <"$out/table"; fi
if [[ -s $out/missed ]]; then
    echo "==> error: no unit test runs these lines of the decision core:" >&2
    sed 's/^/    /' "$out/missed" >&2
    exit 1
fi
