//! Any answer of the host to `verify_signature`: only a first field that is an explicit yes is one, and nothing but its text
//! may follow.
#![no_main]

use genesys_mtls_filter::x509::verify_signature::is_yes;
use libfuzzer_sys::fuzz_target;
use prost::Message;

/// `envoy.source.extensions.common.wasm.VerifySignatureResult`.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(bool, tag = "1")]
    result: bool,
    #[prost(string, tag = "2")]
    error: String,
}

fuzz_target!(|data: &[u8]| {
    assert!(!is_yes(data) || data.starts_with(&[8, 1]), "a yes that does not say so first");
    for first in [&[8, 0][..], &[8, 2], &[0x12], &[]] {
        let answer = [first, data].concat();
        assert!(!is_yes(&answer) || answer.starts_with(&[8, 1]), "{answer:?}");
    }
    // As Envoy's library writes an answer, both readings are the same.
    if let Ok(answer) = Answer::decode(data) {
        assert_eq!(is_yes(&answer.encode_to_vec()), answer.result);
    }
});
