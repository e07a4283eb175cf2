//! Only a well-formed client certificate is read; any other bytes are rejected with a reason.

use super::*;
use crate::test_support::{BEGIN, END, US, ca, cast, client, date, leaf, us_leaf};
use proptest::prelude::*;
use testbed_pki::{
    Eku, KeyType, KeyUsagePurpose, LeafBuilder,
    der::{self, SanTag},
};

const BASIC_CONSTRAINTS: [u64; 4] = [2, 5, 29, 19];
const KEY_USAGE: [u64; 4] = [2, 5, 29, 15];
const EXTENDED_KEY_USAGE: [u64; 4] = [2, 5, 29, 37];
const AUTHORITY_KEY: [u64; 4] = [2, 5, 29, 35];
const CERTIFICATE_POLICIES: [u64; 4] = [2, 5, 29, 32];
const NOBODYS: [u64; 8] = [1, 3, 6, 1, 4, 1, 99_999, 1];

/// How row 3 of the decision table came out.
#[derive(Debug, PartialEq)]
enum Row3 {
    Passed,
    Malformed,
    NotAClient,
}
use Row3::{Malformed, NotAClient, Passed};

fn row3(der: &[u8]) -> Row3 {
    match ClientCertificate::parse(der) {
        Ok(_) => Passed,
        Err(CertificateError::Malformed(_)) => Malformed,
        Err(CertificateError::NotAClient(_)) => NotAClient,
    }
}

fn named() -> LeafBuilder<'static> {
    leaf(&cast().us_ca).name(US)
}

/// Replaces the parts of a certificate's body by their position, and signs it again.
fn with_parts(der: &[u8], change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut parts = der::children(&der::children(der)[0]);
    change(&mut parts);
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    cast().us_ca.sign_tbs(&der::sequence(&parts))
}

#[test]
fn the_fields_come_out_as_they_went_in() {
    let leaf =
        leaf(&cast().us_ca).cn("One").cn("two").dns("A.example").dns("b.example").serial(&[10, 11]).issue();
    let parsed = client(&leaf);
    assert_eq!(parsed.dns_names, ["A.example", "b.example"]);
    assert_eq!(parsed.common_names, ["One", "two"]);
    assert_eq!((parsed.not_before, parsed.not_after), (BEGIN, END));
    assert_eq!(parsed.fingerprint.to_string(), leaf.sha256);
    assert_eq!(parsed.der.as_ref(), leaf.der);
    assert_eq!(parsed.issuer.der, der::children(&leaf.tbs())[3]);
    assert_eq!(parsed.summary().serial, "0a:0b");
    assert_eq!(parsed.summary().issuer, "C=US, ST=Indiana, CN=Unit root us-east-1");
    assert_eq!(parsed.authority_key.as_ref().map(Vec::len), Some(20));
    let unidentified = client(&named().no_authority_key_id().issue());
    assert_eq!(unidentified.authority_key, None);
}

#[test]
fn bytes_that_are_not_one_v3_certificate_in_der_are_malformed() {
    let good = us_leaf(&cast().us_ca).der;
    assert_eq!(row3(&good), Passed);
    let mut flipped = good.clone();
    flipped[1] ^= 1;
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("text", b"-----BEGIN CERTIFICATE-----".to_vec()),
        ("a byte too many", [good.as_slice(), &[0]].concat()),
        ("a second certificate behind it", [good.as_slice(), &good].concat()),
        ("a byte too few", good[..good.len() - 1].to_vec()),
        ("a wrong length", flipped),
        ("its body alone", der::children(&good)[0].clone()),
        ("an empty sequence", der::sequence(&[])),
        ("version 1, with extensions", with_parts(&good, |parts| drop(parts.remove(0)))),
        (
            "version 1, without",
            with_parts(&good, |parts| {
                parts.remove(0);
                parts.pop();
            }),
        ),
        ("version 2", with_parts(&good, |parts| parts[0] = der::tlv(0xa0, &der::tlv(2, &[1])))),
        (
            "a validity that is no date",
            with_parts(&good, |parts| {
                parts[4] = der::sequence(&[&der::tlv(0x17, b"tomorrow"), &der::tlv(0x17, b"491231235959Z")]);
            }),
        ),
        ("something behind the extensions", with_parts(&good, |parts| parts.push(der::tlv(2, &[1])))),
    ] {
        assert_eq!(row3(&bytes), Malformed, "{what}");
    }
}

