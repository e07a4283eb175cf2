//! Who is at the door: the digest of the caller's certificate, and the certificate itself, from wherever the policy says to
//! look.

use crate::filter::digest::Digest;
use crate::{
    decision::Reason,
    host,
    peer::{self, Shown},
    policy::{Peer, PeerSource, TrustedHop, TrustedPeer},
    x509::fingerprint::Fingerprint,
};

/// The digest, and the certificate where a trusted hop showed it.
type Identified = (Digest, Option<Vec<u8>>);

/// A reason, and what the operator can do about it.
type Refused = (Reason, &'static str);

/// The digest of the caller's certificate: the peer's, or what a trusted hop says.
pub fn identify(policy: &Peer) -> Result<Identified, Refused> {
    let digest = host::property("connection\0sha256_peer_certificate_digest")
        .and_then(|digits| Digest::new(&digits))
        .ok_or((Reason::NoClientCertificate, "the TLS connection has no client certificate"))?;
    match policy {
        Peer::Connection { .. } => Ok((digest, None)),
        Peer::Hop(hop) => behind(hop, &digest),
    }
}

/// The caller that a trusted hop forwards, if the peer is that hop.
fn behind(hop: &TrustedHop, peer: &Digest) -> Result<Identified, Refused> {
    let is_hop = match &hop.peer {
        TrustedPeer::Sha256(fingerprints) => {
            peer.fingerprint().is_some_and(|peer| fingerprints.contains(&peer))
        }
        TrustedPeer::DnsSan(name) => host::property("connection\0dns_san_peer_certificate")
            .is_some_and(|san| san.eq_ignore_ascii_case(name.as_bytes())),
    };
    if !is_hop {
        return Err((Reason::CertificateUnavailable, "the peer is not the proxy of danger_trusted_hop"));
    }
    let header = host::request_header_lines(&hop.header)
        .ok_or((Reason::NoClientCertificate, hop_hint(Reason::NoClientCertificate)))?;
    let der = peer::from_hop(&header).map_err(|reason| (reason, hop_hint(reason)))?;
    let digest = Digest::of(Fingerprint::of(&der)).ok_or((Reason::CertificateUnavailable, "no digest"))?;
    Ok((digest, Some(der)))
}

/// What is wrong with a trusted hop's header. This Envoy may have removed it, or added to it what it knows of the hop.
fn hop_hint(reason: Reason) -> &'static str {
    match reason {
        Reason::NoClientCertificate => {
            "the fronting proxy forwarded no client certificate, or this Envoy removed its x-forwarded-client-cert: the \
             listener needs forward_client_cert_details: FORWARD_ONLY"
        }
        Reason::CertificateMismatch => {
            "the fronting proxy's header shows several certificates, or a Hash that is not the SHA-256 of the one, as with \
             forward_client_cert_details: APPEND_FORWARD: the listener needs FORWARD_ONLY"
        }
        _ => {
            "the fronting proxy's header holds no certificate that can be read: there it takes \
             set_current_client_cert_details: {cert: true}, here forward_client_cert_details: FORWARD_ONLY"
        }
    }
}

/// The certificate with this digest, from this proxy's own connection.
pub fn certificate(policy: &Peer, digest: &Digest) -> Result<Vec<u8>, Refused> {
    let Peer::Connection { source, filter_state_key } = policy else {
        return Err((Reason::CertificateUnavailable, hint(PeerSource::Auto)));
    };
    let wanted = |kind| *source == PeerSource::Auto || *source == kind;
    let sources = [PeerSource::Attribute, PeerSource::FilterState, PeerSource::Xfcc];
    let shown = sources.into_iter().filter(|kind| wanted(*kind)).filter_map(|kind| match kind {
        PeerSource::Attribute => host::property("connection\0peer_certificate").map(Shown::Pem),
        PeerSource::FilterState => {
            host::property(&format!("filter_state\0{filter_state_key}")).map(Shown::Pem)
        }
        PeerSource::Xfcc | PeerSource::Auto => {
            host::request_header("x-forwarded-client-cert").map(Shown::Xfcc)
        }
    });
    let digest = digest.fingerprint().ok_or((Reason::CertificateUnavailable, hint(*source)))?;
    peer::bind(&digest, shown).map_err(|reason| match reason {
        Reason::CertificateMismatch => {
            (reason, "a certificate was shown, but not the one of this TLS connection")
        }
        _ => (reason, hint(*source)),
    })
}

/// What has to be done for Envoy to show the certificate there.
fn hint(source: PeerSource) -> &'static str {
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
