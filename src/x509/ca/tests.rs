//! Only fit CAs are accepted, and each vouches only for the certificates that it signed, while it is valid.

use super::*;
use crate::{
    test_support::{
        CA_BEGIN, CA_END, DAY, END, NOW, US, VERIFIER, authority, ca, cast, client, date, leaf, us_leaf,
    },
    time::Window,
};
use rustls_pki_types::alg_id;
use testbed_pki::{
    Ca, CaBuilder, CidrSubnet, DistinguishedName, GeneralSubtree, KeyType, KeyUsagePurpose, PKCS_RSA_SHA384,
    PKCS_RSA_SHA512, der, pem_block,
};

fn bundle(authorities: &[&Ca]) -> String {
    authorities.iter().map(|ca| ca.pem.as_str()).collect()
}

fn vouch_now(authorities: &[CaCertificate], certificate: &ClientCertificate) -> Result<(), IssuerError> {
    verify_issuer(authorities, certificate, VERIFIER, &mut Clock::at(NOW)).map(|_| ())
}

#[test]
fn authorities_are_read_with_what_the_decision_and_people_need() {
    let us = authority(&cast().us_ca);
    assert_eq!(us.name, "C=US, ST=Indiana, CN=Unit root us-east-1");
    assert_eq!((us.not_before, us.not_after), (CA_BEGIN, CA_END));
    assert!(!us.is_digicert);
}

#[test]
fn bundle_gives_all_authorities_or_names_the_unfit_one() {
    let cast = cast();
    let names: Vec<String> = CaCertificate::parse_bundle(bundle(&[&cast.us_ca, &cast.eu_ca]).as_bytes())
        .unwrap()
        .into_iter()
        .map(|authority| authority.name)
        .collect();
    assert_eq!(names, ["C=US, ST=Indiana, CN=Unit root us-east-1", "CN=unit-eu"]);

    let with_leaf = bundle(&[&cast.us_ca]) + &us_leaf(&cast.us_ca).cert_pem;
    assert_eq!(
        CaCertificate::parse_bundle(with_leaf.as_bytes()).unwrap_err().to_string(),
        format!(
            "certificate 2 of the bundle: `CN={US}` is not a CA (basicConstraints lacks CA:TRUE): give the certificate \
             of its issuer"
        )
    );
    assert_eq!(CaCertificate::parse_bundle(b"").unwrap_err(), CaBundleError::Pem(pem::PemError::Empty));
}

#[test]
fn ca_is_fit_if_it_may_sign_and_its_key_is_supported() {
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign};
    let new = || ca("unit-fit");
    let not_a_ca = Some("is not a CA");
    let no_sign = Some("may not sign certificates");
    let key = Some("has a key that is not supported");
    let directory = [GeneralSubtree::DirectoryName(DistinguishedName::new())];
    let limit = Some("limits directory names");
    let cases: Vec<(&str, CaBuilder, Option<&str>)> = vec![
        ("P-256", new(), None),
        ("P-384", new().key(KeyType::P384), None),
        ("RSA-2048", new().key(KeyType::Rsa2048), None),
        ("RSA-3072", new().key(KeyType::Rsa3072), None),
        ("RSA-4096", new().bogus_rsa_key(4096), None),
        ("RSA-8192", new().bogus_rsa_key(8192), None),
        ("a path length of 0", new().path_len(0), None),
        ("keyCertSign among others", new().key_usages(&[DigitalSignature, KeyCertSign, CrlSign]), None),
        ("expired, which is asked when deciding", new().valid(date(0), date(DAY)), None),
        ("CA:FALSE", new().not_a_ca(), not_a_ca),
        ("no basic constraints", new().no_basic_constraints(), not_a_ca),
        ("no key usage", new().key_usages(&[]), Some("has no keyUsage")),
        ("no keyCertSign", new().key_usages(&[CrlSign, DigitalSignature]), no_sign),
        ("RSA-1024", new().bogus_rsa_key(1024), key),
        ("RSA-2040", new().bogus_rsa_key(2040), key),
        ("RSA-8200", new().bogus_rsa_key(8200), key),
        ("Ed25519", new().key(KeyType::Ed25519), key),
        ("directory names permitted", new().name_constraints(&directory, &[]), limit),
        ("directory names excluded", new().name_constraints(&[], &directory), limit),
    ];
    for (what, ca, refused) in cases {
        let error = CaCertificate::parse(&ca.self_signed().der).err().map(|error| error.to_string());
        match (&error, refused) {
            (None, None) => {}
            (Some(error), Some(refused)) if error.contains(refused) && error.contains("CN=unit-fit") => {}
            _ => panic!("{what}: {error:?}, expected {refused:?}"),
        }
    }
}

