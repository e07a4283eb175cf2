#!/usr/bin/env bash
# Follows the README's "Set it up on Envoy", every command as it stands there, with the stand-in of Genesys Cloud in place of the
# real one. Network, processes and /etc are private to it, so that nothing of this machine is touched; that takes root and Linux.
# Without them it says so and ends with code 77, which the callers count as skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly SKIPPED=77
readonly PRIVATE=(unshare --mount --net --pid --fork --kill-child)
# The README's commands know of no other place.
unset CARGO_TARGET_DIR

say()  { printf '==> [%3d s] %s\n' "$SECONDS" "$*"; }
die()  { printf '==> error: %s\n' "$*" >&2; exit 1; }
skip() { printf '\n==> SKIPPED: %s. The README was NOT followed.\n\n' "$*" >&2; exit "$SKIPPED"; }

# ---- outside: what needs a network ----

if [[ -z ${INSIDE:-} ]]; then
    [[ $(id -u) -eq 0 ]] || skip "a private network and /etc take root"
    "${PRIVATE[@]}" sh -c 'mount -t proc proc /proc && mount -t tmpfs tmpfs /mnt' 2>/dev/null \
        || skip "this machine gives no private network and /etc (unshare)"
    for tool in curl ip openssl; do command -v "$tool" >/dev/null || skip "$tool is missing"; done
    scripts/provision.sh
    cargo build --quiet --locked -p testbed --bin compose
    # Step 4, as far as it builds. In there nothing could be fetched any more.
    make --no-print-directory wasm
    cargo build --quiet --locked --release -p genesys-mtls
    INSIDE=1 exec "${PRIVATE[@]}" bash "scripts/${BASH_SOURCE[0]##*/}"
fi

# ---- inside ----

# step NUMBER: the commands of the README's step.
step() {
    awk -v step="**$1. " '
        /^## / { section = $0 == "## Set it up on Envoy" }
        section && /^\*\*[0-9]+\. / { inside = index($0, step) == 1 }
        /^```/ { block = inside && $0 == "```sh"; next }
        section && inside && block' README.md
}

# follow NUMBER [DIRECTORY [SCRIPT]]: does what the step says, there; the sed script fills in what is the reader's.
follow() {
    local commands
    commands=$(step "$1" | sed "${3:-}")
    [[ -n $commands ]] || die "step $1 has no commands"
    say "step $1" >&3
    while IFS= read -r line; do printf '    $ %s\n' "$line" >&3; done <<<"$commands"
    (cd "${2:-.}" && set -e && eval "$commands")
}

expect() { # WHAT PATTERN TEXT
    grep -Eq -- "$2" <<<"$3" || { printf '%s\n' "$3" >&2; die "$1: no match for $2"; }
}

# Where it says what it does, also while it keeps what a command says.
exec 3>&2
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /mnt
cp -a /etc /mnt/etc
mount --bind /mnt/etc /etc
ip link set lo up
world=/mnt/world
mkdir "$world"
printf '127.0.0.1 localhost service api.mypurecloud.com login.mypurecloud.com\n' >/etc/hosts
# shellcheck source=/dev/null
source .tools/env.sh
mkdir /mnt/bin
ln -s "$ENVOY" /mnt/bin/envoy
ln -s "$PWD/target/release/genesys-mtls" /mnt/bin/genesys-mtls
export PATH=/mnt/bin:$PATH CARGO_NET_OFFLINE=true

compose=$PWD/target/debug/compose
(cd /mnt && "$compose" stand-in "$OLDPWD/envoy/envoy.yaml" "$world") >/mnt/genesys.log 2>&1 &
# The stand-in has port 8080 for revocation lists.
"$compose" service 8081 >/mnt/service.log 2>&1 &
for port in 443 8081; do
    for _ in {1..100}; do ! "$compose" healthy "127.0.0.1:$port" 2>/dev/null || break; sleep 0.1; done
    "$compose" healthy "127.0.0.1:$port" || die "the stand-in is not up: $(cat /mnt/genesys.log /mnt/service.log)"
