#!/usr/bin/env bash
# The linker of the module: WASM_LD, but for the callbacks that the filter has no use for. The SDK exports all there are,
# Envoy enters the VM for each that is exported, and rustc offers no way to leave one out.
set -euo pipefail

# proxy_on_delete has to stay: without it the SDK would never free the context of a request.
readonly UNUSED='^proxy_on_(done|log|queue_ready|new_connection|downstream_data|downstream_connection_close|upstream_data|upstream_connection_close|request_body|request_trailers|response_headers|response_body|response_trailers|grpc_[a-z_]+|foreign_function)$'

arguments=()
while [[ $# -gt 0 ]]; do
    if [[ $1 == --export && ${2:-} =~ $UNUSED ]]; then
        shift 2
    elif [[ $1 == --export=* && ${1#--export=} =~ $UNUSED ]]; then
        shift
    else
        arguments+=("$1")
        shift
    fi
done
exec "$WASM_LD" "${arguments[@]}"
