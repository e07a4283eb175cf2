//! The facts that the workers of a proxy share about one region's API. Each reader draws its conclusions from them by its own
//! settings, so two configurations may run at the same time.

use crate::{
    decision::trust::{ApiPin, ApiState, ApiTrust},
    http::{Failure, FailureCode},
    pins::{
        forecast::{ApiStatus, MAX_JUDGED},
        news::{PinStatus, Pins},
        select::Selection,
    },
    policy::{Authority, Policy},
    time::{Monotonic, Now, UnixSeconds},
    x509::{
        ca::CaCertificate,
        certificate::{ClientCertificate, MAX_DER},
        fingerprint::Fingerprint,
    },
};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, rc::Rc, time::Duration};

/// Leaves kept: as many as an answer may name, and some that it no longer names.
const MAX_LEAVES: usize = 1024;
/// Leaves kept in DER; of further ones the fingerprint is.
const MAX_DERS: usize = 64;
/// Issuing certificates kept. Every worker verifies the signatures of unknown certificates with them.
const MAX_HINTS: usize = 4;
/// How long a leaf is kept that the API no longer names: the longest `keep_removed`.
const FORGET: Duration = Duration::from_hours(30 * 24);

/// What is known of one region's API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub leaves: Vec<Leaf>,
    /// Certificates named by the last complete answer of which no leaf can be read.
    pub illegible: Vec<(Authority, ApiStatus)>,
    /// DER of CAs that came along with a leaf that they signed.
    pub hints: Vec<Vec<u8>>,
    /// When the last attempt began. Its worker has died if none ended since.
    pub attempted: Option<Monotonic>,
    pub complete: Option<Complete>,
    /// When an incomplete answer first named a leaf, as long as none was complete.
    pub partial: Option<Monotonic>,
    pub failed: Option<Monotonic>,
    /// In a row.
    pub failures: u32,
    pub failing: Option<FailureCode>,
    pub retry_after: Option<Monotonic>,
    /// In `0.0..1.0`, drawn by the writer for the jitter of all.
    pub random: f64,
    /// Until when some worker has a token.
    pub token_until: Option<Monotonic>,
}

/// The last answer in which both lists were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complete {
    pub began: Monotonic,
    pub ended: Monotonic,
    /// No complete answer came before.
    pub is_first: bool,
}

/// A leaf that the API named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    pub fingerprint: Fingerprint,
    /// Empty beyond [`MAX_DERS`].
    pub der: Vec<u8>,
    pub authority: Authority,
    pub status: ApiStatus,
    pub named_since: Monotonic,
    pub absent_since: Option<Monotonic>,
}

/// What one reader makes of the facts at one moment.
#[derive(Debug, Default)]
pub struct Conclusions {
    pub trust: ApiTrust,
    pub pins: Pins,
    /// When the last successful refresh ended: a complete answer that named a leaf of this region.
    pub success: Option<Monotonic>,
    /// When the same facts lead to other conclusions.
    pub changes_at: Option<Monotonic>,
}

impl Record {
    /// When the last attempt ended, well or not.
    pub fn ended(&self) -> Option<Monotonic> {
        self.complete.map(|complete| complete.ended).max(self.failed)
    }

    /// When an attempt began that has not ended.
    pub fn unfinished(&self) -> Option<Monotonic> {
        self.attempted.filter(|at| Some(*at) > self.ended())
    }

    /// Notes how an attempt ended, and what was named. Only a complete answer takes anything away.
    pub fn note(&mut self, answer: Selection, failure: Option<&Failure>, began: Monotonic, now: Now) {
        let mut older = std::mem::take(&mut self.leaves);
        for (fingerprint, leaf) in answer.leaves {
            let known = older.iter().position(|known| known.fingerprint == fingerprint);
            let known = known.map(|at| older.swap_remove(at)).filter(|known| known.absent_since.is_none());
            self.leaves.push(Leaf {
                fingerprint,
                der: leaf.der,
                authority: leaf.authority,
                status: leaf.status,
                named_since: known.map_or(now.mono, |known| known.named_since),
                absent_since: None,
            });
        }
        if answer.is_complete {
            older.retain_mut(|leaf| now.mono.since(*leaf.absent_since.get_or_insert(now.mono)) < FORGET);
            self.complete = Some(Complete { began, ended: now.mono, is_first: self.complete.is_none() });
            self.partial = None;
            self.illegible = answer.illegible;
        } else if self.complete.is_none() && !self.leaves.is_empty() {
            self.partial.get_or_insert(now.mono);
        }
        self.leaves.append(&mut older);
        self.hints.splice(..0, answer.hints);
        self.limit();

        self.random = now.random;
        self.failing = failure.map(|failure| failure.code);
        self.retry_after = failure.and_then(|failure| Some(now.mono + failure.retry_after?));
        self.failures = failure.map_or(0, |_| self.failures.saturating_add(1));
        self.failed = failure.map(|_| now.mono).or(self.failed);
    }

