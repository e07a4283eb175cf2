//! What the filter accepts though it can hardly be meant.

use aws_lc_verifier::is_point_of_its_curve;
use genesys_mtls_filter::{policy::Policy, x509::ca::CaCertificate};

/// The root in the shipped examples, whose key was thrown away.
const EXAMPLE: &str = "Example regional root, replace me";

/// Of a configured CA.
pub fn of(ca: &CaCertificate) -> Vec<String> {
    let name = &ca.name;
    let mut doubts = Vec::new();
    if name.contains(EXAMPLE) {
        doubts.push(format!(
            "`{name}` is the root of the examples, which signs no certificate: give the region's own, from the .zip on Genesys' help \
             page"
        ));
    }
    if ca.public_key().is_some_and(|(algorithm, key)| !is_point_of_its_curve(algorithm, key)) {
        doubts.push(format!(
            "the key of `{name}` is no point of its curve, so it verifies no certificate: get the file again"
        ));
    }
    doubts.extend(ca.doubt.map(|doubt| format!("a later release will refuse `{name}`: {doubt}")));
    doubts
}

/// The identity header, where the file has an HTTP connection manager and it does not strip that header in every spelling.
pub fn of_identity(policy: &Policy, lines: &[String]) -> Option<(String, String)> {
    let header = policy.identity_header.as_deref()?;
    let class = |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { "[^a-z0-9]".to_owned() };
    let pattern: String = header.chars().map(class).collect();
    let is_anywhere = |text: &str| lines.iter().any(|line| line.contains(text));
    let message = format!(
        "`{header}` is not stripped in every spelling, and a server may read one of them as this header: give the HTTP connection manager \
         early_header_mutation_extensions with remove_on_match: {{key_matcher: {{safe_regex: {{regex: \"{pattern}\"}}}}}}"
    );
    (is_anywhere("http_filters") && !is_anywhere(&pattern)).then(|| ("identity.header".to_owned(), message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use testbed::pki::{Ca, KeyType};

    #[test]
    fn key_off_its_curve_is_in_doubt_and_one_on_it_is_not() {
        let mut root = Ca::builder("unit").key(KeyType::P256).self_signed().der;
        assert!(of(&CaCertificate::parse(&root).expect("a CA")).is_empty());
        let at =
            root.windows(4).rposition(|part| part == [0x03, 0x42, 0x00, 0x04]).expect("a point on P-256");
        root[at + 10] ^= 1;
        let doubts = of(&CaCertificate::parse(&root).expect("a CA still"));
        assert!(doubts[0].contains("no point of its curve"), "{doubts:?}");
    }
}
