//! Verifying signatures with pure Rust, for tests that must not wait for a large library to be built.

use rsa::{Pkcs1v15Sign, RsaPublicKey, pkcs8::DecodePublicKey as _};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// Whether a key (`SubjectPublicKeyInfo` in DER) made a signature: RSA PKCS#1 v1.5, ECDSA on P-256 or P-384. `hash` is
/// `sha256`, `sha384` or `sha512`.
///
/// # Panics
/// If the hash is another.
pub fn verify(hash: &str, public_key: &[u8], signature: &[u8], message: &[u8]) -> bool {
    let (digest, padding) = match hash {
        "sha256" => (Sha256::digest(message).to_vec(), Pkcs1v15Sign::new::<Sha256>()),
        "sha384" => (Sha384::digest(message).to_vec(), Pkcs1v15Sign::new::<Sha384>()),
        "sha512" => (Sha512::digest(message).to_vec(), Pkcs1v15Sign::new::<Sha512>()),
        other => panic!("{other} is no hash known here"),
    };
    match RsaPublicKey::from_public_key_der(public_key) {
        Ok(key) => key.verify(padding, &digest, signature).is_ok(),
        Err(_) => {
            by_p256(public_key, &digest, signature).is_some()
                || by_p384(public_key, &digest, signature).is_some()
        }
    }
}

fn by_p256(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    use p256::{
        ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier as _},
        pkcs8::DecodePublicKey as _,
    };
    let key = VerifyingKey::from_public_key_der(key).ok()?;
    key.verify_prehash(digest, &Signature::from_der(signature).ok()?).ok()
}

fn by_p384(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    use p384::{
        ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier as _},
        pkcs8::DecodePublicKey as _,
    };
    let key = VerifyingKey::from_public_key_der(key).ok()?;
    key.verify_prehash(digest, &Signature::from_der(signature).ok()?).ok()
}