    /// Bounds what another worker wrote: nothing happened after `latest`.
    pub fn bound(&mut self, latest: Monotonic) {
        self.limit();
        if !(0.0..1.0).contains(&self.random) {
            self.random = 0.5;
        }
        let attempts = [&mut self.attempted, &mut self.partial, &mut self.failed].into_iter().flatten();
        let complete =
            self.complete.iter_mut().flat_map(|complete| [&mut complete.began, &mut complete.ended]);
        attempts.chain(complete).for_each(|at| *at = latest.min(*at));
        for leaf in &mut self.leaves {
            leaf.named_since = latest.min(leaf.named_since);
            leaf.absent_since = leaf.absent_since.map(|at| latest.min(at));
        }
    }

    fn limit(&mut self) {
        while self.leaves.len() > MAX_LEAVES {
            // The one removed last: if an API names others each time, that is one of them.
            let last = self.leaves.iter().enumerate().max_by_key(|(_, leaf)| leaf.absent_since);
            let Some((last, _)) = last else { break };
            self.leaves.remove(last);
        }
        self.illegible.truncate(MAX_JUDGED);
        let mut room = MAX_DERS;
        for is_absent in [false, true] {
            for leaf in self.leaves.iter_mut().filter(|leaf| leaf.absent_since.is_some() == is_absent) {
                if room == 0 || leaf.der.len() > MAX_DER {
                    leaf.der = Vec::new();
                }
                room -= usize::from(!leaf.der.is_empty());
            }
        }
        for der in std::mem::take(&mut self.hints) {
            if self.hints.len() < MAX_HINTS && der.len() <= MAX_DER && !self.hints.contains(&der) {
                self.hints.push(der);
            }
        }
    }

    /// What a reader with these settings may rely on now. No signature is verified and no wall clock read: `decide` does
    /// both for each request.
    pub fn conclude(&self, region: &str, policy: &Policy, now: Monotonic) -> Conclusions {
        let of_region = |leaf| Some((leaf, Leaf::pin(leaf, region, policy)?));
        let leaves: Vec<(&Leaf, ApiPin)> = self.leaves.iter().filter_map(of_region).collect();
        let ended = self.complete.map(|complete| complete.ended);
        // Named by a complete answer.
        let confirmed =
            || leaves.iter().map(|(leaf, _)| *leaf).filter(|leaf| Some(leaf.named_since) <= ended);
        let success = confirmed().filter_map(|leaf| leaf.absent_since.or(ended)).max();
        let is_success = confirmed().any(|leaf| leaf.absent_since.is_none());
        let stale = success.or(self.partial).zip(policy.refresh.max_staleness);
        let stale = stale.map(|(at, bound)| at + bound + Duration::from_millis(1));
        let state = match success {
            _ if stale.is_some_and(|at| at <= now) => ApiState::Stale,
            None => ApiState::NotLoaded,
            Some(_) => ApiState::Loaded,
        };
        let hints = self.hints.iter().filter_map(|der| CaCertificate::parse(der).ok());
        let trust = ApiTrust {
            state,
            pins: HashMap::new(),
            hints: Rc::new(hints.collect()),
            refreshed: self.complete.filter(|_| is_success).map(|complete| complete.began),
        };
        let changes_at = stale.filter(|at| *at > now);
        let mut conclusions = Conclusions { trust, pins: Pins::new(), success, changes_at };
        for (leaf, pin) in &leaves {
            // Counted from the first success that did not name it.
            let lapses_at = leaf.absent_since.and_then(|absent| {
                let later = confirmed().filter(|other| other.absent_since.is_none_or(|at| at > absent));
                let success = later.map(|other| other.named_since.max(absent)).min()?;
                Some(success + policy.refresh.keep_removed)
            });
            if lapses_at.is_some_and(|at| at <= now) {
                continue;
            }
            conclusions.changes_at = conclusions.changes_at.into_iter().chain(lapses_at).min();
            let status = match (state, leaf.absent_since) {
                (ApiState::Stale, _) => PinStatus::Stale,
                (_, Some(_)) => PinStatus::Kept,
                (_, None) => PinStatus::Named,
            };
            conclusions.pins.insert(leaf.fingerprint, (status, pin.not_after));
            conclusions.trust.pins.insert(leaf.fingerprint, *pin);
        }
        conclusions
    }
}

impl Leaf {
    /// The pin that it is, if it has the region's name. Of one that is known by its fingerprint only, the name is not known.
    fn pin(&self, region: &str, policy: &Policy) -> Option<ApiPin> {
        if self.authority != Authority::Digicert {
            return None;
        }
        if self.der.is_empty() {
            return Some(ApiPin { not_before: UnixSeconds::MIN, not_after: UnixSeconds::MAX });
        }
        let certificate = ClientCertificate::parse(&self.der).ok()?;
        let is_named = policy.region_names.owner(&certificate, policy.names) == Ok(Some(region));
        (is_named && certificate.fingerprint == self.fingerprint).then(|| ApiPin::of(&certificate))
    }
}

#[cfg(test)]
mod tests;
