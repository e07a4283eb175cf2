//! TLS on the way in.

use super::{
    chains::Chain,
    dump::{Dump, has, text, truth, type_of},
    finding::Finding,
    plugin::Plugin,
    rules::Rule,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use genesys_mtls_filter::{
    policy::{Peer, TrustedPeer},
    x509::{name::DistinguishedName, pem},
};
use serde_json::Value;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, x509::X509Name};

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
    let Some(socket) = chain.transport_socket else {
        return vec![Finding::new(
            Rule::NoTls,
            &chain.path,
            "the chain does not end TLS, so there is never a client certificate: everything is refused",
            "end TLS here (DownstreamTlsContext); behind a proxy that ends it, mutual TLS from there and danger_trusted_hop",
        )];
    };
    let quic = socket.get("downstream_tls_context").filter(|_| type_of(socket) == "QuicDownstreamTransport");
    let context = quic.unwrap_or(socket);
    let validation = Validation::of(context, dump);
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
            "danger_trusted_hop.peer.dns_san is a name that strangers can write into a certificate, and TLS accepts \
             certificates by any CA here: a stranger can pose as the hop, and as Genesys Cloud",
            "remove trust_chain_verification: ACCEPT_UNTRUSTED, or recognise the hop by its sha256",
        ));
    }
    let resumes = !truth(context, "/disable_stateless_session_resumption")
        || !truth(context, "/disable_stateful_session_resumption");
    if !validation.accepts_untrusted() && resumes && quic.is_none() {
        findings.push(Finding::new(
            Rule::SessionResumption,
            &chain.path,
            "TLS verifies the chain, but a resumed session skips that: an expired or revoked certificate, or one of a CA \
             removed since, still connects (the filter checks again, TLS does not)",
            "set disable_stateless_session_resumption and disable_stateful_session_resumption",
        ));
    }
    findings.extend(missing_roots(chain, &validation));
    findings
}

/// Clients such as the JVM's send a certificate only if its root is in the list of the handshake, which comes from `trusted_ca`.
fn missing_roots(chain: &Chain, validation: &Validation) -> Vec<Finding> {
    let files = validation.parts.iter().filter_map(|part| part.get("trusted_ca"));
    let read: Option<Vec<Vec<u8>>> = files.map(data).collect();
    let Some(files) = read.filter(|files| !files.is_empty() && !validation.has_unknown) else {
        return Vec::new();
    };
    let listed: Vec<DistinguishedName> =
        names(&files.join(&b'\n')).into_iter().map(|(subject, _)| subject).collect();
    let from_clients =
        |plugin: &&Plugin| plugin.policy().is_some_and(|policy| !matches!(policy.peer, Peer::Hop(_)));
    let mut findings = Vec::new();
    for plugin in chain.plugins.iter().filter(from_clients) {
        let mut bundles = Vec::new();
        pem_texts(plugin.config, &mut bundles);
        let trusted = bundles.iter().flat_map(|bundle| names(bundle.as_bytes()));
        for (subject, _) in
            trusted.filter(|(subject, issuer)| !listed.contains(subject) && !listed.contains(issuer))
        {
            findings.push(Finding::new(
                Rule::ClientCaMissing,
                &plugin.path,
                format!(
                    "the policy trusts `{}`, and neither it nor what issued it is in trusted_ca, the CA list of the handshake: a \
                     client that chooses its certificate by that list (a JVM does) sends none",
                    printed(&subject)
                ),
                "add its root to trusted_ca",
            ));
        }
    }
    findings
}

/// The content of a `DataSource`, as far as it is here.
fn data(source: &Value) -> Option<Vec<u8>> {
    if let Some(text) = source.get("inline_string").and_then(Value::as_str) {
        return Some(text.as_bytes().to_vec());
    }
    if let Some(bytes) = source.get("inline_bytes").and_then(Value::as_str) {
        return BASE64_STANDARD.decode(bytes).ok();
    }
    let path = text(source, "/filename");
    // A dump of another machine may name anything.
    let is_small = std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() < 16 * 1024 * 1024);
    is_small.then(|| std::fs::read(path).ok()).flatten()
}

/// Texts with certificates, however deep: a policy may be JSON in a text.
fn pem_texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains("-----BEGIN CERTIFICATE-----") => {
            match serde_json::from_str::<Value>(text).ok().filter(Value::is_object) {
                Some(inner) => pem_texts(&inner, found),
                None => found.push(text.clone()),
            }
        }
        Value::Array(items) => items.iter().for_each(|item| pem_texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|value| pem_texts(value, found)),
        _ => {}
    }
}

/// Subject and issuer of each certificate.
fn names(text: &[u8]) -> Vec<(DistinguishedName, DistinguishedName)> {
    let certificates = pem::certificates(text).unwrap_or_default();
    let name = |der: &Vec<u8>| {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        Some((DistinguishedName::new(parsed.subject()), DistinguishedName::new(parsed.issuer())))
    };
    certificates.iter().filter_map(name).collect()
}

fn printed(name: &DistinguishedName) -> String {
    X509Name::from_der(&name.der).map_or_else(|_| "?".to_owned(), |(_, name)| name.to_string())
}

/// Whether a policy of this chain recognises a trusted hop by a name.
fn believes_a_name(chain: &Chain) -> bool {
    let policies = chain.plugins.iter().filter_map(|plugin| plugin.policy());
    policies
        .into_iter()
        .any(|policy| matches!(&policy.peer, Peer::Hop(hop) if matches!(hop.peer, TrustedPeer::DnsSan(_))))
}