#[test]
fn ca_that_may_not_issue_client_certificates_is_in_doubt() {
    use testbed_pki::Eku;
    let doubt = |ca: &Ca| CaCertificate::parse(&ca.der).unwrap().doubt.unwrap_or_default();
    for (ekus, expected) in [
        (&[][..], ""),
        (&[Eku::ClientAuth], ""),
        (&[Eku::ServerAuth, Eku::Any], ""),
        (&[Eku::ServerAuth], "extendedKeyUsage lacks clientAuth"),
    ] {
        let doubt = doubt(&ca("unit-doubt").ekus(ekus).self_signed());
        assert!(doubt.contains(expected) && doubt.is_empty() == expected.is_empty(), "{ekus:?}: {doubt}");
    }
    let mut parts = der::children(&der::children(&ca("unit-doubt").self_signed().der)[0]);
    let extension = [&[6, 3, 0x2a, 3, 4][..], &[1, 1, 0xff], &[4, 2, 5, 0]];
    extended(&mut parts, &der::sequence(&extension));
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let signed = cast().us_ca.sign_tbs(&der::sequence(&parts));
    assert!(CaCertificate::parse(&signed).unwrap().doubt.unwrap().contains("critical extension"));
}

#[test]
fn ca_with_a_key_on_another_curve_is_unfit() {
    let mut parts = der::children(&der::children(&ca("unit-fit").self_signed().der)[0]);
    let p521 = [&[0][..], &[4], &[1; 132]].concat();
    let algorithm = der::tlv(0x30, alg_id::ECDSA_P521.as_ref());
    parts[6] = der::sequence(&[&algorithm, &der::tlv(3, &p521)]);
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let signed = cast().us_ca.sign_tbs(&der::sequence(&parts));
    assert_eq!(CaCertificate::parse(&signed).unwrap_err(), CaError::Key("CN=unit-fit".to_owned()));
}

/// The certificate's body with one more extension.
fn extended(parts: &mut [Vec<u8>], extension: &[u8]) {
    let last = parts.last_mut().unwrap();
    let list = der::children(last).swap_remove(0);
    let mut all: Vec<Vec<u8>> = der::children(&list);
    all.push(extension.to_vec());
    let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    *last = der::tlv(0xa3, &der::sequence(&all));
}

#[test]
fn bytes_that_are_not_one_certificate_are_no_authority() {
    let good = &cast().us_ca.der;
    let resigned = |change: fn(&mut Vec<Vec<u8>>)| {
        let mut parts = der::children(&der::children(good)[0]);
        change(&mut parts);
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        cast().us_ca.sign_tbs(&der::sequence(&parts))
    };
    for (what, der) in [
        ("nothing", Vec::new()),
        ("a byte too many", [good.as_slice(), &[0]].concat()),
        ("cut short", good[..good.len() - 1].to_vec()),
        (
            "version 1",
            resigned(|parts| {
                parts.remove(0);
                parts.pop();
            }),
        ),
        (
            "a second basicConstraints",
            resigned(|parts| {
                let ca = der::sequence(&[&der::tlv(1, &[0xff])]);
                extended(parts, &der::sequence(&[&der::oid(&[2, 5, 29, 19]), &der::tlv(4, &ca)]));
            }),
        ),
        (
            "a broken authority key identifier",
            resigned(|parts| {
                extended(parts, &der::sequence(&[&der::oid(&[2, 5, 29, 35]), &der::tlv(4, &[0x30, 9])]));
            }),
        ),
        (
            "a second key identifier",
            resigned(|parts| {
                let key = der::tlv(4, &[1; 20]);
                extended(parts, &der::sequence(&[&der::oid(&[2, 5, 29, 14]), &der::tlv(4, &key)]));
            }),
        ),
        (
            "a broken key usage",
            resigned(|parts| {
                extended(parts, &der::sequence(&[&der::oid(&[2, 5, 29, 15]), &der::tlv(4, &[3, 9])]));
            }),
        ),
    ] {
        let refused = CaCertificate::parse(&der);
        assert!(matches!(refused, Err(CaError::Malformed(_) | CaError::NotACa(_))), "{what}: {refused:?}");
    }
}