#[test]
fn certificates_are_looked_at_up_to_16_kib() {
    assert_eq!(MAX_DER, 16_384);
    // RSA, since ECDSA signatures differ in length.
    let ca = ca("unit-rsa").key(KeyType::Rsa2048).self_signed();
    let padded = |bytes| leaf(&ca).extension(&NOBODYS, der::tlv(4, &vec![0; bytes]), false).issue().der;
    let overhead = padded(10_000).len() - 10_000;
    assert_eq!(row3(&padded(MAX_DER - overhead)), Passed);
    let over = padded(MAX_DER - overhead + 1);
    assert_eq!(over.len(), MAX_DER + 1);
    assert_eq!(
        ClientCertificate::parse(&over).unwrap_err().to_string(),
        "malformed certificate: larger than 16 KiB"
    );
}

#[test]
fn the_validity_must_not_end_before_it_begins() {
    let valid = |from, to| row3(&named().valid(date(from), date(to)).issue().der);
    assert_eq!(valid(BEGIN, BEGIN), Passed);
    assert_eq!(valid(BEGIN + 1, BEGIN), Malformed);
}

#[test]
fn extended_key_usage_must_permit_client_auth_if_present() {
    for (ekus, expected) in [
        (vec![], Passed),
        (vec![Eku::ClientAuth], Passed),
        (vec![Eku::ClientAuth, Eku::EmailProtection], Passed),
        (vec![Eku::ServerAuth, Eku::ClientAuth], Passed),
        (vec![Eku::Any], Passed),
        (vec![Eku::ServerAuth, Eku::Any], Passed),
        (vec![Eku::ServerAuth], NotAClient),
        (vec![Eku::EmailProtection, Eku::CodeSigning], NotAClient),
        (vec![Eku::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 20])], NotAClient),
    ] {
        assert_eq!(row3(&named().ekus(&ekus).issue().der), expected, "{ekus:?}");
    }
    let empty = named().ekus(&[]).extension(&EXTENDED_KEY_USAGE, der::sequence(&[]), false);
    assert_ne!(row3(&empty.issue().der), Passed, "an empty list permits nothing");
}

#[test]
fn the_key_usage_must_permit_signatures_if_it_is_there() {
    use KeyUsagePurpose::{DigitalSignature, KeyAgreement, KeyEncipherment};
    for (usages, expected) in [
        (vec![], Passed),
        (vec![DigitalSignature], Passed),
        (vec![DigitalSignature, KeyAgreement], Passed),
        (vec![KeyEncipherment], NotAClient),
        (vec![KeyAgreement, KeyEncipherment], NotAClient),
    ] {
        assert_eq!(row3(&named().key_usages(&usages).issue().der), expected, "{usages:?}");
    }
}

#[test]
fn a_ca_is_no_client() {
    assert_eq!(row3(&named().is_ca(false).issue().der), Passed);
    assert_eq!(row3(&named().no_basic_constraints().issue().der), Passed);
    assert_eq!(row3(&named().is_ca(true).issue().der), NotAClient);
    assert_eq!(row3(&cast().us_ca.der), NotAClient);
}

