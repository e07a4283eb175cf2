//! Certificates out of PEM text (RFC 7468), as people paste it and as APIs deliver it.

use crate::http::{BOM, form};
use rustls_pki_types::pem::{self, PemObject as _, SectionKind};
use std::borrow::Cow;

/// Why PEM text was refused. No variant carries the text: it may be a private key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    #[error(
        "no `-----BEGIN CERTIFICATE-----` block found; give the certificate itself as PEM text, not its path"
    )]
    Empty,
    #[error(
        "holds a private key, which this filter never needs: remove it, and replace the key if this file was shared"
    )]
    PrivateKey,
    #[error("holds a `{0}` block; only CERTIFICATE blocks belong here")]
    Foreign(String),
    #[error("not readable as PEM: {0}")]
    Unreadable(&'static str),
    #[error("not PEM text, but {0}: give the certificate between its BEGIN and END lines")]
    Form(&'static str),
}

/// The DER of every certificate in the text, in order. Anything that is not a certificate is an error.
pub fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    // Before anything else can fail, and in each form: also encrypted, indented or all on one line.
    if count(text, b"PRIVATE", b"KEY") > 0 {
        return Err(PemError::PrivateKey);
    }
    let blocks = blocks(text);
    read(text, blocks).or_else(|error| match without_marks(text) {
        Cow::Owned(clean) => read(&clean, blocks),
        Cow::Borrowed(_) => Err(error),
    })
}

fn read(text: &[u8], blocks: usize) -> Result<Vec<Vec<u8>>, PemError> {
    let mut certificates = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        match section {
            Ok((SectionKind::Certificate, der)) => certificates.push(der),
            Ok((other, _)) => return Err(PemError::Foreign(format!("{other:?}"))),
            Err(error) => return Err(PemError::Unreadable(explain(&error))),
        }
    }
    // The library passes over blocks that do not begin their line, or whose label it does not know.
    if blocks > certificates.len() {
        return Err(PemError::Unreadable(
            "a block would be passed over; BEGIN and END need lines of their own without indentation, and the label \
             CERTIFICATE",
        ));
    }
    if certificates.is_empty() {
        let form = form(text).filter(|form| *form != "empty");
        return Err(form.map_or(PemError::Empty, PemError::Form));
    }
    Ok(certificates)
}

/// The text without what editors leave in it: a byte order mark at the beginning of a line, and blanks at the end of one.
fn without_marks(text: &[u8]) -> Cow<'_, [u8]> {
    let is_marked = |pair: &[u8]| matches!(pair, [b' ' | b'\t', b'\r' | b'\n'] | [0xef, 0xbb]);
    if !text.windows(2).any(is_marked) {
        return Cow::Borrowed(text);
    }
    let mut clean = Vec::with_capacity(text.len() + 1);
    for line in text.split(|byte| *byte == b'\n') {
        clean.extend_from_slice(line.strip_prefix(BOM).unwrap_or(line).trim_ascii_end());
        clean.push(b'\n');
    }
    Cow::Owned(clean)
}

/// The DER of the one CRL in the text; none if anything else is in it.
pub fn crl(text: &[u8]) -> Option<Vec<u8>> {
    let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text);
    match (blocks(text), sections.next(), sections.next()) {
        (1, Some(Ok((SectionKind::Crl, der))), None) => Some(der),
        _ => None,
    }
}

/// How many blocks seem to begin in the text, readable or not.
pub fn blocks(text: &[u8]) -> usize {
    count(text, b"-----BEGIN", b"")
}

/// In fixed words: the library's own quote the text.
fn explain(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a block has no END line; if its line breaks got lost, write `|` before it in YAML, or \\n in JSON"
        }
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line does not end in five dashes",
        _ => "a block is not base64; check that no part of it is missing",
    }
}

