//! Which worker fetches: the one that holds the lease, for one fetch.

use crate::{
    shared::{
        seal::{Seal, Secret},
        store::{CALLBACK, SharedStore, versioned},
    },
    time::Monotonic,
};
use std::time::Duration;

/// The longest term of any configuration: an expiry further ahead is not a lease.
const LONGEST: Duration = Duration::from_mins(6);

/// One worker's view of a lease.
#[derive(Debug)]
pub struct Lease {
    key: String,
    owner: u64,
    seal: Seal,
    held_until: Option<Monotonic>,
}

impl Lease {
    /// `owner` is this worker's random id. `None` if the secret cannot be a key.
    pub fn new(key: String, owner: u64, secret: Option<&Secret>) -> Option<Self> {
        Some(Self { seal: Seal::new(secret, &key)?, key, owner, held_until: None })
    }

    pub fn is_held(&self, now: Monotonic) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Takes or renews the lease for `term`; false if another worker has it.
    pub fn take(&mut self, store: &mut dyn SharedStore, now: Monotonic, term: Duration) -> bool {
        self.held_until = None;
        let Some((stored, version)) = versioned(store, &self.key) else { return false };
        let latest = now + LONGEST + CALLBACK;
        let is_free = self
            .open(stored)
            .is_none_or(|(owner, until)| owner == self.owner || until <= now || latest < until);
        let until = now + term.min(LONGEST);
        let value = [self.owner.to_le_bytes(), until.millis().to_le_bytes()].concat();
        if is_free && store.set(&self.key, &self.seal.seal(&value), Some(version)) {
            self.held_until = Some(until);
        }
        self.held_until.is_some()
    }

    /// Gives the lease up if it is held, so that no other worker waits for its end.
    pub fn release(&mut self, store: &mut dyn SharedStore, now: Monotonic) {
        if self.held_until.take().is_some_and(|until| now < until) {
            let (stored, version) = store.get(&self.key);
            if self.open(stored).is_some_and(|(owner, _)| owner == self.owner) {
                store.set(&self.key, b"-", version);
            }
        }
    }

    /// Owner and end.
    fn open(&self, stored: Option<Vec<u8>>) -> Option<(u64, Monotonic)> {
        let stored = stored?;
        let (owner, until) = self.seal.open(&stored)?.split_first_chunk::<8>()?;
        let until = u64::from_le_bytes(until.try_into().ok()?);
        Some((u64::from_le_bytes(*owner), Monotonic::from_millis(until)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::MemoryStore;
    use std::cell::{Cell, RefCell};

    const TERM: Duration = Duration::from_secs(10);
    const NOW: Monotonic = Monotonic::from_millis(100_000);

    fn lease(owner: u64) -> Lease {
        Lease::new("lease".to_owned(), owner, None).unwrap()
    }

    /// Lets another worker act right before one write of the worker under test.
    struct Interleaved<'a> {
        store: &'a mut MemoryStore,
        writes: Cell<usize>,
        at: usize,
        other: RefCell<&'a mut dyn FnMut(&mut MemoryStore)>,
    }

    impl SharedStore for Interleaved<'_> {
        fn get(&self, key: &str) -> (Option<Vec<u8>>, Option<u32>) {
            self.store.get(key)
        }

        fn set(&mut self, key: &str, value: &[u8], cas: Option<u32>) -> bool {
            self.writes.set(self.writes.get() + 1);
            if self.writes.get() == self.at {
                (self.other.borrow_mut())(self.store);
            }
            self.store.set(key, value, cas)
        }
    }

    #[test]
    fn two_workers_that_find_no_lease_do_not_both_get_it() {
        for at in 1..=2 {
            for existing in [None, Some(&b"-"[..]), Some(b""), Some(b"garbage")] {
                let (mut one, mut two) = (lease(1), lease(2));
                let mut store = MemoryStore::default();
                if let Some(value) = existing {
                    store.set("lease", value, None);
                }
                let mut other = |store: &mut MemoryStore| assert!(two.take(store, NOW, TERM), "it is free");
                let mut store =
                    Interleaved { store: &mut store, writes: 0.into(), at, other: RefCell::new(&mut other) };
                let taken = one.take(&mut store, NOW, TERM);
                let acted = store.writes.get() >= at;
                assert_eq!(taken, !acted, "before write {at}, with {existing:?}");
                assert!(!(one.is_held(NOW) && two.is_held(NOW)), "before write {at}, with {existing:?}");
            }
        }
    }

    #[test]
    fn a_lease_is_seen_by_a_worker_that_read_its_clock_earlier() {
        let mut store = MemoryStore::default();
        assert!(lease(1).take(&mut store, NOW, LONGEST));
        for (earlier, taken) in [(0, false), (1, false), (1_000, false), (5_000, false), (5_001, true)] {
            let read = Monotonic::from_millis(NOW.millis() - earlier);
            // Further ahead than any callback lasts, it is from before a restart, or forged.
            assert_eq!(lease(2).take(&mut store.clone(), read, TERM), taken, "{earlier} ms before");
        }
    }

    #[test]
    fn a_lease_ends_by_its_term_or_when_it_is_released() {
        let mut store = MemoryStore::default();
        let (mut one, mut two) = (lease(1), lease(2));
        assert!(one.take(&mut store, NOW, TERM) && one.is_held(NOW));
        assert!(!two.take(&mut store, NOW + TERM / 2, TERM));
        assert!(one.take(&mut store, NOW + TERM / 2, TERM), "renewed");
        assert!(!two.take(&mut store, NOW + TERM, TERM));
        let ended = NOW + TERM + TERM / 2;
        assert!(!one.is_held(ended) && two.take(&mut store, ended, TERM), "over");
        one.release(&mut store, ended);
        assert!(!one.take(&mut store, ended, TERM), "a lease that is over releases nothing");
        two.release(&mut store, ended);
        assert!(one.take(&mut store, ended, TERM));
    }
}
