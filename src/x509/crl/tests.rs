//! A CRL counts only if its issuer signed it, may sign CRLs, and if it is current; any other bytes are a named error.

use super::*;
use crate::test_support::VERIFIER;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::{prelude::*, sample};
use std::sync::LazyLock;
use testbed_pki::{
    Ca, KeyType, KeyUsagePurpose, Leaf, Pki,
    der::{sequence, tlv},
    serial_of,
};
use time::Duration as Span;

static PKI: LazyLock<Pki> = LazyLock::new(Pki::standard);
const URL: &str = "http://crl.example/us.crl";

fn now() -> UnixSeconds {
    i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

fn authority(ca: &Ca) -> CaCertificate {
    CaCertificate::parse(&ca.der).unwrap()
}

fn client(leaf: &Leaf) -> ClientCertificate {
    ClientCertificate::parse(&leaf.der).unwrap()
}

/// The number of entries of a current CRL.
fn verify(bytes: &[u8], cas: &[CaCertificate]) -> Result<usize, CrlError> {
    let crl = Crl::verify(bytes, cas, VERIFIER)?;
    crl.metadata.check_time(now(), 60)?;
    let mut entries = 0;
    crl.for_each_serial(|_| entries += 1)?;
    Ok(entries)
}

fn code(result: Result<usize, CrlError>) -> Result<usize, &'static str> {
    result.map_err(|error| error.code().code())
}

/// What it is, the bytes, the CAs, and the number of entries or what is wrong.
type Case<'c> = (&'static str, Vec<u8>, &'c [CaCertificate], Result<usize, &'static str>);

#[test]
fn crl_counts_only_signed_by_its_issuer_and_current() {
    let ca = &PKI.us.root;
    let us = [authority(ca)];
    let eu = [authority(&PKI.eu.root)];
    let both = [authority(&PKI.impostor), authority(ca)];
    let fine = ca.crl().revoke(&[1, 2]).revoke(&[3]).der();
    let mut tampered = fine.clone();
    let at = tampered.len() / 2;
    tampered[at] ^= 1;
    let ahead = ca.crl().valid_from_now(Span::hours(1), Span::hours(2)).der();
    let past = ca.crl().valid_from_now(Span::hours(-2), Span::hours(-1)).der();
    let cases: Vec<Case<'_>> = vec![
        ("signed", fine.clone(), &us, Ok(2)),
        ("empty", ca.crl().der(), &us, Ok(0)),
        ("PEM", ca.crl().revoke(&[1]).pem().into_bytes(), &us, Ok(1)),
        ("signed by the second of one name", fine.clone(), &both, Ok(2)),
        ("of another CA", fine.clone(), &eu, Err("crl_other_issuer")),
        ("of a CA with the same name", PKI.impostor.crl().der(), &us, Err("crl_bad_signature")),
        ("a certificate", ca.der.clone(), &us, Err("crl_malformed")),
        ("cut off", fine[..fine.len() - 1].to_vec(), &us, Err("crl_malformed")),
        ("with bytes after its end", [&fine[..], &[0]].concat(), &us, Err("crl_malformed")),
        ("not begun", ahead, &us, Err("crl_not_yet_valid")),
        ("over", past, &us, Err("crl_expired")),
    ];
    for (what, der, cas, expected) in cases {
        assert_eq!(code(verify(&der, cas)), expected, "{what}");
    }
    assert!(verify(&tampered, &us).is_err(), "one flipped bit");
}