done

# Steps 1 and 3 are done in Genesys Cloud. The .zip of step 2 would hold the first certificate of this file.
awk '{ print } /^-----END/ { exit }' "$world/client-cas.pem" >/mnt/root.pem
said=$(follow 2 /mnt)
expect "step 2" "CA:TRUE" "$said"
expect "step 2" "Certificate Sign" "$said"

follow 4
[[ -s /etc/envoy/genesys_mtls_filter.wasm && -x target/release/genesys-mtls ]] || die "step 4 left no module and no tool"

say "step 5: the table"
awk -v root=/mnt/root.pem '
    /-----BEGIN CERTIFICATE-----/ {
        match($0, /^ */); indent = substr($0, 1, RLENGTH)
        while ((getline line < root) > 0) print indent line
        inside = 1
    }
    !inside { print }
    /-----END CERTIFICATE-----/ { inside = 0 }' envoy/envoy.yaml \
    | sed 's/{address: service, port_value: 8080}/{address: service, port_value: 8081}/' >/etc/envoy/envoy.yaml
grep -q 8081 /etc/envoy/envoy.yaml || die "step 5: envoy.yaml names the service in another way"
cp "$world/server.pem" "$world/server.key" "$world/client-cas.pem" /etc/envoy/certs/
# What is in a system's bundle for the real hosts.
cat "$world/api-ca.pem" >>/etc/ssl/certs/ca-certificates.crt

follow 6 . 's/_ID=\.\.\./_ID=client-of-us-east-1/; s/_SECRET=\.\.\./_SECRET=secret-of-us-east-1/' >/mnt/envoy.log 2>&1 &
for _ in {1..300}; do ! "$compose" healthy 127.0.0.1:8443 2>/dev/null || break; sleep 0.1; done
"$compose" healthy 127.0.0.1:8443 || die "Envoy is not up: $(cat /mnt/envoy.log)"
said=$(cat /mnt/envoy.log)
expect "step 6, check" "/etc/envoy/envoy.yaml.* is valid" "$said"
expect "step 6, validate" "configuration '/etc/envoy/envoy.yaml' OK" "$said"

# The first refresh takes a moment.
for _ in {1..100}; do ! curl -s localhost:9901/stats | grep -q 'pins.named.us-east-1: [1-9]' || break; sleep 0.1; done
said=$(follow 7)
printf '%s\n' "$said"
expect "step 7, curl" '"code":"no_client_certificate"' "$said"
expect "step 7, doctor" '0 error\(s\), 0 warning\(s\)|clean' "$said"
expect "step 7, refreshes" 'wasmcustom.genesys_mtls.default.refreshes.ok.us-east-1: 1' "$said"
expect "step 7, pins" 'wasmcustom.genesys_mtls.default.pins.named.us-east-1: 1' "$said"

say "a data action's call, and a stranger's"
callers=(genesys:200:'allow;us-east-1;genesys' digicert:200:'allow;us-east-1;digicert' stranger:403:'deny;wrong_name')
for caller in "${callers[@]}"; do
    IFS=: read -r name status verdict <<<"$caller"
    got=$(curl -sk --cert "$world/$name.pem" --key "$world/$name.key" -o /dev/null -w '%{http_code}' https://localhost:8443/)
    [[ $got == "$status" ]] || die "$name: $got, not $status"
done
for caller in "${callers[@]}"; do
    IFS=: read -r name status verdict <<<"$caller"
    # Envoy writes its access log every ten seconds.
    for _ in {1..200}; do ! grep -qF "\"verdict\":\"$verdict\"" /mnt/envoy.log || break; sleep 0.1; done
    expect "the access log" "\"verdict\":\"$verdict\"" "$(cat /mnt/envoy.log)"
    printf '    %-9s %s  %s\n' "$name" "$status" "$verdict"
done
say "the README's set-up works as it is written"
