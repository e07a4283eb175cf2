//! Each algorithm accepts only its own keys and hashes, and only unchanged signatures.

use super::*;
use crate::test_support::VERIFIER;
use sha2::{Digest, Sha256, Sha384, Sha512};
use testbed_pki::{
    KeyType, der, key_pem, p256, p384,
    rsa::{self, Pkcs1v15Sign, pkcs8::DecodePrivateKey as _},
};

const MESSAGE: &[u8] = b"to be signed";

/// A signature, the public key it verifies with, and the algorithm it takes.
struct Signed {
    what: &'static str,
    key_id: AlgorithmIdentifier,
    signature_id: AlgorithmIdentifier,
    key: Vec<u8>,
    signature: Vec<u8>,
}

fn rsa_key() -> rsa::RsaPrivateKey {
    use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
    let pem = key_pem("unit-signature", KeyType::Rsa2048);
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    rsa::RsaPrivateKey::from_pkcs8_der(der.secret_pkcs8_der()).unwrap()
}

fn by_rsa<D: Digest + rsa::pkcs8::AssociatedOid>(
    what: &'static str,
    signature_id: AlgorithmIdentifier,
) -> Signed {
    use rsa::pkcs1::EncodeRsaPublicKey as _;
    let private = rsa_key();
    Signed {
        what,
        key_id: alg_id::RSA_ENCRYPTION,
        signature_id,
        key: private.to_public_key().to_pkcs1_der().unwrap().as_bytes().to_vec(),
        signature: private.sign(Pkcs1v15Sign::new::<D>(), &D::digest(MESSAGE)).unwrap(),
    }
}

fn by_p256<D: Digest>(what: &'static str, signature_id: AlgorithmIdentifier) -> Signed {
    use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
    let private = SigningKey::from_slice(&[7; 32]).unwrap();
    let signature: Signature = private.sign_prehash(&D::digest(MESSAGE)).unwrap();
    Signed {
        what,
        key_id: alg_id::ECDSA_P256,
        signature_id,
        key: private.verifying_key().to_encoded_point(false).as_bytes().to_vec(),
        signature: signature.to_der().as_bytes().to_vec(),
    }
}

fn by_p384<D: Digest>(what: &'static str, signature_id: AlgorithmIdentifier) -> Signed {
    use p384::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
    let private = SigningKey::from_slice(&[7; 48]).unwrap();
    let signature: Signature = private.sign_prehash(&D::digest(MESSAGE)).unwrap();
    Signed {
        what,
        key_id: alg_id::ECDSA_P384,
        signature_id,
        key: private.verifying_key().to_encoded_point(false).as_bytes().to_vec(),
        signature: signature.to_der().as_bytes().to_vec(),
    }
}

fn signatures() -> Vec<Signed> {
    vec![
        by_rsa::<Sha256>("RSA, SHA-256", alg_id::RSA_PKCS1_SHA256),
        by_rsa::<Sha384>("RSA, SHA-384", alg_id::RSA_PKCS1_SHA384),
        by_rsa::<Sha512>("RSA, SHA-512", alg_id::RSA_PKCS1_SHA512),
        by_p256::<Sha256>("P-256, SHA-256", alg_id::ECDSA_SHA256),
        by_p256::<Sha384>("P-256, SHA-384", alg_id::ECDSA_SHA384),
        by_p256::<Sha512>("P-256, SHA-512", alg_id::ECDSA_SHA512),
        by_p384::<Sha256>("P-384, SHA-256", alg_id::ECDSA_SHA256),
        by_p384::<Sha384>("P-384, SHA-384", alg_id::ECDSA_SHA384),
        by_p384::<Sha512>("P-384, SHA-512", alg_id::ECDSA_SHA512),
    ]
}

/// How many algorithms accept a signature.
fn accepting(key: &[u8], message: &[u8], signature: &[u8]) -> usize {
    let count = |algorithms: &[&dyn SignatureVerificationAlgorithm]| {
        algorithms.iter().filter(|one| one.verify_signature(key, message, signature).is_ok()).count()
    };
    with_algorithms(VERIFIER, count).unwrap()
}

#[test]
fn algorithm_accepts_only_its_own_key_and_hash() {
    for Signed { what, key_id, signature_id, key, signature } in signatures() {
        let accepting: Vec<_> = with_algorithms(VERIFIER, |algorithms| {
            let mine =
                algorithms.iter().filter(|one| one.verify_signature(&key, MESSAGE, &signature).is_ok());
            mine.map(|one| (one.public_key_alg_id(), one.signature_alg_id())).collect()
        })
        .unwrap();
        assert_eq!(accepting, [(key_id, signature_id)], "{what}");
    }
}

#[test]
fn changed_message_key_or_signature_is_rejected() {
    for Signed { what, key, signature, .. } in signatures() {
        assert_eq!(accepting(&key, b"to be Signed", &signature), 0, "{what}");
        assert_eq!(accepting(&key, MESSAGE, &[]), 0, "{what}");
        assert_eq!(accepting(&[], MESSAGE, &signature), 0, "{what}");
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert_eq!(accepting(&key, MESSAGE, &changed), 0, "{what}, byte {at}");
        }
        assert_eq!(accepting(&key, MESSAGE, &[&signature, &[0][..]].concat()), 0, "{what}");
        let mut other_key = key.clone();
        other_key[key.len() / 2] ^= 4;
        assert_eq!(accepting(&other_key, MESSAGE, &signature), 0, "{what}");
    }
}

