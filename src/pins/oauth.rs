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
