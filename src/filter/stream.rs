//! One request.

use crate::filter::gate::{Gate, Passage};
use crate::{decision::Reason, host};
use proxy_wasm::{
    traits::{Context, HttpContext},
    types::Action,
};
use serde::Serialize;
use std::rc::Rc;

pub struct Stream {
    id: u32,
    gate: Option<Rc<Gate>>,
    held: bool,
}

impl Stream {
    pub fn new(id: u32, gate: Option<Rc<Gate>>) -> Self {
        Self { id, gate, held: false }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(gate) = &self.gate else {
            return if refuse(Reason::TrustNotLoaded) { Action::Pause } else { Action::Continue };
        };
        match gate.check(self.id) {
            Passage::Open => Action::Continue,
            Passage::Answered => Action::Pause,
            Passage::Held => {
                self.held = true;
                Action::Pause
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let (true, Some(gate)) = (self.held, &self.gate) {
            gate.forget(self.id);
        }
    }
}

/// The id under which the current request is found again in logs, if it is one that can stand in ours.
pub fn request_id() -> Option<String> {
    let id = host::request_header("x-request-id").and_then(|id| String::from_utf8(id).ok());
    id.filter(|id| {
        id.len() <= 128 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(&b))
    })
}

/// The body of a denial (RFC 9457).
#[derive(Serialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// Answers the current request with a denial. False if the host could not: the request then has to go on, without a
/// verdict, to the guard.
pub fn refuse(reason: Reason) -> bool {
    let (status, title) = match reason.status() {
        503 => (503, "Service Unavailable"),
        status => (status, "Forbidden"),
    };
    let problem =
        Problem { kind: "about:blank", title, status, code: reason.code(), request_id: request_id() };
    // Cannot fail: texts and a number.
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let mut headers = vec![("content-type", "application/problem+json"), ("cache-control", "no-store")];
    if status == 503 {
        headers.push(("retry-after", "5"));
    }
    host::reply(status, &headers, &body, &format!("genesys_mtls:{}", reason.code()))
}
