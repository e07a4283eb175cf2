//! Signatures, verified by Envoy.

use crate::x509::{
    signature::{Hash, SignatureVerifier, VerifierUnavailable},
    verify_signature::{FUNCTION, is_yes, request},
};
use proxy_wasm::{hostcalls, types::Status};

/// Envoy's own cryptography.
#[derive(Debug)]
pub struct EnvoyVerifier;

impl SignatureVerifier for EnvoyVerifier {
    fn verify(
        &self,
        hash: Hash,
        public_key: &[u8],
        signature: &[u8],
        message: &[u8],
    ) -> Result<bool, VerifierUnavailable> {
        let request = request(hash, public_key, signature, message);
        match hostcalls::call_foreign_function(FUNCTION, Some(&request)) {
            Ok(answer) => Ok(answer.is_some_and(|answer| is_yes(&answer))),
            // Envoy 1.40 returns this for a key that it cannot read; older versions answer no.
            Err(Status::BadArgument) => Ok(false),
            Err(_) => Err(VerifierUnavailable),
        }
    }
}
