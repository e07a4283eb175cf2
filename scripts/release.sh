#!/usr/bin/env bash
# Sets the version in every place that says it, and dates its part of CHANGELOG.md: scripts/release.sh VERSION
# What is left is to look at the difference, to commit it, and to push a tag: the workflow `Release` does the rest.
#
#   scripts/release.sh --notes VERSION   prints what CHANGELOG.md says of a version; of what is not released, if it has no part yet
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { printf '==> error: %s\n' "$*" >&2; exit 1; }
part() { awk -v head="## [$1]" 'index($0, "## [") == 1 { on = index($0, head) == 1; next } on' CHANGELOG.md | sed -e '/./,$!d'; }

if [[ ${1:-} == --notes ]]; then
    notes=$(part "$2")
    [[ -n $notes ]] || notes=$(part Unreleased)
    [[ -n $notes ]] || die "CHANGELOG.md says nothing of $2"
    printf '%s\n' "$notes"
    exit 0
fi

new=${1:-}
[[ $new =~ ^[0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)\.[0-9]+)?$ ]] || die "\`$new\` is no version: make release VERSION=1.2.3"
[[ -z $(git status --porcelain --untracked-files=no) ]] || die "there are changes that are not committed"
[[ -z $(git tag --list "v$new") ]] || die "v$new is a tag already"
[[ -n $(part Unreleased) ]] || die "CHANGELOG.md has nothing under [Unreleased]"
old=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

# Documents and what is shipped say the version in their words; lock files and examples are written from the rest.
word="\b${old//./\\.}\b"
says() { git grep "$@" "$word" -- '*.md' docs envoy ':!CHANGELOG.md' ':!envoy/examples/*/*.yaml'; }
if [[ $new != "$old" ]]; then
    # Not the version of a dependency that happens to be the same.
    sed -i -E "/^version = |path = /s/\"${old//./\\.}\"/\"$new\"/" Cargo.toml
    says --name-only | while read -r file; do sed -i "s/$word/$new/g" "$file"; done
    cargo metadata --quiet --offline --format-version 1 >/dev/null
    cargo metadata --quiet --offline --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
    scripts/examples.sh
fi
sed -i "s/^## \[Unreleased\]$/## [Unreleased]\n\n## [$new] - $(date -u +%F)/" CHANGELOG.md

git --no-pager diff --stat
cat <<TEXT

==> $new is set. Next:
    make test dist
    git commit --all --message "release: $new"
    scripts/release.sh --notes $new | git tag --sign --file - v$new
    git push --follow-tags
TEXT
