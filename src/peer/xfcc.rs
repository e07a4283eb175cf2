//! Certificates out of an `x-forwarded-client-cert` header, which anybody may have written.
//!
//! Envoy writes `By`, `URI` and `DNS` values without quotes or escapes, so whoever chooses a SAN chooses where the
//! header's fields and elements begin and end. Hence no grammar here, neither of the text form nor of the JSON form that
//! Envoy 1.38 and later can write: every text that could be a `Cert` is a candidate, in whichever element it seems to
//! stand, and the caller believes one only if its fingerprint is that of the TLS connection. A structure that can be
//! forged is not relied on, not even to skip something.

use crate::x509::fingerprint::Fingerprint;
use percent_encoding::percent_decode;

/// The longest header value looked at, in bytes.
pub const MAX_HEADER: usize = 64 * 1024;

/// How many `Cert` values are looked at, and how many bytes of them: they may overlap, so that each can be as long as the
/// header. This bounds the work.
const MAX_VALUES: usize = 16;
const MAX_BYTES: usize = 2 * MAX_HEADER;

/// The last `Cert` values of the header, percent-decoded: PEM text, if the header is honest. The last one comes first:
/// Envoy appends its own to what the client sent.
pub fn certificates(header: &[u8]) -> Vec<Vec<u8>> {
    if header.len() > MAX_HEADER {
        return Vec::new();
    }
    // From the end and one by one: a value is read to its end only if it is among those that are kept.
    let values = behind(header, b"cert").rev().filter_map(Value::after).take(MAX_VALUES);
    let mut bytes = 0;
    values
        .take_while(|value| {
            bytes += value.len();
            bytes <= MAX_BYTES
        })
        .map(Value::decode)
        .collect()
}

/// What could be a `Hash`, in whichever element: the SHA-256 that it has to be, or nothing for a text that is none. Envoy
/// writes that of the caller's certificate there, whatever else of it it was told to write.
pub fn hashes(header: &[u8]) -> impl Iterator<Item = Option<Fingerprint>> {
    let values = behind(header, b"hash").filter_map(Value::after);
    values.map(|value| String::from_utf8(value.decode()).ok()?.parse().ok())
}

/// What stands behind each occurrence of a key.
fn behind<'h>(header: &'h [u8], key: &'static [u8]) -> impl DoubleEndedIterator<Item = &'h [u8]> {
    let keys = header.windows(key.len()).enumerate().filter(|(_, window)| window.eq_ignore_ascii_case(key));
    keys.filter_map(|(at, _)| header.get(at + key.len()..))
}

/// What stands behind `": "`.
fn json_text(key: &[u8]) -> Option<&[u8]> {
    let value = key.strip_prefix(b"\"")?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    value.strip_prefix(b"\"")
}

