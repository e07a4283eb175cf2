//! One refresh as a conversation: a token if there is none, then the certificates of both statuses, page by page.

use crate::{
    http::{
        Failure,
        FailureCode::{self, ApiMalformed, ApiTooLarge, NextUriRefused, TooManyPages},
        HttpCall, HttpResponse,
    },
    pins::{
        api::{self, Listed},
        oauth::{self, Token},
    },
    policy::Source,
    shared::Secret,
    time::{Monotonic, Now},
};
use std::time::Duration;

/// Pages read per status. Two certificates need one; more is a server gone wrong.
const MAX_PAGES: u32 = 5;

const USER_AGENT: &str = concat!("genesys-mtls-filter/", env!("CARGO_PKG_VERSION"));

/// The OAuth client of a source.
#[derive(Clone, Debug)]
pub enum Client {
    Own {
        id: String,
        secret: Secret,
    },
    /// Envoy adds the token.
    Injected,
}

/// What the API answered for each status.
#[derive(Debug)]
pub struct FetchResult {
    pub current: Result<Vec<Listed>, Failure>,
    pub upcoming: Result<Vec<Listed>, Failure>,
}

/// What follows from a response.
#[derive(Debug)]
pub enum Progress {
    Call(HttpCall),
    Done(FetchResult),
}

/// The servers, the client that they know, and how long one call may take.
#[derive(Clone, Copy, Debug)]
pub struct Upstreams<'a> {
    pub source: &'a Source,
    pub client: &'a Client,
    pub timeout: Duration,
}

/// A refresh in progress.
#[derive(Debug, Default)]
pub struct Fetch {
    pub began: Monotonic,
    /// The path of the awaited page; `None` while a token is awaited.
    path: Option<String>,
    /// The token is no older than this conversation.
    token_is_new: bool,
    /// The result of the first status, once it is complete.
    current: Option<Result<Vec<Listed>, Failure>>,
    pages: u32,
    collected: Vec<Listed>,
}

impl Fetch {
    /// Begins a refresh and returns the first call.
    pub fn begin(upstreams: Upstreams<'_>, token: &mut Option<Token>, now: Monotonic) -> (Self, HttpCall) {
        token.take_if(|token| !token.is_fresh(now));
        let mut fetch = Self { began: now, ..Self::default() };
        let call = fetch.first_page(upstreams, token.as_ref());
        (fetch, call)
    }

    /// Takes the response to the last call.
    pub fn on_response(
        &mut self,
        response: &HttpResponse,
        upstreams: Upstreams<'_>,
        token: &mut Option<Token>,
        now: Now,
    ) -> Progress {
        let Some(path) = self.path.take() else {
            return match oauth::token(response, now) {
                Ok(fresh) => {
                    self.token_is_new = true;
                    Progress::Call(self.first_page(upstreams, Some(token.insert(fresh))))
                }
                Err(failure) => Progress::Done(self.fail(failure)),
            };
        };
        let page = api::page(response, now.wall).and_then(|page| {
            let next = page.next_uri.as_deref().filter(|uri| !uri.is_empty());
            let next = next.map(|uri| api::next_path(uri, &upstreams.source.api_host)).transpose()?;
            Ok((page.entities, next.filter(|next| *next != path)))
        });
        let list = match page {
            Ok((entities, next)) => {
                self.collected.extend(entities);
                self.pages += 1;
                match next {
                    None => Ok(std::mem::take(&mut self.collected)),
                    Some(path) if self.pages < MAX_PAGES => {
                        return Progress::Call(self.page(path, upstreams, token.as_ref()));
                    }
                    Some(_) => {
                        let detail = format!("the answer has more than {MAX_PAGES} pages");
                        Err(Failure::new(TooManyPages, detail))
                    }
                }
            }
            // A token may be revoked before its time. If a new one is refused, another would be too.
            Err(failure)
                if failure.code == FailureCode::ApiUnauthorized
                    && token.take().is_some()
                    && !self.token_is_new =>
            {
                return Progress::Call(self.first_page(upstreams, None));
            }
            Err(failure) => Err(failure),
        };
        match (self.current.take(), list) {
            (Some(current), upcoming) => Progress::Done(FetchResult { current, upcoming }),
            // What lies in the content of one list may not lie in the other's.
            (None, Err(failure))
                if !matches!(failure.code, ApiMalformed | ApiTooLarge | NextUriRefused | TooManyPages) =>
            {
                Progress::Done(self.fail(failure))
            }
            (None, current) => {
                self.current = Some(current);
                Progress::Call(self.first_page(upstreams, token.as_ref()))
            }
        }
    }

