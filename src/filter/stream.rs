//! One request.

use super::running::{Outcome, Running};
use crate::{decision::Reason, engine::reply, host, peer::request::Request as _};
use proxy_wasm::{
    traits::{Context, HttpContext},
    types::Action,
};
use std::rc::Rc;

pub struct Stream {
    id: u32,
    running: Option<Rc<Running>>,
    is_held: bool,
}

impl Stream {
    pub fn new(id: u32, running: Option<Rc<Running>>) -> Self {
        Self { id, running, is_held: false }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let outcome = match &self.running {
            Some(running) => running.on_request(self.id),
            None if host::reply(&reply::denial(Reason::TrustNotLoaded, host::HostRequest.id())) => {
                Outcome::Answered
            }
            None => Outcome::Continue,
        };
        self.is_held = outcome == Outcome::Held;
        if outcome == Outcome::Continue { Action::Continue } else { Action::Pause }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let (true, Some(running)) = (self.is_held, &self.running) {
            running.forget(self.id);
        }
    }
}
