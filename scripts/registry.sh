#!/usr/bin/env bash
# Starts a registry on this machine for tests (Debian's docker-registry), and prints its address once it listens.
#
#   scripts/registry.sh DIRECTORY   images, log and process id are kept there; end it with kill "$(cat DIRECTORY/pid)"
#
# Exits with 77, and says why, where there is none.
set -euo pipefail

directory=$1
if ! command -v docker-registry >/dev/null; then
    as_root=(env)
    [[ $(id -u) -eq 0 ]] || as_root=(sudo --non-interactive)
    if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
        echo "==> SKIPPED: install docker-registry" >&2
        exit 77
    fi
    echo "==> installing Debian packages: docker-registry" >&2
    "${as_root[@]}" apt-get -qq update >&2 || true
    # Debian would start a service; the registry here is the test's.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq install -y --no-install-recommends docker-registry >&2
fi

mkdir -p "$directory/images"
cat >"$directory/config.yml" <<YAML
version: 0.1
log: {formatter: json}
storage: {filesystem: {rootdirectory: $directory/images}}
http: {addr: "127.0.0.1:0"}
YAML
: >"$directory/log"
docker-registry serve "$directory/config.yml" >"$directory/log" 2>&1 &
echo $! >"$directory/pid"
until address=$(sed -n 's/.*"listening on \(127.0.0.1:[0-9]*\)".*/\1/p' "$directory/log") && [[ -n $address ]]; do
    kill -0 "$(cat "$directory/pid")" 2>/dev/null || { cat "$directory/log" >&2; exit 1; }
    sleep 0.1
done
echo "$address"
