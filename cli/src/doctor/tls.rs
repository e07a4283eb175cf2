//! TLS on the way in.

use super::{
    chains::Chain,
    dump::{Dump, has, text, truth, type_of},
    finding::Finding,
    rules::Rule,
};
use genesys_mtls_filter::policy::{Peer, TrustedPeer};
use serde_json::Value;

/// How the other side of a TLS connection is verified, wherever that is said.
#[derive(Debug)]
pub struct Validation<'d> {
    pub parts: Vec<&'d Value>,
    /// A part comes by SDS and is not in the dump.
    pub has_unknown: bool,
}

impl<'d> Validation<'d> {
    pub fn of(context: &'d Value, dump: &'d Dump) -> Self {
        let at = |pointer: &str| context.pointer("/common_tls_context")?.pointer(pointer);
        let own = ["/validation_context", "/combined_validation_context/default_validation_context"].map(at);
        let discovered = [
            "/validation_context_sds_secret_config",
            "/combined_validation_context/validation_context_sds_secret_config",
        ]
        .map(at);
        let named = discovered.into_iter().flatten().map(|config| text(config, "/name"));
        let found: Vec<Option<&Value>> =
            named.map(|name| dump.secrets.get(name)?.get("validation_context")).collect();
        let has_unknown = found.iter().any(Option::is_none);
        Self { parts: own.into_iter().chain(found).flatten().collect(), has_unknown }
    }

    pub fn has(&self, field: &str) -> bool {
        self.parts.iter().any(|part| has(part, field))
    }

    pub fn accepts_untrusted(&self) -> bool {
        self.parts.iter().any(|part| text(part, "/trust_chain_verification") == "ACCEPT_UNTRUSTED")
    }

    /// Whether a CA is named, or may be.
    pub fn has_anchor(&self) -> bool {
        ["/trusted_ca", "/system_root_certs", "/ca_certificate_provider_instance"]
            .iter()
            .any(|field| self.has(field))
            || self.has_unknown
    }

    /// Whether Envoy asks a client for its certificate.
    fn asks(&self) -> bool {
        let others = ["/verify_certificate_hash", "/verify_certificate_spki", "/custom_validator_config"];
        self.has_anchor() || others.iter().any(|field| self.has(field))
    }
}

pub fn check(chain: &Chain, dump: &Dump) -> Vec<Finding> {
    let Some(socket) = &chain.transport_socket else {
        return vec![Finding::new(
            Rule::NoTls,
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
    let validation = Validation::of(&context, dump);
    if !validation.asks() {
        return vec![Finding::new(
            Rule::ClientCertificateNotAsked,
            &chain.path,
            "without a validation_context that names a CA Envoy does not ask for a client certificate, \
             require_client_certificate or not",
            "add a validation_context with trusted_ca (and trust_chain_verification: ACCEPT_UNTRUSTED to see strangers' \
             reasons)",
        )];
    }
    let mut findings = Vec::new();
    if validation.accepts_untrusted() && believes_a_name(chain) {
        findings.push(Finding::new(
            Rule::HopUnverified,
            &chain.path,
            "danger_trusted_hop.peer.dns_san is a name that anybody can write into a certificate, and TLS accepts \
             certificates by any CA here: whoever does so can pose as the hop, and as Genesys Cloud",
            "remove trust_chain_verification: ACCEPT_UNTRUSTED, or recognise the hop by its sha256",
        ));
    }
    let resumes = !truth(&context, "/disable_stateless_session_resumption")
        || !truth(&context, "/disable_stateful_session_resumption");
    if !validation.accepts_untrusted() && resumes {
        findings.push(Finding::new(
            Rule::SessionResumption,
            &chain.path,
            "TLS verifies the chain, but a resumed session skips that: an expired or revoked certificate, or one of a CA \
             removed since, still connects (the filter checks again, TLS does not)",
            "set disable_stateless_session_resumption and disable_stateful_session_resumption",
        ));
    }
    findings
}

/// Whether a policy of this chain recognises a trusted hop by a name.
fn believes_a_name(chain: &Chain) -> bool {
    let policies = chain.plugins.iter().filter_map(|plugin| plugin.policy.as_ref().ok());
    policies
        .into_iter()
        .any(|policy| matches!(&policy.peer, Peer::Hop(hop) if matches!(hop.peer, TrustedPeer::DnsSan(_))))
}
