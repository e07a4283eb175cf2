#!/usr/bin/env bash
# Runs the fuzz targets, each for a while, and prints a table: scripts/fuzz.sh [target...]
#
# They take a nightly toolchain (rustup toolchain install nightly --profile minimal), a C++ compiler, and cargo-fuzz, which
# is installed if it is missing. Without the first two it says so and ends with code 77, which the callers count as skipped.
#
#   FUZZ_SECONDS=20   for each target
#   FUZZ_RUNS=-1      ... or so many executions, if they end earlier
#   FUZZ_JOBS=1       targets at a time
#   FUZZ_TOOLCHAIN=nightly
#
# All that it makes is below target/fuzz: corpus, logs, and what was found in artifacts. To try an input again:
#   target/fuzz/build/<host>/release/<target> <file>
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CARGO_FUZZ=0.13.2
readonly TOOLCHAIN=${FUZZ_TOOLCHAIN:-nightly}
readonly OUT=$PWD/target/fuzz
readonly SKIPPED=77

say()  { printf '==> [%3d s] %s\n' "$SECONDS" "$*"; }
die()  { printf '==> error: %s\n' "$*" >&2; exit 1; }
skip() { printf '\n==> SKIPPED: %s. Nothing was fuzzed.\n\n' "$*" >&2; exit "$SKIPPED"; }
have() { command -v "$1" >/dev/null 2>&1; }

have rustup && rustup run "$TOOLCHAIN" rustc --version >/dev/null 2>&1 \
    || skip "there is no $TOOLCHAIN toolchain (rustup toolchain install $TOOLCHAIN --profile minimal)"
have "${CXX:-c++}" || skip "there is no C++ compiler, which libFuzzer takes"
if [[ $(cargo fuzz --version 2>/dev/null) != "cargo-fuzz $CARGO_FUZZ" ]]; then
    say "cargo-fuzz $CARGO_FUZZ"
    cargo "+$TOOLCHAIN" install --quiet --debug --locked "cargo-fuzz@$CARGO_FUZZ"
fi
# Would take precedence over what rust-toolchain.toml and the command line say.
unset RUSTUP_TOOLCHAIN
host=$(rustc "+$TOOLCHAIN" -vV | sed -n "s/^host: //p")
readonly host

mapfile -t targets < <(sed -n 's|^path = "targets/\(.*\)\.rs"$|\1|p' fuzz/Cargo.toml)
if [[ $# -gt 0 ]]; then
    for target; do
        [[ " ${targets[*]} " == *" $target "* ]] || die "no target $target; there are: ${targets[*]}"
    done
    targets=("$@")
fi

say "seeds"
cargo "+$TOOLCHAIN" run --quiet --locked --manifest-path fuzz/Cargo.toml --target-dir "$OUT/build" \
    --example seeds -- "$OUT/corpus" >/dev/null

# All code is safe Rust (`unsafe` is denied), so there is no sanitizer, and twice the executions. Overflows are caught. No crate
# learns that it is being fuzzed: some would leave out checks that make them hard to fuzz and hard to deceive.
say "targets"
build=(cargo "+$TOOLCHAIN" fuzz build --release --debug-assertions --sanitizer none --no-cfg-fuzzing
    --target-dir "$OUT/build")
if [[ $# -gt 0 ]]; then
    for target in "${targets[@]}"; do "${build[@]}" "$target"; done
else
    "${build[@]}"
fi

run() {
    local target=$1 result=ok
    mkdir -p "$OUT/artifacts/$target" "$OUT/logs"
    nice -n 10 "$OUT/build/$host/release/$target" "$OUT/corpus/$target" \
        -artifact_prefix="$OUT/artifacts/$target/" -max_total_time="${FUZZ_SECONDS:-20}" -runs="${FUZZ_RUNS:--1}" \
        -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=1 >"$OUT/logs/$target.log" 2>&1 || result=FAILED
    say "$target: $result"
    [[ $result == ok ]]
}

failed=()
declare -A jobs=()
reap() {
    local pid target
    wait -n -p pid "${!jobs[@]}" || failed+=("${jobs[$pid]}")
    unset "jobs[$pid]"
}
for target in "${targets[@]}"; do
    while [[ ${#jobs[@]} -ge ${FUZZ_JOBS:-1} ]]; do reap; done
    run "$target" &
    jobs[$!]=$target
done
while [[ ${#jobs[@]} -gt 0 ]]; do reap; done

scripts/fuzz-table.sh "${targets[@]}"
for target in "${failed[@]}"; do
    printf '\n==> %s found something: %s\n' "$target" "$(ls -t "$OUT/artifacts/$target"/* 2>/dev/null | head -1)"
    grep -a -m 1 -A 8 -E 'panicked at|ERROR: libFuzzer' "$OUT/logs/$target.log" || tail -5 "$OUT/logs/$target.log"
done
[[ ${#failed[@]} -eq 0 ]] || die "failed: ${failed[*]}"
