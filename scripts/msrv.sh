#!/usr/bin/env bash
# Checks the published crates with the oldest Rust that they promise to build with: `rust-version` in Cargo.toml.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
# A pinned 1.95.0 is 1.95.
pinned=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
toolchain=$oldest
[[ $pinned != "$oldest".* ]] || toolchain=$pinned
rustup run "$toolchain" rustc --version 2>/dev/null || rustup toolchain install --profile minimal "$toolchain"
export RUSTUP_TOOLCHAIN=$toolchain
cargo check --locked -p genesys-mtls-filter -p genesys-mtls-verifier -p genesys-mtls
echo "==> Rust $oldest builds the published crates"
