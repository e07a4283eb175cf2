//! What can go wrong at an endpoint, on command.

use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::{errors, log::Endpoint};
use crate::http1::Answer;

/// A misbehaviour that replaces, delays or breaks an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// None: the usual answer (a place-holder in scripts).
    Pass,
    /// This answer instead.
    Respond {
        /// Status.
        status: u16,
        /// Headers; content-length is added.
        headers: Vec<(String, String)>,
        /// Body.
        body: Vec<u8>,
    },
    /// This status with the error body that the endpoint would send.
    Status(u16),
    /// The usual answer with this body instead.
    Body(Vec<u8>),
    /// The usual answer with these headers added.
    Headers(Vec<(String, String)>),
    /// The usual answer, later.
    Delay(Duration),
    /// The usual answer, as soon as the gate opens.
    Gate(Gate),
    /// No answer; the connection stays open.
    Hang,
    /// A TCP reset before any byte of an answer.
    Reset,
    /// A TCP reset after half of the usual body.
    ResetMidBody,
    /// An orderly end of the connection after half of the usual body.
    CloseMidBody,
    /// The usual answer, byte by byte with this pause in between.
    Trickle(Duration),
    /// These bytes instead of HTTP, then the end of the connection.
    Raw(Vec<u8>),
}

impl Fault {
    /// An answer with a JSON body.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::respond(status, &[("content-type", "application/json")], body.to_string())
    }

    /// Any answer.
    pub fn respond(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        Self::Respond { status, headers, body: body.into() }
    }

    /// The API's error body with a code such as `missing.permissions`.
    pub fn api_error(status: u16, code: &str) -> Self {
        Self::json(status, &errors::error_body(status, code, "scripted"))
    }

    /// The login host's error, e.g. 400 `invalid_client`.
    pub fn oauth_error(status: u16, error: &str) -> Self {
        let text = "scripted";
        Self::json(status, &json!({"error": error, "description": text, "error_description": text}))
    }

    /// 429, with `Retry-After` in seconds where given.
    pub fn too_many_requests(retry_after: Option<u64>) -> Self {
        let seconds = retry_after.map(|s| s.to_string());
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(seconds.as_deref().map(|s| ("retry-after", s)));
        let body = errors::error_body(429, "too.many.requests.retry.after", "Rate limit exceeded");
        Self::respond(429, &headers, body.to_string())
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::respond(status, &[("location", location)], "")
    }

    /// A page of HTML with status 200.
    pub fn html() -> Self {
        Self::respond(200, &[("content-type", "text/html")], "<!doctype html><title>Maintenance</title>")
    }

    /// A JSON string of about this many bytes with status 200.
    pub fn huge(bytes: usize) -> Self {
        let body = [b"\"".to_vec(), vec![b'x'; bytes], b"\"".to_vec()].concat();
        Self::respond(200, &[("content-type", "application/json")], body)
    }

    /// A JSON document cut off in the middle of nowhere, with a matching content-length.
    pub fn truncated_json() -> Self {
        let body = r#"{"entities":[{"signingAuthority":"DigiCert","certi"#;
        Self::respond(200, &[("content-type", "application/json")], body)
    }

    pub(super) fn answer(&self, usual: Answer, endpoint: Endpoint) -> Answer {
        match self {
            Self::Respond { status, headers, body } => {
                Answer { status: *status, headers: headers.clone(), body: body.clone() }
            }
            Self::Status(status) => errors::scripted_status(endpoint, *status),
            Self::Body(body) => Answer { body: body.clone(), ..usual },
            Self::Headers(more) => {
                Answer { headers: usual.headers.into_iter().chain(more.iter().cloned()).collect(), ..usual }
            }
            _ => usual,
        }
    }
}

/// Holds answers back until a test says otherwise.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everything through, what waits and what comes.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn passed(&self) {
        // The sender lives in `self`, so this ends with the gate open.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// A fault in force.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub region: Option<String>,
    pub endpoint: Option<Endpoint>,
    pub times: Option<usize>,
    pub fault: Fault,
}

/// The fault for a request, if one is in force; counted ones are used up.
pub(super) fn take(rules: &mut Vec<Rule>, region: Option<&str>, endpoint: Endpoint) -> Option<Fault> {
    let index = rules.iter().position(|rule| {
        rule.endpoint.is_none_or(|e| e == endpoint)
            && rule.region.as_deref().is_none_or(|r| Some(r) == region)
    })?;
    let rule = &mut rules[index];
    let fault = rule.fault.clone();
    if let Some(times) = &mut rule.times {
        *times -= 1;
        if *times == 0 {
            rules.remove(index);
        }
    }
    Some(fault)
}