    /// The result if no more calls follow, or can be made.
    pub fn fail(&mut self, failure: Failure) -> FetchResult {
        let current = self.current.take().unwrap_or_else(|| Err(failure.clone()));
        FetchResult { current, upcoming: Err(failure) }
    }

    /// The call for the first page of a status, or for the token that it takes.
    fn first_page(&mut self, upstreams: Upstreams<'_>, token: Option<&Token>) -> HttpCall {
        let Upstreams { source, client, timeout } = upstreams;
        if let (Client::Own { id, secret }, None) = (client, token) {
            let headers = vec![
                (":method", "POST".to_owned()),
                (":path", "/oauth/token".to_owned()),
                (":authority", source.login_host.clone()),
                ("authorization", oauth::basic(id, secret)),
                ("content-type", "application/x-www-form-urlencoded".to_owned()),
                ("accept", "application/json".to_owned()),
                ("user-agent", USER_AGENT.to_owned()),
            ];
            let (cluster, body) = (source.login_cluster.clone(), b"grant_type=client_credentials");
            return HttpCall { cluster, headers, body, timeout, max_body: oauth::MAX_BODY };
        }
        let status = if self.current.is_none() { "Current" } else { "Upcoming" };
        self.pages = 0;
        self.collected.clear();
        self.page(format!("{}?status={status}", api::PATH), upstreams, token)
    }

