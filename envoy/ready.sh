#!/usr/bin/env bash
# Opt-in readiness for an Envoy of your own: ready once every region's pins are loaded, and in any case 60 s after the start.
# So a proxy that is restarted gets its first callers when it can decide on them, and an outage of Genesys Cloud keeps none of
# its other hosts away. Envoy itself cannot wait: nothing that a module does delays a listener, so a probe asks its statistics.
#
#   readinessProbe: {exec: {command: [bash, /etc/envoy/ready.sh]}, periodSeconds: 2}
#
# ready.sh [admin port (9901)] [seconds (60)]. It needs bash only. Not for a shared gateway.
set -u
port=${1:-9901} limit=${2:-60}

exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
printf 'GET /stats?usedonly&filter=%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' \
    '^(server.(live|uptime)|wasmcustom.genesys_mtls.*)$' >&3

live=0 uptime=0 asked=0 loaded=0
while IFS=$': \r' read -r -t 5 name value _; do
    case $name in
        server.live) live=$value ;;
        server.uptime) uptime=$value ;;
        # Each region that has an API counts its failures, and has an age once it has pins.
        wasmcustom.genesys_mtls.*.refresh_failures_in_a_row.*) asked=$((asked + 1)) ;;
        wasmcustom.genesys_mtls.*.trust_age_seconds.*) loaded=$((loaded + 1)) ;;
    esac
done <&3

((live == 1)) && { ((asked > 0 && loaded == asked)) || ((uptime >= limit)); }