#[test]
fn rsa_keys_have_2048_to_8192_bits_and_a_sane_exponent() {
    const F4: &[u8] = &[1, 0, 1];
    let key = |bits: usize, exponent: &[u8]| {
        // The leading zero keeps the number positive, the top bit makes its size exact.
        let mut modulus = vec![0; bits.div_ceil(8) + 1];
        modulus[1] = 1 << ((bits - 1) % 8);
        *modulus.last_mut().unwrap() |= 1;
        let modulus = if modulus[1] & 0x80 == 0 { &modulus[1..] } else { &modulus };
        der::sequence(&[&der::tlv(2, modulus), &der::tlv(2, exponent)])
    };
    let accepted = |key: &[u8]| is_accepted_key(alg_id::RSA_ENCRYPTION.as_ref(), key);
    for (bits, exponent, expected) in [
        (2048, F4, true),
        (3072, F4, true),
        (4096, F4, true),
        (4097, F4, true),
        (8192, F4, true),
        (2048, &[3], true),
        (2048, &[1, 0xff, 0xff, 0xff, 0xff], true),
        (2047, F4, false),
        (1024, F4, false),
        (512, F4, false),
        (8193, F4, false),
        (2048, &[1], false),
        (2048, &[1, 0, 0], false),
        (2048, &[0x81], false),
        (2048, &[0, 3], false),
        (2048, &[], false),
        // Large exponents cost time: one second and more from here on, were they allowed.
        (4096, &[3, 0xff, 0xff, 0xff, 0xff], false),
        (4096, &[1, 0, 0, 0, 0, 0, 0, 0, 1], false),
    ] {
        assert_eq!(accepted(&key(bits, exponent)), expected, "{bits} bits, exponent {exponent:?}");
    }
    let good = key(2048, F4);
    assert!(!accepted(&[good.as_slice(), &[0]].concat()), "bytes after its end");
    assert!(!accepted(&good[..good.len() - 1]), "cut short");
    assert!(!accepted(&[]));
}

#[test]
fn points_have_the_size_of_their_curve() {
    let (p256, p384) = (alg_id::ECDSA_P256, alg_id::ECDSA_P384);
    for (algorithm, form, rest, expected) in [
        (p256, 4, 64, true),
        (p256, 2, 32, true),
        (p256, 3, 32, true),
        (p384, 4, 96, true),
        (p384, 2, 48, true),
        (p256, 4, 96, false),
        (p384, 4, 64, false),
        (p256, 4, 63, false),
        (p256, 2, 64, false),
        (p256, 6, 64, false),
        (p256, 0, 0, false),
        (alg_id::ED25519, 4, 64, false),
        (alg_id::ECDSA_P521, 4, 132, false),
    ] {
        let key = [vec![form], vec![1; rest]].concat();
        assert_eq!(is_accepted_key(algorithm.as_ref(), &key), expected, "{algorithm:?} {form} {rest}");
    }
    assert!(!is_accepted_key(p256.as_ref(), &[]));
}

/// What the verifier is asked with, and what it answers.
#[derive(Debug)]
struct Scripted(Result<bool, VerifierUnavailable>, std::sync::Mutex<Vec<(Hash, Vec<u8>)>>);

impl SignatureVerifier for Scripted {
    fn verify(&self, hash: Hash, public_key: &[u8], _: &[u8], _: &[u8]) -> Result<bool, VerifierUnavailable> {
        self.1.lock().unwrap().push((hash, public_key.to_vec()));
        self.0
    }
}

#[test]
fn verifier_is_asked_with_the_whole_key_and_only_a_yes_counts() {
    use rsa::pkcs8::EncodePublicKey as _;
    let key = rsa_key().to_public_key();
    let spki = key.to_public_key_der().unwrap();
    let Signed { key, signature, .. } = by_rsa::<Sha256>("", alg_id::RSA_PKCS1_SHA256);
    for (answer, expected) in [
        (Ok(true), Ok(Ok(()))),
        (Ok(false), Ok(Err(InvalidSignature))),
        (Err(VerifierUnavailable), Err(VerifierUnavailable)),
    ] {
        let verifier = Scripted(answer, std::sync::Mutex::default());
        let found = with_algorithms(&verifier, |algorithms| {
            let mut of = algorithms.iter();
            let sha384 = of.find(|one| one.signature_alg_id() == alg_id::RSA_PKCS1_SHA384).unwrap();
            sha384.verify_signature(&key, MESSAGE, &signature).map_err(|_| InvalidSignature)
        });
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        assert_eq!(verifier.1.into_inner().unwrap(), [(Hash::Sha384, spki.as_bytes().to_vec())]);
    }
}

#[test]
fn self_test_passes_only_where_signatures_are_verified() {
    assert!(self_test(VERIFIER));
    for answer in [Ok(false), Err(VerifierUnavailable)] {
        assert!(!self_test(&Scripted(answer, std::sync::Mutex::default())));
    }
}

#[test]
fn elements_have_the_shortest_length() {
    for (size, header) in [
        (0, &[0x30, 0][..]),
        (127, &[0x30, 127]),
        (128, &[0x30, 0x81, 128]),
        (255, &[0x30, 0x81, 255]),
        (256, &[0x30, 0x82, 1, 0]),
        (65_535, &[0x30, 0x82, 255, 255]),
    ] {
        assert_eq!(tlv(SEQUENCE, &[&vec![7; size]]), [header, &vec![7; size]].concat(), "{size}");
    }
}
