//! Calls as data: what is to be asked, what came back, and why a call failed.

use std::{fmt, time::Duration};

/// A call for the host to make.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpCall {
    pub cluster: String,
    /// Pseudo-headers included.
    pub headers: Vec<(&'static str, String)>,
    pub body: &'static [u8],
}

/// What came back. Envoy reports refused connections and timeouts as responses with status 503 and 504.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// 0 where the connection was reset before headers arrived.
    pub status: u16,
    /// Nothing where the body is larger than the host was told to hand over.
    pub body: Option<Vec<u8>>,
    pub retry_after: Option<Duration>,
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
    pub(crate) fn body_within(&self, limit: usize) -> Result<&[u8], String> {
        let body = self.body.as_deref().filter(|body| body.len() <= limit);
        body.ok_or_else(|| format!("the answer is larger than {limit} bytes"))
    }

    /// A failure for a status that the protocol has no use for.
    pub(crate) fn unexpected(&self, party: Upstream) -> Failure {
        let [unavailable, redirected, rate_limited, other] = party.codes();
        let who = party.name();
        let (code, detail) = match self.status {
            0 => (unavailable, format!("the connection to {who} was reset")),
            status @ 300..=399 => {
                (redirected, format!("{who} answered with a redirect ({status}), which is never followed"))
            }
            429 => (rate_limited, format!("{who} asks for fewer calls (429)")),
            status @ 500..=599 => (
                unavailable,
                format!("{who} answered {status} (or Envoy did, if the host cannot be reached or verified)"),
            ),
            status => (other, format!("{who} answered {status}")),
        };
        Failure { retry_after: self.retry_after, ..Failure::new(code, detail) }
    }
}

/// Whom a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    Login,
    Api,
    Crl,
}

impl Upstream {
    /// Codes for: not reached, a redirect, 429, any other status.
    fn codes(self) -> [&'static str; 4] {
        match self {
            Self::Login => {
                ["login_unavailable", "login_redirected", "login_rate_limited", "login_unexpected_status"]
            }
            Self::Api => ["api_unavailable", "api_redirected", "api_rate_limited", "api_unexpected_status"],
            Self::Crl => ["crl_unavailable", "crl_redirected", "crl_rate_limited", "crl_unexpected_status"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Login => "the login host",
            Self::Api => "the certificates API",
            Self::Crl => "the revocation list's host",
        }
    }
}

/// Why a refresh did not succeed. Codes are stable: they label metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: &'static str,
    /// For the log: what was found, and what to do about it. Never holds text that came from outside as it came.
    pub detail: String,
    /// How long the server asked to be left alone.
    pub retry_after: Option<std::time::Duration>,
}

impl Failure {
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after: None }
    }
}
