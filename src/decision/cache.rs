//! Verdicts already reached, so that a certificate is paid for once and not per request.

use crate::time::{UnixSeconds, Window};
use lru::LruCache;
use std::num::NonZeroUsize;

/// Certificates let in are few: one or two per region at a time.
const ALLOWED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Strangers come in any number. They have a segment of their own, so that they cannot push Genesys' out.
const DENIED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// A bounded least-recently-used cache of verdicts, keyed by the digest that Envoy shows.
///
/// It belongs to one configuration of one policy: a reload begins with an empty one. Nothing but other trust and the passing of
/// time changes what is kept; whoever is held for a refresh is not in it, and is decided on again.
#[derive(Debug)]
pub struct VerdictCache<K: std::hash::Hash + Eq, A, D> {
    trust: u64,
    allowed: LruCache<K, Cached<A>>,
    denied: LruCache<K, Cached<D>>,
}

/// A verdict and what it holds for.
#[derive(Debug)]
pub struct Cached<T> {
    pub value: T,
    pub window: Window,
}

/// What the cache knows of a certificate.
#[derive(Debug)]
pub enum Hit<'a, A, D> {
    Allowed(&'a A),
    Denied(&'a D),
}

impl<K: std::hash::Hash + Eq, A, D> Default for VerdictCache<K, A, D> {
    fn default() -> Self {
        Self { trust: 0, allowed: LruCache::new(ALLOWED), denied: LruCache::new(DENIED) }
    }
}

impl<K: std::hash::Hash + Eq, A, D> VerdictCache<K, A, D> {
    /// The verdict on this digest, if one was reached under this version of trust and still holds at `now`.
    pub fn get(&mut self, key: &K, trust: u64, now: UnixSeconds) -> Option<Hit<'_, A, D>> {
        self.follow(trust);
        if let Some(cached) = self.allowed.get(key) {
            return cached.window.contains(now).then_some(Hit::Allowed(&cached.value));
        }
        let cached = self.denied.get(key)?;
        cached.window.contains(now).then_some(Hit::Denied(&cached.value))
    }

    /// Forgets everything that was decided under other trust.
    fn follow(&mut self, trust: u64) {
        if self.trust != trust {
            self.allowed.clear();
            self.denied.clear();
            self.trust = trust;
        }
    }

    pub fn allow(&mut self, key: K, trust: u64, cached: Cached<A>) {
        self.follow(trust);
        self.denied.pop(&key);
        self.allowed.put(key, cached);
    }

    pub fn deny(&mut self, key: K, trust: u64, cached: Cached<D>) {
        self.follow(trust);
        self.allowed.pop(&key);
        self.denied.put(key, cached);
    }

    /// How many verdicts are kept: let in, refused.
    pub fn len(&self) -> (usize, usize) {
        (self.allowed.len(), self.denied.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: Window = Window { from: i64::MIN, until: i64::MAX };

    fn cached<T>(value: T, window: Window) -> Cached<T> {
        Cached { value, window }
    }

    fn verdict(
        cache: &mut VerdictCache<u32, u32, u32>,
        key: u32,
        trust: u64,
        now: i64,
    ) -> Option<(bool, u32)> {
        cache.get(&key, trust, now).map(|hit| match hit {
            Hit::Allowed(&value) => (true, value),
            Hit::Denied(&value) => (false, value),
        })
    }

    #[test]
    fn a_verdict_holds_within_its_window_and_its_version_of_trust_only() {
        let mut cache = VerdictCache::<u32, u32, u32>::default();
        cache.allow(1, 7, cached(10, Window { from: 100, until: 200 }));
        cache.deny(2, 7, cached(20, ALWAYS));
        for (key, trust, now, expected) in [
            (1, 7, 100, Some((true, 10))),
            (1, 7, 199, Some((true, 10))),
            (1, 7, 200, None),
            (1, 7, 99, None),
            (2, 7, 5, Some((false, 20))),
            (3, 7, 150, None),
            (1, 8, 150, None),
            (1, 7, 150, None), // forgotten, not hidden
            (2, 7, 150, None),
        ] {
            assert_eq!(verdict(&mut cache, key, trust, now), expected, "{key} {trust} {now}");
        }
    }

    #[test]
    fn a_new_verdict_replaces_the_old_one_of_either_kind() {
        let mut cache = VerdictCache::<u32, u32, u32>::default();
        cache.deny(1, 0, cached(1, ALWAYS));
        cache.allow(1, 0, cached(2, ALWAYS));
        assert_eq!(verdict(&mut cache, 1, 0, 0), Some((true, 2)));
        cache.deny(1, 0, cached(3, ALWAYS));
        assert_eq!(verdict(&mut cache, 1, 0, 0), Some((false, 3)));
        assert_eq!(cache.len(), (0, 1));
    }

    #[test]
    fn a_flood_of_strangers_evicts_strangers_only() {
        let mut cache = VerdictCache::<u32, u32, u32>::default();
        cache.allow(0, 0, cached(1, ALWAYS));
        for stranger in 1..100_000 {
            cache.deny(stranger, 0, cached(0, ALWAYS));
        }
        assert_eq!(cache.len(), (1, DENIED.get()));
        assert_eq!(verdict(&mut cache, 0, 0, 0), Some((true, 1)));
        assert_eq!(verdict(&mut cache, 1, 0, 0), None);
    }
}
