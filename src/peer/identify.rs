//! Who is connected: the digest of the peer's certificate, and the certificate from where the policy says to look.

use crate::{
    peer::{
        bind::{PeerError, Shown, bind, from_hop},
        digest::Digest,
        request::Request,
    },
    policy::{Peer, PeerSource, TrustedPeer},
    x509::fingerprint::Fingerprint,
};

/// The connected client.
#[derive(Debug)]
pub struct Identified {
    pub digest: Digest,
    /// The certificate in DER, where a trusted hop showed it.
    pub certificate: Option<Vec<u8>>,
}

/// An error, and what the operator can do about it.
pub type PeerFailure = (PeerError, &'static str);

/// The digest of the client's certificate: the TLS peer's, or that of the one that a trusted hop forwards.
pub fn identify(policy: &Peer, request: &impl Request) -> Result<Identified, PeerFailure> {
    let digest = request
        .property("connection\0sha256_peer_certificate_digest")
        .and_then(|digits| Digest::new(&digits))
        .ok_or((PeerError::NoClientCertificate, "the TLS connection has no client certificate"))?;
    let Peer::Hop(hop) = policy else { return Ok(Identified { digest, certificate: None }) };
    let is_hop = match &hop.peer {
        TrustedPeer::Sha256(hops) => digest.fingerprint().is_some_and(|peer| hops.contains(&peer)),
        TrustedPeer::DnsSan(name) => request
            .property("connection\0dns_san_peer_certificate")
            .is_some_and(|san| san.eq_ignore_ascii_case(name.as_bytes())),
    };
    if !is_hop {
        return Err((PeerError::Unavailable, "the peer is not the proxy of danger_trusted_hop"));
    }
    let header = request.header_lines(&hop.header).ok_or(PeerError::NoClientCertificate);
    let der = header.and_then(|header| from_hop(&header)).map_err(|error| (error, hop_advice(error)))?;
    let digest = Digest::of(Fingerprint::of(&der)).ok_or((PeerError::Unavailable, "no digest"))?;
    Ok(Identified { digest, certificate: Some(der) })
}

fn hop_advice(error: PeerError) -> &'static str {
    match error {
        PeerError::NoClientCertificate => {
            "the fronting proxy forwarded no client certificate, or this Envoy removed its x-forwarded-client-cert: the \
             listener needs forward_client_cert_details: FORWARD_ONLY"
        }
        PeerError::Mismatch => {
            "the fronting proxy's header shows several certificates, or a Hash that is not the SHA-256 of the one, as with \
             forward_client_cert_details: APPEND_FORWARD: the listener needs FORWARD_ONLY"
        }
        PeerError::Unavailable => {
            "the fronting proxy's header holds no certificate that can be read: there it takes \
             set_current_client_cert_details: {cert: true}, here forward_client_cert_details: FORWARD_ONLY"
        }
    }
}

/// The certificate with this digest, from this proxy's own TLS connection.
pub fn certificate(policy: &Peer, digest: &Digest, request: &impl Request) -> Result<Vec<u8>, PeerFailure> {
    let Peer::Connection { source, filter_state_key } = policy else {
        return Err((PeerError::Unavailable, advice(PeerSource::Auto)));
    };
    let all = [PeerSource::Attribute, PeerSource::FilterState, PeerSource::Xfcc];
    let sources = if *source == PeerSource::Auto { &all[..] } else { std::slice::from_ref(source) };
    let shown = sources.iter().filter_map(|source| match source {
        PeerSource::Attribute => request.property("connection\0peer_certificate").map(Shown::Pem),
        PeerSource::FilterState => {
            request.property(&format!("filter_state\0{filter_state_key}")).map(Shown::Pem)
        }
        PeerSource::Xfcc | PeerSource::Auto => request.header("x-forwarded-client-cert").map(Shown::Xfcc),
    });
    let digest = digest.fingerprint().ok_or((PeerError::Unavailable, advice(*source)))?;
    bind(&digest, shown).map_err(|error| match error {
        PeerError::Mismatch => (error, "a certificate was shown, but not the one of this TLS connection"),
        _ => (error, advice(*source)),
    })
}

/// What makes Envoy show the certificate there.
fn advice(source: PeerSource) -> &'static str {
    match source {
        PeerSource::Xfcc => {
            "no Cert in x-forwarded-client-cert: set forward_client_cert_details: SANITIZE_SET and \
             set_current_client_cert_details: {cert: true}"
        }
        PeerSource::FilterState => {
            "no certificate in filter state: put a set_filter_state filter with %DOWNSTREAM_PEER_CERT% before this one"
        }
        PeerSource::Attribute | PeerSource::Auto => {
            "Envoy shows the certificate in no attribute (needs 1.39), filter state or x-forwarded-client-cert: \
             see `peer_certificate` in the README"
        }
    }
}