    fn page(&mut self, path: String, upstreams: Upstreams<'_>, token: Option<&Token>) -> HttpCall {
        let Upstreams { source, timeout, .. } = upstreams;
        let mut headers = vec![
            (":method", "GET".to_owned()),
            (":path", path.clone()),
            (":authority", source.api_host.clone()),
            ("accept", "application/json".to_owned()),
            ("user-agent", USER_AGENT.to_owned()),
        ];
        headers.extend(token.map(|token| ("authorization", format!("Bearer {}", token.bearer.expose()))));
        self.path = Some(path);
        let cluster = source.api_cluster.clone();
        HttpCall { cluster, headers, body: b"", timeout, max_body: api::MAX_BODY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Credentials;

    const NOW: Now = Now { mono: Monotonic::ZERO, wall: 0, random: 0.5 };

    fn source() -> Source {
        Source {
            region: "us-east-1".into(),
            certificate_name: "dataactions.prod.us-east-1.mypurecloud.com".into(),
            api_host: "api.mypurecloud.com".into(),
            login_host: "login.mypurecloud.com".into(),
            api_cluster: "a".into(),
            login_cluster: "l".into(),
            credentials: Credentials::Injected,
        }
    }

    fn response(status: u16, body: &str) -> HttpResponse {
        HttpResponse { status, body: Some(body.as_bytes().to_vec()), retry_after: None }
    }

    /// The calls made (cluster and path), and the outcome of both halves.
    type Played = (Vec<String>, Result<usize, &'static str>, Result<usize, &'static str>);

    fn play(client: &Client, answers: &[(u16, &str)]) -> Played {
        play_with(client, None, answers)
    }

    /// Plays a conversation, perhaps with a token that is there already.
    fn play_with(client: &Client, mut token: Option<Token>, answers: &[(u16, &str)]) -> Played {
        let source = source();
        let upstreams = Upstreams { source: &source, client, timeout: Duration::from_secs(5) };

        let (mut fetch, mut call) = Fetch::begin(upstreams, &mut token, NOW.mono);
        let mut calls = Vec::new();
        for (status, body) in answers {
            calls.push(format!("{} {}", call.cluster, call.headers[1].1.replace(api::PATH, "")));
            match fetch.on_response(&response(*status, body), upstreams, &mut token, NOW) {
                Progress::Call(next) => call = next,
                Progress::Done(result) => {
                    let half =
                        |half: Result<Vec<Listed>, Failure>| half.map(|e| e.len()).map_err(|f| f.code.code());
                    assert_eq!(calls.len(), answers.len(), "answers left over");
                    return (calls, half(result.current), half(result.upcoming));
                }
            }
        }
        panic!("not done after {calls:?}");
    }

    const TOKEN: (u16, &str) = (200, r#"{"access_token":"t","expires_in":60}"#);
    const ONE: (u16, &str) = (200, r#"{"entities":[{}]}"#);
    const NONE: (u16, &str) = (200, "{}");

    fn own() -> Client {
        Client::Own { id: "id".into(), secret: Secret::new("secret".into()) }
    }

    #[test]
    fn a_refresh_is_a_token_and_both_statuses() {
        let (calls, current, upcoming) = play(&own(), &[TOKEN, ONE, NONE]);
        assert_eq!(calls, ["l /oauth/token", "a ?status=Current", "a ?status=Upcoming"]);
        assert_eq!((current, upcoming), (Ok(1), Ok(0)));
        let (calls, ..) = play(&Client::Injected, &[ONE, NONE]);
        assert_eq!(calls, ["a ?status=Current", "a ?status=Upcoming"]);
    }

    #[test]
    fn a_refused_token_is_renewed_once() {
        let refused = (401, "");
        let older = || oauth::token(&response(200, r#"{"access_token":"old","expires_in":300}"#), NOW).ok();
        let (calls, current, upcoming) = play_with(&own(), older(), &[refused, TOKEN, ONE, NONE]);
        assert_eq!(calls[..3], ["a ?status=Current", "l /oauth/token", "a ?status=Current"]);
        assert_eq!((current, upcoming), (Ok(1), Ok(0)));
        let (_, current, _) = play_with(&own(), older(), &[refused, TOKEN, refused]);
        assert_eq!(current, Err("api_unauthorized"));
        let (calls, current, upcoming) = play_with(&own(), older(), &[ONE, refused, TOKEN, ONE]);
        assert_eq!(calls[3], "a ?status=Upcoming", "what was fetched already is not fetched again");
        assert_eq!((current, upcoming), (Ok(1), Ok(1)));
    }

    #[test]
    fn a_new_token_that_is_refused_is_not_renewed() {
        let refused = (401, "");
        assert_eq!(play(&own(), &[TOKEN, refused]).1, Err("api_unauthorized"));
        assert_eq!(play(&own(), &[TOKEN, ONE, refused]).2, Err("api_unauthorized"));
        assert_eq!(play(&Client::Injected, &[refused]).1, Err("api_unauthorized"));
    }

    #[test]
    fn pages_are_followed_a_bounded_number_of_times() {
        let page =
            |n: u32| format!(r#"{{"entities":[{{}}],"nextUri":"{}?status=Current&p={n}"}}"#, api::PATH);
        let (calls, current, _) = play(&own(), &[TOKEN, (200, &page(2)), ONE, NONE]);
        assert_eq!(calls[2], "a ?status=Current&p=2");
        assert_eq!(current, Ok(2));
        // A page that names itself is the last.
        let itself = format!(r#"{{"entities":[{{}}],"nextUri":"{}?status=Current"}}"#, api::PATH);
        assert_eq!(play(&own(), &[TOKEN, (200, &itself), NONE]).1, Ok(1));
        let pages: Vec<String> = (2..7).map(page).collect();
        let mut answers = vec![TOKEN];
        answers.extend(pages.iter().map(|page| (200, page.as_str())));
        answers.push(ONE);
        let (_, current, upcoming) = play(&own(), &answers);
        assert_eq!((current, upcoming), (Err("too_many_pages"), Ok(1)));
        let elsewhere = r#"{"nextUri":"https://evil.example/api/v2/integrations/actions/certificates"}"#;
        assert_eq!(play(&own(), &[TOKEN, (200, elsewhere), ONE]).1, Err("next_uri_refused"));
    }

    #[test]
    fn failure_stops_the_calls_that_cannot_succeed() {
        type Half = Result<usize, &'static str>;
        type Case<'a> = (&'a [(u16, &'a str)], Half, Half);
        let cases: &[Case<'_>] = &[
            (&[(401, "")], Err("login_rejected"), Err("login_rejected")),
            (&[(0, "")], Err("login_unavailable"), Err("login_unavailable")),
            (&[TOKEN, (403, "")], Err("api_forbidden"), Err("api_forbidden")),
            (&[TOKEN, (404, "")], Err("api_unexpected_status"), Err("api_unexpected_status")),
            (&[TOKEN, (302, "")], Err("api_redirected"), Err("api_redirected")),
            (&[TOKEN, (429, "")], Err("api_rate_limited"), Err("api_rate_limited")),
            (&[TOKEN, (503, "")], Err("api_unavailable"), Err("api_unavailable")),
            (&[TOKEN, (200, "<html>"), ONE], Err("api_malformed"), Ok(1)),
            (&[TOKEN, ONE, (504, "")], Ok(1), Err("api_unavailable")),
        ];
        for (answers, current, upcoming) in cases {
            let (_, got_current, got_upcoming) = play(&own(), answers);
            assert_eq!((got_current, got_upcoming), (*current, *upcoming), "{answers:?}");
        }
    }
}