#[test]
fn digicert_is_known_by_its_organisation_in_any_letter_case() {
    for (organisation, expected) in [
        ("DigiCert Inc", true),
        ("DigiCert, Inc.", true),
        ("DIGICERT INC", true),
        ("Testbed DigiCert Inc", true),
        ("Genesys", false),
        ("Digi Cert", false),
    ] {
        let ca = ca("unit-org").dn(&[("O", organisation), ("CN", "x")]).self_signed();
        assert_eq!(authority(&ca).is_digicert, expected, "{organisation}");
    }
    let by_name_only = ca("unit-org").dn(&[("CN", "DigiCert Global Root")]).self_signed();
    assert!(!authority(&by_name_only).is_digicert);
}

#[test]
fn an_authority_vouches_with_any_supported_algorithm() {
    let named = |name: &str, key| Ca::builder(name).key(key).valid(date(CA_BEGIN), date(CA_END));
    for (what, ca) in [
        ("RSA-2048, SHA-256", named("unit-rsa", KeyType::Rsa2048)),
        ("RSA-2048, SHA-384", named("unit-rsa", KeyType::Rsa2048).signature(&PKCS_RSA_SHA384)),
        ("RSA-2048, SHA-512", named("unit-rsa", KeyType::Rsa2048).signature(&PKCS_RSA_SHA512)),
        ("RSA-3072, SHA-256", named("unit-rsa", KeyType::Rsa3072)),
        ("RSA-4096, SHA-256", named("genesys-us-east-1", KeyType::Rsa4096)),
        ("RSA-4096, SHA-512", named("genesys-us-east-1", KeyType::Rsa4096).signature(&PKCS_RSA_SHA512)),
        ("P-256, SHA-256", named("unit-ec", KeyType::P256)),
        ("P-384, SHA-384", named("unit-ec", KeyType::P384)),
    ] {
        let ca = ca.self_signed();
        let leaf = us_leaf(&ca);
        assert_eq!(vouch_now(&[authority(&ca)], &client(&leaf)), Ok(()), "{what}");

        // The same body under another signature of the same form: the one of its sibling.
        let (own, sibling) = (der::children(&leaf.der), der::children(&us_leaf(&ca).der));
        let forged = leaf.with_der(der::sequence(&[&own[0], &own[1], &sibling[2]]));
        assert_eq!(vouch_now(&[authority(&ca)], &client(&forged)), Err(IssuerError::BadSignature), "{what}");
    }
}

#[test]
fn the_name_selects_and_the_signature_decides() {
    let cast = cast();
    let us = client(&us_leaf(&cast.us_ca));
    let none: &[&Ca] = &[];
    for (what, authorities, expected) in [
        ("no authority", none, Err(IssuerError::UnknownIssuer)),
        ("others only", &[&cast.eu_ca, &cast.digicert_ca], Err(IssuerError::UnknownIssuer)),
        ("its issuer", &[&cast.us_ca], Ok(())),
        ("its issuer among others", &[&cast.eu_ca, &cast.us_ca], Ok(())),
        ("another of its issuer's name", &[&cast.impostor], Err(IssuerError::BadSignature)),
        ("both", &[&cast.impostor, &cast.us_ca], Ok(())),
        ("both, the other way round", &[&cast.us_ca, &cast.impostor], Ok(())),
    ] {
        let authorities: Vec<CaCertificate> = authorities.iter().map(|ca| authority(ca)).collect();
        assert_eq!(vouch_now(&authorities, &us), expected, "{what}");
    }
}

#[test]
fn an_authority_knows_its_name_and_what_its_key_has_signed() {
    let cast = cast();
    let us = authority(&cast.us_ca);
    let leaf = us_leaf(&cast.us_ca);
    let parts = der::children(&leaf.der);
    let issuer = &client(&leaf).issuer.der;
    assert!(us.is_named(issuer) && authority(&cast.impostor).is_named(issuer));
    assert!(!authority(&cast.eu_ca).is_named(issuer) && !us.is_named(&[]));

    // The content of AlgorithmIdentifier, and of the BIT STRING behind its number of unused bits.
    let (algorithm, signature) = (der::children(&parts[1]).concat(), &parts[2][3..]);
    let (message, algorithm) = (parts[0].as_slice(), algorithm.as_slice());
    let (bad, unsupported) = (Err(IssuerError::BadSignature), Err(IssuerError::UnsupportedAlgorithm));
    for (what, authority, message, algorithm, expected) in [
        ("its own", &us, message, algorithm, Ok(())),
        ("of another of its name", &authority(&cast.impostor), message, algorithm, bad),
        ("of something else", &us, &leaf.der, algorithm, bad),
        ("for another kind of key", &us, message, alg_id::RSA_PKCS1_SHA256.as_ref(), bad),
        ("with no algorithm", &us, message, &[], unsupported),
        ("with Ed25519", &us, message, alg_id::ED25519.as_ref(), unsupported),
    ] {
        assert_eq!(authority.verify_signature(VERIFIER, algorithm, signature, message), expected, "{what}");
    }
}

