//! The peer's certificate, bound to the TLS connection: it counts only if the SHA-256 of its DER is the connection's digest
//! attribute, which cannot be forged. So even a header that clients can write is a safe source.

use crate::{
    peer::xfcc,
    policy::HopEncoding,
    x509::{fingerprint::Fingerprint, pem},
};
use percent_encoding::percent_decode;
use std::borrow::Cow;
use x509_parser::asn1_rs::{Any, FromDer as _};

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

/// The one certificate in the header of a trusted hop.
///
/// Nothing binds it to the client, so there must be no doubt which one the hop means: the header's lines, joined by commas, hold
/// one value in the declared encoding, and that holds one certificate.
pub fn from_hop(header: &[u8], encoding: HopEncoding) -> Result<Vec<u8>, PeerError> {
    let value = header.trim_ascii();
    if value.is_empty() {
        return Err(PeerError::NoClientCertificate);
    }
    if header.len() > xfcc::MAX_HEADER {
        return Err(PeerError::Unavailable);
    }
    if encoding != HopEncoding::Xfcc && value.contains(&b',') {
        return Err(PeerError::Mismatch);
    }
    let certificate = match encoding {
        HopEncoding::Xfcc => of_xfcc(value)?,
        HopEncoding::UrlPem => of_pem(&Cow::from(percent_decode(value)))?,
        HopEncoding::FormPem => {
            let spaced: Vec<u8> = value.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
            let text = Cow::from(percent_decode(&spaced));
            let certificate = of_pem(&text)?;
            // One in BEGIN and one in END: more were pluses of another encoding.
            if text.split(|byte| *byte == b' ').nth(3).is_some() {
                return Err(PeerError::Unavailable);
            }
            certificate
        }
        HopEncoding::Base64Der => of_base64(value)?,
        HopEncoding::Rfc9440 => {
            let base64 = value.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b":"));
            of_base64(base64.ok_or(PeerError::Unavailable)?)?
        }
    };
    let is_several = Any::from_der(&certificate).is_ok_and(|(rest, _)| !rest.is_empty());
    if is_several { Err(PeerError::Mismatch) } else { Ok(certificate) }
}

/// Every value that could be a `Cert` counts, readable or not, since the client chooses its SAN, which XFCC repeats without
/// quotes. If the hop forwards no `Cert`, one in the SAN would be the only one: `Hash`, in Envoy a SHA-256, gives that away.
fn of_xfcc(header: &[u8]) -> Result<Vec<u8>, PeerError> {
    let certificate = match xfcc::certificates(header).as_slice() {
        [] => return Err(PeerError::Unavailable),
        [text] => of_pem(text)?,
        _ => return Err(PeerError::Mismatch),
    };
    let own = Some(Fingerprint::of(&certificate));
    if xfcc::hashes(header).all(|hash| hash == own) { Ok(certificate) } else { Err(PeerError::Mismatch) }
}

/// By way of PEM, whose reader is in the module anyway.
fn of_base64(text: &[u8]) -> Result<Vec<u8>, PeerError> {
    if !text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)) {
        return Err(PeerError::Unavailable);
    }
    of_pem(&[b"-----BEGIN CERTIFICATE-----\n", text, b"\n-----END CERTIFICATE-----\n"].concat())
}

