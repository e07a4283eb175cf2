//! What became of a request, and whether that was right.

use serde_json::Value;
use std::fmt;
use testbed::client::{Error, Response};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The service answered.
    LetIn,
    /// The filter answered, with this status and reason code.
    Refused(u16, String),
    /// The guard answered: a 403 without a reason.
    Guarded,
    /// Envoy answered by itself.
    Envoy(u16),
    /// No answer.
    Nothing(String),
}

impl Outcome {
    pub fn of(answer: &Result<Response, Error>) -> Self {
        let response = match answer {
            Ok(response) => response,
            Err(error) => return Self::Nothing(error.to_string()),
        };
        if response.status == 200 && response.header("x-upstream").is_some() {
            return Self::LetIn;
        }
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        match body["code"].as_str() {
            Some(code) => Self::Refused(response.status, code.to_owned()),
            None if response.text() == "RBAC: access denied" => Self::Guarded,
            None => Self::Envoy(response.status),
        }
    }

    /// A denial with 403.
    pub fn denied(code: &str) -> Self {
        Self::Refused(403, code.to_owned())
    }

    /// A denial with 503: newer trust may allow the caller.
    pub fn unavailable(code: &str) -> Self {
        Self::Refused(503, code.to_owned())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LetIn => write!(f, "allowed"),
            Self::Refused(_, code) => write!(f, "{code}"),
            Self::Guarded => write!(f, "by the guard"),
            Self::Envoy(status) => write!(f, "{status} by Envoy"),
            Self::Nothing(why) => write!(f, "no answer: {why}"),
        }
    }
}

/// What an outcome is, measured by what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    Right,
    /// Not what a caller wishes for, but what the documentation announces for this fault.
    Stated,
    /// A caller that has to be allowed was not, since an answer or trust was missing.
    Lost,
    /// Allowed instead of denied, denied with 403 instead of allowed, or denied for the wrong reason.
    Wrong,
}

/// Judges an outcome. Of what is expected any is right: while something changes there are two.
pub fn judge(outcome: &Outcome, expected: &[Outcome], stated: Option<fn(&Outcome) -> bool>) -> Judgement {
    if expected.contains(outcome) {
        return Judgement::Right;
    }
    if *outcome != Outcome::LetIn && stated.is_some_and(|stated| stated(outcome)) {
        return Judgement::Stated;
    }
    let is_final = matches!(outcome, Outcome::LetIn | Outcome::Refused(403, _) | Outcome::Guarded);
    if expected.contains(&Outcome::LetIn) && !is_final { Judgement::Lost } else { Judgement::Wrong }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    #[test]
    fn wrongly_allowed_request_has_no_excuse() {
        let refused = Outcome::denied("wrong_name");
        let unavailable = Outcome::unavailable("trust_stale");
        let nothing = Outcome::Nothing(String::new());
        let anything: Option<fn(&Outcome) -> bool> = Some(|_| true);
        for (outcome, expected, stated, judgement) in [
            (Outcome::LetIn, &[Outcome::LetIn][..], None, Judgement::Right),
            (Outcome::LetIn, from_ref(&refused), None, Judgement::Wrong),
            (Outcome::LetIn, from_ref(&refused), anything, Judgement::Wrong),
            (refused.clone(), from_ref(&refused), None, Judgement::Right),
            (refused.clone(), &[Outcome::LetIn], None, Judgement::Wrong),
            (refused.clone(), &[Outcome::LetIn], anything, Judgement::Stated),
            (refused.clone(), &[Outcome::LetIn, refused.clone()], None, Judgement::Right),
            (refused.clone(), &[Outcome::denied("expired")], None, Judgement::Wrong),
            (unavailable.clone(), &[Outcome::LetIn], None, Judgement::Lost),
            (nothing.clone(), &[Outcome::LetIn], None, Judgement::Lost),
            (nothing.clone(), &[Outcome::LetIn, unavailable.clone()], None, Judgement::Lost),
            (nothing, from_ref(&refused), None, Judgement::Wrong),
            (Outcome::Envoy(503), &[Outcome::LetIn], None, Judgement::Lost),
            (Outcome::Envoy(503), &[Outcome::LetIn], anything, Judgement::Stated),
        ] {
            assert_eq!(judge(&outcome, expected, stated), judgement, "{outcome} for {expected:?}");
        }
    }
}
