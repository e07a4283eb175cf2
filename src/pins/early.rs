//! Early refreshes: asked for when a certificate lacks only its pin, one schedule per region and proxy.

use crate::{policy::Refresh, time::Monotonic, x509::fingerprint::Fingerprint};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest pause between two early refreshes, unless `min_interval` is longer.
const LONGEST: Duration = Duration::from_secs(100);
/// Questions about a certificate are shared this often.
const REPEAT: Duration = Duration::from_millis(200);
/// Certificates remembered. Only those with a verified signature come here.
const MAX_MET: usize = 64;
/// How often in [`HOUR`] a certificate met for the first time may restart the schedule.
const MAX_RESTARTS: usize = 8;
const HOUR: Duration = Duration::from_hours(1);

/// The question, and how often it was asked, shared by all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlyRefreshRequest {
    /// When a certificate that lacks only its pin last came.
    pub asked: Option<Monotonic>,
    /// When the last early refresh began.
    pub began: Option<Monotonic>,
    /// Early refreshes since the schedule started.
    pub step: u32,
    pub met: Vec<Fingerprint>,
    pub restarts: Vec<Monotonic>,
}

impl EarlyRefreshRequest {
    /// Such a certificate has come. False if that is known already.
    pub fn ask(&mut self, fingerprint: Fingerprint, settings: &Refresh, now: Monotonic) -> bool {
        let quiet = self.asked.map(|at| now.since(at));
        let is_new = !self.met.contains(&fingerprint);
        if is_new {
            self.met.drain(..(self.met.len() + 1).saturating_sub(MAX_MET));
            self.met.push(fingerprint);
            self.restarts.retain(|at| now.since(*at) < HOUR);
            if self.step > 1 && self.restarts.len() < MAX_RESTARTS {
                self.restarts.push(now);
                self.step = 0;
            }
        } else if self.asked > self.began && quiet.is_some_and(|quiet| quiet < REPEAT) {
            return false;
        }
        if quiet.is_none_or(|quiet| quiet > longest(settings) * 2) {
            self.step = 0;
        }
        self.asked = Some(now);
        true
    }

    /// An early refresh begins.
    pub fn begin(&mut self, now: Monotonic) {
        self.began = Some(now);
        self.step = self.step.saturating_add(1);
    }

    /// Whether a question is open that was asked within the last step, and after the last answer, `answered`.
    pub fn is_open(&self, answered: Option<Monotonic>, settings: &Refresh, now: Monotonic) -> bool {
        let recent = self.asked.is_some_and(|at| now.since(at) <= self.pause(settings));
        recent && self.asked > self.began.max(answered)
    }

    /// When the next early refresh may begin.
    pub fn next(&self, settings: &Refresh) -> Monotonic {
        self.began.map_or(Monotonic::ZERO, |at| at + self.pause(settings))
    }

    fn pause(&self, settings: &Refresh) -> Duration {
        let doublings = self.step.saturating_sub(1).min(16);
        let first = settings.on_unknown_certificate.min_interval;
        first.saturating_mul(1 << doublings).min(longest(settings))
    }

    /// Bounds what another worker wrote: nothing happened after `latest`.
    pub fn bound(&mut self, latest: Monotonic) {
        self.met.truncate(MAX_MET);
        self.restarts.truncate(MAX_RESTARTS);
        for at in [&mut self.asked, &mut self.began].into_iter().flatten().chain(&mut self.restarts) {
            *at = latest.min(*at);
        }
    }
}

fn longest(settings: &Refresh) -> Duration {
    settings.interval.min(LONGEST).max(settings.on_unknown_certificate.min_interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{policy, us_only};
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        /// Each step is one question of a certificate, after a pause.
        #[test]
        fn early_refreshes_keep_their_pauses(steps in proptest::collection::vec((0..5_u8, 0..200_u64), 1..200)) {
            let mut document = us_only(&json!({"digicert": {"pins": ["api"]}}));
            document["refresh"] = json!({"interval": "1h"});
            let settings = policy(&document).refresh;
            let (mut request, mut now, mut began) = (EarlyRefreshRequest::default(), Monotonic::ZERO, Vec::new());
            for (certificate, pause) in steps {
                now += Duration::from_secs(pause);
                request.ask(Fingerprint::of(&[certificate]), &settings, now);
                prop_assert!(request.restarts.len() <= MAX_RESTARTS && request.met.len() <= MAX_MET);
                if request.is_open(None, &settings, now) && request.next(&settings) <= now {
                    request.begin(now);
                    began.push(now);
                }
                prop_assert!(request.next(&settings) <= now + LONGEST, "a new question waits no longer");
            }
            for pair in began.windows(2) {
                prop_assert!(pair[1].since(pair[0]) >= settings.on_unknown_certificate.min_interval);
            }
        }
    }
}
