//! The digest of the peer's certificate as Envoy shows it. Verdicts are cached under it.

use crate::x509::fingerprint::Fingerprint;
use std::{
    fmt,
    hash::{Hash, Hasher},
};

/// SHA-256 in 64 hexadecimal digits, compared as text so that a request seen before decodes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Sixteen digits are enough: collisions that an attacker makes slow down the denied segment of the cache only.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [low, high] = [self.0.first_chunk(), self.0.last_chunk()]
            .map(|digits| u64::from_le_bytes(*digits.unwrap_or(&[0; 8])));
        // A digit fills the lower half of its byte: the shift moves the other eight into the upper halves.
        state.write_u64(low ^ high.rotate_left(4));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}
