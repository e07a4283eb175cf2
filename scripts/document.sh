#!/usr/bin/env bash
# Replaces what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a document by stdin.
#
#   scripts/document.sh FILE NAME <text
set -euo pipefail
readonly FILE=$1 NAME=$2
if ! grep -qxF "<!-- $NAME -->" "$FILE" || ! grep -qxF "<!-- /$NAME -->" "$FILE"; then
    echo "==> error: $FILE has no marks of $NAME" >&2
    exit 1
fi
text=$(mktemp)
trap 'rm -f "$text" "$text.new"' EXIT
cat >"$text"
awk -v name="$NAME" -v text="$text" '
    $0 == "<!-- /" name " -->" { inside = 0 }
    !inside { print }
    $0 == "<!-- " name " -->" {
        inside = 1
        print ""
        while ((getline line < text) > 0) print line
        print ""
    }' "$FILE" >"$text.new"
cat "$text.new" >"$FILE"
