//! Just enough DER to make certificates that no sane library would write.

/// One tag-length-value element.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let len = content.len();
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = len.to_be_bytes();
            let skip = bytes.iter().take_while(|b| **b == 0).count();
            let used = bytes.len() - skip;
            out.push(0x80 | u8::try_from(used).expect("a length has at most eight bytes"));
            out.extend_from_slice(&bytes[skip..]);
        }
    }
    out.extend_from_slice(content);
    out
}

/// `SEQUENCE` of already encoded elements.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// `OBJECT IDENTIFIER`.
pub fn oid(arcs: &[u64]) -> Vec<u8> {
    assert!(arcs.len() >= 2, "an OID has two arcs or more");
    let mut body = Vec::new();
    push_base128(&mut body, arcs[0] * 40 + arcs[1]);
    for arc in &arcs[2..] {
        push_base128(&mut body, *arc);
    }
    tlv(0x06, &body)
}

fn push_base128(out: &mut Vec<u8>, value: u64) {
    let mut groups = vec![(value & 0x7f) as u8];
    let mut rest = value >> 7;
    while rest > 0 {
        groups.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.extend(groups.iter().rev());
}

/// A `GeneralNames` value, as held by the subjectAltName extension. Bytes are taken as they are, so
/// a name may hold commas, NUL, or bytes that are not ASCII.
pub fn general_names(names: &[(SanTag, &[u8])]) -> Vec<u8> {
    let body: Vec<u8> = names.iter().flat_map(|(tag, value)| tlv(*tag as u8, value)).collect();
    tlv(0x30, &body)
}

/// The `GeneralName` choices that a subjectAltName commonly holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SanTag {
    /// `rfc822Name`
    Email = 0x81,
    /// `dNSName`
    Dns = 0x82,
    /// `uniformResourceIdentifier`
    Uri = 0x86,
    /// `iPAddress`
    Ip = 0x87,
}

/// An `RSAPublicKey` with a modulus of `bits` bits, for which no private key exists.
pub(super) fn rsa_public_key(bits: usize) -> Vec<u8> {
    assert!(bits.is_multiple_of(8) && bits >= 24, "whole bytes only");
    // The leading zero keeps the INTEGER positive; the top bit makes the size exact.
    let mut modulus = vec![0u8, 0x80];
    modulus.extend((2..bits / 8).map(|i| u8::try_from(i * 7 % 251).expect("below 251")));
    modulus.push(0x01);
    sequence(&[&tlv(0x02, &modulus), &tlv(0x02, &[1, 0, 1])])
}

/// The elements directly inside the first element of `der`, header included.
///
/// # Panics
/// If the input is not well-formed DER; it is meant for certificates made here.
pub fn children(der: &[u8]) -> Vec<Vec<u8>> {
    let (header, len) = header(der);
    let mut rest = &der[header..header + len];
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (header, len) = self::header(rest);
        let (first, tail) = rest.split_at(header + len);
        out.push(first.to_vec());
        rest = tail;
    }
    out
}

/// The content of the first element of `der`.
///
/// # Panics
/// If the input is not well-formed DER.
pub fn content(der: &[u8]) -> &[u8] {
    let (header, len) = header(der);
    &der[header..header + len]
}

fn header(der: &[u8]) -> (usize, usize) {
    let first = usize::from(der[1]);
    if first < 0x80 {
        return (2, first);
    }
    let count = first & 0x7f;
    let len = der[2..2 + count].iter().fold(0, |acc, b| acc << 8 | usize::from(*b));
    (2 + count, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_oids() {
        assert_eq!(tlv(0x04, &[0; 3])[..2], [0x04, 3]);
        assert_eq!(tlv(0x04, &[0; 200])[..3], [0x04, 0x81, 200]);
        assert_eq!(tlv(0x04, &[0; 0x1234])[..4], [0x04, 0x82, 0x12, 0x34]);
        assert_eq!(oid(&[2, 5, 29, 17]), [0x06, 3, 0x55, 0x1d, 0x11]);
        assert_eq!(oid(&[1, 2, 840, 113_549]), [0x06, 6, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]);
        assert_eq!(children(&sequence(&[&[5, 0], &tlv(4, &[7; 130])])), vec![vec![5, 0], tlv(4, &[7; 130])]);
    }
}
