//! Data that the workers of a proxy share: the store, who may fetch, and records that only they can write.

pub mod lease;
mod replica;
mod seal;
mod secret;

pub use lease::{CALLBACK, Lease, claim};
pub use replica::Replica;
pub use seal::Seal;
pub use secret::Secret;

use crate::x509::fingerprint::Fingerprint;

/// Shared data: one map for all VMs of a proxy that have the same `vm_id`, ours and others'.
pub trait Store {
    /// The value, and the version that a conditional write has to name. An empty value may come as none, with a version.
    fn get(&self, key: &str) -> (Option<Vec<u8>>, Option<u32>);
    /// Writes, if the value still has this version or is missing. False if not.
    fn set(&mut self, key: &str, value: &[u8], cas: Option<u32>) -> bool;
}

/// The form of what workers share, part of every key: to be raised with any change of it, since workers of an older module may
/// live beside those of this one.
pub const FORM: &str = "3";

/// The first digits of a digest, to tell one of a few from the others.
pub fn short(text: &str) -> String {
    Fingerprint::of(text.as_bytes()).to_string().chars().take(8).collect()
}
