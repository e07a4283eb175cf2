//! The OAuth 2.0 client-credentials grant (RFC 6749, section 4.4) as Genesys Cloud's login host speaks it.

use crate::{
    http::{Failure, FailureCode, HttpResponse, Upstream, json},
    shared::Secret,
    time::{Monotonic, Now},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// The largest answer of the login host that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// A token is not used in its last minute.
const EARLY: Duration = Duration::from_mins(1);
/// Lifetimes outside of this are not believed; Genesys' own run from 5 minutes to 48 hours.
const LIFETIME: (u64, u64) = (60, 48 * 3600);
/// Assumed where the answer names none: the shortest that Genesys lets one configure.
const DEFAULT_LIFETIME: u64 = 300;

/// An access token, kept in the memory of the worker that fetched it and nowhere else.
#[derive(Clone, Debug)]
pub struct Token {
    pub bearer: Secret,
    pub renew_at: Monotonic,
}

impl Token {
    pub fn is_fresh(&self, now: Monotonic) -> bool {
        now < self.renew_at
    }
}

/// Value of the `authorization` header of the token call (RFC 7617).
pub fn basic(client_id: &str, client_secret: &Secret) -> String {
    format!("Basic {}", STANDARD.encode(format!("{client_id}:{}", client_secret.expose())))
}

/// A client id or secret without the line breaks and byte order marks that files leave around it, which RFC 6749 (appendix A)
/// allows in neither.
pub fn credential(text: &str) -> &str {
    text.trim_matches(['\u{feff}', '\r', '\n'])
}

/// Adds to a rejection what looks odd about the credentials, in words that show nothing of them.
pub fn explain(failure: &mut Failure, client_id: &str, client_secret: &Secret) {
    if failure.code != FailureCode::LoginRejected {
        return;
    }
    for (what, text) in [("id", client_id), ("secret", client_secret.expose())] {
        let is_quoted = |quote| text.starts_with(quote) || text.ends_with(quote);
        let oddity = if ['"', '\'', '`'].into_iter().any(is_quoted) {
            "has a quotation mark at an end"
        } else if text.contains(char::is_whitespace) {
            "has a blank or a line break in it"
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            "has a character that is none of ASCII's"
        } else if text.starts_with(['$', '<', '{']) {
            "looks like a placeholder that was to be replaced"
        } else if what == "id" && text.contains(':') {
            "has a colon in it"
        } else {
            continue;
        };
        failure.detail.push_str("; the client ");
        failure.detail.push_str(what);
        failure.detail.push(' ');
        failure.detail.push_str(oddity);
    }
}

/// Reads the login host's answer.
pub fn token(response: &HttpResponse, now: Now) -> Result<Token, Failure> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        access_token: String,
        token_type: Option<String>,
        #[serde(borrow)]
        expires_in: Option<&'a RawValue>,
    }

    let body = response.ok_body(Upstream::Login, MAX_BODY, now.wall)?;
    let answer: Answer<'_> = json(body, FailureCode::LoginMalformed)?;
    let printable =
        |text: &str| !text.is_empty() && text.len() <= 8192 && text.bytes().all(|b| b.is_ascii_graphic());
    if !printable(&answer.access_token)
        || answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer"))
    {
        return Err(Failure::new(
            FailureCode::LoginMalformed,
            "the token answer holds no usable bearer token",
        ));
    }
    // Some servers write it as text, or with a fraction.
    let seconds =
        answer.expires_in.and_then(|raw| raw.get().trim_matches('"').split('.').next()?.parse().ok());
    let lifetime = seconds.unwrap_or(DEFAULT_LIFETIME);
    let lifetime = Duration::from_secs(lifetime.clamp(LIFETIME.0, LIFETIME.1));
    let renew_at = now.mono + lifetime.saturating_sub(EARLY);
    Ok(Token { bearer: Secret::new(answer.access_token), renew_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{option, prelude::*};
    use serde_json::{Value, json};

    const NOW: Now = Now { mono: Monotonic::from_millis(1_000_000), wall: 0, random: 0.5 };

    fn answer(status: u16, body: &str) -> HttpResponse {
        HttpResponse { status, body: Some(body.as_bytes().to_vec()), retry_after: None }
    }

    #[test]
    fn lifetimes_are_clamped_and_tokens_renewed_a_minute_early() {
        let cases = [
            (r#"{"access_token":"t","token_type":"bearer","expires_in":86400}"#, 86340),
            (r#"{"access_token":"t","token_type":"Bearer","expires_in":300}"#, 240),
            (r#"{"access_token":"t"}"#, 240),
            (r#"{"access_token":"t","expires_in":"86400"}"#, 86340),
            (r#"{"access_token":"t","expires_in":"soon"}"#, 240),
            (r#"{"access_token":"t","expires_in":null}"#, 240),
            (r#"{"access_token":"t","expires_in":"NaN"}"#, 240),
            ("\u{feff}{\"access_token\":\"t\",\"expires_in\":300}", 240),
            (r#"{"access_token":"t","expires_in":1}"#, 0),
            (r#"{"access_token":"t","expires_in":-5}"#, 240),
            (r#"{"access_token":"t","expires_in":300.5}"#, 240),
            (r#"{"access_token":"t","expires_in":99999999999}"#, 48 * 3600 - 60),
        ];
        for (body, fresh_for) in cases {
            let token = token(&answer(200, body), NOW).unwrap();
            assert_eq!(token.renew_at, NOW.mono + Duration::from_secs(fresh_for), "{body}");
        }
    }

    #[test]
    fn other_answers_are_failures_with_a_code() {
        let cases = [
            (400, "{}", "login_rejected"),
            (401, "", "login_rejected"),
            (403, "", "login_rejected"),
            (301, "", "login_redirected"),
            (429, "", "login_rate_limited"),
            (500, "", "login_unavailable"),
            (503, "", "login_unavailable"),
            (200, "", "login_malformed"),
            (200, "<html>", "login_malformed"),
            (200, r#"{"access_token":""}"#, "login_malformed"),
            (200, r#"{"access_token":"a b"}"#, "login_malformed"),
            (200, r#"{"access_token":"a\r\nx: y"}"#, "login_malformed"),
            (200, r#"{"access_token":"t","token_type":"mac"}"#, "login_malformed"),
        ];
        for (status, body, code) in cases {
            let failure = token(&answer(status, body), NOW).unwrap_err();
            assert_eq!(failure.code.code(), code, "{status} {body}");
        }
        let long = answer(200, &format!(r#"{{"access_token":"{}"}}"#, "a".repeat(70_000)));
        assert_eq!(token(&long, NOW).unwrap_err().code, FailureCode::LoginMalformed);
    }

    #[test]
    fn marks_around_a_credential_are_removed_and_nothing_else() {
        for (text, expected) in [
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n\r\n", "s3cret"),
            ("\u{feff}s3cret", "s3cret"),
            ("\u{feff}\n", ""),
            (" s3cret ", " s3cret "),
            ("\"s3cret\"", "\"s3cret\""),
            ("s3\ncret", "s3\ncret"),
        ] {
            assert_eq!(credential(text), expected, "{text:?}");
        }
    }

    #[test]
    fn rejection_names_what_is_odd_and_shows_no_secret() {
        let rejected = |id: &str, secret: &str| {
            let mut failure = Failure::new(FailureCode::LoginRejected, "rejected");
            explain(&mut failure, id, &Secret::new(secret.to_owned()));
            assert!(!failure.detail.contains("hunter2"), "{}", failure.detail);
            failure.detail
        };
        for (secret, oddity) in [
            ("hunter2", ""),
            ("\"hunter2\"", "; the client secret has a quotation mark at an end"),
            ("hunter2'", "; the client secret has a quotation mark at an end"),
            (" hunter2", "; the client secret has a blank or a line break in it"),
            ("hunter2\tx", "; the client secret has a blank or a line break in it"),
            ("hunter2\u{a0}", "; the client secret has a blank or a line break in it"),
            ("hunter2\u{200b}", "; the client secret has a character that is none of ASCII's"),
            ("${hunter2}", "; the client secret looks like a placeholder that was to be replaced"),
            ("<hunter2>", "; the client secret looks like a placeholder that was to be replaced"),
        ] {
            assert_eq!(rejected("id", secret), format!("rejected{oddity}"), "{secret:?}");
        }
        assert_eq!(rejected("hunter2:", "s"), "rejected; the client id has a colon in it");
        let mut other = Failure::new(FailureCode::LoginUnavailable, "down");
        explain(&mut other, "\"", &Secret::new("\"".into()));
        assert_eq!(other.detail, "down");
    }

    #[test]
    fn secrets_do_not_show() {
        let token = token(&answer(200, r#"{"access_token":"hunter2"}"#), NOW).unwrap();
        assert!(!format!("{token:?}{:?}", Secret::new("hunter2".into())).contains("hunter2"));
        let failure = super::token(&answer(200, r#"{"access_token":["hunter2"]}"#), NOW);
        assert!(!format!("{failure:?}").contains("hunter2"));
        assert_eq!(basic("id", &Secret::new("pw".into())), "Basic aWQ6cHc=");
    }

    proptest! {
        #[test]
        fn a_token_fits_a_header_and_lasts_two_days_at_most(
            token in any::<String>(), kind in option::of(any::<String>()), expires_in in any::<f64>(), status in proptest::sample::select(&[200, 200, 200, 302, 401, 503][..]),
        ) {
            let kind = kind.map_or(Value::Null, |kind| json!(kind));
            let body = json!({"access_token": token, "token_type": kind, "expires_in": expires_in}).to_string();
            for body in [body.as_str(), &token] {
                match super::token(&answer(status, body), NOW) {
                    Ok(token) => {
                        prop_assert_eq!(status, 200);
                        prop_assert!(token.bearer.expose().bytes().all(|byte| byte.is_ascii_graphic()));
                        prop_assert!(!token.is_fresh(NOW.mono + Duration::from_secs(LIFETIME.1)));
                    }
                    Err(failure) => prop_assert!(failure.code.code().starts_with("login_")),
                }
            }
        }
    }
}
