//! The error answers of the login and API hosts.

use serde_json::{Value, json};

use super::log::Endpoint;
use crate::http1::Answer;

/// The API's `ErrorBody`.
pub(super) fn error_body(status: u16, code: &str, message: &str) -> Value {
    json!({
        "message": message,
        "code": code,
        "status": status,
        "contextId": "5f0c9a4e-0000-4000-8000-000000000000",
        "details": [],
        "errors": [],
    })
}

pub(super) fn api_error(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(status, "application/json", error_body(status, code, message).to_string())
}

pub(super) fn oauth_error(status: u16, error: &str, description: &str) -> Answer {
    let body = json!({"error": error, "description": description, "error_description": description});
    Answer::new(status, "application/json", body.to_string())
}

/// A bare status as the endpoint would dress it.
pub(super) fn scripted_status(endpoint: Endpoint, status: u16) -> Answer {
    let code = match status {
        400 => "bad.request",
        401 => "bad.credentials",
        403 => "missing.permissions",
        404 => "not.found",
        429 => "too.many.requests.retry.after",
        503 => "service.unavailable",
        504 => "gateway.timeout",
        _ => "internal.server.error",
    };
    match endpoint {
        Endpoint::Token => oauth_error(status, &code.replace('.', "_"), "scripted"),
        Endpoint::Crl => Answer::new(status, "text/plain", "scripted"),
        _ => api_error(status, code, "scripted"),
    }
}
