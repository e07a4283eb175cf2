//! A question for an early refresh, as it stands in shared data for whoever leads.

use crate::time::Mono;
use std::time::Duration;

/// Not sealed: all that a forged one can bring about is an early refresh, and those are few.
pub struct Wanted {
    pub at: Mono,
    /// The end of the last refresh that the asking worker knew of. Where another has ended meanwhile, it has to look at
    /// that one first.
    pub known: Option<Mono>,
}

impl Wanted {
    pub fn to_bytes(&self) -> Vec<u8> {
        let nanos = |at: Mono| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
        [nanos(self.at), nanos(self.known.unwrap_or_default())].concat()
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, known) = bytes.split_first_chunk::<8>()?;
        let time = |bytes: [u8; 8]| Duration::from_nanos(u64::from_le_bytes(bytes));
        let known = Some(time(known.try_into().ok()?)).filter(|known| !known.is_zero());
        Some(Self { at: time(*at), known })
    }
}
