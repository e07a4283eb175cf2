//! NIST's CAVP vectors for signature verification, for what Wycheproof lacks: P-256 with SHA-384, and the same hashes on
//! keys of another origin.

use crate::record::Recorder;
use genesys_mtls_filter::x509::signature::with_algorithms;
use rsa::{BigUint, RsaPublicKey, pkcs1::EncodeRsaPublicKey as _};
use rustls_pki_types::{AlgorithmIdentifier, alg_id};
use std::{collections::BTreeMap, fs, path::Path};
use testbed::vectors;

/// One record of an `.rsp` file: the line in brackets that it stands under, and its fields.
struct Record {
    section: String,
    fields: BTreeMap<String, String>,
}

impl Record {
    fn bytes(&self, field: &str) -> Vec<u8> {
        let text = &self.fields[field];
        let digits = if text.len().is_multiple_of(2) { text.clone() } else { format!("0{text}") };
        let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    fn passes(&self) -> bool {
        self.fields["Result"].starts_with('P')
    }
}

/// The records of a file. A field that a record leaves out is that of the one before (RSA: one modulus, many records).
fn records(path: &Path) -> Vec<Record> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut found, mut section, mut fields) = (Vec::new(), String::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(name) = line.trim().strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((field, value)) = line.split_once('=') {
            fields.insert(field.trim().to_owned(), value.trim().to_owned());
            if field.trim() == "Result" {
                found.push(Record { section: section.clone(), fields: fields.clone() });
            }
        }
    }
    found
}

/// Whether a key made a signature, by the algorithm with these identifiers.
fn verifies(
    (key_id, signature_id): (AlgorithmIdentifier, AlgorithmIdentifier),
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    with_algorithms(&Recorder, |algorithms| {
        let mut algorithms = algorithms.iter();
        let fits = algorithms
            .find(|one| one.public_key_alg_id() == key_id && one.signature_alg_id() == signature_id);
        fits.expect("an algorithm").verify_signature(key, message, signature).is_ok()
    })
    .expect("a verifier")
}

/// An ECDSA signature in DER (RFC 3279, section 2.2.3).
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let sign = bytes.get(zeros).is_none_or(|first| first & 0x80 != 0);
        let content = [&[0][..usize::from(sign)], &bytes[zeros..]].concat();
        [&[2, u8::try_from(content.len()).unwrap()][..], &content].concat()
    };
    let content = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(content.len()).unwrap()][..], &content].concat()
}

fn padded(bytes: Vec<u8>, size: usize) -> Vec<u8> {
    [vec![0; size - bytes.len()], bytes].concat()
}

#[test]
pub fn ecdsa_signatures_verify_as_nist_says() {
    let Some(vectors) = vectors::directory() else { return };
    let records = records(&vectors.join("asymmetric/ECDSA/FIPS_186-3/SigVer.rsp"));
    let (p256, p384) = ((alg_id::ECDSA_P256, 32), (alg_id::ECDSA_P384, 48));
    for (section, (key, size), signature) in [
        ("P-256,SHA-256", p256, alg_id::ECDSA_SHA256),
        ("P-256,SHA-384", p256, alg_id::ECDSA_SHA384),
        ("P-256,SHA-512", p256, alg_id::ECDSA_SHA512),
        ("P-384,SHA-256", p384, alg_id::ECDSA_SHA256),
        ("P-384,SHA-384", p384, alg_id::ECDSA_SHA384),
        ("P-384,SHA-512", p384, alg_id::ECDSA_SHA512),
    ] {
        let algorithm = (key, signature);
        let mut passed = 0;
        let mine: Vec<_> = records.iter().filter(|record| record.section == section).collect();
        for record in &mine {
            let [x, y] = ["Qx", "Qy"].map(|field| padded(record.bytes(field), size));
            let signature = der(&record.bytes("R"), &record.bytes("S"));
            let key = [&[4][..], &x, &y].concat();
            let verified = verifies(algorithm, &key, &record.bytes("Msg"), &signature);
            assert_eq!(verified, record.passes(), "{section}: {:?}", record.fields);
            passed += usize::from(verified);
        }
        assert!(mine.len() == 15 && passed > 0, "{section}: {passed} of {} verify", mine.len());
    }
}

#[test]
pub fn rsa_signatures_verify_as_nist_says() {
    let Some(vectors) = vectors::directory() else { return };
    let records = records(&vectors.join("asymmetric/RSA/FIPS_186-2/SigVer15_186-3.rsp"));
    for (hash, signature) in [
        ("SHA256", alg_id::RSA_PKCS1_SHA256),
        ("SHA384", alg_id::RSA_PKCS1_SHA384),
        ("SHA512", alg_id::RSA_PKCS1_SHA512),
    ] {
        let algorithm = (alg_id::RSA_ENCRYPTION, signature);
        // Smaller keys are not accepted, however good the signature.
        for (section, accepted) in [
            ("mod = 1024", false),
            ("mod = 1536", false),
            ("mod = 2048", true),
            ("mod = 3072", true),
            ("mod = 4096", true),
        ] {
            let of = |record: &&Record| record.section == section && record.fields["SHAAlg"] == hash;
            let mine: Vec<_> = records.iter().filter(of).collect();
            let mut passed = 0;
            for record in &mine {
                let [n, e] = ["n", "e"].map(|field| BigUint::from_bytes_be(&record.bytes(field)));
                let Ok(key) = RsaPublicKey::new_with_max_size(n, e, 4096) else {
                    assert!(!record.passes(), "a key that is refused: {:?}", record.fields);
                    continue;
                };
                let key = key.to_pkcs1_der().unwrap();
                let verified = verifies(algorithm, key.as_bytes(), &record.bytes("Msg"), &record.bytes("S"));
                assert_eq!(verified, accepted && record.passes(), "{section} {hash}: {:?}", record.fields);
                passed += usize::from(record.passes());
            }
            assert!(mine.len() == 18 && passed > 0, "{section} {hash}: {passed} of {} are good", mine.len());
        }
    }
}
