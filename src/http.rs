//! HTTP calls as data: the request, the response, and why a call failed.

use crate::{codes::codes, time::UnixSeconds};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
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

    /// What Envoy's own answer says of its cause.
    fn cause(&self) -> Option<&'static str> {
        let body = self.body.as_deref().unwrap_or_default();
        let text = body.get(..1024).unwrap_or(body);
        let has = |sign: &str| text.windows(sign.len()).any(|part| part == sign.as_bytes());
        CAUSES.iter().find(|(sign, _)| has(sign)).map(|(_, cause)| *cause)
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
                    "{name} answered {status} to the client credentials: check the OAuth client's id and secret, that it is \
                     of this region's organisation and neither disabled nor inactive, and, if it has a list of allowed \
                     addresses, that this machine's egress address is on it"
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
            (_, 0) => (kind(0), format!("{name} could not be reached, or ended the connection")),
            (_, 304) => (
                kind(3),
                format!(
                    "{name} answered 304 (not modified), though nothing was asked for before: look for a cache on the way"
                ),
            ),
            (_, status @ 300..=399) => {
                (kind(1), format!("{name} answered with a redirect ({status}), which is never followed"))
            }
            (_, 429) => (kind(2), format!("{name} asks for fewer calls (429)")),
            (_, status @ 500..=599) => (
                kind(0),
                match self.cause() {
                    Some(cause) => format!("{name} cannot be reached: {cause} (Envoy answered {status})"),
                    None => format!("{name} answered {status}"),
                },
            ),
            (_, 206) => (kind(3), format!("{name} answered 206, with a part of the answer only")),
            (_, status) => (kind(3), format!("{name} answered {status}")),
        };
        Failure { code, detail, retry_after: self.retry_after(wall) }
    }
}

/// Signs of causes in the text of an answer that Envoy gives itself, and what they mean. Of several the first counts. A server
/// may write the same, so nothing but these words is ever shown.
const CAUSES: [(&str, &str); 6] = [
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not accepted, so check trusted_ca, the names to match, and whether something on the way ends TLS",
    ),
    (
        "remote connection failure",
        "it refused the connection, or Envoy its certificate: ssl.fail_verify_error and ssl.fail_verify_san of its cluster count the \
         latter",
    ),
    ("no healthy upstream", "its cluster has no healthy address, so check that its name resolves"),
    ("upstream request timeout", "no answer came within the timeout"),
    (
        "connection timeout",
        "no connection was made within connect_timeout, so check egress rules, proxies and IPv6",
    ),
    ("before headers", "the connection ended before an answer"),
];

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

    /// An answer that is not the specified JSON. The library's own words could quote it.
    fn not_json(code: FailureCode, body: &[u8], error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let what = match (error.classify(), form(body)) {
            (_, Some(form)) => format!("is not JSON, but {form}"),
            (Category::Data, _) => format!("is JSON, but not as specified (line {line}, column {column})"),
            (Category::Eof, None) => "is cut off".to_owned(),
            _ => format!("is not JSON (line {line}, column {column})"),
        };
        Self::new(code, format!("the answer {what}"))
    }
}

/// Reads an answer that has to be JSON. A byte order mark before it does not count.
pub(crate) fn json<'b, T: Deserialize<'b>>(body: &'b [u8], code: FailureCode) -> Result<T, Failure> {
    let text = body.strip_prefix(BOM).unwrap_or(body);
    serde_json::from_slice(text).map_err(|error| Failure::not_json(code, text, &error))
}

/// The byte order mark of UTF-8.
pub const BOM: &[u8] = "\u{feff}".as_bytes();

/// What bytes are that should have been something else.
pub fn form(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii();
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(byte);
    Some(match text {
        [] => "empty",
        [0x1f, 0x8b, ..] => "compressed with gzip",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => "text in UTF-16",
        [b'<', ..] => "an HTML or XML page",
        [b'-', b'-', ..] => "PEM text",
        [0x30, 0x80..=0xff, ..] => "DER",
        _ if text.len() > 64 && text.iter().all(is_base64) => "base64 text",
        _ => return None,
    })
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
    use std::collections::BTreeMap;

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
    fn failure_says_what_the_answer_is_or_why_there_is_none() {
        let refused = "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";
        let tls = "upstream connect error or disconnect/reset before headers. transport failure reason: TLS_error:|268435581:SSL \
                   routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end";
        for (status, body, says) in [
            (503, "no healthy upstream".to_owned(), "its name resolves (Envoy answered 503)"),
            (503, refused.to_owned(), "it refused the connection, or Envoy its certificate"),
            (503, tls.to_owned(), "certificate is not accepted"),
            (503, "reset reason: connection timeout".to_owned(), "within connect_timeout"),
            (504, "upstream request timeout".to_owned(), "within the timeout (Envoy answered 504)"),
            (
                503,
                "disconnect/reset before headers. reset reason: connection termination".to_owned(),
                "ended before",
            ),
            (503, r#"{"message":"busy"}"#.to_owned(), "the certificates API answered 503"),
            (0, String::new(), "could not be reached, or ended"),
            (206, String::new(), "206, with a part"),
            (304, String::new(), "304 (not modified)"),
            (302, String::new(), "never followed"),
        ] {
            let response = HttpResponse { status, body: Some(body.clone().into_bytes()), retry_after: None };
            let detail = response.unexpected(Upstream::Api, 0).detail;
            assert!(detail.contains(says), "{body}: {detail}");
        }
    }

    #[test]
    fn answer_that_is_not_the_json_is_named_for_what_it_is() {
        let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked = [&[0xff, 0xfe], &utf16[..]].concat();
        for (body, says) in [
            (&b""[..], "but empty"),
            (b"\r\n", "but empty"),
            (b"\xef\xbb\xbf", "but empty"),
            (b"\x1f\x8b\x08\x00", "gzip"),
            (&utf16, "UTF-16"),
            (&marked, "UTF-16"),
            (b"<!DOCTYPE html>", "HTML"),
            (b"-----BEGIN CERTIFICATE-----", "PEM"),
            (b"0\x82\x03\x01", "DER"),
            (&[b'A'; 80], "base64"),
            (b"{\"entities\":", "is cut off"),
            (b"{\"entities\":}", "is not JSON (line 1, column 13)"),
            (b"[1, 2]", "JSON, but not as specified (line 1, column"),
            (b"null", "JSON, but not as specified"),
            (b"\"hunter2\"", "JSON, but not as specified"),
            (b"{\"a\":\"hunter2\"}", "JSON, but not as specified"),
        ] {
            let failure = json::<BTreeMap<String, u8>>(body, FailureCode::ApiMalformed).unwrap_err();
            assert!(failure.detail.contains(says) && !failure.detail.contains("hunter2"), "{failure:?}");
        }
        assert_eq!(json(b"\xef\xbb\xbf7", FailureCode::ApiMalformed), Ok(7));
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
