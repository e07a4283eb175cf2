//! Data that the workers of a proxy share: the store, the lease on a fetch, and records that only they can write.

mod lease;
mod record;
mod seal;
mod store;
#[cfg(not(target_arch = "wasm32"))]
mod testing;

pub use lease::Lease;
pub use record::SealedRecord;
pub use seal::{Seal, Secret};
pub use store::{CALLBACK, FORM, SharedStore, claim, short};
#[cfg(not(target_arch = "wasm32"))]
pub use testing::MemoryStore;