#[test]
fn extensions_must_be_known_if_critical_and_never_stand_twice() {
    let bare = || named().no_basic_constraints().key_usages(&[]).ekus(&[]).no_authority_key_id();
    let no_ca = || der::sequence(&[]);
    let signs = || der::tlv(3, &[7, 0x80]);
    let eku = || der::sequence(&[&der::oid(&[1, 3, 6, 1, 5, 5, 7, 3, 2])]);
    let aki = |id: u8| der::sequence(&[&der::tlv(0x80, &[id; 20])]);
    for (what, leaf, expected) in [
        ("unknown", bare().extension(&NOBODYS, der::tlv(5, &[]), false), Passed),
        ("unknown and critical", bare().extension(&NOBODYS, der::tlv(5, &[]), true), Malformed),
        ("certificate policies, critical", bare().extension(&CERTIFICATE_POLICIES, no_ca(), true), Malformed),
        ("known and critical", bare().extension(&EXTENDED_KEY_USAGE, eku(), true), Passed),
        ("two names", bare().raw_san(der::general_names(&[(SanTag::Dns, b"b.example")])), Malformed),
        (
            "two basic constraints",
            bare().extension(&BASIC_CONSTRAINTS, no_ca(), true).extension(&BASIC_CONSTRAINTS, no_ca(), true),
            Malformed,
        ),
        (
            "two key usages",
            bare().extension(&KEY_USAGE, signs(), true).extension(&KEY_USAGE, signs(), true),
            Malformed,
        ),
        (
            "two extended key usages",
            bare().extension(&EXTENDED_KEY_USAGE, eku(), false).extension(&EXTENDED_KEY_USAGE, eku(), false),
            Malformed,
        ),
        (
            "two authority keys",
            bare().extension(&AUTHORITY_KEY, aki(1), false).extension(&AUTHORITY_KEY, aki(2), false),
            Malformed,
        ),
        (
            "two unknown ones",
            bare().extension(&NOBODYS, der::tlv(5, &[]), false).extension(&NOBODYS, der::tlv(5, &[]), false),
            Malformed,
        ),
        ("a broken key usage", bare().extension(&KEY_USAGE, vec![3, 9, 0], true), Malformed),
        ("broken basic constraints", bare().extension(&BASIC_CONSTRAINTS, vec![1, 1, 0xff], true), Malformed),
        (
            "a broken extended key usage",
            bare().extension(&EXTENDED_KEY_USAGE, vec![0x30, 2, 6], false),
            Malformed,
        ),
        ("a broken authority key", bare().extension(&AUTHORITY_KEY, vec![0x30, 9], false), Malformed),
    ] {
        assert_eq!(row3(&leaf.issue().der), expected, "{what}");
    }
}

#[test]
fn a_san_is_read_in_full_or_not_at_all() {
    let with = |san: Vec<u8>| leaf(&cast().us_ca).cn(US).raw_san(san).issue().der;
    let names = |names: &[(SanTag, &[u8])]| with(der::general_names(names));
    let us = (SanTag::Dns, US.as_bytes());
    for (what, der, expected) in [
        ("one name", names(&[us]), Passed),
        (
            "names of other kinds",
            names(&[(SanTag::Uri, b"spiffe://x,\"=;"), (SanTag::Ip, &[127, 0, 0, 1])]),
            Passed,
        ),
        ("a NUL in a name", names(&[(SanTag::Dns, b"a\0b")]), Passed),
        ("no name at all", names(&[]), Malformed),
        ("no value at all", with(Vec::new()), Malformed),
        ("a name that is not ASCII", names(&[us, (SanTag::Dns, "é.example".as_bytes())]), Malformed),
        ("a name that is not UTF-8", names(&[us, (SanTag::Dns, b"\xff.example")]), Malformed),
        ("an unreadable address", names(&[us, (SanTag::Email, b"\xff@x")]), Malformed),
        (
            "an unknown kind of name",
            with(der::sequence(&[&der::tlv(0x82, US.as_bytes()), &[0x9f, 0x20, 0]])),
            Malformed,
        ),
        ("a name of a universal type", with(der::sequence(&[&der::tlv(0x16, US.as_bytes())])), Malformed),
        ("a name cut short", with(vec![0x30, 5, 0x82, 9, b'a', b'b', b'c']), Malformed),
        ("a sequence cut short", with(vec![0x30, 5, 0x82]), Malformed),
        ("bytes behind the names", with([der::general_names(&[us]).as_slice(), &[0]].concat()), Malformed),
        ("a name alone", with(der::tlv(0x82, US.as_bytes())), Malformed),
    ] {
        assert_eq!(row3(&der), expected, "{what}");
    }
}

