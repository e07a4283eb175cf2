//! As much DER as it takes to cut a signed structure open and to sign another one.

/// `AlgorithmIdentifier` of ecdsa-with-SHA256.
const ECDSA_WITH_SHA256: [u8; 12] = [0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// The first element, header included, and what follows it.
pub fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, length) = header(bytes)?;
    bytes.split_at_checked(header.checked_add(length)?)
}

/// What a certificate's or list's signature covers.
pub fn signed(der: &[u8]) -> Option<&[u8]> {
    Some(split(content(der))?.0)
}

/// A certificate or CRL of this content, with a valid signature over any content.
pub fn sign(signature: impl FnOnce(&[u8]) -> Vec<u8>, signed: &[u8]) -> Vec<u8> {
    let signature = signature(signed);
    let bits = element(3, &[&[0], &signature[..]].concat());
    element(0x30, &[signed, &ECDSA_WITH_SHA256, &bits].concat())
}

/// What stands behind the header of the first element.
pub fn content(bytes: &[u8]) -> &[u8] {
    let content = split(bytes).and_then(|(element, _)| element.get(header(element)?.0..));
    content.unwrap_or_default()
}

/// The elements that stand side by side.
pub fn children(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut children = Vec::new();
    while let Some((element, rest)) = split(bytes).filter(|(element, _)| !element.is_empty()) {
        children.push(element);
        bytes = rest;
    }
    children
}

pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut element = vec![tag];
    match (length, content.len()) {
        (_, short @ 0..128) => element.push(u8::try_from(short).unwrap()),
        (length, _) => {
            element.push(0x80 | u8::try_from(length.len()).unwrap());
            element.extend(length);
        }
    }
    element.extend(content);
    element
}

/// Length of the first element's header, and of its content.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        short @ 0..0x80 => Some((2, usize::from(short))),
        long => {
            let count = usize::from(long & 0x7f);
            let digits = bytes.get(2..2 + count).filter(|_| count <= 4)?;
            Some((2 + count, digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))))
        }
    }
}
