#!/usr/bin/env bash
# Runs what the fuzz targets have collected through an instrumented build, and prints which part of each file's lines ran:
# scripts/fuzz-coverage.sh. To be used after scripts/fuzz.sh.
#
#   LLVM_BIN=directory   of llvm-profdata and llvm-cov, no older than the toolchain's LLVM; by default the toolchain's
#                        own (rustup component add llvm-tools), or those of Debian's package llvm-<version>
#   FUZZ_TOOLCHAIN=nightly
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TOOLCHAIN=${FUZZ_TOOLCHAIN:-nightly}
readonly OUT=$PWD/target/fuzz
readonly SKIPPED=77

skip() { printf '\n==> SKIPPED: %s. No coverage was taken.\n\n' "$*" >&2; exit "$SKIPPED"; }

rustup run "$TOOLCHAIN" rustc --version >/dev/null 2>&1 || skip "there is no $TOOLCHAIN toolchain"
[[ -d $OUT/corpus ]] || skip "there is no corpus yet (make fuzz)"
unset RUSTUP_TOOLCHAIN
host=$(rustc "+$TOOLCHAIN" -vV | sed -n "s/^host: //p")
llvm=$(rustc "+$TOOLCHAIN" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
for bin in "${LLVM_BIN:-}" "$(rustc "+$TOOLCHAIN" --print sysroot)/lib/rustlib/$host/bin" "/usr/lib/llvm-$llvm/bin"; do
    [[ -n $bin && -x $bin/llvm-cov && -x $bin/llvm-profdata ]] && break
    bin=
done
[[ -n $bin ]] || skip "there is no llvm-cov of LLVM $llvm (rustup component add llvm-tools --toolchain $TOOLCHAIN)"

# A separate target, so that build scripts and macros are not instrumented.
RUSTFLAGS="-C instrument-coverage" cargo "+$TOOLCHAIN" build --quiet --locked --release --bins --target "$host" \
    --manifest-path fuzz/Cargo.toml --target-dir "$OUT/coverage"
mapfile -t targets < <(sed -n 's|^path = "targets/\(.*\)\.rs"$|\1|p' fuzz/Cargo.toml)
objects=()
rm -f "$OUT"/coverage/*.prof*
for target in "${targets[@]}"; do
    binary=$OUT/coverage/$host/release/$target
    # The first one goes without the word.
    objects+=(${objects:+-object} "$binary")
    LLVM_PROFILE_FILE="$OUT/coverage/$target.profraw" nice -n 10 "$binary" -runs=0 "$OUT/corpus/$target" \
        >"$OUT/coverage/$target.log" 2>&1 || { tail -5 "$OUT/coverage/$target.log" >&2; exit 1; }
done
"$bin/llvm-profdata" merge --sparse "$OUT"/coverage/*.profraw -o "$OUT/coverage/all.profdata"

# What the targets are about: all that reads bytes from outside, and what decides.
mapfile -t files < <(find src/{config,crl,decision,peer,pins,x509} -name '*.rs' ! -path '*/tests*' | sort)
echo '| file | lines | run by the targets |'
echo '|---|--:|--:|'
# Filename (below src), regions (3 columns), functions (3), lines: all, missed, share.
"$bin/llvm-cov" report "${objects[@]}" -instr-profile="$OUT/coverage/all.profdata" "${files[@]}" \
    2>"$OUT/coverage/report.log" | awk '
    $1 ~ /\.rs$/ { printf "| `src/%s` | %d | %s |\n", $1, $8, $10 }
    $1 == "TOTAL" { printf "| all of these | %d | %s |\n", $8, $10 }'
