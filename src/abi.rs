//! Bytes that Envoy wants in a form of the proxy-wasm ABI or of protobuf.

/// A header map: count, sizes, then names and values, each ended by a zero byte.
pub fn header_map(headers: &[(&str, &str)]) -> Vec<u8> {
    let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = size(headers.len()).to_vec();
    for (name, value) in headers {
        bytes.extend(size(name.len()));
        bytes.extend(size(value.len()));
    }
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// The arguments of Envoy's foreign function `declare_property` for a property that is text. `None` if the name is too long.
///
/// `envoy.source.extensions.common.wasm.DeclarePropertyArguments`: field 1 is the name, field 3 the type, and type 1 is String.
pub fn declare_string(name: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(name.len()).ok().filter(|length| *length < 0x80)?;
    Some([&[0x0a, length], name.as_bytes(), &[0x18, 1]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn header_map_has_sizes_before_texts() {
        let expected =
            [&[2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0][..], b"a\0bc\0def\0\0"].concat();
        assert_eq!(header_map(&[("a", "bc"), ("def", "")]), expected);
        assert_eq!(header_map(&[]), [0; 4]);
    }

    #[derive(Clone, PartialEq, Message)]
    struct DeclareProperty {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(bool, tag = "2")]
        readonly: bool,
        #[prost(int32, tag = "3")]
        kind: i32,
    }

    #[test]
    fn declared_property_is_writable_text() {
        let name = "genesys_mtls.default".to_owned();
        let decoded = DeclareProperty::decode(declare_string(&name).unwrap().as_slice()).unwrap();
        assert_eq!(decoded, DeclareProperty { name, readonly: false, kind: 1 });
        assert_eq!(declare_string(&"x".repeat(128)), None);
    }
}
