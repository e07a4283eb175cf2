//! What Envoy's foreign function `verify_signature` is asked, and what it answers: protobuf messages.

use crate::x509::signature::Hash;

pub const FUNCTION: &str = "verify_signature";

/// The request: fields 1 name of the hash, 2 `SubjectPublicKeyInfo`, 3 signature, 4 message.
pub fn request(hash: Hash, public_key: &[u8], signature: &[u8], message: &[u8]) -> Vec<u8> {
    let fields = [hash.name().as_bytes(), public_key, signature, message];
    // Room for each field's tag and length, so that a long message is copied once.
    let mut request = Vec::with_capacity(fields.iter().map(|field| field.len() + 6).sum());
    for (tag, field) in [0x0a, 0x12, 0x1a, 0x22].into_iter().zip(fields) {
        request.push(tag);
        prost::encode_length_delimiter(field.len(), &mut request).unwrap_or_default();
        request.extend_from_slice(field);
    }
    request
}

/// Whether the answer is an explicit yes: field 1 is true, and what may follow is its text (field 2). A no comes with
/// a text, and without field 1.
pub fn is_yes(answer: &[u8]) -> bool {
    matches!(answer, [0x08, 0x01] | [0x08, 0x01, 0x12, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    struct Request {
        #[prost(string, tag = "1")]
        hash: String,
        #[prost(bytes = "vec", tag = "2")]
        public_key: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        signature: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        message: Vec<u8>,
    }

    proptest! {
        #[test]
        fn request_holds_its_four_fields_and_is_allocated_once(
            public_key: Vec<u8>, signature: Vec<u8>, message: Vec<u8>, long in 0..70_000_usize,
        ) {
            let message = [message, vec![7; long]].concat();
            let request = request(Hash::Sha384, &public_key, &signature, &message);
            prop_assert!(request.capacity() <= public_key.len() + signature.len() + message.len() + 30);
            let decoded = Request::decode(request.as_slice()).unwrap();
            prop_assert_eq!(decoded, Request { hash: "sha384".to_owned(), public_key, signature, message });
        }
    }

    #[test]
    fn only_an_explicit_yes_is_one() {
        let cases: [(&[u8], bool); 11] = [
            (&[8, 1], true),
            (&[8, 1, 0x12, 2, b'o', b'k'], true),
            (&[], false),
            (&[8], false),
            (&[8, 0], false),
            (&[8, 2], false),
            (&[8, 0x81, 0], false),
            (&[8, 1, 8, 0], false),
            (&[0x12, 2, b'n', b'o'], false),
            (&[0x12, 2, 8, 1], false),
            (&[0x12, 0, 8, 1], false),
        ];
        for (answer, expected) in cases {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }
}
