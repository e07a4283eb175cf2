//! Signatures verified by aws-lc-rs, through webpki's own algorithms. A part of the tool `genesys-mtls`, without a stable API.

use aws_lc_rs::signature;
use genesys_mtls_filter::x509::signature::{Hash, SignatureVerifier, VerifierUnavailable};
use rustls_pki_types::{SignatureVerificationAlgorithm, alg_id};
use webpki::aws_lc_rs::{
    ECDSA_P256_SHA256, ECDSA_P256_SHA384, ECDSA_P256_SHA512, ECDSA_P384_SHA256, ECDSA_P384_SHA384,
    ECDSA_P384_SHA512, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
};
use x509_parser::{asn1_rs::Any, prelude::FromDer as _};

#[derive(Clone, Copy, Debug)]
pub struct AwsLcVerifier;

impl SignatureVerifier for AwsLcVerifier {
    fn verify(
        &self,
        hash: Hash,
        public_key: &[u8],
        signature: &[u8],
        message: &[u8],
    ) -> Result<bool, VerifierUnavailable> {
        let algorithms: [&dyn SignatureVerificationAlgorithm; 3] = match hash {
            Hash::Sha256 => [RSA_PKCS1_2048_8192_SHA256, ECDSA_P256_SHA256, ECDSA_P384_SHA256],
            Hash::Sha384 => [RSA_PKCS1_2048_8192_SHA384, ECDSA_P256_SHA384, ECDSA_P384_SHA384],
            Hash::Sha512 => [RSA_PKCS1_2048_8192_SHA512, ECDSA_P256_SHA512, ECDSA_P384_SHA512],
        };
        let Some((kind, key)) = parts(public_key) else { return Ok(false) };
        let mut of_kind = algorithms.iter().filter(|one| one.public_key_alg_id().as_ref() == kind);
        Ok(of_kind.any(|one| one.verify_signature(key, message, signature).is_ok()))
    }
}

/// Whether a key on a curve is a point of it. `algorithm` is the content of its `AlgorithmIdentifier`; keys of other kinds are
/// not looked at.
pub fn is_point_of_its_curve(algorithm: &[u8], key: &[u8]) -> bool {
    let curve = if algorithm == alg_id::ECDSA_P256.as_ref() {
        &signature::ECDSA_P256_SHA256_ASN1
    } else if algorithm == alg_id::ECDSA_P384.as_ref() {
        &signature::ECDSA_P384_SHA384_ASN1
    } else {
        return true;
    };
    signature::ParsedPublicKey::new(curve, key).is_ok()
}

/// A `SubjectPublicKeyInfo`: the content of its `AlgorithmIdentifier`, and its key.
fn parts(public_key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[], info) = Any::from_der(public_key).ok()? else { return None };
    let (rest, kind) = Any::from_der(info.data).ok()?;
    let (&[], key) = Any::from_der(rest).ok()? else { return None };
    Some((kind.data, key.data.strip_prefix(&[0])?))
}
