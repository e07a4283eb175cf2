#!/usr/bin/env bash
# Builds the book to target/book, and checks what the documents say: links and anchors, and that each example has its check.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly MDBOOK=0.5.4
export PATH=$PWD/.tools/cargo/bin:$PATH
if [[ $(mdbook --version 2>/dev/null) != "mdbook v$MDBOOK" ]]; then
    echo "==> installing mdBook $MDBOOK to .tools"
    # Search in the book, but no server and no watching of files. A debug build: a third of the time to compile.
    cargo install --quiet --debug --locked --root .tools/cargo --no-default-features --features search "mdbook@$MDBOOK"
fi
mdbook build docs
cargo test --locked --quiet -p tests --test documents
echo "==> target/book/index.html"
