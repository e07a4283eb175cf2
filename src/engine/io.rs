//! What the engine reads and writes while it handles an event. All else that it does is an effect.

use crate::{shared::SharedStore, x509::signature::SignatureVerifier};

/// The worker that the engine runs in.
pub trait Environment {
    /// An environment variable, if it is set and not empty.
    fn variable(&self, name: &str) -> Option<String>;

    /// Envoy's `node.id`, which tells the proxies of a fleet apart; empty if none is set.
    fn node_id(&self) -> String;

    /// Bytes of memory that the worker's VM has taken.
    fn memory(&self) -> u64;
}

/// Access to the surroundings, for one event.
#[allow(missing_debug_implementations)]
pub struct Io<'a> {
    pub store: &'a mut dyn SharedStore,
    pub verifier: &'a dyn SignatureVerifier,
    pub environment: &'a dyn Environment,
}
