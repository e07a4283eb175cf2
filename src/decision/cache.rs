//! Verdicts already reached, so that a certificate is paid for once and not per request.

use crate::{
    decision::reason::Reason,
    peer::digest::Digest,
    time::{UnixSeconds, Window},
};
use lru::LruCache;
use std::num::NonZeroUsize;

/// Allowed certificates are few: one or two per region at a time.
const ALLOWED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Denied ones come in any number. They have their own segment, so that they cannot push Genesys' out.
const DENIED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// A bounded least-recently-used cache of verdicts, keyed by the digest that Envoy shows.
/// It belongs to one policy: a reload begins with an empty one. Certificates held for a refresh are not in it.
#[derive(Debug)]
pub struct VerdictCache<A> {
    trust: u64,
    allowed: LruCache<Digest, Cached<A>>,
    denied: LruCache<Digest, Cached<Reason>>,
}

/// A verdict and what it holds for.
#[derive(Debug)]
pub struct Cached<T> {
    pub value: T,
    pub window: Window,
}

/// What the cache knows of a certificate.
#[derive(Debug)]
pub enum Hit<'a, A> {
    Allowed(&'a A),
    Denied(&'a Reason),
}

impl<A> Default for VerdictCache<A> {
    fn default() -> Self {
        Self { trust: 0, allowed: LruCache::new(ALLOWED), denied: LruCache::new(DENIED) }
    }
}

impl<A> VerdictCache<A> {
    /// The verdict on this digest, if one was reached under this version of trust and still holds at `now`.
    pub fn get(&mut self, key: &Digest, trust: u64, now: UnixSeconds) -> Option<Hit<'_, A>> {
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

    pub fn allow(&mut self, key: Digest, trust: u64, cached: Cached<A>) {
        self.follow(trust);
        self.denied.pop(&key);
        self.allowed.put(key, cached);
    }

    pub fn deny(&mut self, key: Digest, trust: u64, cached: Cached<Reason>) {
        self.follow(trust);
        self.allowed.pop(&key);
        self.denied.put(key, cached);
    }

    /// How many verdicts are kept: allowed, denied.
    pub fn len(&self) -> (usize, usize) {
        (self.allowed.len(), self.denied.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Reason::{Expired, NotPinned, WrongName};

    const ALWAYS: Window = Window { from: i64::MIN, until: i64::MAX };

    fn key(number: u32) -> Digest {
        Digest::new(format!("{number:064x}").as_bytes()).unwrap()
    }

    fn cached<T>(value: T, window: Window) -> Cached<T> {
        Cached { value, window }
    }

    fn verdict(
        cache: &mut VerdictCache<u32>,
        number: u32,
        trust: u64,
        now: i64,
    ) -> Option<Result<u32, Reason>> {
        cache.get(&key(number), trust, now).map(|hit| match hit {
            Hit::Allowed(&value) => Ok(value),
            Hit::Denied(&reason) => Err(reason),
        })
    }

    #[test]
    fn verdict_holds_within_its_window_and_version_of_trust() {
        let mut cache = VerdictCache::default();
        cache.allow(key(1), 7, cached(10, Window { from: 100, until: 200 }));
        cache.deny(key(2), 7, cached(WrongName, ALWAYS));
        for (number, trust, now, expected) in [
            (1, 7, 100, Some(Ok(10))),
            (1, 7, 199, Some(Ok(10))),
            (1, 7, 200, None),
            (1, 7, 99, None),
            (2, 7, 5, Some(Err(WrongName))),
            (3, 7, 150, None),
            (1, 8, 150, None),
            (1, 7, 150, None), // forgotten, not hidden
            (2, 7, 150, None),
        ] {
            assert_eq!(verdict(&mut cache, number, trust, now), expected, "{number} {trust} {now}");
        }
    }

    #[test]
    fn new_verdict_replaces_the_old_one_of_either_kind() {
        let mut cache = VerdictCache::default();
        cache.deny(key(1), 0, cached(NotPinned, ALWAYS));
        cache.allow(key(1), 0, cached(2, ALWAYS));
        assert_eq!(verdict(&mut cache, 1, 0, 0), Some(Ok(2)));
        cache.deny(key(1), 0, cached(Expired, ALWAYS));
        assert_eq!(verdict(&mut cache, 1, 0, 0), Some(Err(Expired)));
        assert_eq!(cache.len(), (0, 1));
    }

    #[test]
    fn flood_of_denied_certificates_evicts_no_allowed_one() {
        let mut cache = VerdictCache::default();
        cache.allow(key(0), 0, cached(1, ALWAYS));
        for number in 1..20_000 {
            cache.deny(key(number), 0, cached(WrongName, ALWAYS));
        }
        assert_eq!(cache.len(), (1, DENIED.get()));
        assert_eq!(verdict(&mut cache, 0, 0, 0), Some(Ok(1)));
        assert_eq!(verdict(&mut cache, 1, 0, 0), None);
    }
}
