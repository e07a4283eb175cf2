//! Signatures: webpki brings the rules, a [`SignatureVerifier`] the arithmetic.

use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use std::{
    fmt::Debug,
    ops::RangeInclusive,
    sync::atomic::{AtomicBool, Ordering},
};
use x509_parser::{prelude::FromDer as _, public_key::RSAPublicKey};

/// Verifies signatures: Envoy in the module, aws-lc-rs in tools, tests and fuzzing.
pub trait SignatureVerifier: Debug + Sync {
    /// Whether the key made this signature over the message: RSA PKCS#1 v1.5 or ECDSA, as the key says. `public_key` is
    /// a `SubjectPublicKeyInfo` in DER. A key or signature that cannot be read verifies nothing, which is no error.
    fn verify(
        &self,
        hash: Hash,
        public_key: &[u8],
        signature: &[u8],
        message: &[u8],
    ) -> Result<bool, VerifierUnavailable>;
}

/// The verifier could not be asked: the host lacks the function, or a capability list refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signatures cannot be verified")]
pub struct VerifierUnavailable;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// Its name in Envoy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// The RSA key sizes accepted, in bits.
pub const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// Each key with its signature algorithms.
const ACCEPTED: [(AlgorithmIdentifier, AlgorithmIdentifier, Hash); 9] = [
    (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA256, Hash::Sha256),
    (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA384, Hash::Sha384),
    (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA512, Hash::Sha512),
    (alg_id::ECDSA_P256, alg_id::ECDSA_SHA256, Hash::Sha256),
    (alg_id::ECDSA_P256, alg_id::ECDSA_SHA384, Hash::Sha384),
    (alg_id::ECDSA_P256, alg_id::ECDSA_SHA512, Hash::Sha512),
    (alg_id::ECDSA_P384, alg_id::ECDSA_SHA256, Hash::Sha256),
    (alg_id::ECDSA_P384, alg_id::ECDSA_SHA384, Hash::Sha384),
    (alg_id::ECDSA_P384, alg_id::ECDSA_SHA512, Hash::Sha512),
];

/// Gives `check` every accepted algorithm in webpki's form. Its answer counts only if the verifier could be asked, since
/// to webpki each failure is a bad signature.
pub fn with_algorithms<T>(
    verifier: &dyn SignatureVerifier,
    check: impl FnOnce(&[&dyn SignatureVerificationAlgorithm]) -> T,
) -> Result<T, VerifierUnavailable> {
    let unavailable = AtomicBool::new(false);
    let algorithms = ACCEPTED.map(|(key, signature, hash)| Algorithm {
        key,
        signature,
        hash,
        verifier,
        unavailable: &unavailable,
    });
    let answer = check(&algorithms.each_ref().map(|algorithm| algorithm as _));
    if unavailable.load(Ordering::Relaxed) { Err(VerifierUnavailable) } else { Ok(answer) }
}

/// Whether signatures with this algorithm, the content of its `AlgorithmIdentifier`, are verified.
pub fn is_accepted_signature(algorithm: &[u8]) -> bool {
    ACCEPTED.iter().any(|(_, signature, _)| signature.as_ref() == algorithm)
}

/// Whether a public key is of an accepted kind and size. `algorithm` is the content of its `AlgorithmIdentifier`, `key`
/// that of its `BIT STRING`. Whether a point lies on its curve only the verifier knows.
pub fn is_accepted_key(algorithm: &[u8], key: &[u8]) -> bool {
    if algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
        is_rsa_key(key)
    } else if algorithm == alg_id::ECDSA_P256.as_ref() {
        is_point(key, 32)
    } else {
        algorithm == alg_id::ECDSA_P384.as_ref() && is_point(key, 48)
    }
}

