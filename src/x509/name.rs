//! Distinguished names: how they are compared, and how people read them.

use std::collections::BinaryHeap;
use x509_parser::{
    asn1_rs::Tag,
    objects::oid2abbrev,
    oid_registry::OidRegistry,
    prelude::FromDer as _,
    x509::{AttributeTypeAndValue, X509Name},
};

/// A name. Equal names have the same attributes with the same text, `PrintableString` or `UTF8String` (RFC 5280, section
/// 7.1, without folding case or space).
#[derive(Clone, Debug)]
pub struct DistinguishedName {
    pub der: Vec<u8>,
    /// Its attributes in order, the two kinds of string written alike; an attribute that belongs to the one before it says so.
    attributes: Vec<Attribute>,
}

/// Whether it begins a set, type, tag and value.
type Attribute = (bool, Vec<u8>, u32, Vec<u8>);

impl PartialEq for DistinguishedName {
    fn eq(&self, other: &Self) -> bool {
        // Neither order nor kind of string changes the length of the DER: most of a hundred CAs differ there already.
        self.der.len() == other.der.len() && self.attributes == other.attributes
    }
}

impl Eq for DistinguishedName {}

impl DistinguishedName {
    pub fn new(name: &X509Name<'_>) -> Self {
        let attributes = name.iter_rdn().flat_map(|set| {
            // Of all sorts of the standard library the heap's is the least code.
            let heap: BinaryHeap<Attribute> = set.iter().map(attribute).collect();
            let mut attributes = heap.into_sorted_vec();
            if let Some(first) = attributes.first_mut() {
                first.0 = true;
            }
            attributes
        });
        Self { attributes: attributes.collect(), der: name.as_raw().to_vec() }
    }

    /// A name in DER, and nothing after it.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        X509Name::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, name)| Self::new(&name))
    }
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Attribute {
    let value = attribute.attr_value();
    let tag = if value.tag() == Tag::PrintableString { Tag::Utf8String } else { value.tag() };
    (false, attribute.attr_type().as_bytes().to_vec(), tag.0, value.data.to_vec())
}

/// Characters of a name that are shown. An attacker may have written a longer one.
const LONGEST: usize = 200;

/// Such as `C=US, O=DigiCert Inc, CN=DigiCert Assured ID Client CA G2`. Attributes without an abbreviation show as numbers.
/// x509-parser's own printing brings a registry of object identifiers: 70 KB of the module.
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

    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    const BMP: u8 = 0x1e;
    const IA5: u8 = 0x16;
    const C: u8 = 6;
    const O: u8 = 10;
    const CN: u8 = 3;

    #[test]
    fn names_are_equal_if_types_and_texts_are() {
        let usual: [(u8, u8, &[u8]); 2] = [(C, PRINTABLE, b"US"), (CN, UTF8, b"Root 1")];
        let cases: [(&[(u8, u8, &[u8])], bool); 10] = [
            (&usual, true),
            (&[(C, UTF8, b"US"), (CN, PRINTABLE, b"Root 1")], true),
            (&[(C, PRINTABLE, b"us"), (CN, UTF8, b"Root 1")], false),
            (&[(C, PRINTABLE, b"US"), (CN, UTF8, b"Root  1")], false),
            (&[(C, PRINTABLE, b"US"), (CN, UTF8, b"Root 1 ")], false),
            (&[(CN, UTF8, b"Root 1"), (C, PRINTABLE, b"US")], false),
            (&[(C, PRINTABLE, b"US"), (O, UTF8, b"Root 1")], false),
            (&[(C, PRINTABLE, b"US"), (CN, IA5, b"Root 1")], false),
            (&[(C, PRINTABLE, b"US")], false),
            (&[], false),
        ];
        let parsed = |attributes| DistinguishedName::from_der(&name(attributes)).unwrap();
        for (other, expected) in cases {
            assert_eq!(parsed(&usual) == parsed(other), expected, "{other:?}");
        }
        assert!(DistinguishedName::from_der(&[name(&usual), vec![0]].concat()).is_none());
    }

    #[test]
    fn attributes_of_one_set_have_no_order_and_are_not_those_of_two() {
        let attribute =
            |kind: u8, tag, value: &[u8]| tlv(0x30, &[tlv(6, &[0x55, 4, kind]), tlv(tag, value)].concat());
        let (org, common) = (attribute(O, UTF8, b"x"), attribute(CN, PRINTABLE, b"y"));
        let set = |parts: &[&[u8]]| tlv(0x31, &parts.concat());
        let parsed = |sets: &[Vec<u8>]| DistinguishedName::from_der(&tlv(0x30, &sets.concat())).unwrap();
        let one = parsed(&[set(&[&org, &common])]);
        assert_eq!(one, parsed(&[set(&[&common, &org])]));
        assert_ne!(one, parsed(&[set(&[&org]), set(&[&common])]));
        assert_ne!(one, parsed(&[set(&[&common]), set(&[&org])]));
    }

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
    fn known_attributes_are_abbreviated_and_non_text_is_marked() {
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
