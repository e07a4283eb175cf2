//! `peer_certificate`: where the peer's certificate is read.

use crate::{
    config::{checks::is_host, section::Section},
    policy::{HopEncoding, Peer, PeerSource, TrustedHop, TrustedPeer},
};

#[inline(never)] // V8 takes more than twice as long for twice the function
pub fn peer(root: &mut Section<'_>) -> Peer {
    let mut section = root.object("peer_certificate", "an object with `source`");
    let words = [
        ("auto", PeerSource::Auto),
        ("attribute", PeerSource::Attribute),
        ("filter_state", PeerSource::FilterState),
        ("xfcc", PeerSource::Xfcc),
    ];
    let source = section.word("source", &words).unwrap_or_default();
    let key = section.text("filter_state_key");
    let hop = section.optional_object("danger_trusted_hop", "an object with `header`, `encoding` and `peer`");
    let Some(hop) = hop else {
        let filter_state_key = key.unwrap_or_else(|| "genesys_mtls.peer_certificate".to_owned());
        return Peer::Connection { source, filter_state_key };
    };
    if source != PeerSource::Auto || key.is_some() {
        section.wrong(
            "danger_trusted_hop",
            "excludes `source` and `filter_state_key`, since the certificate is read from its header: remove them",
        );
    }
    Peer::Hop(trusted_hop(hop))
}

fn trusted_hop(mut section: Section<'_>) -> TrustedHop {
    section.require("header", "name the request header that carries the certificate");
    section.require(
        "encoding",
        "say how the proxy in front writes the certificate, such as `xfcc` for an Envoy",
    );
    section.require(
        "peer",
        "say how the proxy in front is recognised: by `sha256` or `dns_san` of its client certificate",
    );
    let header = section.header("header").unwrap_or_default();
    if header.ends_with("-chain") {
        section.wrong(
            "header",
            "holds the CAs that a client sent, which it chooses: name the header with its own certificate",
        );
    }
    let words = [
        ("xfcc", HopEncoding::Xfcc),
        ("url_pem", HopEncoding::UrlPem),
        ("form_pem", HopEncoding::FormPem),
        ("base64_der", HopEncoding::Base64Der),
        ("rfc9440", HopEncoding::Rfc9440),
    ];
    let encoding = section.word("encoding", &words).unwrap_or(HopEncoding::Xfcc);
    let mut peer = section.object("peer", "an object with `sha256` or `dns_san`");
    let fingerprints =
        peer.list("sha256", "text", |text| text.parse().map_err(|error| format!("`{text}`: {error}")));
    let peer = match peer.text("dns_san").map(|name| name.to_ascii_lowercase()) {
        Some(name) if fingerprints.is_empty() && is_host(&name) => TrustedPeer::DnsSan(name),
        None if !fingerprints.is_empty() => TrustedPeer::Sha256(fingerprints),
        _ => {
            let fix =
                "give either sha256 (a list) or dns_san (a host name) of the hop's certificate, not both";
            peer.wrong("", fix);
            TrustedPeer::Sha256(Vec::new())
        }
    };
    TrustedHop { header, encoding, peer }
}
