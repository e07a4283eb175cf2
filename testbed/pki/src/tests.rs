//! The certificates of the testbed are as ordered.

use x509_parser::prelude::*;

use super::{der::SanTag, *};

fn parse(der: &[u8]) -> X509Certificate<'_> {
    X509Certificate::from_der(der).expect("a certificate").1
}

#[test]
fn the_cast_has_the_shape_of_the_facts() {
    let pki = Pki::standard();
    let root = parse(&pki.us.root.der);
    assert!(root.subject().to_string().starts_with("C=US, ST=Indiana"));
    assert!(root.is_ca());
    let key = root.public_key().parsed().unwrap();
    assert_eq!(key.key_size(), 4096);

    let leaf = parse(&pki.us.genesys.der);
    assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
    assert!(pki.us.genesys.intermediates.is_empty(), "the root signs directly");
    assert!(leaf.validity().is_valid());
    assert!(!parse(&pki.us.genesys_expired.der).validity().is_valid());

    let digicert = parse(&pki.us.digicert.der);
    assert_eq!(digicert.public_key().parsed().unwrap().key_size(), 2048);
    assert_eq!(pki.us.digicert.intermediates, std::slice::from_ref(&pki.digicert_ca.der));
    let intermediate = parse(&pki.digicert_ca.der);
    let eku = intermediate.extended_key_usage().unwrap().unwrap().value;
    assert!(eku.client_auth && eku.email_protection && !eku.server_auth);
    assert_eq!(pki.us.digicert.chain_pem.matches("BEGIN CERTIFICATE").count(), 2);

    let impostor = parse(&pki.impostor.der);
    assert_eq!(impostor.subject().as_raw(), root.subject().as_raw());
    assert_ne!(impostor.public_key().raw, root.public_key().raw);
    assert_ne!(pki.us.digicert.sha256, pki.us.digicert_upcoming.sha256);
}

#[test]
fn odd_leaves_come_out_as_ordered() {
    let ca = Ca::builder("odd").key(KeyType::P384).self_signed();
    let leaf = ca
        .leaf()
        .key(KeyType::P256)
        .cn("one")
        .cn("two")
        .dns(b"nul\0.example")
        .san(SanTag::Uri, "spiffe://x,Hash=1;Cert=\"2\"")
        .ekus(&[Eku::Any])
        .serial(&[0x0a, 0x0b])
        .crl("http://crl.example/x.crl")
        .extension(&[1, 3, 6, 1, 4, 1, 99_999, 1], der::tlv(0x05, &[]), true)
        .issue();
    let cert = parse(&leaf.der);
    assert_eq!(cert.subject().iter_common_name().count(), 2);
    assert_eq!(serial_of(&leaf.der), [0x0a, 0x0b]);
    assert!(cert.extended_key_usage().unwrap().unwrap().value.any);
    let custom = cert.extensions().iter().find(|e| e.oid.to_id_string() == "1.3.6.1.4.1.99999.1").unwrap();
    assert!(custom.critical);

    let bare =
        ca.leaf().key(KeyType::P256).no_basic_constraints().no_authority_key_id().ekus(&[]).key_usages(&[]);
    assert!(parse(&bare.issue().der).extensions().is_empty());

    let malformed = ca.leaf().key(KeyType::P256).raw_san(vec![0x30, 0x05, 0x82]).issue();
    let malformed = parse(&malformed.der);
    let san = malformed.extensions().iter().find(|e| e.oid.to_id_string() == "2.5.29.17").unwrap();
    assert_eq!(san.value, [0x30, 0x05, 0x82]);
}

#[test]
fn a_changed_certificate_can_be_signed_again() {
    let ca = Ca::builder("resign").key(KeyType::P256).self_signed();
    let leaf = ca.leaf().key(KeyType::P256).name("a.example").issue();
    let tbs = leaf.tbs();
    let again = ca.sign_tbs(&tbs);
    assert_eq!(parse(&again).subject(), parse(&leaf.der).subject());
    assert_eq!(der::children(&again)[1], der::children(&leaf.der)[1]);
}

#[test]
fn authorities_as_ordered() {
    let bogus = Ca::builder("bogus").key(KeyType::P256).bogus_rsa_key(1024).self_signed();
    assert_eq!(parse(&bogus.der).public_key().parsed().unwrap().key_size(), 1024);
    let fixed = Ca::builder("fixed").key(KeyType::P256).ski(&[7; 20]).self_signed();
    let leaf = fixed.leaf().key(KeyType::P256).issue();
    let leaf = parse(&leaf.der);
    let aki = leaf.iter_extensions().find_map(|e| match e.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(aki) => aki.key_identifier.clone(),
        _ => None,
    });
    assert_eq!(aki.unwrap().0, [7; 20]);
    let crl = fixed.crl().revoke(&[1, 2, 3]).padding(100).number(9).der();
    let (_, crl) = CertificateRevocationList::from_der(&crl).unwrap();
    assert_eq!(crl.iter_revoked_certificates().count(), 101);
}
