//! Records what a test asks its verifier, so that another verifier can be asked the same.

use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::x509::{
    signature::{Hash, SignatureVerifier, VerifierUnavailable},
    verify_signature,
};
use std::cell::RefCell;

thread_local! {
    static ASKED: RefCell<Vec<Asked>> = const { RefCell::new(Vec::new()) };
}

/// A question as Envoy gets it, and the answer of the tools' verifier.
#[derive(Debug)]
pub struct Asked {
    pub request: Vec<u8>,
    pub verified: bool,
}

/// The tools' verifier. It keeps what this thread asks.
#[derive(Debug)]
pub struct Recorder;

impl SignatureVerifier for Recorder {
    fn verify(
        &self,
        hash: Hash,
        public_key: &[u8],
        signature: &[u8],
        message: &[u8],
    ) -> Result<bool, VerifierUnavailable> {
        let verified = AwsLcVerifier.verify(hash, public_key, signature, message)?;
        let request = verify_signature::request(hash, public_key, signature, message);
        ASKED.with_borrow_mut(|asked| asked.push(Asked { request, verified }));
        Ok(verified)
    }
}

/// All that this thread has asked.
pub fn take() -> Vec<Asked> {
    ASKED.take()
}
