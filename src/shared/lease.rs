//! Who asks the API: one worker at a time holds a lease in shared data, and keeps it as long as it lives.

use crate::shared::{Store, seal::Seal};
use crate::time::Mono;
use std::time::Duration;

/// How long a lease lasts unless renewed: the time a dead holder blocks the others.
pub const TERM: Duration = Duration::from_secs(10);

/// How long ago the clock may have been read with which a callback works: it reads it once, as it begins. What another
/// worker wrote meanwhile is that much ahead of it, and no less true.
pub const CALLBACK: Duration = Duration::from_secs(5);

/// A version that no value ever has: the host counts up from 1.
const NO_VERSION: u32 = u32::MAX;

/// Puts a value in the place of another one. Of all workers that try it is true for one: what is to be said once per
/// proxy, that one says.
pub fn claim(store: &mut impl Store, key: &str, value: &[u8]) -> bool {
    let Some((stored, version)) = versioned(store, key) else { return false };
    stored.as_deref() != Some(value) && store.set(key, value, Some(version))
}

/// A value and its version. Two workers that find the key missing must not both write it: whatever number a write names,
/// it creates a key that is missing, and only the right one replaces a key that is there.
fn versioned(store: &mut impl Store, key: &str) -> Option<(Option<Vec<u8>>, u32)> {
    if store.get(key).1.is_none() {
        store.set(key, b"-", Some(NO_VERSION));
    }
    let (stored, version) = store.get(key);
    Some((stored, version?))
}

/// One worker's view of the lease.
#[derive(Debug)]
pub struct Lease {
    key: String,
    owner: u64,
    seal: Seal,
    held_until: Option<Mono>,
}

impl Lease {
    /// `owner` is this worker's random id.
    pub fn new(key: String, owner: u64, seal: Seal) -> Self {
        Self { key, owner, seal, held_until: None }
    }

    pub fn is_held(&self, now: Mono) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Takes or renews the lease; false if another worker has it.
    pub fn take(&mut self, store: &mut impl Store, now: Mono) -> bool {
        let Some((stored, version)) = versioned(store, &self.key) else {
            self.held_until = None;
            return false;
        };
        let held_by_other = stored
            .and_then(|stored| self.seal.open(&stored).and_then(decode))
            // No holder takes more than a term: an expiry further ahead is not a lease.
            .is_some_and(|(owner, until)| {
                owner != self.owner && now < until && until <= now + TERM + CALLBACK
            });
        let until = now + TERM;
        let taken = !held_by_other
            && store.set(&self.key, &self.seal.seal(&encode(self.owner, until)), Some(version));
        self.held_until = taken.then_some(until);
        taken
    }

    /// Renews a held lease when a third of it has passed.
    pub fn keep(&mut self, store: &mut impl Store, now: Mono) {
        if self.held_until.is_some_and(|until| until.saturating_sub(now) < TERM * 2 / 3) {
            self.take(store, now);
        }
    }

    /// Gives a held lease up, so that the next worker need not wait for its end.
    pub fn release(&mut self, store: &mut impl Store, now: Mono) {
        if self.is_held(now) && self.take(store, now) {
            let (_, cas) = store.get(&self.key);
            store.set(&self.key, b"-", cas);
        }
        self.held_until = None;
    }
}

fn encode(owner: u64, until: Mono) -> Vec<u8> {
    let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
    [owner.to_le_bytes(), until.to_le_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<(u64, Mono)> {
    let (owner, until) = bytes.split_first_chunk::<8>()?;
    let until = <[u8; 8]>::try_from(until).ok()?;
    Some((u64::from_le_bytes(*owner), Duration::from_nanos(u64::from_le_bytes(until))))
}
