//! The store that all VMs of a proxy share.

use crate::x509::fingerprint::Fingerprint;
use std::time::Duration;

/// The form of all shared values, part of every key. A change of any of them raises it, since workers of an older module
/// may run at the same time.
pub const FORM: &str = "5";

/// The longest that a callback takes or comes late: it reads the clock once, so what another worker wrote meanwhile may be
/// later by as much, and a call's outcome may be reported that long after its timeout.
pub const CALLBACK: Duration = Duration::from_secs(5);

/// A version that no value ever has: the host counts up from 1.
const NO_VERSION: u32 = u32::MAX;

/// The first digits of a digest, to tell one of a few from the others.
pub fn short(text: &str) -> String {
    Fingerprint::of(text.as_bytes()).to_string().chars().take(8).collect()
}

/// One map for all VMs of a proxy that have the same `vm_id`, ours and others'.
pub trait SharedStore {
    /// The value, and the version that a conditional write has to name. An empty value may come as none, with a version.
    fn get(&self, key: &str) -> (Option<Vec<u8>>, Option<u32>);
    /// Writes, if the value still has this version or is missing. False if not.
    fn set(&mut self, key: &str, value: &[u8], cas: Option<u32>) -> bool;
}

/// Replaces another value. It is true for one of all workers that try: what is logged once per proxy, that one logs.
pub fn claim(store: &mut dyn SharedStore, key: &str, value: &[u8]) -> bool {
    let Some((stored, version)) = versioned(store, key) else { return false };
    stored.as_deref() != Some(value) && store.set(key, value, Some(version))
}

/// A value and its version. A conditional write creates a missing key with any version, so a missing key is
/// created first: of two workers only one must succeed.
pub(super) fn versioned(store: &mut dyn SharedStore, key: &str) -> Option<(Option<Vec<u8>>, u32)> {
    if store.get(key).1.is_none() {
        store.set(key, b"-", Some(NO_VERSION));
    }
    let (stored, version) = store.get(key);
    Some((stored, version?))
}
