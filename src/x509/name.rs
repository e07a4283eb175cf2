//! Distinguished names as people read them. For messages and logs only: names are compared in DER, never as text.

use x509_parser::{objects::oid2abbrev, oid_registry::OidRegistry, x509::X509Name};

/// Characters of a name that are shown. Anybody may have written it, as long as he likes.
const LONGEST: usize = 200;

/// Such as `C=US, O=DigiCert Inc, CN=DigiCert Assured ID Client CA G2`. Attributes without an abbreviation show as numbers.
///
/// A name prints by itself as well, but with a registry of every object identifier there is, and any encoding of text: 70
/// KB of the module.
pub fn text(name: &X509Name<'_>) -> String {
    let no_others = OidRegistry::default();
    let attributes = name.iter_attributes().map(|attribute| {
        let value = attribute.as_str().unwrap_or("(not text)");
        match oid2abbrev(attribute.attr_type(), &no_others) {
            Ok(short) => format!("{short}={value}"),
            Err(_) => format!("{}={value}", attribute.attr_type()),
        }
    });
    let text = attributes.collect::<Vec<_>>().join(", ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "...",
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testbed_pki::der::tlv;
    use x509_parser::prelude::FromDer as _;

    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    const BMP: u8 = 0x1e;

    /// A name of attributes 2.5.4.x, each with the tag of its value.
    fn name(attributes: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let attribute = |(kind, tag, value): &(u8, u8, &[u8])| {
            tlv(0x31, &tlv(0x30, &[tlv(6, &[0x55, 4, *kind]), tlv(*tag, value)].concat()))
        };
        tlv(0x30, &attributes.iter().flat_map(attribute).collect::<Vec<u8>>())
    }

    fn printed(attributes: &[(u8, u8, &[u8])]) -> String {
        text(&X509Name::from_der(&name(attributes)).unwrap().1)
    }

    #[test]
    fn what_is_known_has_its_abbreviation_and_what_is_no_text_says_so() {
        let attributes: [(u8, u8, &[u8]); 4] = [
            (6, PRINTABLE, b"US"),
            (3, UTF8, "Zürich".as_bytes()),
            (5, PRINTABLE, b"7"),
            (11, BMP, &[0, b'x']),
        ];
        assert_eq!(printed(&attributes), "C=US, CN=Zürich, 2.5.4.5=7, OU=(not text)");
    }

    #[test]
    fn a_name_is_shown_up_to_a_length() {
        for (length, shown) in [(LONGEST - 3, LONGEST - 3), (LONGEST - 2, LONGEST - 3), (60_000, LONGEST - 3)]
        {
            let end = if length == shown { "" } else { "..." };
            let expected = format!("CN={}{end}", "ü".repeat(shown));
            assert_eq!(printed(&[(3, UTF8, "ü".repeat(length).as_bytes())]), expected, "{length}");
        }
    }
}
