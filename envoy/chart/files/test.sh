# Asks each host (the arguments) at $ADDRESS:$PORT without a client certificate. In state A nothing shows in the answer, so that the
# counters at $METRICS have to.
ask() {
    answer=$(curl -sk --http1.1 -m 20 --connect-to "$1:$PORT:${ADDRESS:-$1}:$PORT" -w '\n%{http_code} %{exitcode}' "https://$1:$PORT/")
    body=${answer%
*}
    last=${answer##*
}
    status=${last% *} error=${last#* }
    denied="not denied"
    case $body in
        *no_client_certificate*) denied="denied by the filter" ;;
        *'RBAC: access denied'*) denied="denied by the guard" ;;
    esac
    case $error in
        0) got="$status, $denied" ;;
        35 | 55 | 56) got="refused by TLS" ;;
        *) got="no answer (curl: $error)" ;;
    esac
}
counted() { curl -s -m 20 "$METRICS" | grep -q '^genesys_mtls_decisions.*genesys_reason="no_client_certificate".* [1-9]'; }

failed=0
for host; do
    ask "$host"
    case $PROFILE/$ROLLOUT in
        strict/*) want="refused by TLS" ;;
        */B | */D) want="403, denied by the filter" ;;
        */C) want="403, denied by the guard" ;;
        *)
            want="${status:-000}, not denied"
            # One pod answers, another may show its counters.
            tries=30
            while [ -n "$METRICS" ] && ! counted; do
                tries=$((tries - 1))
                if [ "$tries" = 0 ]; then
                    want="$want, and counted: the filter does not see these requests, or the pods lack the labels for the metrics"
                    break
                fi
                sleep 1
                ask "$host"
            done
            ;;
    esac
    if [ "$got" = "$want" ]; then
        echo "passed: $host, roll-out $ROLLOUT, profile $PROFILE: no certificate: $got"
    else
        echo "FAILED: $host, roll-out $ROLLOUT, profile $PROFILE: no certificate: $got; expected $want"
        failed=1
    fi
done
[ "$failed" = 0 ] || echo "Look for 'genesys_mtls' in the proxy's log, and at its configuration with 'genesys-mtls doctor'."
exit "$failed"
