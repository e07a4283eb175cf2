//! What the filter does, without Envoy: requests, answers and ticks come in, actions and effects go out.
//!
//! ```text
//! requests  cache, decide, hold, release      sources  the certificates APIs and what they say
//! crls      CRLs that are followed            metrics  names and counts      log  lines
//! effect    what the filter has to do         io       shared data, verifier, environment
//! ```

pub mod counter;
mod crls;
pub mod effect;
mod identity;
pub mod io;
mod log;
mod metrics;
pub mod reply;
mod requests;
mod sources;

use crate::{
    http::{Failure, HttpResponse},
    peer::request::Request,
    policy::Policy,
    time::{Monotonic, Now},
};
use effect::{Action, CallId, Effect};
use io::Io;
use requests::RequestHandler;
use sources::TrustSources;
use std::rc::Rc;

/// One configuration in one worker.
#[derive(Debug)]
pub struct Engine {
    requests: RequestHandler,
    sources: TrustSources,
    effects: Vec<Effect>,
}

impl Engine {
    /// `worker` is a random id.
    pub fn new(policy: Rc<Policy>, worker: u64) -> Self {
        let mut requests = RequestHandler::new(policy.clone());
        let mut effects = Vec::new();
        requests.start(&mut effects);
        Self { requests, sources: TrustSources::new(policy, worker), effects }
    }

    /// Decides on a request. A request that the cache answers reads no clock.
    pub fn on_request(
        &mut self,
        stream: u32,
        request: &impl Request,
        clock: &impl Fn() -> Now,
        io: &mut Io<'_>,
    ) -> Action {
        self.requests.on_request(stream, request, clock, &mut self.sources, io, &mut self.effects)
    }

    pub fn on_tick(&mut self, io: &mut Io<'_>, now: Now) {
        self.sources.tick(io, now, &mut self.effects);
        self.requests.tick(&mut self.sources, io, now, &mut self.effects);
    }

    /// An answer to a call, or why it could not be made.
    pub fn on_response(
        &mut self,
        id: &CallId,
        response: Result<HttpResponse, Failure>,
        io: &mut Io<'_>,
        now: Now,
    ) {
        self.sources.on_response(id, response, io, now, &mut self.effects);
        self.requests.tick(&mut self.sources, io, now, &mut self.effects);
    }

    /// The stream of a held request ended.
    pub fn forget(&mut self, stream: u32) {
        self.requests.forget(stream);
    }

    /// This configuration ends in this worker.
    pub fn on_end(&mut self, io: &mut Io<'_>, now: Monotonic) {
        self.requests.flush(&mut self.effects);
        self.sources.leave(io, now);
    }

    /// What is to be done after each event.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }
}

#[cfg(test)]
mod tests;
