//! The digest of the peer's certificate as Envoy shows it, under which verdicts are kept.

use crate::x509::fingerprint::Fingerprint;
use std::{
    fmt,
    hash::{Hash, Hasher},
};

/// SHA-256 in 64 hexadecimal digits. Compared and kept as it comes: no request pays for decoding it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 64]);

impl Digest {
    pub fn new(digits: &[u8]) -> Option<Self> {
        digits.try_into().ok().map(Self)
    }

    pub fn of(fingerprint: Fingerprint) -> Option<Self> {
        Self::new(fingerprint.to_string().as_bytes())
    }

    pub fn fingerprint(&self) -> Option<Fingerprint> {
        std::str::from_utf8(&self.0).ok()?.parse().ok()
    }
}

impl Hash for Digest {
    /// Sixteen digits do: they are as good as random. Who makes certificates until theirs collide slows down the look-up of
    /// strangers alone, which looks at 4,096 of them at the most.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [low, high] = [self.0.first_chunk(), self.0.last_chunk()]
            .map(|digits| u64::from_le_bytes(*digits.unwrap_or(&[0; 8])));
        // A digit is in the lower half of its byte: shifted by as much, the others fall beside it.
        state.write_u64(low ^ high.rotate_left(4));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}