/// What stands after a key.
enum Value<'h> {
    /// `="value"` or `=value`.
    Text(&'h [u8]),
    /// `":"value"`.
    Json(&'h [u8]),
}

impl<'h> Value<'h> {
    fn after(key: &'h [u8]) -> Option<Self> {
        if let Some(text) = key.strip_prefix(b"=") {
            return Some(Self::Text(match text.strip_prefix(b"\"") {
                Some(quoted) => until(quoted, |byte| byte == b'"'),
                None => until(text, |byte| byte == b';' || byte == b','),
            }));
        }
        // PEM holds no quote, so neither does its JSON form hold an escaped one.
        Some(Self::Json(until(json_text(key)?, |byte| byte == b'"')))
    }

    fn len(&self) -> usize {
        let (Self::Text(bytes) | Self::Json(bytes)) = self;
        bytes.len()
    }

    fn decode(self) -> Vec<u8> {
        let unescaped = match self {
            Self::Text(text) => text.to_vec(),
            // Envoy escapes line feeds here and leaves percent-encoding out.
            Self::Json(text) => serde_json::from_slice::<String>(&[b"\"", text, b"\""].concat())
                .map_or_else(|_| text.to_vec(), String::into_bytes),
        };
        percent_decode(&unescaped).collect()
    }
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
            ("Cert=\"one\",Cert=\"two\"", &["two", "one"]),
            // A SAN that closes the element and opens another one.
            ("URI=spiffe://td/x,Hash=1;Cert=\"fake\";URI=y;Cert=\"real\"", &["real", "fake"]),
            // A SAN that opens a quote, to swallow what follows.
            ("URI=spiffe://td/\"x;Cert=\"real\"", &["real"]),
            ("Subject=\"CN=\\\"Cert=fake;\\\"\";Cert=\"real\"", &["real", "fake"]),
            ("Cert=\"unclosed", &["unclosed"]),
            ("Chain=\"abc\"", &[]),
            (r#"[{"Hash":"1","Cert":"a%2Fb","URI":["x"]}]"#, &["a/b"]),
            (r#"[{"hash":"1","cert":"a\nb\/c","uri":["x\",\"cert\":\"y"]}]"#, &["a\nb/c"]),
            (r#" [{"cert" : "one"}],[{"Cert":"two"},{"Cert":3}]"#, &["two", "one"]),
            (r#"[{"cert":"\u00"}]"#, &["\\u00"]),
            (r#"[{"Certs":"a","Subject":"CN=\"Cert\""}]"#, &[]),
            // One form inside the other, as when Envoy appends to what a client sent.
            (r#"[{"Cert":"one"}],Hash=1;Cert="two""#, &["two", "one"]),
            (r#"[{"Cert":"one"},Cert="two",[{"Cert":"three"}]"#, &["three", "two", "one"]),
        ];
        for (header, expected) in cases {
            let found = certificates(header.as_bytes());
            let found: Vec<_> = found.iter().map(|text| String::from_utf8_lossy(text)).collect();
            assert_eq!(&found, expected, "{header}");
        }
    }

    #[test]
    fn every_hash_value_is_a_sha256_in_whatever_spelling_or_none() {
        let digest = "ab".repeat(32);
        let colons = ["AB"; 32].join(":");
        let longer = "ab".repeat(64);
        let (one, none) = (Some(digest.parse().unwrap()), None);
        let cases: &[(String, &[Option<Fingerprint>])] = &[
            (format!("By=x;Hash={digest};URI=y"), &[one]),
            (format!("hash=\"{digest}\",HASH={digest}"), &[one, one]),
            (format!("[{{\"Hash\" : \"{digest}\"}}]"), &[one]),
            (format!("Hash={colons};Hash=\"{colons}\",[{{\"hash\":\"{colons}\"}}]"), &[one, one, one]),
            // SHA-1, SHA-512, base64, one digit less, nothing.
            (format!("Hash={};Hash={longer};Hash=q6ur;", "ab".repeat(20)), &[none, none, none]),
            (format!("Hash={};Hash=\"\";Hash=", &digest[1..]), &[none, none, none]),
            (format!("[{{\"hash\":\"{longer}\"}},{{\"hash\":\"\"}}]"), &[none, none]),
            (format!("Hash: {digest};Hashes={digest},[{{\"Subject\":\"hash\"}}]"), &[]),
        ];
        for (header, expected) in cases {
            assert_eq!(&hashes(header.as_bytes()).collect::<Vec<_>>(), expected, "{header}");
        }
    }

    #[test]
    fn an_oversized_header_holds_nothing() {
        let of_size = |size| format!("Cert=\"{}", "a".repeat(size - 6)).into_bytes();
        assert_eq!(certificates(&of_size(MAX_HEADER)).len(), 1);
        assert!(certificates(&of_size(MAX_HEADER + 1)).is_empty());
    }

    #[test]
    fn the_work_does_not_grow_with_the_number_of_keys() {
        let keys = "cert=".repeat(MAX_HEADER / 5);
        let began = std::time::Instant::now();
        let found = certificates(keys.as_bytes());
        // Milliseconds; many seconds if each value were read to its end.
        assert!(began.elapsed().as_secs() < 2, "{:?}", began.elapsed());
        assert_eq!(found.len(), MAX_VALUES);
        assert!(found.iter().all(|value| value.len() < MAX_VALUES * 5), "the last ones, which are short");
        let last = format!("{};Cert=\"real\"", "cert=".repeat(1000));
        assert_eq!(certificates(last.as_bytes()).first().map(Vec::as_slice), Some(b"real".as_slice()));
    }

    #[test]
    fn values_that_overlap_are_read_up_to_a_total() {
        let long = "a".repeat(MAX_HEADER / 2);
        let header = format!("{};{}", "Cert=".repeat(10), long);
        assert_eq!(certificates(header.as_bytes()).len(), 10, "each ends at the semicolon");
        let header = format!("{}{long}", "Cert=".repeat(10));
        assert_eq!(certificates(header.as_bytes()).len(), 3, "each ends with the header");
    }

    proptest! {
        #[test]
        fn nothing_around_a_quoted_cert_can_hide_it(
            before in "[ -~]{0,40}", after in "[ -~]{0,40}", value in "[a-zA-Z0-9%]{0,20}",
        ) {
            let header = format!("{before};Cert=\"{value}\"{after}");
            let expected: Vec<u8> = percent_decode(value.as_bytes()).collect();
            prop_assert!(certificates(header.as_bytes()).contains(&expected));
        }

        #[test]
        fn any_bytes_are_read_without_harm(header in proptest::collection::vec(any::<u8>(), 0..300)) {
            certificates(&header);
            hashes(&header).count();
        }
    }
}
