//! Certificates out of PEM text (RFC 7468), as people paste it and as APIs deliver it.

use rustls_pki_types::pem::{PemObject as _, SectionKind};

const BEGIN: &[u8] = b"-----BEGIN ";

/// Why PEM text was refused. No variant carries the text: it may be a private key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    #[error("no `-----BEGIN CERTIFICATE-----` block found; give the certificate as PEM text")]
    Empty,
    #[error(
        "holds a private key, which this filter never needs: remove it, and replace the key if this file was shared"
    )]
    PrivateKey,
    #[error("holds a `{0}` block; only CERTIFICATE blocks belong here")]
    Foreign(String),
    #[error("not readable as PEM ({0}); check that no line of the block is missing or indented differently")]
    Unreadable(String),
}

/// The DER of every certificate in the text, in order. Anything that is not a certificate is an error.
pub fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    let (mut certificates, mut sections) = (Vec::new(), 0);
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        sections += 1;
        match section {
            Ok((SectionKind::Certificate, der)) => certificates.push(der),
            Ok((SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, _)) => {
                return Err(PemError::PrivateKey);
            }
            Ok((other, _)) => return Err(PemError::Foreign(format!("{other:?}"))),
            Err(error) => return Err(PemError::Unreadable(format!("{error:?}"))),
        }
    }
    // The library passes over sections it has no name for, encrypted keys among them.
    if text.windows(11).any(|window| window == b"PRIVATE KEY") {
        return Err(PemError::PrivateKey);
    }
    if sections < blocks(text) {
        return Err(PemError::Unreadable(
            "a BEGIN line is not on a line of its own, or of an unknown kind".to_owned(),
        ));
    }
    if certificates.is_empty() { Err(PemError::Empty) } else { Ok(certificates) }
}

/// How many blocks seem to begin in the text, readable or not: the library passes over some.
pub fn blocks(text: &[u8]) -> usize {
    text.windows(BEGIN.len()).filter(|window| *window == BEGIN).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----";

    #[test]
    fn blocks_are_read_whatever_the_line_ends_and_the_text_between_them() {
        for text in [
            BLOCK.to_owned(),
            BLOCK.replace('\n', "\r\n"),
            format!("{BLOCK}\n\n"),
            format!("subject=CN = x\n{BLOCK}"),
        ] {
            assert_eq!(certificates(text.as_bytes()), Ok(vec![vec![1, 2, 3]]), "{text}");
        }
        assert_eq!(certificates(format!("{BLOCK}\r\n{BLOCK}").as_bytes()).unwrap().len(), 2);
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
            assert_eq!(certificates(key.as_bytes()), Err(PemError::PrivateKey), "{kind}");
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
}
