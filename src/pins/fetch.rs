//! One refresh as a conversation: a token if none is at hand, then the certificates of both statuses, page by page.

use crate::{
    http::Failure,
    http::{HttpCall, HttpResponse},
    pins::{
        api::{self, Entity},
        oauth::{self, Token},
    },
    shared::Secret,
};
use crate::{policy::Source, time::Mono};

/// Pages read per status. Two certificates need one; more is a server gone wrong.
const MAX_PAGES: u32 = 5;

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

/// What a refresh brought home. One of the two may have failed.
#[derive(Debug)]
pub struct FetchResult {
    pub current: Result<Vec<Entity>, Failure>,
    pub upcoming: Result<Vec<Entity>, Failure>,
}

/// Where a conversation stands after an answer.
#[derive(Debug)]
pub enum Progress {
    Call(HttpCall),
    Done(FetchResult),
}

/// Whom to ask, and as whom.
#[derive(Clone, Copy, Debug)]
pub struct Upstreams<'a> {
    pub source: &'a Source,
    pub client: &'a Client,
}

/// A refresh in progress.
#[derive(Debug)]
pub struct Fetch {
    step: Step,
    /// The token is no older than this conversation.
    token_is_new: bool,
    /// The first half's result, once it is through.
    current: Option<Result<Vec<Entity>, Failure>>,
    pages: u32,
    collected: Vec<Entity>,
}

/// The answer that is awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Token,
    Page { path: String },
}

impl Fetch {
    /// Begins a refresh and returns the first call.
    pub fn begin(parties: Upstreams<'_>, token: &mut Option<Token>, now: Mono) -> (Self, HttpCall) {
        token.take_if(|token| !token.is_fresh(now));
        let mut fetch =
            Self { step: Step::Token, token_is_new: false, current: None, pages: 0, collected: Vec::new() };
        let call = fetch.first_page(parties, token.as_ref());
        (fetch, call)
    }

    /// Takes the answer to the last call and says what comes next.
    pub fn answered(
        &mut self,
        response: &HttpResponse,
        parties: Upstreams<'_>,
        token: &mut Option<Token>,
        now: Mono,
    ) -> Progress {
        let Step::Page { path } = &self.step else {
            return match oauth::token(response, now) {
                Ok(fresh) => {
                    self.token_is_new = true;
                    Progress::Call(self.first_page(parties, Some(token.insert(fresh))))
                }
                Err(failure) => self.give_up(failure),
            };
        };
        let page = match api::page(response) {
            Ok(page) => page,
            // A token may be revoked before its time; but if a new one is refused, it is somebody's mistake.
            Err(failure)
                if failure.code == "api_unauthorized" && token.take().is_some() && !self.token_is_new =>
            {
                return Progress::Call(self.first_page(parties, None));
            }
            Err(failure) => return self.half_done(Err(failure), parties, token.as_ref()),
        };
        let next = page.next_uri.filter(|uri| !uri.is_empty());
        let next = match next.map(|uri| api::next_path(&uri, &parties.source.api_host)).transpose() {
            Ok(next) => next.filter(|next| next != path),
            Err(failure) => return self.half_done(Err(failure), parties, token.as_ref()),
        };
        self.collected.extend(page.entities);
        self.pages += 1;
        match next {
            None => {
                let entities = std::mem::take(&mut self.collected);
                self.half_done(Ok(entities), parties, token.as_ref())
            }
            Some(path) if self.pages < MAX_PAGES => Progress::Call(self.page(path, parties, token.as_ref())),
            Some(_) => {
                let failure =
                    Failure::new("too_many_pages", format!("the answer has more than {MAX_PAGES} pages"));
                self.half_done(Err(failure), parties, token.as_ref())
            }
        }
    }

    /// One status is through: on to the other, or home.
    fn half_done(
        &mut self,
        result: Result<Vec<Entity>, Failure>,
        parties: Upstreams<'_>,
        token: Option<&Token>,
    ) -> Progress {
        if let Some(current) = self.current.take() {
            return Progress::Done(FetchResult { current, upcoming: result });
        }
        match result {
            // The answer's content says nothing about the other status; anything else would only fail once more.
            Err(failure) if !CONTENT_FAILURES.contains(&failure.code) => self.give_up(failure),
            result => {
                self.current = Some(result);
                Progress::Call(self.first_page(parties, token))
            }
        }
    }

