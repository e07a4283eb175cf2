use super::*;
use ::rsa::pkcs8::DecodePrivateKey as _;
use testbed::pki::{KeyType, der, key_pem};

const MESSAGE: &[u8] = b"to be signed";

/// A signature, the public key it verifies with, and the algorithm it takes.
struct Signed {
    what: &'static str,
    key_id: AlgorithmIdentifier,
    /// None where no algorithm accepted here goes with it.
    signature_id: Option<AlgorithmIdentifier>,
    key: Vec<u8>,
    signature: Vec<u8>,
}

fn rsa_key() -> ::rsa::RsaPrivateKey {
    use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
    let pem = key_pem("unit-signature", KeyType::Rsa2048);
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    ::rsa::RsaPrivateKey::from_pkcs8_der(der.secret_pkcs8_der()).unwrap()
}

fn by_rsa<D: Digest + ::rsa::pkcs8::AssociatedOid>(
    what: &'static str,
    signature_id: Option<AlgorithmIdentifier>,
) -> Signed {
    use ::rsa::pkcs1::EncodeRsaPublicKey as _;
    let private = rsa_key();
    Signed {
        what,
        key_id: alg_id::RSA_ENCRYPTION,
        signature_id,
        key: private.to_public_key().to_pkcs1_der().unwrap().as_bytes().to_vec(),
        signature: private.sign(Pkcs1v15Sign::new::<D>(), &D::digest(MESSAGE)).unwrap(),
    }
}

fn by_p256<D: Digest>(what: &'static str, signature_id: Option<AlgorithmIdentifier>) -> Signed {
    use ::p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
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

fn by_p384<D: Digest>(what: &'static str, signature_id: Option<AlgorithmIdentifier>) -> Signed {
    use ::p384::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
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
        by_rsa::<Sha256>("RSA, SHA-256", Some(alg_id::RSA_PKCS1_SHA256)),
        by_rsa::<Sha384>("RSA, SHA-384", Some(alg_id::RSA_PKCS1_SHA384)),
        by_rsa::<Sha512>("RSA, SHA-512", Some(alg_id::RSA_PKCS1_SHA512)),
        by_p256::<Sha256>("P-256, SHA-256", Some(alg_id::ECDSA_SHA256)),
        by_p256::<Sha384>("P-256, SHA-384", Some(alg_id::ECDSA_SHA384)),
        by_p256::<Sha512>("P-256, SHA-512", None),
        by_p384::<Sha256>("P-384, SHA-256", Some(alg_id::ECDSA_SHA256)),
        by_p384::<Sha384>("P-384, SHA-384", Some(alg_id::ECDSA_SHA384)),
        by_p384::<Sha512>("P-384, SHA-512", None),
    ]
}

#[test]
fn each_algorithm_accepts_its_own_key_and_hash_and_no_other() {
    for signed in signatures() {
        for algorithm in ALGORITHMS {
            let accepted = algorithm.verify_signature(&signed.key, MESSAGE, &signed.signature).is_ok();
            let its_own = algorithm.public_key_alg_id() == signed.key_id
                && Some(algorithm.signature_alg_id()) == signed.signature_id;
            assert_eq!(accepted, its_own, "{} by {algorithm:?}", signed.what);
        }
        let takers = ALGORITHMS
            .iter()
            .filter(|algorithm| algorithm.verify_signature(&signed.key, MESSAGE, &signed.signature).is_ok());
        assert_eq!(takers.count(), usize::from(signed.signature_id.is_some()), "{}", signed.what);
    }
}

#[test]
fn a_changed_message_key_or_signature_is_refused() {
    for signed in signatures().iter().filter(|signed| signed.signature_id.is_some()) {
        for algorithm in ALGORITHMS {
            let verify = |key: &[u8], message: &[u8], signature: &[u8]| {
                algorithm.verify_signature(key, message, signature).is_ok()
            };
            assert!(!verify(&signed.key, b"to be Signed", &signed.signature), "{}", signed.what);
            assert!(!verify(&signed.key, MESSAGE, &[]), "{}", signed.what);
            assert!(!verify(&[], MESSAGE, &signed.signature), "{}", signed.what);
            for at in [0, signed.signature.len() / 2, signed.signature.len() - 1] {
                let mut changed = signed.signature.clone();
                changed[at] ^= 1;
                assert!(!verify(&signed.key, MESSAGE, &changed), "{}, byte {at}", signed.what);
            }
            let longer = [signed.signature.as_slice(), &[0]].concat();
            assert!(!verify(&signed.key, MESSAGE, &longer), "{}", signed.what);
            let mut other_key = signed.key.clone();
            let middle = other_key.len() / 2;
            other_key[middle] ^= 4;
            assert!(!verify(&other_key, MESSAGE, &signed.signature), "{}", signed.what);
        }
    }
}

#[test]
fn rsa_keys_have_2048_to_4096_bits_and_a_sane_exponent() {
    const F4: &[u8] = &[1, 0, 1];
    let key = |bits: usize, exponent: &[u8]| {
        // The leading zero keeps the number positive, the top bit makes its size exact.
        let mut modulus = vec![0; bits.div_ceil(8) + 1];
        modulus[1] = 1 << ((bits - 1) % 8);
        *modulus.last_mut().unwrap() |= 1;
        let modulus = if modulus[1] & 0x80 == 0 { &modulus[1..] } else { &modulus };
        der::sequence(&[&der::tlv(2, modulus), &der::tlv(2, exponent)])
    };
    for (bits, exponent, expected) in [
        (2048, F4, true),
        (3072, F4, true),
        (4096, F4, true),
        (2048, &[3], true),
        (2047, F4, false),
        (1024, F4, false),
        (512, F4, false),
        (4097, F4, false),
        (8192, F4, false),
        (2048, &[1], false),
        (2048, &[1, 0, 0], false),
        // Large exponents cost time: one second and more from here on, were they allowed.
        (4096, &[1, 0, 0, 0, 0, 0, 0, 0, 1], false),
    ] {
        let accepted = rsa_public_key(&key(bits, exponent)).is_some();
        assert_eq!(accepted, expected, "{bits} bits, exponent {exponent:?}");
    }
    let good = key(2048, F4);
    assert!(rsa_public_key(&[good.as_slice(), &[0]].concat()).is_none(), "bytes after its end");
    assert!(rsa_public_key(&good[..good.len() - 1]).is_none(), "cut short");
    assert!(rsa_public_key(&[]).is_none());
}

#[test]
fn nothing_of_a_message_is_printed() {
    let algorithm = alg_id::RSA_PKCS1_SHA256;
    let mut digest = MessageDigest::of(algorithm.as_ref()).unwrap();
    digest.update(MESSAGE);
    assert_eq!(format!("{digest:?}"), "MessageDigest(...)");
    assert_eq!(format!("{:?}", ALGORITHMS[0]), format!("Algorithm {{ signature: {algorithm:?}, .. }}"));
    assert!(MessageDigest::of(alg_id::ED25519.as_ref()).is_none());
}
