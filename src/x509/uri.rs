//! URIs, compared as RFC 3986, section 6.2.2 and 6.2.3, says.

use std::fmt::Write as _;

/// Whether two URIs are one: letter case of scheme and host, the default port, and how a character is written do not count.
pub fn is_same(one: &str, other: &str) -> bool {
    one == other || normalize(one) == normalize(other)
}

/// The form that equal URIs share. A text without `//` and a host stays as it is.
pub fn normalize(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    // With more colons, and no brackets around them, the last one begins no port.
    let is_host = |name: &str| !name.contains(':') || name.ends_with(']');
    let is_default = |port: &str| port.is_empty() || scheme == "http" && port == "80";
    let split = host.rsplit_once(':').filter(|(name, port)| is_host(name) && is_default(port));
    let host = split.map_or(host.as_str(), |(name, _)| name);
    format!("{scheme}://{user}{host}{}", decode_unreserved(path))
}

/// Decodes what need not be percent-encoded (RFC 3986, section 2.3), and writes the rest with capital digits.
fn decode_unreserved(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut parts = text.split('%');
    decoded.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(byte.into())
            }
            // Writing to a string cannot fail.
            Some(byte) => drop(write!(decoded, "%{byte:02X}")),
            None => decoded.push('%'),
        }
        decoded.push_str(if digits.is_some() { part.get(2..).unwrap_or_default() } else { part });
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn uris_are_the_same_however_they_are_written() {
        for (one, other, same) in [
            ("http://crl.example/us.crl", "HTTP://CRL.example/us.crl", true),
            ("http://crl.example/us.crl", "http://crl.example:80/us.crl", true),
            ("http://crl.example/us.crl", "http://crl.example:/us.crl", true),
            ("http://crl.example/~us%2D1.crl", "http://crl.example/%7eus-1.crl", true),
            ("http://crl.example/a%2fb", "http://crl.example/a%2Fb", true),
            ("http://crl.example/us.crl", "http://crl.example/US.crl", false),
            ("http://crl.example/us.crl", "http://crl.example:8080/us.crl", false),
            ("http://crl.example/us.crl", "https://crl.example/us.crl", false),
            ("http://crl.example:80/x", "https://crl.example:80/x", false),
            ("http://crl.example/a%2fb", "http://crl.example/a/b", false),
            ("http://crl.example/%zz", "http://crl.example/%ZZ", false),
            ("http://User@crl.example/", "http://user@crl.example/", false),
            ("http://User@crl.example/", "http://User@CRL.example/", true),
            ("http://crl.example?A", "http://CRL.example?A", true),
            ("http://crl.example/us.crl", "http://crl.example.evil.example/us.crl", false),
            ("http://[::1]:80/x", "http://[::1]/x", true),
            ("no URI", "NO URI", false),
        ] {
            assert_eq!(is_same(one, other), same, "{one} {other}");
        }
    }

    #[test]
    fn malformed_ports_stay_as_they_are() {
        for uri in ["a://::#", "http://a:80:80/", "http://a:80:/"] {
            assert_eq!(normalize(uri), uri);
        }
    }

    proptest! {
        #[test]
        fn normal_form_stays_as_it_is(uri in "[a-zA-Z]{1,5}://[a-zA-Z@:.0-9]{0,9}[/?#]?[ -~é%]{0,12}") {
            let normal = normalize(&uri);
            // `%%34x` may become another escape; nothing else does.
            prop_assume!(!uri.contains("%%") && !uri.contains("%25"));
            prop_assert_eq!(normalize(&normal), normal);
        }
    }
}