    fn give_up(&mut self, failure: Failure) -> Progress {
        let current = self.current.take().unwrap_or_else(|| Err(failure.clone()));
        Progress::Done(FetchResult { current, upcoming: Err(failure) })
    }

    /// The call for the first page of the status in turn, or for the token that it takes.
    fn first_page(&mut self, parties: Upstreams<'_>, token: Option<&Token>) -> HttpCall {
        if let (Client::Own { id, secret }, None) = (parties.client, token) {
            self.step = Step::Token;
            return token_call(parties.source, id, secret);
        }
        let status = if self.current.is_none() { "Current" } else { "Upcoming" };
        self.pages = 0;
        self.collected.clear();
        self.page(format!("{}?status={status}", api::PATH), parties, token)
    }

    fn page(&mut self, path: String, parties: Upstreams<'_>, token: Option<&Token>) -> HttpCall {
        let mut headers = vec![
            (":method", "GET".to_owned()),
            (":path", path.clone()),
            (":authority", parties.source.api_host.clone()),
            ("accept", "application/json".to_owned()),
            ("user-agent", USER_AGENT.to_owned()),
        ];
        headers.extend(token.map(|token| ("authorization", format!("Bearer {}", token.bearer.expose()))));
        self.step = Step::Page { path };
        HttpCall { cluster: parties.source.api_cluster.clone(), headers, body: b"" }
    }
}

/// Failures that lie in what one call answered, not in reaching the API or being let in.
const CONTENT_FAILURES: [&str; 4] = ["api_malformed", "api_too_large", "next_uri_refused", "too_many_pages"];

const USER_AGENT: &str = concat!("genesys-mtls-filter/", env!("CARGO_PKG_VERSION"));

fn token_call(source: &Source, id: &str, secret: &Secret) -> HttpCall {
    HttpCall {
        cluster: source.login_cluster.clone(),
        headers: vec![
            (":method", "POST".to_owned()),
            (":path", "/oauth/token".to_owned()),
            (":authority", source.login_host.clone()),
            ("authorization", oauth::basic(id, secret)),
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
            ("accept", "application/json".to_owned()),
            ("user-agent", USER_AGENT.to_owned()),
        ],
        body: b"grant_type=client_credentials",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Credentials;
    use std::time::Duration;

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

    /// Plays a conversation, perhaps with a token that is at hand.
    fn play_with(client: &Client, mut token: Option<Token>, answers: &[(u16, &str)]) -> Played {
        let source = source();
        let parties = Upstreams { source: &source, client };
        let now = Duration::ZERO;
        let (mut fetch, mut call) = Fetch::begin(parties, &mut token, now);
        let mut calls = Vec::new();
        for (status, body) in answers {
            calls.push(format!("{} {}", call.cluster, call.headers[1].1.replace(api::PATH, "")));
            match fetch.answered(&response(*status, body), parties, &mut token, now) {
                Progress::Call(next) => call = next,
                Progress::Done(harvest) => {
                    let half = |half: Result<Vec<Entity>, Failure>| half.map(|e| e.len()).map_err(|f| f.code);
                    assert_eq!(calls.len(), answers.len(), "answers left over");
                    return (calls, half(harvest.current), half(harvest.upcoming));
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
        let at_hand = || {
            oauth::token(&response(200, r#"{"access_token":"old","expires_in":300}"#), Duration::ZERO).ok()
        };
        let (calls, current, upcoming) = play_with(&own(), at_hand(), &[refused, TOKEN, ONE, NONE]);
        assert_eq!(calls[..3], ["a ?status=Current", "l /oauth/token", "a ?status=Current"]);
        assert_eq!((current, upcoming), (Ok(1), Ok(0)));
        let (_, current, _) = play_with(&own(), at_hand(), &[refused, TOKEN, refused]);
        assert_eq!(current, Err("api_unauthorized"));
        let (calls, current, upcoming) = play_with(&own(), at_hand(), &[ONE, refused, TOKEN, ONE]);
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
    fn failures_end_the_conversation_where_more_calls_could_not_help() {
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
