//! HTTP calls as data: the request, the response, and why a call failed.

use crate::time::UnixSeconds;
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
        f.debug_struct("HttpCall").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Without the body, which may be the token.
impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

impl HttpResponse {
    /// The body, or why it cannot be used.
    pub(crate) fn body_within(&self, limit: usize) -> Result<&[u8], String> {
        let body = self.body.as_deref().filter(|body| body.len() <= limit);
        body.ok_or_else(|| format!("the answer is larger than {limit} bytes"))
    }

    /// How long the server asks to be left alone (RFC 9110, section 10.2.3: seconds or a date). The caller has to bound it.
    pub(crate) fn retry_after(&self, wall: UnixSeconds) -> Option<Duration> {
        let text = std::str::from_utf8(self.retry_after.as_deref()?).ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(date.saturating_sub(Duration::from_secs(u64::try_from(wall).ok()?)))
    }

    /// A failure for a status that the protocol has no use for.
    pub(crate) fn unexpected(&self, upstream: Upstream, wall: UnixSeconds) -> Failure {
        let [unavailable, redirected, rate_limited, other] = upstream.codes();
        let name = upstream.name();
        let (code, detail) = match self.status {
            0 => (unavailable, format!("the connection to {name} was reset")),
            status @ 300..=399 => {
                (redirected, format!("{name} answered with a redirect ({status}), which is never followed"))
            }
            429 => (rate_limited, format!("{name} asks for fewer calls (429)")),
            status @ 500..=599 => (
                unavailable,
                format!("{name} answered {status} (or Envoy did, if the host cannot be reached or verified)"),
            ),
            status => (other, format!("{name} answered {status}")),
        };
        Failure { retry_after: self.retry_after(wall), ..Failure::new(code, detail) }
    }
}

/// The server that a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    Login,
    Api,
    Crl,
}

impl Upstream {
    /// Codes for: not reached, a redirect, 429, any other status.
    fn codes(self) -> [FailureCode; 4] {
        use FailureCode as C;
        match self {
            Self::Login => {
                [C::LoginUnavailable, C::LoginRedirected, C::LoginRateLimited, C::LoginUnexpectedStatus]
            }
            Self::Api => [C::ApiUnavailable, C::ApiRedirected, C::ApiRateLimited, C::ApiUnexpectedStatus],
            Self::Crl => [C::CrlUnavailable, C::CrlRedirected, C::CrlRateLimited, C::CrlUnexpectedStatus],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Login => "the login host",
            Self::Api => "the certificates API",
            Self::Crl => "the CRL's host",
        }
    }
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
}

macro_rules! failure_codes {
    ($($variant:ident $code:literal)*) => {
        /// The kind of a failure. Workers share it by its place here: a change raises the form of their records.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum FailureCode { $($variant),* }

        impl FailureCode {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Whether it concerns the login host.
            pub fn is_login(self) -> bool {
                self.code().starts_with("login_")
            }

            /// Stable: it labels metrics.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }
        }
    };
}

failure_codes! {
    DispatchFailed "dispatch_failed"
    NoAnswer "no_answer"
    NoCredentials "no_credentials"
    LoginUnavailable "login_unavailable"
    LoginRedirected "login_redirected"
    LoginRateLimited "login_rate_limited"
    LoginUnexpectedStatus "login_unexpected_status"
    LoginRejected "login_rejected"
    LoginMalformed "login_malformed"
    ApiUnavailable "api_unavailable"
    ApiRedirected "api_redirected"
    ApiRateLimited "api_rate_limited"
    ApiUnexpectedStatus "api_unexpected_status"
    ApiUnauthorized "api_unauthorized"
    ApiForbidden "api_forbidden"
    ApiTooLarge "api_too_large"
    ApiMalformed "api_malformed"
    NextUriRefused "next_uri_refused"
    TooManyPages "too_many_pages"
    TooManyCertificates "too_many_certificates"
    NoUsableCertificate "no_usable_certificate"
    CrlUnavailable "crl_unavailable"
    CrlRedirected "crl_redirected"
    CrlRateLimited "crl_rate_limited"
    CrlUnexpectedStatus "crl_unexpected_status"
    CrlTooLarge "crl_too_large"
    CrlMalformed "crl_malformed"
    CrlUnsupported "crl_unsupported"
    CrlOtherIssuer "crl_other_issuer"
    CrlNotAllowed "crl_not_allowed"
    CrlBadSignature "crl_bad_signature"
    CrlUnverified "crl_unverified"
    CrlNotYetValid "crl_not_yet_valid"
    CrlExpired "crl_expired"
    CrlRollback "crl_rollback"
    CrlOtherScope "crl_other_scope"
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
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
        for (upstream, prefix) in
            [(Upstream::Login, "login_"), (Upstream::Api, "api_"), (Upstream::Crl, "crl_")]
        {
            assert!(upstream.codes().iter().all(|code| code.code().starts_with(prefix)));
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
