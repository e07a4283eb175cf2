//! TLS on the way in.

use super::{
    chains::Chain,
    dump::{has, text, truth, type_of},
    finding::Finding,
};
use serde_json::Value;

/// The parts of a `CommonTlsContext` that say how the other side is verified.
pub fn validation(context: &Value) -> Vec<&Value> {
    let places = ["/validation_context", "/combined_validation_context/default_validation_context"];
    places
        .iter()
        .filter_map(|place| context.pointer("/common_tls_context").and_then(|common| common.pointer(place)))
        .collect()
}

/// Whether the validation context comes, or may come, by SDS.
pub fn by_discovery(context: &Value) -> bool {
    let places = [
        "/common_tls_context/validation_context_sds_secret_config",
        "/common_tls_context/combined_validation_context/validation_context_sds_secret_config",
    ];
    places.iter().any(|place| has(context, place))
}

pub fn check(chain: &Chain) -> Vec<Finding> {
    let Some(socket) = &chain.transport_socket else {
        return vec![Finding::error(
            "no_tls",
            &chain.path,
            "the chain does not end TLS, so there is never a client certificate: everything is refused",
            "end TLS here (DownstreamTlsContext); behind a proxy that ends it, mutual TLS from there and danger_trusted_hop",
        )];
    };
    let context = if type_of(socket) == "QuicDownstreamTransport" {
        socket.get("downstream_tls_context").cloned().unwrap_or_default()
    } else {
        socket.clone()
    };
    let contexts = validation(&context);
    if contexts.is_empty() && !by_discovery(&context) {
        return vec![Finding::error(
            "client_certificate_not_asked",
            &chain.path,
            "without a validation_context Envoy does not ask for a client certificate, require_client_certificate or not",
            "add a validation_context with trusted_ca (and trust_chain_verification: ACCEPT_UNTRUSTED to see strangers' \
             reasons)",
        )];
    }
    let untrusted =
        contexts.iter().any(|context| text(context, "/trust_chain_verification") == "ACCEPT_UNTRUSTED");
    let resumes = !truth(&context, "/disable_stateless_session_resumption")
        || !truth(&context, "/disable_stateful_session_resumption");
    if !untrusted && resumes {
        return vec![Finding::warning(
            "session_resumption",
            &chain.path,
            "TLS verifies the chain, but a resumed session skips that: an expired or revoked certificate, or one of a CA \
             removed since, still connects (the filter checks again, TLS does not)",
            "set disable_stateless_session_resumption and disable_stateful_session_resumption",
        )];
    }
    Vec::new()
}
