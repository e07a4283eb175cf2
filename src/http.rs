//! HTTP calls as data: the request, the response, and why a call failed.

use crate::{codes::codes, time::UnixSeconds};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    time::{Duration, UNIX_EPOCH},
};

/// A call for the host to make.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpCall {
    pub cluster: String,
    /// Pseudo-headers included.
    pub headers: Vec<(&'static str, String)>,
    pub body: &'static [u8],
    pub timeout: Duration,
    /// The largest response body that is read, in bytes.
    pub max_body: usize,
}

impl HttpCall {
    /// The failure of a call that the host could not begin. `status` is the host's word for why.
    pub fn not_dispatched(&self, status: &str) -> Failure {
        let cluster = &self.cluster;
        let detail = if status == "BadArgument" {
            format!("Envoy has no cluster `{cluster}`")
        } else {
            // The call ended before it began, so its answer cannot be read.
            format!(
                "Envoy could not begin the call to cluster `{cluster}` ({status}): it has no address, since its host does not \
                 resolve (cluster.{cluster}.membership_total is 0), or a filter on it has no credentials to add"
            )
        };
        Failure::new(FailureCode::DispatchFailed, detail)
    }
}

/// Envoy reports refused connections and timeouts as responses with status 503 and 504.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// 0 if the connection was reset before headers arrived.
    pub status: u16,
    /// Absent if it is larger than [`HttpCall::max_body`].
    pub body: Option<Vec<u8>>,
    /// The header `retry-after` as it came.
    pub retry_after: Option<Vec<u8>>,
}

/// Without the headers: one of them holds the OAuth client's secret, or the token.
impl fmt::Debug for HttpCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpCall to {}", self.cluster)
    }
}

/// Without the body, which may hold the token.
impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpResponse {}", self.status)
    }
}

impl HttpResponse {
    /// The body of a response with status 200 that has at most `limit` bytes.
    pub(crate) fn ok_body(
        &self,
        upstream: Upstream,
        limit: usize,
        wall: UnixSeconds,
    ) -> Result<&[u8], Failure> {
        if self.status != 200 {
            return Err(self.unexpected(upstream, wall));
        }
        let (code, hint) = match upstream {
            Upstream::Login => (FailureCode::LoginMalformed, ""),
            Upstream::Api => (FailureCode::ApiTooLarge, ""),
            Upstream::Crl => (FailureCode::CrlTooLarge, ": see revocation.max_size"),
        };
        let body = self.body.as_deref().filter(|body| body.len() <= limit);
        body.ok_or_else(|| Failure::new(code, format!("the answer is larger than {limit} bytes{hint}")))
    }

    /// How long the server asks to be left alone (RFC 9110, section 10.2.3: seconds or a date). The caller has to bound it.
    fn retry_after(&self, wall: UnixSeconds) -> Option<Duration> {
        let text = std::str::from_utf8(self.retry_after.as_deref()?).ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(date.saturating_sub(Duration::from_secs(u64::try_from(wall).ok()?)))
    }

    /// The failure of a response with another status.
    fn unexpected(&self, upstream: Upstream, wall: UnixSeconds) -> Failure {
        let (name, unavailable) = match upstream {
            Upstream::Login => ("the login host", FailureCode::LoginUnavailable),
            Upstream::Api => ("the certificates API", FailureCode::ApiUnavailable),
            Upstream::Crl => ("the CRL's host", FailureCode::CrlUnavailable),
        };
        let kind = |place| FailureCode::ALL.get(unavailable as usize + place).copied().unwrap_or(unavailable);
        let (code, detail) = match (upstream, self.status) {
            (Upstream::Login, status @ (400 | 401 | 403)) => (
                FailureCode::LoginRejected,
                format!(
                    "{name} answered {status} to the client credentials: check the OAuth client's id and secret, and that \
                     it belongs to this region"
                ),
            ),
            (Upstream::Api, 401) => {
                (FailureCode::ApiUnauthorized, format!("{name} does not accept the access token (401)"))
            }
            (Upstream::Api, 403) => (
                FailureCode::ApiForbidden,
                format!(
                    "{name} answered 403: give the OAuth client a role with the permission \
                     integrations:actionCertificate:view"
                ),
            ),
            (_, 0) => (kind(0), format!("the connection to {name} was reset")),
            (_, status @ 300..=399) => {
                (kind(1), format!("{name} answered with a redirect ({status}), which is never followed"))
            }
            (_, 429) => (kind(2), format!("{name} asks for fewer calls (429)")),
            (_, status @ 500..=599) => (
                kind(0),
                format!("{name} answered {status} (or Envoy did, if the host cannot be reached or verified)"),
            ),
            (_, status) => (kind(3), format!("{name} answered {status}")),
        };
        Failure { code, detail, retry_after: self.retry_after(wall) }
    }
}

