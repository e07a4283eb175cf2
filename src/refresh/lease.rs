//! Who asks the API: one worker at a time holds a lease in shared data, and keeps it as long as it lives.

use super::{refresher::Store, seal::Seal};
use crate::trust::Mono;
use std::time::Duration;

/// How long a lease lasts unless renewed: the time a dead holder blocks the others.
pub const TERM: Duration = Duration::from_secs(10);

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
    ///
    /// Shared data cannot create a key only if it is absent, so a missing one is created empty and taken no earlier
    /// than at the next call: by then every worker that saw it missing has created it too.
    pub fn take(&mut self, store: &mut impl Store, now: Mono) -> bool {
        let (stored, cas) = store.get(&self.key);
        let (Some(stored), Some(cas)) = (stored, cas) else {
            store.set(&self.key, b"-", None);
            self.held_until = None;
            return false;
        };
        let held_by_other = self
            .seal
            .open(&stored)
            .and_then(decode)
            // No holder takes more than a term: an expiry further ahead is not a lease.
            .is_some_and(|(owner, until)| owner != self.owner && now < until && until <= now + TERM);
        let until = now + TERM;
        let taken =
            !held_by_other && store.set(&self.key, &self.seal.seal(&encode(self.owner, until)), Some(cas));
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
