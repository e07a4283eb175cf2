//! What one event works with: shared data, the verifier, the clocks, and the effects that come of it.

use crate::{engine::effect::Effect, shared::SharedStore, time::Now, x509::signature::SignatureVerifier};
use log::Level;

/// The worker that the engine runs in.
pub trait Environment {
    /// An environment variable, if it is set and not empty.
    fn variable(&self, name: &str) -> Option<String>;

    /// Envoy's `node.id`, which tells the proxies of a fleet apart; empty if none is set.
    fn node_id(&self) -> String;

    /// Bytes of memory that the worker's VM has taken.
    fn memory(&self) -> u64;

    fn now(&self) -> Now;
}

/// One event.
#[allow(missing_debug_implementations)]
pub struct Io<'a> {
    pub store: &'a mut dyn SharedStore,
    pub verifier: &'a dyn SignatureVerifier,
    pub environment: &'a dyn Environment,
    now: Option<Now>,
    /// To be carried out after the event, in this order.
    pub effects: Vec<Effect>,
}

impl<'a> Io<'a> {
    pub fn new(
        store: &'a mut dyn SharedStore,
        verifier: &'a dyn SignatureVerifier,
        environment: &'a dyn Environment,
    ) -> Self {
        Self { store, verifier, environment, now: None, effects: Vec::new() }
    }

    /// The clocks. They are read once per event, and not at all for a request that the cache answers.
    pub fn now(&mut self) -> Now {
        *self.now.get_or_insert_with(|| self.environment.now())
    }

    pub fn log(&mut self, level: Level, text: String) {
        self.effects.push(Effect::Log { level, line: format!("genesys_mtls: {text}") });
    }

    pub fn count(&mut self, metric: String, by: u64) {
        self.effects.push(Effect::Count { metric, by });
    }

    pub fn gauge(&mut self, metric: String, value: u64) {
        self.effects.push(Effect::Gauge { metric, value });
    }
}
