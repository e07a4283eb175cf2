//! Distinguished names as people read them. For messages and logs only: names are compared in DER, never as text.

use x509_parser::{objects::oid2abbrev, oid_registry::OidRegistry, x509::X509Name};

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
    attributes.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::FromDer as _;

    #[test]
    fn what_is_known_has_its_abbreviation_and_what_is_no_text_says_so() {
        // SET { SEQUENCE { OID, value } } each: C (PrintableString), CN (UTF8String), serialNumber, OU as a BMPString.
        let attribute = |oid: &[u8], tag: u8, value: &[u8]| {
            let tlv = |tag: u8, parts: &[&[u8]]| {
                let content = parts.concat();
                [&[tag, u8::try_from(content.len()).unwrap()], content.as_slice()].concat()
            };
            tlv(0x31, &[&tlv(0x30, &[&tlv(6, &[oid]), &tlv(tag, &[value])])])
        };
        let attributes = [
            attribute(&[0x55, 4, 6], 0x13, b"US"),
            attribute(&[0x55, 4, 3], 0x0c, "Zürich".as_bytes()),
            attribute(&[0x55, 4, 5], 0x13, b"7"),
            attribute(&[0x55, 4, 11], 0x1e, &[0, b'x']),
        ]
        .concat();
        let der = [&[0x30, u8::try_from(attributes.len()).unwrap()], attributes.as_slice()].concat();
        let (_, name) = X509Name::from_der(&der).unwrap();
        assert_eq!(text(&name), "C=US, CN=Zürich, 2.5.4.5=7, OU=(not text)");
    }
}