/// A modulus of an accepted size, and an exponent that is odd, above 1 and, since large ones cost time, within 33 bits.
fn is_rsa_key(key: &[u8]) -> bool {
    let Ok((&[], RSAPublicKey { modulus, exponent })) = RSAPublicKey::from_der(key) else { return false };
    let (Some(modulus), Some(exponent)) = (magnitude(modulus), magnitude(exponent)) else { return false };
    RSA_BITS.contains(&bits(modulus))
        && (2..=33).contains(&bits(exponent))
        && exponent.last().is_some_and(|last| last % 2 == 1)
}

/// The digits of an INTEGER in DER: positive, and without more zeros in front than its sign takes.
fn magnitude(integer: &[u8]) -> Option<&[u8]> {
    match integer {
        [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => Some(rest),
        [1..0x80, ..] => Some(integer),
        _ => None,
    }
}

/// The size of a number without zeros in front.
fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |first| first.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(unused).unwrap_or(0))
}

/// Both coordinates, or one and the sign of the other (SEC 1, section 2.3.3).
fn is_point(key: &[u8], size: usize) -> bool {
    match key {
        [4, coordinates @ ..] => coordinates.len() == 2 * size,
        [2 | 3, coordinate @ ..] => coordinate.len() == size,
        _ => false,
    }
}

/// Whether the verifier works at all: it has to accept a signature that is known to be good.
pub fn self_test(verifier: &dyn SignatureVerifier) -> bool {
    verifier.verify(Hash::Sha256, KNOWN_KEY, KNOWN_SIGNATURE, b"genesys_mtls") == Ok(true)
}

/// A key on P-256 and its signature over `genesys_mtls`, made once with OpenSSL; the private key was thrown away.
const KNOWN_KEY: &[u8] = b"\
    \x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\
    \x00\x04\x46\xb6\xdc\xa4\x8b\xab\xcf\x76\x99\xab\x8a\x27\xad\xef\x1d\x08\x95\x08\x73\x3d\xf1\xad\xe9\
    \xf5\x41\x85\xa0\x21\x93\xa1\xfc\xa5\xcd\x60\x8a\xf1\xcd\xd2\xed\x6f\xf2\x52\x6f\xec\x0b\x28\x1f\x08\
    \xba\x6d\x6a\xa3\x21\x34\xe3\x65\xa4\x89\x0f\x88\x74\x20\xc4\x65";
const KNOWN_SIGNATURE: &[u8] = b"\
    \x30\x44\x02\x20\x28\x86\x78\x85\x8d\xac\xe9\xec\x91\x06\x65\xce\xa4\x25\x3f\x96\x69\x60\xba\xf0\x8c\
    \xd0\xdc\x89\xb1\x9c\x16\xde\x54\x96\x35\xc5\x02\x20\x70\x1e\x78\x16\x36\x0b\xae\x33\x33\x75\xce\xfb\
    \xd2\x09\xe9\x9c\x0b\xf6\x87\x2c\x1d\x9c\x88\xb2\x82\x44\xbd\x5b\x81\x87\x50\x9f";

#[derive(Debug)]
struct Algorithm<'v> {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    hash: Hash,
    verifier: &'v dyn SignatureVerifier,
    unavailable: &'v AtomicBool,
}

impl SignatureVerificationAlgorithm for Algorithm<'_> {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        if !is_accepted_key(self.key.as_ref(), key) {
            return Err(InvalidSignature);
        }
        let public_key =
            tlv(SEQUENCE, &[&tlv(SEQUENCE, &[self.key.as_ref()]), &tlv(BIT_STRING, &[&[0], key])]);
        match self.verifier.verify(self.hash, &public_key, signature, message) {
            Ok(true) => Ok(()),
            Ok(false) => Err(InvalidSignature),
            Err(VerifierUnavailable) => {
                self.unavailable.store(true, Ordering::Relaxed);
                Err(InvalidSignature)
            }
        }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// One element of DER: tag, length, content, which is less than 64 KiB as every accepted key is.
fn tlv(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let [.., high, low] = content.len().to_be_bytes();
    let header: &[u8] = match (high, low) {
        (0, ..0x80) => &[tag, low],
        (0, _) => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [header, &content].concat()
}

#[cfg(test)]
mod tests;
