//! SHA-256 over a certificate's DER: what Envoy's digest attribute shows and what a pin names.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};

/// SHA-256 of a certificate's DER encoding; printed and parsed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` prints them (colons are fine)"
)]
pub struct NotAFingerprint;

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    /// Hexadecimal digits in any letter case; colons between them are skipped.
    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let mut digits = text.chars().filter(|&c| c != ':').map(|c| c.to_digit(16));
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(NotAFingerprint);
            };
            *byte = u8::try_from(16 * high + low).map_err(|_| NotAFingerprint)?;
        }
        if digits.next().is_some() { Err(NotAFingerprint) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn prints_what_sha256sum_prints() {
        let empty = Fingerprint::of(b"");
        assert_eq!(empty.to_string(), EMPTY);
        assert_eq!(format!("{empty:?}"), EMPTY);
        assert_eq!(empty.as_bytes()[..4], [0xe3, 0xb0, 0xc4, 0x42]);
    }

    #[test]
    fn only_64_hexadecimal_digits_are_a_fingerprint() {
        let with_colons: String =
            EMPTY.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair) + ":").collect();
        let parsed = Ok(Fingerprint::of(b""));
        let (short, long) = (&EMPTY[1..], format!("{EMPTY}0"));
        let cases: [(&str, Result<Fingerprint, NotAFingerprint>); 7] = [
            (EMPTY, parsed),
            (&EMPTY.to_uppercase(), parsed),
            (&with_colons, parsed),
            (short, Err(NotAFingerprint)),
            (&long, Err(NotAFingerprint)),
            (&EMPTY.replace('e', "g"), Err(NotAFingerprint)),
            ("", Err(NotAFingerprint)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), expected, "{text}");
        }
    }
}
