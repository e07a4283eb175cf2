//! A question for an early refresh, as it stands in shared data for whoever leads.

use crate::time::Monotonic;

/// Not sealed: all that a forged one can bring about is an early refresh, and those are few.
pub struct Wanted {
    pub at: Monotonic,
    /// The end of the last refresh that the asking worker knew of. Where another has ended meanwhile, it has to look at
    /// that one first.
    pub known: Option<Monotonic>,
}

impl Wanted {
    pub fn to_bytes(&self) -> Vec<u8> {
        let nanos = |at: Monotonic| at.millis().to_le_bytes();
        [nanos(self.at), nanos(self.known.unwrap_or_default())].concat()
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, known) = bytes.split_first_chunk::<8>()?;
        let time = |bytes: [u8; 8]| Monotonic::from_millis(u64::from_le_bytes(bytes));
        let known = Some(time(known.try_into().ok()?)).filter(|known| *known != Monotonic::ZERO);
        Some(Self { at: time(*at), known })
    }
}