#[test]
fn issuer_may_write_its_name_in_another_kind_of_string() {
    let ca = ca("unit-strings").dn(&[("O", "One"), ("CN", "Root 1")]).self_signed();
    let parts = der::children(&leaf(&ca).name(US).issue().tbs());
    let cases: [(&[u8], &[u8], Result<(), IssuerError>); 2] = [
        (b"\x0c\x06Root 1", b"\x13\x06Root 1", Ok(())),
        (b"Root 1", b"root 1", Err(IssuerError::UnknownIssuer)),
    ];
    for (old, new, expected) in cases {
        let at = parts[3].windows(old.len()).position(|window| window == old).unwrap();
        let mut changed = parts.clone();
        changed[3][at..at + new.len()].copy_from_slice(new);
        let changed: Vec<&[u8]> = changed.iter().map(Vec::as_slice).collect();
        let certificate = ClientCertificate::parse(&ca.sign_tbs(&der::sequence(&changed))).unwrap();
        assert_eq!(vouch_now(&[authority(&ca)], &certificate), expected, "{new:?}");
    }
}

/// Two roots of one name with a key each, as while one replaces the other.
#[test]
fn authority_key_id_selects_among_cas_of_one_name() {
    let (old, new) = (ca("unit-old"), ca("unit-new"));
    let dn = [("CN", "One name")];
    let (old, new) = (old.dn(&dn), new.dn(&dn));
    let (good_old, good_new) = (old.clone().self_signed(), new.clone().self_signed());
    let both = [authority(&good_old), authority(&good_new)];
    for ca in [&good_old, &good_new] {
        assert_eq!(vouch_now(&both, &client(&leaf(ca).name(US).issue())), Ok(()));
        let keyless = leaf(ca).name(US).no_authority_key_id().issue();
        assert_eq!(vouch_now(&both, &client(&keyless)), Ok(()), "without a key identifier");
    }
    // A key identifier that no CA here has does not exclude the CAs.
    let foreign_id = new.clone().ski(&[9; 20]).self_signed();
    let leaf_of_foreign_id = client(&leaf(&foreign_id).name(US).issue());
    assert_eq!(vouch_now(&both, &leaf_of_foreign_id), Ok(()));
    // One that another CA has does: the certificate says itself who signed it.
    let swapped_id = new.ski(&der_key_id(&good_old)).self_signed();
    let misled = client(&leaf(&swapped_id).name(US).issue());
    assert_eq!(vouch_now(&both, &misled), Err(IssuerError::BadSignature));

    // The named key's certificate has expired; that of the same name and another key does not help.
    let old_expired = old.valid(date(CA_BEGIN), date(NOW - 1)).self_signed();
    let half_expired = [authority(&old_expired), authority(&good_new)];
    assert_eq!(vouch_now(&half_expired, &client(&us_named(&old_expired))), Err(IssuerError::UnknownIssuer));
    assert_eq!(vouch_now(&half_expired, &client(&us_named(&good_new))), Ok(()));
}

#[test]
fn name_constraints_hold_and_uncheckable_ones_deny() {
    let under = |domain: &str| GeneralSubtree::DnsName(domain.to_owned());
    let mail = GeneralSubtree::Rfc822Name("example.com".to_owned());
    let address = GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4]));
    let (own, other) = (under("mypurecloud.com"), under("example.com"));
    let refused = Err(IssuerError::BadSignature);
    for (what, permitted, excluded, expected, with_mail) in [
        ("its domain", vec![own.clone()], vec![], Ok(()), Ok(())),
        ("another domain", vec![other.clone()], vec![], refused, refused),
        ("all but its domain", vec![], vec![own], refused, refused),
        ("all but another domain, and no address", vec![], vec![other, address], Ok(()), Ok(())),
        ("some mail", vec![mail.clone()], vec![], Ok(()), refused),
        ("all but some mail", vec![], vec![mail], Ok(()), refused),
    ] {
        let ca = ca("unit-limited").name_constraints(&permitted, &excluded).self_signed();
        let authorities = [authority(&ca)];
        assert_eq!(vouch_now(&authorities, &client(&us_named(&ca))), expected, "{what}");
        let mailing = leaf(&ca).name(US).email("client@example.com").issue();
        assert_eq!(vouch_now(&authorities, &client(&mailing)), with_mail, "{what}, a name with mail");
    }
}

