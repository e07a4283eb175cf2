//! Certificates out of an `x-forwarded-client-cert` header, which anybody may have written.
//!
//! Envoy writes `By`, `URI` and `DNS` values without quotes or escapes, so whoever chooses a SAN chooses where the
//! header's fields and elements begin and end. Hence no grammar here: every text that could be a `Cert` is a
//! candidate, in whichever element it seems to stand, and the caller believes one only if its fingerprint is that of
//! the TLS connection. A structure that can be forged is not relied on, not even to skip something.

use percent_encoding::percent_decode;
use serde_json::Value;

/// The longest header value looked at, in bytes.
pub const MAX_HEADER: usize = 64 * 1024;

const KEY: &[u8] = b"cert=";

/// Every `Cert` value in the header, percent-decoded: PEM text, if the header is honest.
pub fn certificates(header: &[u8]) -> Vec<Vec<u8>> {
    if header.len() > MAX_HEADER {
        return Vec::new();
    }
    if header.trim_ascii_start().starts_with(b"[") { in_json(header) } else { in_text(header) }
}

/// `...;Cert="<percent-encoded PEM>";...`, with or without the quotes.
fn in_text(header: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = header;
    while let Some(at) = rest.windows(KEY.len()).position(|window| window.eq_ignore_ascii_case(KEY)) {
        rest = rest.get(at + KEY.len()..).unwrap_or_default();
        let value = match rest.strip_prefix(b"\"") {
            Some(quoted) => until(quoted, |byte| byte == b'"'),
            None => until(rest, |byte| byte == b';' || byte == b','),
        };
        found.push(percent_decode(value).collect());
    }
    found
}

/// The JSON form of Envoy 1.38 and later: an array of objects. Header lines joined by commas make several arrays.
fn in_json(header: &[u8]) -> Vec<Vec<u8>> {
    let joined = [b"[", header, b"]"].concat();
    let Ok(Value::Array(lines)) = serde_json::from_slice(&joined) else { return Vec::new() };
    let elements = lines.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_object);
    elements
        .flatten()
        .filter(|(key, _)| key.eq_ignore_ascii_case("cert"))
        .filter_map(|(_, value)| Some(percent_decode(value.as_str()?.as_bytes()).collect()))
        .collect()
}

fn until(bytes: &[u8], end: impl Fn(u8) -> bool) -> &[u8] {
    bytes.split(|&byte| end(byte)).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_cert_value_is_a_candidate_wherever_it_seems_to_stand() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("By=spiffe://a;Hash=00;Subject=\"CN=x\"", &[]),
            ("Hash=00;Cert=\"a%20b\";Subject=\"\"", &["a b"]),
            ("cert=plain;Hash=1", &["plain"]),
            ("Hash=1;CERT=last", &["last"]),
            ("Cert=\"one\",Cert=\"two\"", &["one", "two"]),
            // A SAN that closes the element and opens another one.
            ("URI=spiffe://td/x,Hash=1;Cert=\"fake\";URI=y;Cert=\"real\"", &["fake", "real"]),
            // A SAN that opens a quote, to swallow what follows.
            ("URI=spiffe://td/\"x;Cert=\"real\"", &["real"]),
            ("Subject=\"CN=\\\"Cert=fake;\\\"\";Cert=\"real\"", &["fake", "real"]),
            ("Cert=\"unclosed", &["unclosed"]),
            ("Chain=\"abc\"", &[]),
            (r#"[{"Hash":"1","Cert":"a%2Fb","URI":["x"]}]"#, &["a/b"]),
            (r#" [{"cert":"one"}],[{"Cert":"two"},{"Cert":3}]"#, &["one", "two"]),
            (r#"[{"Cert":"a"}"#, &[]),
        ];
        for (header, expected) in cases {
            let found = certificates(header.as_bytes());
            let found: Vec<_> = found.iter().map(|text| String::from_utf8_lossy(text)).collect();
            assert_eq!(&found, expected, "{header}");
        }
    }

    #[test]
    fn an_oversized_header_holds_nothing() {
        let header = format!("Cert=\"{}\"", "a".repeat(MAX_HEADER));
        assert!(certificates(header.as_bytes()).is_empty());
    }

    proptest! {
        #[test]
        fn nothing_around_a_quoted_cert_can_hide_it(
            before in "[ -~]{0,40}", after in "[ -~]{0,40}", value in "[a-zA-Z0-9%]{0,20}",
        ) {
            prop_assume!(!before.trim_start().starts_with('['));
            let header = format!("{before};Cert=\"{value}\"{after}");
            let expected: Vec<u8> = percent_decode(value.as_bytes()).collect();
            prop_assert!(certificates(header.as_bytes()).contains(&expected));
        }

        #[test]
        fn any_bytes_are_read_without_harm(header in proptest::collection::vec(any::<u8>(), 0..300)) {
            certificates(&header);
        }
    }
}
