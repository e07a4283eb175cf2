//! Certificates out of an `x-forwarded-client-cert` header, which an attacker may have written.
//!
//! Envoy writes `By`, `URI` and `DNS` values without quotes or escapes, so a SAN can forge the header's fields and elements.
//! Hence no grammar here, of the text form or of the JSON form (Envoy 1.38 and later): every text that could be a `Cert` is
//! a candidate, and the caller believes one only if its fingerprint is that of the TLS connection.

use crate::x509::fingerprint::Fingerprint;
use percent_encoding::percent_decode;

/// The longest header value looked at, in bytes.
pub const MAX_HEADER: usize = 64 * 1024;
/// How many `Cert` values are looked at, and how many bytes of them: each can be as long as the header.
const MAX_VALUES: usize = 16;
const MAX_BYTES: usize = 2 * MAX_HEADER;

/// The last `Cert` values of the header, percent-decoded: PEM text, if the header is honest. The last one comes first:
/// Envoy appends its own to what the client sent.
pub fn certificates(header: &[u8]) -> Vec<Vec<u8>> {
    if header.len() > MAX_HEADER {
        return Vec::new();
    }
    let mut bytes = 0;
    let values = values(header, b"cert").rev().take(MAX_VALUES).take_while(|value| {
        bytes += value.text.len();
        bytes <= MAX_BYTES
    });
    values.map(Value::decode).collect()
}

/// Every text that could be a `Hash`: a SHA-256, or nothing for a text that is none. Envoy always writes that of the
/// caller's certificate.
pub fn hashes(header: &[u8]) -> impl Iterator<Item = Option<Fingerprint>> {
    values(header, b"hash").map(|value| String::from_utf8(value.decode()).ok()?.parse().ok())
}

/// What each occurrence of a key is followed by, if that could be a value. Lazy: a value that is not taken is not read.
fn values<'h>(header: &'h [u8], key: &'static [u8]) -> impl DoubleEndedIterator<Item = Value<'h>> {
    let keys = header.windows(key.len()).enumerate().filter(|(_, window)| window.eq_ignore_ascii_case(key));
    keys.filter_map(|(at, _)| Value::at(header.get(at + key.len()..)?))
}

struct Value<'h> {
    text: &'h [u8],
    is_json: bool,
}

impl<'h> Value<'h> {
    /// `="value"`, `=value`, or in JSON `": "value"`.
    fn at(rest: &'h [u8]) -> Option<Self> {
        let (text, ends, is_json) = match rest {
            [b'=', b'"', text @ ..] => (text, &b"\""[..], false),
            [b'=', text @ ..] => (text, &b";,"[..], false),
            // PEM holds no quote, so neither does its JSON form hold an escaped one.
            [b'"', rest @ ..] => {
                let value = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
                (value.strip_prefix(b"\"")?, &b"\""[..], true)
            }
            _ => return None,
        };
        let text = text.split(|byte| ends.contains(byte)).next()?;
        Some(Self { text, is_json })
    }

    fn decode(self) -> Vec<u8> {
        // Envoy's JSON has escaped line feeds, and no percent-encoding.
        let json = || serde_json::from_slice::<String>(&[b"\"", self.text, b"\""].concat()).ok();
        match self.is_json.then(json).flatten() {
            Some(text) => percent_decode(text.as_bytes()).collect(),
            None => percent_decode(self.text).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cert_value_is_a_candidate_at_any_place() {
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
    fn hash_value_is_a_sha256_in_any_spelling_or_none() {
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
