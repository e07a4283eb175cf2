//! The answer to a denied request.

use crate::decision::Reason;
use serde::Serialize;

/// What the proxy answers instead of the service.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: String,
    /// Envoy's response-code details, for access logs.
    pub details: String,
}

/// The body: problem details (RFC 9457).
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

/// Says why a request is denied by its code alone: the details are for the operator's log.
pub fn denial(reason: Reason, request_id: Option<String>) -> Reply {
    let status = reason.status();
    let title = if status == 503 { "Service Unavailable" } else { "Forbidden" };
    let problem = Problem { kind: "about:blank", title, status, code: reason.code(), request_id };
    let mut headers = vec![("content-type", "application/problem+json"), ("cache-control", "no-store")];
    if status == 503 {
        headers.push(("retry-after", "5"));
    }
    Reply {
        status,
        headers,
        // Cannot fail: texts and a number.
        body: serde_json::to_string(&problem).unwrap_or_default(),
        details: format!("genesys_mtls:{}", reason.code()),
    }
}