fn of_pem(text: &[u8]) -> Result<Vec<u8>, PeerError> {
    if pem::blocks(text) > 1 {
        return Err(PeerError::Mismatch);
    }
    pem::certificates(text).ok().and_then(|mut all| all.pop()).ok_or(PeerError::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decision::{Outcome, decide, trust::Trust},
        policy::HopEncoding::{Base64Der, FormPem, Rfc9440, UrlPem, Xfcc},
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

    fn percent(text: &str) -> String {
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
    }

    fn encoded(der: &[u8]) -> String {
        percent(&pem(der))
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
            ("a stranger's", vec![text(pem(other))], mismatch.clone()),
            ("a stranger's, forged", vec![text("-"), xfcc(format!("Cert=\"{}\"", encoded(other)))], mismatch),
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

    /// Envoy writes the caller's `Hash` always, its `Cert` only if it is configured to.
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
            assert_eq!(from_hop(header.as_bytes(), Xfcc), expected, "{header}");
        }
    }

    #[test]
    fn a_trusted_hops_xfcc_must_show_exactly_one_certificate() {
        let (one, two) = (encoded(b"one"), encoded(b"two"));
        let large = [&[0x30, 0x82, 0x40, 0x01][..], &vec![7; MAX_DER + 1]].concat();
        let cases = [
            (format!("Cert=\"{one}\""), Ok(b"one".to_vec())),
            (format!("[{{\"Cert\":\"{one}\"}}]"), Ok(b"one".to_vec())),
            (format!("Cert=\"{one}\",Cert=\"{two}\""), Err(PeerError::Mismatch)),
            (format!(",Cert=\"{one}\""), Ok(b"one".to_vec())),
            (String::new(), Err(PeerError::NoClientCertificate)),
            ("Hash=1".to_owned(), Err(PeerError::Unavailable)),
            // Another encoding is not guessed.
            (one.clone(), Err(PeerError::Unavailable)),
            // A SAN that brings a certificate along, next to one that cannot be read or that is too large.
            (format!("Cert=\"\";URI=x;Cert=\"{two}\""), Err(PeerError::Mismatch)),
            (format!("Cert=\"{}\";URI=x;Cert=\"{two}\"", encoded(&large)), Err(PeerError::Mismatch)),
            (format!("Cert=\"{}\"", encoded(&large)), Ok(large.clone())),
            (format!("Cert=\"{one}\"{}", ";cert=".repeat(99)), Err(PeerError::Mismatch)),
            (format!("Cert=\"{one}\"{}", ";x".repeat(xfcc::MAX_HEADER)), Err(PeerError::Unavailable)),
        ];
        for (header, expected) in cases {
            assert!(from_hop(header.as_bytes(), Xfcc) == expected, "{}", &header[..header.len().min(200)]);
        }
    }

    const ENCODINGS: [HopEncoding; 5] = [Xfcc, UrlPem, FormPem, Base64Der, Rfc9440];

    /// As a proxy writes it: a caller's leaf, and in the same field what it sent as its chain.
    fn written(encoding: HopEncoding, chain: &[&[u8]]) -> String {
        let pems: String = chain.iter().map(|der| pem(der)).collect();
        let base64 = STANDARD.encode(chain.concat());
        match encoding {
            Xfcc => format!("Hash={};Cert=\"{}\"", Fingerprint::of(chain[0]), percent(&pems)),
            UrlPem => percent(&pems),
            FormPem => percent(&pems).replace("%20", "+"),
            Base64Der => base64,
            Rfc9440 => format!(":{base64}:"),
        }
    }

    #[test]
    fn a_strangers_leaf_with_genesys_leaf_in_the_chain_is_denied() {
        let genesys = us_leaf(&cast().us_ca).der;
        let stranger = leaf(&cast().digicert_ca).name("mail.example").issue().der;
        for encoding in ENCODINGS {
            let read = |header: &str| from_hop(header.as_bytes(), encoding);
            let (ours, theirs) = (written(encoding, &[&genesys]), written(encoding, &[&stranger]));
            assert_eq!(read(&ours).as_ref(), Ok(&genesys), "{encoding:?}");
            assert_eq!(read(&theirs).as_ref(), Ok(&stranger), "{encoding:?}");
            for several in [
                written(encoding, &[&stranger, &genesys]),
                written(encoding, &[&genesys, &stranger]),
                // Two lines, or the elements of a list.
                format!("{theirs},{ours}"),
                format!("{ours}, {theirs}"),
                format!("{ours},{ours}"),
            ] {
                assert_eq!(read(&several), Err(PeerError::Mismatch), "{encoding:?}: {several}");
            }
            assert_eq!(read(" "), Err(PeerError::NoClientCertificate), "{encoding:?}");
            assert_eq!(read("-"), Err(PeerError::Unavailable), "{encoding:?}");
        }
        // XFCC names the chain: it is not read.
        let chain = format!(";Chain=\"{}\"", percent(&(pem(&stranger) + &pem(&genesys))));
        let header = written(Xfcc, &[&stranger]) + &chain;
        assert_eq!(from_hop(header.as_bytes(), Xfcc), Ok(stranger));
        let without_cert = format!("Hash={}{chain}", Fingerprint::of(&genesys));
        assert_eq!(from_hop(without_cert.as_bytes(), Xfcc), Err(PeerError::Unavailable));
    }

    #[test]
    fn a_header_is_read_in_the_declared_encoding_alone() {
        // With a plus in its base64, in which the encodings of PEM differ.
        let der = us_leaf(&cast().us_ca).der;
        assert!(STANDARD.encode(&der).contains('+'));
        for declared in ENCODINGS {
            for written_in in ENCODINGS {
                let shown = from_hop(written(written_in, &[&der]).as_bytes(), declared);
                // A form leaves no plus, so it has one encoding only where it has no space either.
                let is_same = declared == written_in || (declared, written_in) == (FormPem, UrlPem);
                assert_eq!(shown.is_ok(), is_same, "{written_in:?} read as {declared:?}");
            }
        }
        // AWS leaves + = / as they are.
        let bare = percent(&pem(&der)).replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
        assert_eq!(from_hop(bare.as_bytes(), UrlPem), Ok(der.clone()));
        assert_eq!(from_hop(bare.as_bytes(), FormPem), Err(PeerError::Unavailable));
        let base64 = STANDARD.encode(&der);
        for header in [format!("{base64}="), format!(":{base64}"), base64.replace('+', "-")] {
            assert_eq!(from_hop(header.as_bytes(), Base64Der), Err(PeerError::Unavailable), "{header}");
            assert_eq!(from_hop(header.as_bytes(), Rfc9440), Err(PeerError::Unavailable), "{header}");
        }
    }

    /// One client that is allowed, and others that are not.
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
            // Shown by Envoy itself, a certificate is found, and the header has no say.
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
            if let Ok(shown) = from_hop(&[&before, element.as_bytes(), &after].concat(), Xfcc) {
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
            assert_eq!(from_hop(padded(encoded(der), size).as_bytes(), UrlPem), expected, "{size}, of a hop");
        }
    }

    #[test]
    fn a_hop_that_shows_two_certificates_in_one_text_shows_none() {
        let der = &us_leaf(&cast().us_ca).der;
        let two = percent(&(pem(der) + &pem(der)));
        assert_eq!(from_hop(two.as_bytes(), UrlPem), Err(PeerError::Mismatch));
        assert_eq!(from_hop(format!("Cert=\"{two}\"").as_bytes(), Xfcc), Err(PeerError::Mismatch));
    }
}
