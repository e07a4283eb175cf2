//! The answers of the login and API hosts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    errors::{api_error, oauth_error},
    log::Endpoint,
    state::{Listing, RegionState, Status},
};
use crate::http1::{Answer, Request};

pub(super) const CERTIFICATES: &str = "/api/v2/integrations/actions/certificates";

/// Which service a request on the TLS port is for.
pub(super) fn endpoint(request: &Request, login_host: bool) -> Endpoint {
    match (login_host, request.path().trim_end_matches('/')) {
        (true, "/oauth/token") => Endpoint::Token,
        (false, CERTIFICATES)
            if request.query("status").is_some_and(|s| s.eq_ignore_ascii_case("upcoming")) =>
        {
            Endpoint::Upcoming
        }
        (false, CERTIFICATES) => Endpoint::Current,
        _ => Endpoint::Other,
    }
}

/// `POST /oauth/token`
pub(super) fn token(request: &Request, region: &mut RegionState) -> Answer {
    if request.method != "POST" {
        return oauth_error(405, "invalid_request", "POST only");
    }
    let form = request.header("content-type").unwrap_or_default();
    if !form.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        return oauth_error(415, "invalid_request", "the body must be a form");
    }
    let credentials = &region.credentials;
    let wanted = STANDARD.encode(format!("{}:{}", credentials.client_id, credentials.client_secret));
    if request.header("authorization").and_then(|v| v.strip_prefix("Basic ")) != Some(wanted.as_str()) {
        return oauth_error(401, "invalid_client", "client not found or secret wrong");
    }
    let body = String::from_utf8_lossy(&request.body).into_owned();
    if !body.split('&').any(|pair| pair == "grant_type=client_credentials") {
        return oauth_error(400, "unsupported_grant_type", "grant_type must be client_credentials");
    }
    let token = region.new_token();
    let mut body = json!({"access_token": token, "token_type": "bearer"});
    if let Some(expires_in) = &region.expires_in {
        body["expires_in"] = expires_in.clone();
    }
    Answer::new(200, "application/json", body.to_string()).header("cache-control", "no-store")
}

/// `GET /api/v2/integrations/actions/certificates`
pub(super) fn certificates(request: &Request, region: &mut RegionState) -> Answer {
    if request.method != "GET" {
        return api_error(405, "method.not.allowed", "GET only");
    }
    let Some(token) = request.header("authorization").and_then(|v| strip_scheme(v, "bearer ")) else {
        let message = "No authentication bearer token specified in authorization header.";
        return api_error(401, "authentication.required", message);
    };
    if !region.knows_token(token) {
        return api_error(401, "bad.credentials", "Invalid login credentials.");
    }
    if !region.permitted {
        let message = "Unable to perform the requested action. You are missing the following permission(s): \
                       integrations:actionCertificate:view";
        return api_error(403, "missing.permissions", message);
    }
    if request.query("type").is_some_and(|t| !t.eq_ignore_ascii_case("client")) {
        return api_error(400, "bad.request", "type must be Client");
    }
    let page = request.query("pageNumber").and_then(|p| p.parse().ok()).unwrap_or(1usize).max(1);
    let body = match request.query("status").map(str::to_ascii_lowercase).as_deref() {
        Some("current") => listing(&region.current, Status::Current, page),
        Some("upcoming") => listing(&region.upcoming, Status::Upcoming, page),
        None => everything(region),
        Some(_) => return api_error(400, "bad.request", "status must be Current or Upcoming"),
    };
    region.calls += 1;
    Answer::new(200, "application/json", body.to_string())
        .header("inin-ratelimit-count", region.calls % 300)
        .header("inin-ratelimit-allowed", 300)
        .header("inin-ratelimit-reset", 60)
}

fn strip_scheme<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let head = value.get(..scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then(|| &value[scheme.len()..])
}

fn uri(status: Option<Status>, page: usize) -> String {
    status.map_or_else(
        || CERTIFICATES.to_owned(),
        |s| format!("{CERTIFICATES}?status={}&pageNumber={page}", s.name()),
    )
}

fn listing(listing: &Listing, status: Status, page: usize) -> Value {
    let count = listing.pages.len().max(1);
    let entities: Vec<Value> =
        listing.pages.get(page - 1).map(|p| p.iter().map(|e| e.render(status)).collect()).unwrap_or_default();
    let total: usize = listing.pages.iter().map(Vec::len).sum();
    let mut body = json!({
        "entities": entities,
        "pageSize": 25,
        "pageNumber": page,
        "total": total,
        "pageCount": count,
        "firstUri": uri(Some(status), 1),
        "lastUri": uri(Some(status), count),
        "selfUri": uri(Some(status), page),
    });
    if page < count {
        body["nextUri"] = uri(Some(status), page + 1).into();
    } else if let Some(next) = &listing.next_uri {
        body["nextUri"] = next.as_str().into();
    }
    if page > 1 {
        body["previousUri"] = uri(Some(status), page - 1).into();
    }
    body
}

fn everything(region: &RegionState) -> Value {
    let both = [(&region.current, Status::Current), (&region.upcoming, Status::Upcoming)];
    let entities: Vec<Value> =
        both.iter().flat_map(|(l, s)| l.pages.iter().flatten().map(|e| e.render(*s))).collect();
    json!({
        "total": entities.len(),
        "entities": entities,
        "pageSize": 25,
        "pageNumber": 1,
        "pageCount": 1,
        "firstUri": uri(None, 1),
        "lastUri": uri(None, 1),
        "selfUri": uri(None, 1),
    })
}