/// How often a marker is in the text: what is before its one space, and what is after. Base64 has no space, so that most of
/// the text is passed over quickly.
fn count(text: &[u8], before: &[u8], after: &[u8]) -> usize {
    let mut words = text.split(|byte| *byte == b' ');
    let mut last = words.next().unwrap_or_default();
    words
        .filter(|word| std::mem::replace(&mut last, word).ends_with(before) && word.starts_with(after))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection, prelude::*, sample};

    const BLOCK: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----";

    #[test]
    fn blocks_are_read_with_any_line_ends_and_text_between() {
        for text in [
            BLOCK.to_owned(),
            BLOCK.replace('\n', "\r\n"),
            format!("{BLOCK}\n\n"),
            format!("subject=CN = x\n{BLOCK}"),
            format!("\u{feff}{BLOCK}"),
            format!("subject=CN = x\n\u{feff}{BLOCK}"),
            BLOCK.replace('\n', " \n"),
            BLOCK.replace('\n', "\t \r\n"),
            format!("{BLOCK} "),
        ] {
            assert_eq!(certificates(text.as_bytes()), Ok(vec![vec![1, 2, 3]]), "{text}");
        }
        assert_eq!(certificates(format!("{BLOCK}\r\n{BLOCK}").as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn text_without_a_block_is_named_for_what_it_is() {
        let utf16: Vec<u8> = BLOCK.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (text, form) in [
            (&utf16[..], "text in UTF-16"),
            (b"0\x82\x01\x00", "DER"),
            (&[b'A'; 80], "base64 text"),
            (b"<html>", "an HTML or XML page"),
        ] {
            assert_eq!(certificates(text), Err(PemError::Form(form)));
        }
        for text in ["", " \n", "\u{feff}", "/etc/ssl/ca.pem"] {
            assert_eq!(certificates(text.as_bytes()), Err(PemError::Empty), "{text:?}");
        }
    }

    #[test]
    fn no_block_is_lost_without_a_word() {
        for text in [
            format!("{BLOCK}{BLOCK}"),
            format!("{BLOCK},{BLOCK}"),
            format!("x{BLOCK}"),
            format!("{BLOCK}\n  {BLOCK}"),
            format!("{BLOCK}\n{}", BLOCK.replace("CERTIFICATE", "THING")),
        ] {
            let read = certificates(text.as_bytes());
            assert!(matches!(read, Err(PemError::Unreadable(_))), "{text}: {read:?}");
        }
    }

    #[test]
    fn private_keys_of_every_kind_are_refused() {
        for kind in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            let key = format!("{BLOCK}\n-----BEGIN {kind}-----\nAQID\n-----END {kind}-----\n");
            let forms =
                [key.clone(), key.replace('\n', " "), key.replace('\n', "\n  "), key.replace("END", "")];
            for text in forms {
                assert_eq!(certificates(text.as_bytes()), Err(PemError::PrivateKey), "{text}");
            }
        }
    }

    #[test]
    fn no_block_is_passed_over_in_silence() {
        let indented = BLOCK.replace('\n', "\n  ");
        for (what, text) in [
            ("an indented block", format!("  {indented}")),
            ("an indented block behind a good one", format!("{BLOCK}\n  {indented}")),
            ("a block behind another on one line", format!("{BLOCK},{BLOCK}")),
            ("a label of OpenSSL's own", BLOCK.replace("CERTIFICATE", "TRUSTED CERTIFICATE")),
            ("the same behind a good one", format!("{BLOCK}\n{}", BLOCK.replace("CERTIFICATE", "PKCS7"))),
            ("a block that begins within another", format!("-----BEGIN CERTIFICATE-----\n{BLOCK}")),
            ("line breaks lost", BLOCK.replace('\n', " ")),
            ("a bad BEGIN line", BLOCK.replacen("CERTIFICATE-----", "CERTIFICATE---", 1)),
        ] {
            assert!(matches!(certificates(text.as_bytes()), Err(PemError::Unreadable(_))), "{what}");
        }
    }

    #[test]
    fn unreadable_texts_are_distinguished() {
        for (text, expected) in [
            ("-----BEGIN CERTIFICATE-----\nAQID\n", "no END line"),
            ("-----BEGIN CERTIFICATE--\nAQID\n", "five dashes"),
            ("-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----", "not base64"),
            ("x-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----", "passed over"),
        ] {
            let error = certificates(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn no_error_quotes_the_text() {
        for text in ["-----BEGIN CERTIFICATE----- c2VjcmV0 -----END CERTIFICATE-----", "-----BEGIN c2VjcmV0"]
        {
            let error = certificates(text.as_bytes()).unwrap_err();
            let shown = format!("{error} {error:?}");
            // "c2V", as text or as a list of bytes.
            assert!(!shown.contains("c2V") && !shown.contains("99, 50, 86"), "{shown}");
        }
    }

    #[test]
    fn text_that_is_not_certificates_says_what_it_is() {
        assert_eq!(certificates(b""), Err(PemError::Empty));
        assert_eq!(certificates(b"hello"), Err(PemError::Empty));
        let request = "-----BEGIN CERTIFICATE REQUEST-----\nAQID\n-----END CERTIFICATE REQUEST-----";
        assert!(matches!(certificates(request.as_bytes()), Err(PemError::Foreign(_))));
        assert!(matches!(
            certificates(b"-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----"),
            Err(PemError::Unreadable(_))
        ));
        assert!(matches!(certificates(b"-----BEGIN CERTIFICATE-----\nAQID\n"), Err(PemError::Unreadable(_))));
    }

    proptest! {
        #[test]
        fn text_is_rejected_unless_each_block_is_a_certificate(
            pieces in collection::vec(
                prop_oneof![
                    sample::select(&[BLOCK, "\n", "-----BEGIN ", "-----END ", "CERTIFICATE", "-----", "AQID", "PRIVATE KEY"][..])
                        .prop_map(str::to_owned),
                    "[ -~\n]{0,8}",
                ],
                0..10,
            ),
        ) {
            let text = pieces.concat();
            let read = certificates(text.as_bytes());
            prop_assert_eq!(text.contains("PRIVATE KEY"), read == Err(PemError::PrivateKey));
            if let Ok(read) = read {
                prop_assert_eq!(read.len(), blocks(text.as_bytes()));
            }
        }
    }
}
