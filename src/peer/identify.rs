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
        .ok_or((PeerError::NoClientCertificate, NO_CERTIFICATE))?;
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
    let der = header
        .and_then(|header| from_hop(&header, hop.encoding))
        .map_err(|error| (error, hop_advice(error)))?;
    let digest = Digest::of(Fingerprint::of(&der)).ok_or((PeerError::Unavailable, "no digest"))?;
    Ok(Identified { digest, certificate: Some(der) })
}

const NO_CERTIFICATE: &str = "the TLS connection has no client certificate. If the caller is Genesys Cloud, look at the list of CAs in the \
     listener's trusted_ca: a client may send none if the root of its certificate is missing there";

fn hop_advice(error: PeerError) -> &'static str {
    match error {
        PeerError::NoClientCertificate => {
            "the fronting proxy forwarded no client certificate: its caller sent none, the proxy does not write the header, or \
             this Envoy removed it (x-forwarded-client-cert takes forward_client_cert_details: FORWARD_ONLY here)"
        }
        PeerError::Mismatch => {
            "the fronting proxy's header holds more than one certificate, or a Hash that is not the SHA-256 of the one: the proxy \
             has to write the leaf alone, over what its caller sent, and this Envoy to add nothing \
             (forward_client_cert_details: FORWARD_ONLY, not APPEND_FORWARD)"
        }
        PeerError::Unavailable => {
            "the fronting proxy's header holds no certificate in the encoding that danger_trusted_hop declares: compare the two \
             (an Envoy takes set_current_client_cert_details: {cert: true} there, forward_client_cert_details: FORWARD_ONLY here)"
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
             see `peer_certificate` in the documentation"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{HopEncoding, TrustedHop},
        test_support::{cast, us_leaf},
    };
    use std::collections::BTreeMap;
    use testbed_pki::Leaf;

    /// What Envoy shows of a request: attributes, and headers by their name.
    #[derive(Clone, Default)]
    struct Shows(BTreeMap<String, Vec<u8>>);

    impl Shows {
        fn with(mut self, path: &str, value: impl AsRef<[u8]>) -> Self {
            self.0.insert(path.to_owned(), value.as_ref().to_vec());
            self
        }
    }

    impl Request for Shows {
        fn property(&self, path: &str) -> Option<Vec<u8>> {
            self.0.get(path).cloned()
        }

        fn header(&self, name: &str) -> Option<Vec<u8>> {
            self.property(&format!("request\0headers\0{name}"))
        }
    }

    const DIGEST: &str = "connection\0sha256_peer_certificate_digest";
    const SAN: &str = "connection\0dns_san_peer_certificate";
    const ATTRIBUTE: &str = "connection\0peer_certificate";
    const FILTER_STATE: &str = "filter_state\0the.key";
    const XFCC: &str = "request\0headers\0x-forwarded-client-cert";

    fn connected(leaf: &Leaf) -> Shows {
        Shows::default().with(DIGEST, Fingerprint::of(&leaf.der).to_string())
    }

    /// `leaf` in an XFCC header.
    fn xfcc(leaf: &Leaf) -> String {
        let pem = percent_encoding::utf8_percent_encode(&leaf.cert_pem, percent_encoding::NON_ALPHANUMERIC);
        format!("Cert=\"{pem}\"")
    }

    #[test]
    fn client_of_this_proxy_is_identified_by_its_digest() {
        let policy = Peer::Connection { source: PeerSource::Auto, filter_state_key: "the.key".to_owned() };
        let leaf = us_leaf(&cast().digicert_ca);
        let identified = identify(&policy, &connected(&leaf)).unwrap();
        assert_eq!(identified.digest.fingerprint(), Some(Fingerprint::of(&leaf.der)));
        assert_eq!(identified.certificate, None);
        for (what, request) in
            [("no TLS", Shows::default()), ("cut off", Shows::default().with(DIGEST, "ab"))]
        {
            assert_eq!(identify(&policy, &request).unwrap_err().0, PeerError::NoClientCertificate, "{what}");
        }
    }

    #[test]
    fn hop_must_be_the_one_configured_and_forward_one_certificate() {
        let (hop, client) = (us_leaf(&cast().stranger_ca), us_leaf(&cast().digicert_ca));
        let header = "x-forwarded-client-cert".to_owned();
        let by_hash = TrustedPeer::Sha256(vec![Fingerprint::of(&hop.der)]);
        let by_name = TrustedPeer::DnsSan("edge.example".to_owned());
        let forwarding = |shows: Shows| shows.with(XFCC, xfcc(&client));
        let no_hop = (PeerError::Unavailable, "danger_trusted_hop");
        let cases = [
            ("the hop", &by_hash, forwarding(connected(&hop)), Ok(())),
            ("another certificate", &by_hash, forwarding(connected(&client)), Err(no_hop)),
            (
                "a digest without digits",
                &by_hash,
                forwarding(Shows::default().with(DIGEST, [b'x'; 64])),
                Err(no_hop),
            ),
            ("the name", &by_name, forwarding(connected(&hop).with(SAN, "Edge.Example")), Ok(())),
            ("another name", &by_name, forwarding(connected(&hop).with(SAN, "x.edge.example")), Err(no_hop)),
            ("no name", &by_name, forwarding(connected(&hop)), Err(no_hop)),
            ("no header", &by_hash, connected(&hop), Err((PeerError::NoClientCertificate, "FORWARD_ONLY"))),
            (
                "two certificates",
                &by_hash,
                connected(&hop).with(XFCC, format!("{0},{0}", xfcc(&client))),
                Err((PeerError::Mismatch, "APPEND_FORWARD")),
            ),
            (
                "no PEM",
                &by_hash,
                connected(&hop).with(XFCC, "Cert=x"),
                Err((PeerError::Unavailable, "cert: true")),
            ),
        ];
        for (what, peer, request, expected) in cases {
            let policy = Peer::Hop(TrustedHop {
                header: header.clone(),
                encoding: HopEncoding::Xfcc,
                peer: peer.clone(),
            });
            match (identify(&policy, &request), expected) {
                (Ok(identified), Ok(())) => {
                    assert_eq!(identified.certificate.as_deref(), Some(&client.der[..]), "{what}");
                    let digest = identified.digest.fingerprint();
                    assert_eq!(digest, Some(Fingerprint::of(&client.der)), "{what}");
                    // Only the hop can show the certificate: this proxy's own sources are of another connection.
                    let elsewhere = certificate(&policy, &identified.digest, &request).unwrap_err();
                    assert_eq!(elsewhere.0, PeerError::Unavailable, "{what}");
                }
                (Err((error, advice)), Err((expected, part))) => {
                    assert_eq!(error, expected, "{what}");
                    assert!(advice.contains(part), "{what}: {advice}");
                }
                (found, _) => panic!("{what}: {found:?}"),
            }
        }
    }

    #[test]
    fn certificate_is_looked_for_only_where_the_policy_says() {
        use PeerSource::{Attribute, Auto, FilterState, Xfcc};
        let (leaf, other) = (us_leaf(&cast().digicert_ca), us_leaf(&cast().digicert_ca));
        let digest = Digest::of(Fingerprint::of(&leaf.der)).unwrap();
        let pem = Shows::default().with(ATTRIBUTE, &leaf.cert_pem);
        let state = Shows::default().with(FILTER_STATE, &leaf.cert_pem);
        let header = Shows::default().with(XFCC, xfcc(&leaf));
        let wrong = Shows::default().with(ATTRIBUTE, &other.cert_pem);
        for (source, request, missing) in [
            (Auto, &pem, None),
            (Auto, &state, None),
            (Auto, &header, None),
            (Auto, &Shows::default(), Some("needs 1.39")),
            (Attribute, &pem, None),
            (Attribute, &state, Some("needs 1.39")),
            (FilterState, &state, None),
            (FilterState, &pem, Some("set_filter_state")),
            (Xfcc, &header, None),
            (Xfcc, &pem, Some("SANITIZE_SET")),
            (Attribute, &wrong, Some("not the one of this TLS connection")),
        ] {
            let policy = Peer::Connection { source, filter_state_key: "the.key".to_owned() };
            match (certificate(&policy, &digest, request), missing) {
                (Ok(der), None) => assert_eq!(der, leaf.der, "{source:?}"),
                (Err((_, advice)), Some(part)) => assert!(advice.contains(part), "{source:?}: {advice}"),
                (found, _) => panic!("{source:?}: {found:?}"),
            }
        }
        let policy = Peer::Connection { source: Auto, filter_state_key: "the.key".to_owned() };
        let no_digest = Digest::new(&[b'x'; 64]).unwrap();
        assert_eq!(certificate(&policy, &no_digest, &pem).unwrap_err().0, PeerError::Unavailable);
        assert_eq!(no_digest.to_string(), "x".repeat(64));
    }
}