#[test]
fn error_names_what_the_bytes_are() {
    let ca = &PKI.us.root;
    let us = [authority(ca)];
    let (der, pem) = (ca.crl().der(), ca.crl().pem());
    let base64 = STANDARD.encode(&der);
    let gzip = [0x1f, 0x8b, 8, 0];
    let html = "\n<!DOCTYPE html><html><body>Please log in</body></html>";
    let one_block = "PEM text, but not of exactly one `X509 CRL` block";
    let armour = "base64 text";
    let cases: [(&[u8], &str); 12] = [
        (b"", "empty"),
        (b" \n", "empty"),
        (html.as_bytes(), "an HTML or XML page"),
        (&gzip, "compressed with gzip"),
        (base64.as_bytes(), armour),
        (&[base64.as_bytes(), b"\r\n"].concat(), armour),
        (ca.pem.as_bytes(), one_block),
        (&[pem.as_bytes(), pem.as_bytes()].concat(), one_block),
        (&[pem.as_bytes(), ca.pem.as_bytes()].concat(), one_block),
        (b"Not found", "neither DER nor PEM"),
        (&[&der[..], b"\n"].concat(), "bytes after its end"),
        (&der[..9], "its DER is broken, cut off, or that of something else"),
    ];
    for (bytes, expected) in cases {
        let error = verify(bytes, &us).unwrap_err();
        assert_eq!(error, CrlError::Malformed(expected), "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn pem_is_read_with_space_and_text_around_the_block() {
    let us = [authority(&PKI.us.root)];
    let pem = PKI.us.root.crl().revoke(&[1]).pem();
    for text in [
        format!("{pem}\n\r\n \n"),
        format!("\u{feff}{pem}"),
        pem.replace('\n', "\r\n"),
        format!("CRL of us-east-1\n{pem}"),
    ] {
        assert_eq!(verify(text.as_bytes(), &us), Ok(1), "{text}");
    }
}

#[test]
fn issuer_must_be_allowed_to_sign_crls() {
    let allowed = Ca::builder("crl-signer").key(KeyType::P256).self_signed();
    let forbidden = Ca::builder("crl-signer")
        .key(KeyType::P256)
        .key_usages(&[KeyUsagePurpose::KeyCertSign])
        .self_signed();
    let crl = allowed.crl().der();
    assert_eq!(verify(&crl, &[authority(&allowed)]), Ok(0));
    assert_eq!(verify(&crl, &[authority(&forbidden)]), Err(CrlError::MayNotSign));
}

#[test]
fn verifier_that_is_missing_makes_no_bad_signature() {
    #[derive(Debug)]
    struct Missing;
    impl SignatureVerifier for Missing {
        fn verify(
            &self,
            _: crate::x509::signature::Hash,
            _: &[u8],
            _: &[u8],
            _: &[u8],
        ) -> Result<bool, crate::x509::signature::VerifierUnavailable> {
            Err(crate::x509::signature::VerifierUnavailable)
        }
    }
    let crl = PKI.us.root.crl().der();
    let error = Crl::verify(&crl, &[authority(&PKI.us.root)], &Missing).unwrap_err();
    assert_eq!(error, CrlError::VerifierUnavailable);
}

#[test]
fn crl_of_a_version_or_algorithm_without_support_is_refused() {
    let ca = Ca::builder("crl-signer").key(KeyType::P256).self_signed();
    let mut fields = children(&children(&ca.crl().der())[0]);
    fields[0] = vec![2, 1, 2];
    let version_3 = ca.sign_tbs(&sequence(&fields.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    assert_eq!(code(verify(&version_3, &[authority(&ca)])), Err("crl_unsupported"));
    let ecdsa_with_sha224 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1];
    let mut der = ca.crl().der();
    for at in 0..der.len() - 8 {
        if der[at..at + 7] == ecdsa_with_sha224[..7] {
            der[at + 7] = 1;
        }
    }
    assert_eq!(code(verify(&der, &[authority(&ca)])), Err("crl_unsupported"));
}

/// Or the two parsers would read two CRLs: one for some certificates, and one for all.
#[test]
fn distribution_point_counts_only_as_both_parsers_read_it() {
    /// A point; and one with a name that is longer than its field.
    const POINT: &[u8] = &[0];
    const CUT_OFF: &[u8] = &[1];
    const ONLY_USERS: &[u8] = &[0x81, 1, 0xff];
    const ONLY_CAS: &[u8] = &[0x82, 1, 0xff];
    const NOT_ONLY_CAS: &[u8] = &[0x82, 1, 0];
    const SOME_REASONS: &[u8] = &[0x83, 2, 7, 0x80];
    const INDIRECT: &[u8] = &[0x84, 1, 0xff];
    const NOT_INDIRECT: &[u8] = &[0x84, 1, 0];
    let us = [authority(&PKI.us.root)];
    let list = PKI.us.root.crl().distribution_point(URL, None).der();
    let point = |url: &[u8], cut_off| {
        let length = u8::try_from(url.len()).unwrap();
        [&[0xa0, length + 4, 0xa0, length + 2, 0x86, length + cut_off], url].concat()
    };
    let written = point(URL.as_bytes(), 0);
    let at = list.windows(written.len()).position(|bytes| bytes == written).unwrap();
    // Its signature does not fit any more: a bad signature means that the fields were read.
    let cases: [(&str, &[&[u8]], &str); 11] = [
        ("as it is", &[POINT], "crl_bad_signature"),
        ("a field more", &[POINT, ONLY_USERS], "crl_bad_signature"),
        ("a default spelled out", &[POINT, NOT_INDIRECT], "crl_bad_signature"),
        ("of CAs", &[POINT, ONLY_CAS], "crl_unsupported"),
        ("of some reasons", &[POINT, SOME_REASONS], "crl_unsupported"),
        ("indirect", &[POINT, INDIRECT], "crl_unsupported"),
        ("a field in front", &[ONLY_USERS, POINT], "crl_malformed"),
        ("of CAs, in front", &[ONLY_CAS, POINT], "crl_malformed"),
        ("of CAs, behind its place", &[POINT, NOT_INDIRECT, ONLY_CAS], "crl_malformed"),
        ("of CAs, and not", &[POINT, ONLY_CAS, NOT_ONLY_CAS], "crl_malformed"),
        ("a name cut off", &[CUT_OFF], "crl_malformed"),
    ];
    for (what, fields, expected) in cases {
        let others: usize = fields.iter().map(|field| field.len()).filter(|length| *length > 1).sum();
        let field = |field: &&[u8]| match **field {
            [cut_off] => point(&vec![b'x'; URL.len() - others], cut_off),
            _ => field.to_vec(),
        };
        let mut changed = list.clone();
        changed.splice(at..at + written.len(), fields.iter().flat_map(field));
        assert_eq!(code(verify(&changed, &us)), Err(expected), "{what}");
    }
}

/// The elements in a constructed one.
fn children(der: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = element(der).unwrap().1.data;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (after, _) = element(rest).unwrap();
        all.push(rest[..rest.len() - after.len()].to_vec());
        rest = after;
    }
    all
}

/// A CRL of `ca` with this issuing distribution point in place of the one it has, signed again.
fn with_point(ca: &Ca, revoked: &[u8], extensions: &[&[u8]]) -> Vec<u8> {
    let der = ca.crl().number(7).distribution_point(URL, None).revoke(revoked).der();
    let mut fields = children(&children(&der)[0]);
    let old = children(&children(&fields.pop().unwrap())[0]);
    let is_point = |extension: &&Vec<u8>| extension.windows(3).any(|oid| oid == [0x55, 0x1d, 0x1c]);
    let kept = old.iter().filter(|extension| !is_point(extension)).map(Vec::as_slice);
    let all: Vec<&[u8]> = kept.chain(extensions.iter().copied()).collect();
    fields.push(tlv(0xa0, &sequence(&all)));
    ca.sign_tbs(&sequence(&fields.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

#[test]
fn crl_of_users_only_covers_all_certificates_of_its_issuer() {
    let ca = Ca::builder("crl-users").key(KeyType::P256).self_signed();
    let cas = [authority(&ca)];
    let leaf = ca.leaf().key(KeyType::P256).name("client.example").issue();
    let der = with_point(&ca, &serial_of(&leaf.der), &[USERS_ONLY]);
    let crl = Crl::verify(&der, &cas, VERIFIER).unwrap();
    assert!(crl.metadata.covers(&cas[0], &client(&leaf)) && crl.metadata.concerns(URL));
    assert_eq!((crl.der(), crl.metadata.number.as_slice()), (&der[..], &[7][..]));
    let mut serials = Vec::new();
    crl.for_each_serial(|serial| serials.push(serial.to_vec())).unwrap();
    assert_eq!(serials, [significant(&serial_of(&leaf.der))]);
    assert_eq!(code(verify(&[&der[..], b"\n"].concat(), &cas)), Err("crl_malformed"));

    let extension = |critical: bool, value: &[u8]| {
        let flag = if critical { tlv(1, &[0xff]) } else { Vec::new() };
        sequence(&[&[6, 3, 0x55, 0x1d, 0x1c], &flag, &tlv(4, value)])
    };
    assert_eq!(extension(true, &sequence(&[&[0x81, 1, 0xff]])), USERS_ONLY);
    let point = [&[0xa0, 29, 0xa0, 27, 0x86, 25][..], URL.as_bytes()].concat();
    let point = extension(true, &sequence(&[&point]));
    let cas_only = extension(true, &sequence(&[&[0x82, 1, 0xff]]));
    let delta = sequence(&[&[6, 3, 0x55, 0x1d, 0x1b], &[1, 1, 0xff], &tlv(4, &[2, 1, 1])]);
    let cases: [(&str, &[&[u8]], &str); 7] = [
        ("a delta CRL", &[&delta], "crl_unsupported"),
        ("twice", &[USERS_ONLY, USERS_ONLY], "crl_malformed"),
        ("and a point", &[USERS_ONLY, &point], "crl_malformed"),
        ("a point and", &[&point, USERS_ONLY], "crl_malformed"),
        ("of CAs", &[&cas_only], "crl_unsupported"),
        ("of nothing", &[&extension(true, &sequence(&[]))], "crl_unsupported"),
        ("not critical", &[&extension(false, &sequence(&[&[0x81, 1, 0xff]]))], "crl_unsupported"),
    ];
    for (what, extensions, expected) in cases {
        assert_eq!(code(verify(&with_point(&ca, &[1], extensions), &cas)), Err(expected), "{what}");
    }
}

#[test]
fn crl_covers_certificates_that_name_its_point_in_any_spelling() {
    let ca = &PKI.us.root;
    let cas = [authority(ca)];
    let of = |point: &str| {
        let der = ca.crl().distribution_point(point, None).der();
        Crl::verify(&der, &cas, VERIFIER).unwrap().metadata
    };
    let leaf = |url: &str| {
        let leaf = ca.leaf().key_name("crl").name(PKI.us.region.certificate_name);
        client(&if url.is_empty() { leaf.issue() } else { leaf.crl(url).issue() })
    };
    for (point, url, covered) in [
        (URL, URL, true),
        ("HTTP://CRL.example:80/us.crl", URL, true),
        (URL, "http://CRL.EXAMPLE/%75s.crl", true),
        (URL, "http://crl.example/other.crl", false),
        (URL, "https://crl.example/us.crl", false),
        (URL, "", false),
    ] {
        assert_eq!(of(point).covers(&cas[0], &leaf(url)), covered, "{point} {url}");
    }
    let all = Crl::verify(&ca.crl().der(), &cas, VERIFIER).unwrap().metadata;
    assert!(all.covers(&cas[0], &leaf("")) && all.covers(&cas[0], &leaf(URL)));
    assert!(!all.covers(&authority(&PKI.eu.root), &leaf(URL)));
}

#[test]
fn numbers_are_compared_without_leading_zeros() {
    assert_eq!(significant(&[0, 0, 1, 0]), &[1, 0]);
    assert_eq!(significant(&[0]), &[] as &[u8]);
}

proptest! {
    #[test]
    fn no_change_of_a_crl_keeps_its_signature(
        at in any::<sample::Index>(), byte in any::<u8>(), cut in any::<sample::Index>(),
    ) {
        static SIGNER: LazyLock<Ca> = LazyLock::new(|| Ca::builder("crl-changed").key(KeyType::P256).self_signed());
        static LISTS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
            let point = SIGNER.crl().number(7).distribution_point(URL, None).revoke(&[1, 2]).der();
            [point, with_point(&SIGNER, &[1, 2], &[USERS_ONLY])]
        });
        let cas = [authority(&SIGNER)];
        for der in LISTS.iter() {
            let mut changed = der.clone();
            let at = at.index(changed.len());
            changed[at] = byte;
            prop_assert_eq!(verify(&changed, &cas).is_ok(), changed == *der);
            changed.truncate(cut.index(changed.len()));
            prop_assert!(verify(&changed, &cas).is_err());
        }
    }

    #[test]
    fn any_answer_is_a_crl_or_a_named_error(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[ -~\n]{0,80}") {
        for bytes in [&bytes[..], text.as_bytes(), &[b"-----BEGIN X509 CRL-----\n", text.as_bytes()].concat()] {
            prop_assert!(verify(bytes, &[authority(&PKI.us.root)]).is_err());
        }
    }
}
