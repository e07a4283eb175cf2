#!/usr/bin/env bash
# Builds the command-line tool for one target, and packs it: scripts/tool.sh TARGET DIRECTORY
#
#   DIRECTORY/genesys-mtls-<version>-<target>.tar.gz   the tool, man pages, completions, licence
#   DIRECTORY/genesys-mtls_<version>_<machine>.deb     the same for Debian and what descends from it; where dpkg-deb is
#
# Man pages and completions come from the tool: of a foreign target, the one for this machine has to be built first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$1 out=$2
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
target_dir=${CARGO_TARGET_DIR:-target}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

built=$(scripts/portable.sh "$target" genesys-mtls genesys-mtls)
for tool in "$built" "$target_dir"/*/release/genesys-mtls ''; do
    ! "$tool" --version >/dev/null 2>&1 || break
done
[[ -n $tool ]] || { echo "==> error: no tool that runs here" >&2; exit 1; }

tree=$scratch/genesys-mtls-$version
mkdir -p "$tree"/{completions,man}
install -m 755 "$built" "$tree/"
install -m 644 LICENSE "$tree/"
"$tool" completions bash >"$tree/completions/genesys-mtls"
"$tool" completions zsh >"$tree/completions/_genesys-mtls"
"$tool" completions fish >"$tree/completions/genesys-mtls.fish"
if "$tool" man >"$tree/man/genesys-mtls.1" 2>/dev/null; then
    for command in $("$tool" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z]*\) .*/\1/p'); do
        [[ $command == help ]] || "$tool" man "$command" >"$tree/man/genesys-mtls-$command.1"
    done
else
    rm -r "$tree/man"
fi
tar=tar
! command -v gtar >/dev/null || tar=gtar
"$tar" --directory "$scratch" --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    --create "genesys-mtls-$version" | gzip -n -9 >"$out/genesys-mtls-$version-$target.tar.gz"

case $target in
    x86_64-*-linux-*) machine=amd64 ;;
    aarch64-*-linux-*) machine=arm64 ;;
    *) exit 0 ;;
esac
command -v dpkg-deb >/dev/null || { echo "==> no dpkg-deb: no Debian package"; exit 0; }
root=$scratch/deb
install -D -m 755 "$built" "$root/usr/bin/genesys-mtls"
install -D -m 644 LICENSE "$root/usr/share/doc/genesys-mtls/copyright"
install -D -m 644 "$tree/completions/genesys-mtls" "$root/usr/share/bash-completion/completions/genesys-mtls"
install -D -m 644 "$tree/completions/_genesys-mtls" "$root/usr/share/zsh/vendor-completions/_genesys-mtls"
install -D -m 644 "$tree/completions/genesys-mtls.fish" "$root/usr/share/fish/vendor_completions.d/genesys-mtls.fish"
if [[ -d $tree/man ]]; then
    mkdir -p "$root/usr/share/man/man1"
    for page in "$tree"/man/*.1; do gzip -n -9 <"$page" >"$root/usr/share/man/man1/${page##*/}.gz"; done
fi
mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: genesys-mtls
Version: $version
Architecture: $machine
Maintainer: the authors of genesys-mtls-filter
Section: net
Priority: optional
Recommends: ca-certificates
Installed-Size: $(du -sk --apparent-size "$root/usr" | cut -f1)
Description: companion of the Genesys Cloud client filter for Envoy and Istio
 Checks and explains the filter's configuration and its decisions, asks for
 pins, and examines a running Envoy for ways around the filter.
CONTROL
find "$root" -exec touch --no-dereference --date=@0 {} +
find "$root" -type d -exec chmod 755 {} +
SOURCE_DATE_EPOCH=0 dpkg-deb --root-owner-group -Zxz --build "$root" "$out/genesys-mtls_${version}_$machine.deb" >/dev/null