#[test]
fn revocation_lists_are_those_that_it_names_by_url() {
    let full = |names: &[(SanTag, &[u8])]| {
        // GeneralNames, tagged as fullName instead of SEQUENCE.
        let names = [&[0xa0][..], &der::general_names(names)[1..]].concat();
        der::sequence(&[&der::tlv(0xa0, &names)])
    };
    let attribute = der::sequence(&[&der::oid(&[2, 5, 4, 3]), &der::tlv(0x0c, b"x")]);
    let relative = der::sequence(&[&der::tlv(0xa0, &der::tlv(0xa1, &attribute))]);
    let points = der::sequence(&[
        &full(&[(SanTag::Uri, b"http://a.example/1.crl"), (SanTag::Dns, b"b.example")]),
        &relative,
        &full(&[(SanTag::Uri, b"ldap://c.example/2")]),
        // Nothing but an issuer of indirect lists.
        &der::sequence(&[&der::tlv(0xa2, &der::tlv(0x82, b"d.example"))]),
    ]);
    let parsed = client(&named().extension(&[2, 5, 29, 31], points, false).issue());
    assert_eq!(parsed.crl_urls, ["http://a.example/1.crl", "ldap://c.example/2"]);
    assert!(client(&named().issue()).crl_urls.is_empty());
}

#[test]
fn a_common_name_that_cannot_be_read_is_malformed() {
    let named = |tag, name: &[u8]| {
        let attribute = der::sequence(&[&der::oid(&[2, 5, 4, 3]), &der::tlv(tag, name)]);
        let subject = der::sequence(&[&der::tlv(0x31, &attribute)]);
        with_parts(&us_leaf(&cast().us_ca).der, |parts| parts[5] = subject)
    };
    for (what, tag, name, expected) in [
        ("UTF8String", 0x0c, US.as_bytes(), Passed),
        ("PrintableString", 0x13, US.as_bytes(), Passed),
        ("IA5String", 0x16, US.as_bytes(), Passed),
        ("UTF8String that is none", 0x0c, b"\xff\xfe".as_slice(), Malformed),
        ("BMPString", 0x1e, b"\0a\0b", Malformed),
        ("OCTET STRING", 4, US.as_bytes(), Malformed),
    ] {
        assert_eq!(row3(&named(tag, name)), expected, "{what}");
    }
}

#[test]
fn unsigned_change_parses_but_changes_the_fingerprint() {
    let good = us_leaf(&ca("unit-fingerprint").self_signed());
    let mut changed = good.der.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_ne!(Fingerprint::of(&changed), client(&good).fingerprint);
}

proptest! {
    #[test]
    fn any_change_of_a_certificate_is_read_without_harm(
        at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<proptest::sample::Index>(),
    ) {
        let mut der = client(&us_leaf(&cast().us_ca)).der.to_vec();
        let at = at.index(der.len());
        der[at] = byte;
        // It does not panic, and what passes says what its bytes say.
        if let Ok(parsed) = ClientCertificate::parse(&der) {
            prop_assert_eq!(parsed.fingerprint, Fingerprint::of(&der));
            prop_assert!(parsed.not_before <= parsed.not_after);
        }
        der.truncate(cut.index(der.len()));
        prop_assert!(ClientCertificate::parse(&der).is_err());
    }
}