/// The server that a call goes to.
#[derive(Clone, Copy, Debug)]
pub enum Upstream {
    Login,
    Api,
    Crl,
}

/// Why a refresh or the fetch of a CRL did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: FailureCode,
    /// For the log: what was found, and what to do about it. Never text from outside as it came.
    pub detail: String,
    /// How long the server asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub fn new(code: FailureCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after: None }
    }

    /// An answer that is not the specified JSON.
    pub(crate) fn not_json(code: FailureCode, error: &serde_json::Error) -> Self {
        let (kind, line) = (error.classify(), error.line());
        Self::new(code, format!("the answer is not the specified JSON: {kind:?} error in line {line}"))
    }
}

codes! {
    /// The kind of a failure. Workers share it by its place here: a change raises the form of their records. The four
    /// codes that any upstream may earn follow each other for each upstream.
    #[derive(PartialOrd, Ord, Serialize, Deserialize)]
    pub enum FailureCode {
        DispatchFailed = "dispatch_failed", NoAnswer = "no_answer", NoCredentials = "no_credentials",
        LoginUnavailable = "login_unavailable", LoginRedirected = "login_redirected",
        LoginRateLimited = "login_rate_limited", LoginUnexpectedStatus = "login_unexpected_status",
        LoginRejected = "login_rejected", LoginMalformed = "login_malformed",
        ApiUnavailable = "api_unavailable", ApiRedirected = "api_redirected",
        ApiRateLimited = "api_rate_limited", ApiUnexpectedStatus = "api_unexpected_status",
        ApiUnauthorized = "api_unauthorized", ApiForbidden = "api_forbidden",
        ApiTooLarge = "api_too_large", ApiMalformed = "api_malformed",
        NextUriRefused = "next_uri_refused", TooManyPages = "too_many_pages",
        TooManyCertificates = "too_many_certificates", NoUsableCertificate = "no_usable_certificate",
        CrlUnavailable = "crl_unavailable", CrlRedirected = "crl_redirected",
        CrlRateLimited = "crl_rate_limited", CrlUnexpectedStatus = "crl_unexpected_status",
        CrlTooLarge = "crl_too_large", CrlMalformed = "crl_malformed", CrlUnsupported = "crl_unsupported",
        CrlOtherIssuer = "crl_other_issuer", CrlNotAllowed = "crl_not_allowed",
        CrlBadSignature = "crl_bad_signature", CrlUnverified = "crl_unverified",
        CrlNotYetValid = "crl_not_yet_valid", CrlExpired = "crl_expired",
        CrlRollback = "crl_rollback", CrlOtherScope = "crl_other_scope",
    }
}

impl FailureCode {
    /// Whether it concerns the login host.
    pub fn is_login(self) -> bool {
        self.code().starts_with("login_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let wall = 784_111_777;
        for (text, expected) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let response =
                HttpResponse { status: 429, body: None, retry_after: Some(text.as_bytes().to_vec()) };
            assert_eq!(response.retry_after(wall), expected.map(Duration::from_secs), "{text}");
        }
        let response = HttpResponse { status: 429, body: None, retry_after: Some(vec![0xff]) };
        assert_eq!(response.retry_after(wall), None);
    }

    #[test]
    fn failure_codes_differ_and_name_their_upstream() {
        let codes: std::collections::BTreeSet<&str> =
            FailureCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(codes.len(), FailureCode::ALL.len());
        let upstreams = [(Upstream::Login, "login_"), (Upstream::Api, "api_"), (Upstream::Crl, "crl_")];
        for (upstream, prefix) in upstreams {
            for (status, kind) in [
                (0, "unavailable"),
                (503, "unavailable"),
                (302, "redirected"),
                (429, "rate_limited"),
                (404, "unexpected_status"),
            ] {
                let failure = HttpResponse { status, body: None, retry_after: None }.unexpected(upstream, 0);
                assert_eq!(failure.code.code(), format!("{prefix}{kind}"), "{status}");
            }
        }
    }

    #[test]
    fn secrets_in_calls_and_responses_do_not_show() {
        let call = HttpCall {
            cluster: "c".to_owned(),
            headers: vec![("authorization", "hunter2".to_owned())],
            body: b"",
            timeout: Duration::ZERO,
            max_body: 0,
        };
        let response = HttpResponse { status: 200, body: Some(b"hunter2".to_vec()), retry_after: None };
        assert!(!format!("{call:?}{response:?}").contains("hunter2"));
    }
}
