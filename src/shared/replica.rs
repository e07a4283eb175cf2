//! A value that all workers of a proxy share: one writes it, the others read it when its version moves.

use crate::time::Mono;
use crate::{
    shared::{
        Secret, Store,
        lease::{CALLBACK, Lease},
        seal::Seal,
    },
    time::millis,
};
use serde::{Serialize, de::DeserializeOwned};

/// This worker's copy, and where the shared one is kept. Copies are sealed: see [`Seal`].
#[derive(Debug)]
pub struct Replica<T> {
    key: String,
    seal: Seal,
    /// Grows with every write, in whatever worker, so that an older copy put back is seen to be one.
    sequence: u64,
    /// The version in shared data that this copy was last compared with.
    seen: Option<u32>,
    pub value: T,
}

/// Whether what has this number cannot have been written yet: numbers are milliseconds of the clock that all workers share,
/// or hardly more. Nothing that claims to be from the future may outrank what is true now.
fn is_ahead(sequence: u64, now: Mono) -> bool {
    Mono::from_millis(sequence) > now + CALLBACK
}

impl<T: Default + PartialEq + Serialize + DeserializeOwned> Replica<T> {
    pub fn new(key: &str, secret: Option<&Secret>) -> Option<Self> {
        let key = format!("{key}/record");
        Some(Self { seal: Seal::new(secret, &key)?, key, sequence: 0, seen: None, value: T::default() })
    }

    /// Takes over what another worker wrote. Returns the value that it replaced, if it was news.
    ///
    /// What somebody else damaged or rolled back is written again by the worker that has the lease: others may
    /// know less.
    pub fn learn(&mut self, store: &mut impl Store, lease: &mut Lease, now: Mono) -> Option<T> {
        let (sealed, version) = store.get(&self.key);
        if version.is_some() && version == self.seen {
            return None;
        }
        self.seen = version;
        let stored = sealed.as_deref().and_then(|sealed| self.open(sealed));
        match stored.filter(|(sequence, _)| !is_ahead(*sequence, now)) {
            Some((sequence, value)) if sequence == self.sequence && value == self.value => None,
            Some((sequence, value)) if sequence >= self.sequence => {
                self.sequence = sequence;
                Some(std::mem::replace(&mut self.value, value))
            }
            _ => {
                if self.sequence > 0 && lease.is_held(now) {
                    self.write(store, now);
                } else {
                    // It may be ahead of this callback's clock only.
                    self.seen = None;
                }
                None
            }
        }
    }

    fn open(&self, sealed: &[u8]) -> Option<(u64, T)> {
        let (sequence, json) = self.seal.open(sealed)?.split_first_chunk::<8>()?;
        Some((u64::from_le_bytes(*sequence), serde_json::from_slice(json).ok()?))
    }

    /// Shares this worker's copy. The clock numbers it above all copies before it, whether they were read or not.
    pub fn write(&mut self, store: &mut impl Store, now: Mono) {
        self.sequence = self.sequence.saturating_add(1).max(millis(now));
        let sequence = self.sequence.to_le_bytes();
        let json = serde_json::to_vec(&self.value).unwrap_or_default();
        store.set(&self.key, &self.seal.seal(&[&sequence[..], &json].concat()), None);
    }
}
