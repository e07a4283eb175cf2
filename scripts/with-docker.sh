#!/usr/bin/env bash
# Runs a command with a Docker engine: the one that answers, or one that is started for it and stopped after it.
#
#   scripts/with-docker.sh COMMAND [ARGUMENT...]
#
# An engine is started by root on Debian, from Debian's packages, with its data in a directory that is removed afterwards. Elsewhere the
# command runs without one, and says itself what it then does.
set -euo pipefail

have() { command -v "$1" >/dev/null 2>&1; }

if docker version >/dev/null 2>&1 || [[ $(id -u) -ne 0 ]] || ! have apt-get; then
    exec "$@"
fi

missing=()
for pair in dockerd:docker.io docker-compose:docker-compose iptables:iptables; do
    have "${pair%%:*}" || missing+=("${pair#*:}")
done
if [[ ${#missing[@]} -gt 0 ]]; then
    echo "==> installing Debian packages: ${missing[*]}"
    apt-get -qq update >&2 || true
    # Debian would start a service; the engine here is this script's.
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null || exec "$@"
fi

# Not under the working directory: a socket's path is 108 bytes at most.
engine=$(mktemp -d /tmp/docker-engine-XXXXXX)
export DOCKER_HOST=unix://$engine/socket
dockerd --host "$DOCKER_HOST" --data-root "$engine/data" --exec-root "$engine/exec" --pidfile "$engine/pid" >"$engine/log" 2>&1 &
daemon=$!
stop() {
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
    rm -rf "$engine" 2>/dev/null || echo "==> warning: $engine could not be removed" >&2
}
trap stop EXIT
trap 'exit 130' INT TERM

until docker version >/dev/null 2>&1; do
    if ! kill -0 "$daemon" 2>/dev/null; then
        echo "==> no Docker engine could be started here:" >&2
        tail -n 3 "$engine/log" >&2
        unset DOCKER_HOST
        break
    fi
    sleep 0.2
done
code=0
"$@" || code=$?
exit "$code"