fn us_named(ca: &Ca) -> testbed_pki::Leaf {
    leaf(ca).name(US).issue()
}

/// The subject key identifier that an authority writes into what it signs.
fn der_key_id(ca: &Ca) -> Vec<u8> {
    client(&us_named(ca)).authority_key.expect("a key identifier")
}

#[test]
fn an_authority_vouches_in_its_own_time_only_to_the_second() {
    let cast = cast();
    let (authorities, us) = ([authority(&cast.us_ca)], client(&us_leaf(&cast.us_ca)));
    let within = Window { from: CA_BEGIN, until: CA_END + 1 };
    for (now, expected, window) in [
        (CA_BEGIN - 1, Err(IssuerError::UnknownIssuer), Window { from: i64::MIN, until: CA_BEGIN }),
        (CA_BEGIN, Ok(()), within),
        (NOW, Ok(()), within),
        // The certificate's own validity is another rule's affair.
        (END + 1, Ok(()), within),
        (CA_END, Ok(()), within),
        (CA_END + 1, Err(IssuerError::UnknownIssuer), Window { from: CA_END + 1, until: i64::MAX }),
    ] {
        let mut clock = Clock::at(now);
        assert_eq!(
            verify_issuer(&authorities, &us, VERIFIER, &mut clock).map(|_| ()),
            expected,
            "{}",
            now - NOW
        );
        assert_eq!(clock.window(), window, "{}", now - NOW);
    }
}

#[test]
fn renewed_ca_certificate_works_next_to_the_expired_one() {
    let expired = ca("unit-renewed").valid(date(CA_BEGIN), date(NOW - 1)).self_signed();
    let renewed = ca("unit-renewed").self_signed();
    let us = client(&us_leaf(&expired));
    assert_eq!(vouch_now(&[authority(&expired)], &us), Err(IssuerError::UnknownIssuer));
    assert_eq!(vouch_now(&[authority(&expired), authority(&renewed)], &us), Ok(()));
}

#[test]
fn any_extended_key_usage_that_passed_the_parser_passes_here() {
    use testbed_pki::Eku;
    let us_ca = &cast().us_ca;
    for ekus in [vec![], vec![Eku::Any], vec![Eku::ClientAuth, Eku::EmailProtection]] {
        let us = leaf(us_ca).name(US).ekus(&ekus).issue();
        assert_eq!(vouch_now(&[authority(us_ca)], &client(&us)), Ok(()), "{ekus:?}");
    }
}

#[test]
fn pasted_text_around_a_block_does_no_harm() {
    let text = format!("# the root of us-east-1\r\n{}", pem_block(&cast().us_ca.der).replace('\n', "\r\n"));
    assert_eq!(CaCertificate::parse_bundle(text.as_bytes()).unwrap().len(), 1);
}

/// Of an EC key only the verifier knows whether it works.
#[test]
fn own_signature_shows_whether_the_key_works() {
    let root = ca("unit-own").self_signed();
    let replaced = |from: &[u8], to: &[u8]| {
        let mut der = root.der.clone();
        for at in 0..der.len().saturating_sub(from.len()) {
            if der[at..].starts_with(from) {
                der[at..at + to.len()].copy_from_slice(to);
            }
        }
        assert_ne!(der, root.der);
        der
    };
    // ecdsa-with-SHA256, and SHA224, which is not verified.
    let (sha256, sha224) = (b"\x2a\x86\x48\xce\x3d\x04\x03\x02", b"\x2a\x86\x48\xce\x3d\x04\x03\x01");
    let mut forged = root.der.clone();
    *forged.last_mut().unwrap() ^= 1;
    let dn = [("CN", "Rolled over")];
    let old = ca("unit-old").dn(&dn).self_signed();
    let by_old = ca("unit-new").dn(&dn).signed_by(&old);
    for (what, der, expected) in [
        ("sound", root.der.clone(), Ok(())),
        ("forged", forged, Err(IssuerError::BadSignature)),
        ("another algorithm", replaced(sha256, sha224), Err(IssuerError::UnsupportedAlgorithm)),
        ("an intermediate", cast().digicert_ca.der.clone(), Ok(())),
        ("signed by its old key", by_old.der.clone(), Ok(())),
        ("RSA", testbed_pki::Pki::standard().us.root.der.clone(), Ok(())),
    ] {
        assert_eq!(CaCertificate::parse(&der).unwrap().check_key(VERIFIER), expected, "{what}");
    }
}
