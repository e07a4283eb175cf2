//! The peer's certificate, bound to the TLS connection: it counts only if the SHA-256 of its DER is the connection's digest
//! attribute, which cannot be forged. So even a header that clients can write is a safe source.

use crate::{
    peer::xfcc,
    x509::{fingerprint::Fingerprint, pem},
};
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// Why the client's certificate is not there to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerError {
    /// The TLS connection came without a client certificate.
    NoClientCertificate,
    /// There is a certificate, but Envoy showed its bytes nowhere the policy says to look.
    Unavailable,
    /// The bytes shown are not those of the TLS connection's certificate.
    Mismatch,
}

/// Certificates looked at per source: headers may hold many, and each costs a hash.
const MAX_CANDIDATES: usize = 16;

/// What one source showed.
#[derive(Clone, Debug)]
pub enum Shown {
    /// PEM text, raw or percent-encoded; Envoy writes `-` where it has none.
    Pem(Vec<u8>),
    /// The value of an `x-forwarded-client-cert` header.
    Xfcc(Vec<u8>),
}

/// The certificate with this digest among all that the sources show, tried in their order.
pub fn bind(digest: &Fingerprint, sources: impl IntoIterator<Item = Shown>) -> Result<Vec<u8>, PeerError> {
    let mut error = PeerError::Unavailable;
    for shown in sources {
        let texts = match &shown {
            Shown::Pem(text) if text.len() > xfcc::MAX_HEADER => Vec::new(),
            Shown::Pem(text) => vec![Cow::from(percent_decode(text))],
            Shown::Xfcc(header) => xfcc::certificates(header).into_iter().map(Cow::from).collect(),
        };
        let certificates = texts.iter().filter_map(|text| pem::certificates(text).ok()).flatten();
        for der in certificates.take(MAX_CANDIDATES) {
            if Fingerprint::of(&der) == *digest {
                return Ok(der);
            }
            error = PeerError::Mismatch;
        }
    }
    Err(error)
}

