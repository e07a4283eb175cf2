//! Signature algorithms in pure Rust, in the shape that webpki takes.
//!
//! webpki brings the rules (which algorithm goes with which key, RFC 5280's encodings) and leaves the arithmetic to
//! its user; *ring* and aws-lc do not build for a proxy's WebAssembly. Only verification: no private key ever exists
//! here, so RUSTSEC-2023-0071 (a timing leak in RSA *decryption*) has nothing to leak.

use crate::x509::signature::{Hash, SignatureVerifier, VerifierUnavailable};
use rsa::{Pkcs1v15Sign, RsaPublicKey, pkcs1::DecodeRsaPublicKey as _, pkcs8::DecodePublicKey as _};
use rustls_pki_types::{AlgorithmIdentifier, alg_id};
use sha2::{Digest, Sha256, Sha384, Sha512, digest::DynDigest};
use std::fmt;

/// The same, to be used on a message that comes in pieces.
static IN_PIECES: &[&Algorithm] =
    &[&RSA_SHA256, &RSA_SHA384, &RSA_SHA512, &P256_SHA256, &P256_SHA384, &P384_SHA256, &P384_SHA384];

static RSA_SHA256: Algorithm = Algorithm {
    key: alg_id::RSA_ENCRYPTION,
    signature: alg_id::RSA_PKCS1_SHA256,
    hasher: hasher::<Sha256>,
    verify: rsa::<Sha256>,
};
static RSA_SHA384: Algorithm = Algorithm {
    key: alg_id::RSA_ENCRYPTION,
    signature: alg_id::RSA_PKCS1_SHA384,
    hasher: hasher::<Sha384>,
    verify: rsa::<Sha384>,
};
static RSA_SHA512: Algorithm = Algorithm {
    key: alg_id::RSA_ENCRYPTION,
    signature: alg_id::RSA_PKCS1_SHA512,
    hasher: hasher::<Sha512>,
    verify: rsa::<Sha512>,
};
static P256_SHA256: Algorithm = Algorithm {
    key: alg_id::ECDSA_P256,
    signature: alg_id::ECDSA_SHA256,
    hasher: hasher::<Sha256>,
    verify: p256,
};
static P256_SHA384: Algorithm = Algorithm {
    key: alg_id::ECDSA_P256,
    signature: alg_id::ECDSA_SHA384,
    hasher: hasher::<Sha384>,
    verify: p256,
};
static P384_SHA256: Algorithm = Algorithm {
    key: alg_id::ECDSA_P384,
    signature: alg_id::ECDSA_SHA256,
    hasher: hasher::<Sha256>,
    verify: p384,
};
static P384_SHA384: Algorithm = Algorithm {
    key: alg_id::ECDSA_P384,
    signature: alg_id::ECDSA_SHA384,
    hasher: hasher::<Sha384>,
    verify: p384,
};

#[derive(Debug)]
pub struct RustCrypto;

impl SignatureVerifier for RustCrypto {
    fn verify(
        &self,
        hash: Hash,
        public_key: &[u8],
        signature: &[u8],
        message: &[u8],
    ) -> Result<bool, VerifierUnavailable> {
        let (digest, padding) = match hash {
            Hash::Sha256 => (Sha256::digest(message).to_vec(), Pkcs1v15Sign::new::<Sha256>()),
            Hash::Sha384 => (Sha384::digest(message).to_vec(), Pkcs1v15Sign::new::<Sha384>()),
            Hash::Sha512 => (Sha512::digest(message).to_vec(), Pkcs1v15Sign::new::<Sha512>()),
        };
        Ok(match RsaPublicKey::from_public_key_der(public_key) {
            Ok(key) => key.verify(padding, &digest, signature).is_ok(),
            Err(_) => {
                p256_spki(public_key, &digest, signature).is_some()
                    || p384_spki(public_key, &digest, signature).is_some()
            }
        })
    }
}

/// The digest of a message that comes in pieces.
pub struct MessageDigest(Box<dyn DynDigest>);

impl MessageDigest {
    /// Begins a digest as a signature algorithm wants it. `algorithm` is the content of its `AlgorithmIdentifier`.
    pub fn of(algorithm: &[u8]) -> Option<Self> {
        let known = IN_PIECES.iter().find(|known| known.signature.as_ref() == algorithm)?;
        Some(Self((known.hasher)()))
    }

    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    pub fn finish(mut self) -> Vec<u8> {
        let mut digest = vec![0; self.0.output_size()];
        // It fails for a buffer of another size only, and a digest of zeros is nobody's.
        let _ = self.0.finalize_into_reset(&mut digest);
        digest
    }
}

/// Whether a key made a signature over a message with this digest. Both algorithms are contents of an
/// `AlgorithmIdentifier`.
pub fn verify_digest(
    (key_algorithm, key): (&[u8], &[u8]),
    digest: &[u8],
    (algorithm, signature): (&[u8], &[u8]),
) -> bool {
    IN_PIECES
        .iter()
        .filter(|known| known.signature.as_ref() == algorithm && known.key.as_ref() == key_algorithm)
        .any(|known| (known.verify)(key, digest, signature).is_some())
}

/// Public key, digest, signature: nothing unless they fit.
type Verify = fn(&[u8], &[u8], &[u8]) -> Option<()>;

struct Algorithm {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    hasher: fn() -> Box<dyn DynDigest>,
    verify: Verify,
}

impl fmt::Debug for MessageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageDigest(...)")
    }
}

fn hasher<D: DynDigest + Default + 'static>() -> Box<dyn DynDigest> {
    Box::new(D::default())
}

fn rsa<D: Digest + rsa::pkcs8::AssociatedOid>(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    RsaPublicKey::from_pkcs1_der(key).ok()?.verify(Pkcs1v15Sign::new::<D>(), digest, signature).ok()
}

fn p256(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    use p256::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier as _};
    let key = VerifyingKey::from_sec1_bytes(key).ok()?;
    key.verify_prehash(digest, &Signature::from_der(signature).ok()?).ok()
}

fn p384(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    use p384::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier as _};
    let key = VerifyingKey::from_sec1_bytes(key).ok()?;
    key.verify_prehash(digest, &Signature::from_der(signature).ok()?).ok()
}

fn p256_spki(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    use p256::{
        ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier as _},
        pkcs8::DecodePublicKey as _,
    };
    let key = VerifyingKey::from_public_key_der(key).ok()?;
    key.verify_prehash(digest, &Signature::from_der(signature).ok()?).ok()
}

fn p384_spki(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    use p384::{
        ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier as _},
        pkcs8::DecodePublicKey as _,
    };
    let key = VerifyingKey::from_public_key_der(key).ok()?;
    key.verify_prehash(digest, &Signature::from_der(signature).ok()?).ok()
}
