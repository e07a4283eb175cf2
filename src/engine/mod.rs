//! What the filter does, without Envoy: requests, answers and ticks come in, actions and effects go out.
//!
//! ```text
//! requests  cache, decide, hold, release      sources  the certificates APIs and what they say
//! crls      CRLs that are followed            metrics  names and counts      log  lines
//! effect    what the filter has to do         io       shared data, verifier, environment
//! ```

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
};
use effect::{Action, CallId};
use io::Io;
use requests::{QUICK_TICK, RequestHandler};
use sources::TrustSources;
use std::rc::Rc;

/// One configuration in one worker.
#[derive(Debug)]
pub struct Engine {
    requests: RequestHandler,
    sources: TrustSources,
}

impl Engine {
    /// `worker` is a random id.
    pub fn new(policy: Rc<Policy>, worker: u64) -> Self {
        Self { requests: RequestHandler::new(policy.clone()), sources: TrustSources::new(policy, worker) }
    }

    /// Begins to tick. All else waits for the first tick or request: nothing that a worker alone could fail at is done while a
    /// configuration is loaded.
    pub fn start(&mut self, io: &mut Io<'_>) {
        self.requests.tick_every(QUICK_TICK, io);
    }

    pub fn on_request(&mut self, stream: u32, request: &impl Request, io: &mut Io<'_>) -> Action {
        self.requests.on_request(stream, request, &mut self.sources, io)
    }

    pub fn on_tick(&mut self, io: &mut Io<'_>) {
        self.sources.tick(io);
        self.requests.tick(&mut self.sources, io);
    }

    /// An answer to a call, or why it could not be made.
    pub fn on_response(&mut self, id: &CallId, response: Result<HttpResponse, Failure>, io: &mut Io<'_>) {
        self.sources.on_response(id, response, io);
        self.requests.tick(&mut self.sources, io);
    }

    /// The stream of a held request ended.
    pub fn forget(&mut self, stream: u32) {
        self.requests.forget(stream);
    }

    /// This configuration ends in this worker.
    pub fn on_end(&mut self, io: &mut Io<'_>) {
        self.requests.end(io);
        self.sources.leave(io);
    }
}

#[cfg(test)]
mod tests;