/// The one certificate in the header of a trusted hop: XFCC, or percent-encoded PEM.
///
/// Nothing binds it to the client, so there must be no doubt which one the hop means. Every value that could be a `Cert`
/// counts, readable or not, since the client chooses its SAN, which the hop's XFCC repeats without quotes.
pub fn from_hop(header: &[u8]) -> Result<Vec<u8>, PeerError> {
    if header.len() > xfcc::MAX_HEADER {
        return Err(PeerError::Unavailable);
    }
    let texts = match xfcc::certificates(header) {
        // Proxies join repeated headers by commas, which percent-encoded PEM has none of.
        none if none.is_empty() => {
            header.split(|&byte| byte == b',').map(|line| percent_decode(line).collect()).collect()
        }
        texts => texts,
    };
    let [text] = texts.as_slice() else { return Err(PeerError::Mismatch) };
    if pem::blocks(text) > 1 {
        return Err(PeerError::Mismatch);
    }
    let certificate =
        pem::certificates(text).ok().and_then(|mut all| all.pop()).ok_or(PeerError::Unavailable)?;
    // If the hop forwards no `Cert`, one in the SAN would be the only one: `Hash`, in Envoy a SHA-256, gives that away.
    let own = Some(Fingerprint::of(&certificate));
    if xfcc::hashes(header).all(|hash| hash == own) { Ok(certificate) } else { Err(PeerError::Mismatch) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decision::{Outcome, decide, trust::Trust},
        test_support::{EU, NOW, VERIFIER, cast, leaf, policy, us_leaf, us_only},
        time::Monotonic,
        x509::certificate::{ClientCertificate, MAX_DER},
    };
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::{collection, prelude::*, sample};
    use serde_json::json;
    use std::sync::OnceLock;

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
    }

    fn encoded(der: &[u8]) -> String {
        utf8_percent_encode(&pem(der), NON_ALPHANUMERIC).to_string()
    }

    fn xfcc(text: impl Into<String>) -> Shown {
        Shown::Xfcc(text.into().into_bytes())
    }

    fn text(text: impl Into<String>) -> Shown {
        Shown::Pem(text.into().into_bytes())
    }

    /// What it is, what is shown, and what comes of it.
    type Case = (&'static str, Vec<Shown>, Result<Vec<u8>, PeerError>);

    #[test]
    fn only_the_certificate_with_the_connections_digest_is_taken() {
        let (ours, other) = (b"ours".as_slice(), b"other".as_slice());
        let digest = Fingerprint::of(ours);
        let found = Ok(ours.to_vec());
        let mismatch = Err(PeerError::Mismatch);
        let unavailable = Err(PeerError::Unavailable);
        let cases: Vec<Case> = vec![
            ("raw PEM", vec![text(pem(ours))], found.clone()),
            ("encoded PEM", vec![text(encoded(ours))], found.clone()),
            ("XFCC", vec![xfcc(format!("Hash=1;Cert=\"{}\"", encoded(ours)))], found.clone()),
            ("XFCC as JSON", vec![xfcc(format!("[{{\"Cert\":\"{}\"}}]", encoded(ours)))], found.clone()),
            (
                "forged elements around the real one",
                vec![xfcc(format!("Cert=\"{0}\",Cert=\"{1}\",Cert=\"{0}\"", encoded(other), encoded(ours)))],
                found.clone(),
            ),
            (
                "a later source",
                vec![text("-"), text(pem(other)), xfcc(format!("Cert={}", encoded(ours)))],
                found,
            ),
            ("somebody else's", vec![text(pem(other))], mismatch.clone()),
            (
                "somebody else's, forged",
                vec![text("-"), xfcc(format!("Cert=\"{}\"", encoded(other)))],
                mismatch,
            ),
            ("a dash", vec![text("-")], unavailable.clone()),
            ("an empty value", vec![text(""), xfcc("")], unavailable.clone()),
            ("garbage", vec![text("%00%ff"), xfcc("Cert=\"%zz\"")], unavailable.clone()),
            ("no source at all", vec![], unavailable),
        ];
        for (what, sources, expected) in cases {
            assert_eq!(bind(&digest, sources), expected, "{what}");
        }
    }

    fn with_colons(fingerprint: Fingerprint) -> String {
        let pairs = fingerprint.as_bytes().map(|byte| format!("{byte:02X}"));
        pairs.join(":")
    }

    /// Envoy writes the caller's `Hash` always, its `Cert` only if it is told to.
    #[test]
    fn hop_whose_hash_is_not_its_certificates_sha256_is_denied() {
        let (one, own) = (encoded(b"one"), Fingerprint::of(b"one"));
        let other = Fingerprint::of(b"other");
        let (fine, doubt) = (Ok(b"one".to_vec()), Err(PeerError::Mismatch));
        let cases = [
            (format!("Hash={own};Cert=\"{one}\""), fine.clone()),
            (format!("hash=\"{own}\";Cert=\"{one}\""), fine.clone()),
            (format!("[{{\"Hash\": \"{own}\",\"Cert\":\"{one}\"}}]"), fine.clone()),
            // As openssl and other proxies print it.
            (format!("Hash={};Cert=\"{one}\"", with_colons(own)), fine.clone()),
            // A hop that writes none.
            (format!("Subject=\"CN=x\";Cert=\"{one}\""), fine),
            // Of another digest algorithm, or none at all: nothing to compare with.
            (format!("Hash={};Cert=\"{one}\"", "a9".repeat(20)), doubt.clone()),
            (format!("Hash={own}{own};Cert=\"{one}\""), doubt.clone()),
            (format!("Hash=;Cert=\"{one}\""), doubt.clone()),
            (format!("[{{\"Hash\":\"{own}{own}\",\"Cert\":\"{one}\"}}]"), doubt.clone()),
            (format!("Hash={};URI=x,Hash={own};Cert=\"{one}\"", with_colons(other)), doubt.clone()),
            (format!("Hash={other};Cert=\"{one}\""), doubt.clone()),
            // A hop that forwards no certificate, and a SAN that brings one along.
            (format!("Hash={other};URI=x,Hash={own};Cert=\"{one}\""), doubt.clone()),
            (format!("HASH={other};URI=x;Cert=\"{one}\";Hash={own}"), doubt.clone()),
            (format!("[{{\"hash\" : \"{other}\",\"uri\":[\"x\",\"cert\":\"{one}\"]}}]"), doubt),
        ];
        for (header, expected) in cases {
            assert_eq!(from_hop(header.as_bytes()), expected, "{header}");
        }
    }

    #[test]
    fn a_trusted_hop_must_show_exactly_one_certificate() {
        let (one, two) = (encoded(b"one"), encoded(b"two"));
        let large = vec![7; MAX_DER + 1];
        let cases = [
            (one.clone(), Ok(b"one".to_vec())),
            (format!("Cert=\"{one}\""), Ok(b"one".to_vec())),
            (format!("[{{\"Cert\":\"{one}\"}}]"), Ok(b"one".to_vec())),
            (format!("Cert=\"{one}\",Cert=\"{two}\""), Err(PeerError::Mismatch)),
            (format!("{one},{two}"), Err(PeerError::Mismatch)),
            (format!("{one},-"), Err(PeerError::Mismatch)),
            (String::new(), Err(PeerError::Unavailable)),
            ("Hash=1".to_owned(), Err(PeerError::Unavailable)),
            // A SAN that brings a certificate along, beside one that nobody can read or that is too large.
            (format!("Cert=\"\";URI=x;Cert=\"{two}\""), Err(PeerError::Mismatch)),
            (format!("Cert=\"{}\";URI=x;Cert=\"{two}\"", encoded(&large)), Err(PeerError::Mismatch)),
            (format!("Cert=\"{}\"", encoded(&large)), Ok(large.clone())),
            (format!("Cert=\"{one}\"{}", ";cert=".repeat(99)), Err(PeerError::Mismatch)),
            (format!("{one}{}", "%0A".repeat(xfcc::MAX_HEADER)), Err(PeerError::Unavailable)),
        ];
        for (header, expected) in cases {
            assert_eq!(from_hop(header.as_bytes()), expected, "{}", &header[..header.len().min(200)]);
        }
    }

    /// One client that belongs in, and others who do not.
    fn certificates() -> &'static [Vec<u8>] {
        static CERTIFICATES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
        CERTIFICATES.get_or_init(|| {
            let cast = cast();
            let others = [
                us_leaf(&cast.impostor),
                leaf(&cast.us_ca).name(EU).issue(),
                leaf(&cast.digicert_ca).name("mail.example").issue(),
            ];
            [us_leaf(&cast.us_ca)].into_iter().chain(others).map(|leaf| leaf.der).collect()
        })
    }

    /// A header of certificates, pieces of structure and noise.
    fn any_header() -> impl Strategy<Value = Vec<u8>> {
        const STRUCTURE: [&str; 12] = [
            "Cert=\"",
            "cert=",
            "\"",
            "\";",
            ";",
            ",",
            "[{\"Cert\":\"",
            "\"}]",
            "Subject=\"\\\"",
            "URI=x;",
            "Cert",
            "%",
        ];
        let certificate = (sample::select(certificates()), any::<bool>());
        let piece = prop_oneof![
            sample::select(&STRUCTURE[..]).prop_map(|text| text.as_bytes().to_vec()),
            certificate.prop_map(|(der, raw)| if raw { pem(&der) } else { encoded(&der) }.into_bytes()),
            collection::vec(any::<u8>(), 0..6),
        ];
        collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_header_turns_a_deny_into_an_allow(header in any_header(), before in any::<bool>()) {
            let policy = policy(&us_only(&json!({"genesys": {"ca_certificates": cast().us_ca.pem}})));
            for (number, own) in certificates().iter().enumerate() {
                let mut sources = vec![Shown::Xfcc(header.clone())];
                if before {
                    sources.insert(0, text("-"));
                }
                let Ok(bound) = bind(&Fingerprint::of(own), sources) else { continue };
                prop_assert_eq!(&bound, own, "passed off as another");
                let certificate = ClientCertificate::parse(&bound).unwrap();
                let outcome = decide(&certificate, &policy, &Trust::default(), &(), VERIFIER, NOW, Monotonic::ZERO).outcome;
                prop_assert_eq!(matches!(outcome, Outcome::Allow { .. }), number == 0);
            }
            // Shown by Envoy itself, a certificate is found whatever the header says.
            let own = &certificates()[0];
            let shown = [text(pem(own)), Shown::Xfcc(header)];
            prop_assert_eq!(bind(&Fingerprint::of(own), shown), Ok(own.clone()));
        }

        #[test]
        fn caller_cannot_add_a_certificate_to_the_hops_header(
            before in any_header(), after in any_header(), own in sample::select(certificates()), json in any::<bool>(),
        ) {
            let element = if json {
                format!("{{\"Cert\":\"{}\"}}", pem(&own).replace('\n', "\\n"))
            } else {
                format!("Hash={};Cert=\"{}\"", Fingerprint::of(&own), encoded(&own))
            };
            if let Ok(shown) = from_hop(&[&before, element.as_bytes(), &after].concat()) {
                prop_assert_eq!(shown, own);
            }
        }
    }

    #[test]
    fn a_text_counts_up_to_the_largest_size_and_not_beyond() {
        let der = &us_leaf(&cast().us_ca).der;
        let padded = |text: String, size: usize| text.clone() + &" ".repeat(size - text.len());
        for (size, expected) in
            [(xfcc::MAX_HEADER, Ok(der.clone())), (xfcc::MAX_HEADER + 1, Err(PeerError::Unavailable))]
        {
            let shown = text(padded(pem(der), size));
            assert_eq!(bind(&Fingerprint::of(der), [shown]), expected, "{size}");
            assert_eq!(from_hop(padded(encoded(der), size).as_bytes()), expected, "{size}, of a hop");
        }
    }

    #[test]
    fn a_hop_that_shows_two_certificates_in_one_text_shows_none() {
        let der = &us_leaf(&cast().us_ca).der;
        let two = utf8_percent_encode(&(pem(der) + &pem(der)), NON_ALPHANUMERIC).to_string();
        assert_eq!(from_hop(two.as_bytes()), Err(PeerError::Mismatch));
        assert_eq!(from_hop(format!("Cert=\"{two}\"").as_bytes()), Err(PeerError::Mismatch));
    }
}
