#!/usr/bin/env bash
# Runs the commands of README.md and of the book's "Get started" (blocks marked `sh setup`) as they are written, with a copy of Genesys Cloud
# in place of the real one. Network, processes and /etc are private to it, so nothing of this machine changes; that takes root and Linux.
# Without them it says so and ends with code 77, which the callers count as skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly SKIPPED=77
readonly PRIVATE=(unshare --mount --net --pid --fork --kill-child)
# The README's commands name target/.
unset CARGO_TARGET_DIR

say()  { printf '==> [%3d s] %s\n' "$SECONDS" "$*"; }
die()  { printf '==> error: %s\n' "$*" >&2; exit 1; }
skip() { printf '\n==> SKIPPED: %s. The README was NOT run.\n\n' "$*" >&2; exit "$SKIPPED"; }

# ---- outside: what needs a network ----

if [[ -z ${INSIDE:-} ]]; then
    [[ $(id -u) -eq 0 ]] || skip "a private network and /etc take root"
    "${PRIVATE[@]}" sh -c 'mount -t proc proc /proc && mount -t tmpfs tmpfs /mnt' 2>/dev/null \
        || skip "this machine gives no private network and /etc (unshare)"
    for tool in curl ip openssl; do command -v "$tool" >/dev/null || skip "$tool is missing"; done
    scripts/provision.sh
    cargo build --quiet --locked -p testbed --bin compose
    # What the commands build: inside nothing can be fetched.
    make --no-print-directory wasm
    cargo build --quiet --locked --release -p genesys-mtls
    INSIDE=1 exec "${PRIVATE[@]}" bash "scripts/${BASH_SOURCE[0]##*/}"
fi

# ---- inside ----

# block FILE NUMBER: a block of commands.
block() {
    awk -v number="$2" '
        /^```/ { inside = 0 }
        inside { print }
        $0 == "```sh setup" { inside = ++count == number }' "$1"
}

# follow FILE NUMBER [SCRIPT]: runs a block in this shell; the sed script fills in what is the reader's.
follow() {
    local commands
    commands=$(block "$1" "$2" | sed "${3:-}")
    [[ -n $commands ]] || die "$1 has no block $2"
    say "$1, block $2" >&3
    while IFS= read -r line; do printf '    $ %s\n' "$line" >&3; done <<<"$commands"
    eval "$commands"
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

# The .zip of the help page would hold the first certificate of this file.
awk '{ print } /^-----END/ { exit }' "$world/client-cas.pem" >/mnt/root.pem
# The bundle of a real system has the CAs of the real hosts.
cat "$world/api-ca.pem" >>/etc/ssl/certs/ca-certificates.crt

said=$(cd /mnt && cp "$OLDPWD/docs/src/start/envoy.md" . && follow envoy.md 1)
expect "the root" "CA:TRUE" "$said"
expect "the root" "Certificate Sign" "$said"

rm -rf trial
finish() {
    [[ $1 -eq 0 ]] || cat /mnt/said trial/envoy.log >&2
    rm -rf trial
}
trap 'finish $?' EXIT
yours='s|ROOT=root.pem SERVICE=127.0.0.1:8080|ROOT=/mnt/root.pem SERVICE=127.0.0.1:8081|
    s|_ID=\.\.\.|_ID=client-of-us-east-1|; s|_SECRET=\.\.\.|_SECRET=secret-of-us-east-1|'
[[ $(block README.md 1 | wc -l) -le 25 ]] || die "README.md: more than 25 lines"
# In this shell, as a reader's: Envoy ends with the shell that started it.
follow README.md 1 "$yours" >/mnt/said 2>&1
said=$(cat /mnt/said)
expect "README.md, check" "trial/envoy.yaml.* is valid" "$said"
expect "README.md, curl" '"code":"no_client_certificate"' "$said"
expect "README.md, doctor" '0 error\(s\), 0 warning\(s\)|clean' "$said"

# The first refresh takes a moment.
for _ in {1..100}; do ! curl -s localhost:9901/stats | grep -q 'pins.named.us-east-1: [1-9]' || break; sleep 0.1; done
said=$(follow docs/src/start/envoy.md 2) || die "no refreshes: $(cat /mnt/genesys.log)"
expect "refreshes" 'wasmcustom.genesys_mtls.default.refreshes.ok.us-east-1: 1' "$said"
expect "pins" 'wasmcustom.genesys_mtls.default.pins.named.us-east-1: 1' "$said"

mkdir /etc/envoy
cp trial/envoy.yaml /etc/envoy/
for page in "envoy.md 3" "existing.md 1"; do
    read -r file number <<<"$page"
    said=$(follow "docs/src/start/$file" "$number" 2>&1)
    expect "$file" "/etc/envoy/envoy.yaml.* is valid" "$said"
    expect "$file" "configuration '/etc/envoy/envoy.yaml' OK" "$said"
done

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
    for _ in {1..200}; do ! grep -qF "\"verdict\":\"$verdict\"" trial/envoy.log || break; sleep 0.1; done
    expect "the access log" "\"verdict\":\"$verdict\"" "$(cat trial/envoy.log)"
    printf '    %-9s %s  %s\n' "$name" "$status" "$verdict"
done
say "the commands of README and book work as they are written"
