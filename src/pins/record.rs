//! The facts that the workers of a proxy share about one region's API. Each reader draws its conclusions from them by its own
//! settings, so two configurations may run at the same time.

use crate::{
    decision::trust::{ApiPin, ApiState, ApiTrust},
    http::{Failure, FailureCode},
    pins::{
        pin_news::{PinStatus, Pins},
        select::{ApiStatus, NamedLeaf},
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
use std::{rc::Rc, time::Duration};

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

    /// Takes over what an answer named. Only a complete one takes anything away.
    pub fn name(
        &mut self,
        named: impl IntoIterator<Item = NamedLeaf>,
        hints: Vec<Vec<u8>>,
        began: Option<Monotonic>,
        now: Monotonic,
    ) {
        let mut leaves = std::mem::take(&mut self.leaves);
        for leaf in named {
            let fingerprint = leaf.certificate.fingerprint;
            let known = leaves.iter().position(|known| known.fingerprint == fingerprint);
            let known = known.map(|at| leaves.swap_remove(at)).filter(|known| known.absent_since.is_none());
            self.leaves.push(Leaf {
                fingerprint,
                der: leaf.certificate.der.to_vec(),
                authority: leaf.authority,
                status: leaf.status,
                named_since: known.map_or(now, |known| known.named_since),
                absent_since: None,
            });
        }
        if let Some(began) = began {
            for leaf in &mut leaves {
                leaf.absent_since.get_or_insert(now);
            }
            leaves.retain(|leaf| leaf.absent_since.is_some_and(|at| now.since(at) < FORGET));
            self.complete = Some(Complete { began, ended: now, is_first: self.complete.is_none() });
            self.partial = None;
        } else if self.complete.is_none() && !self.leaves.is_empty() {
            self.partial.get_or_insert(now);
        }
        self.leaves.append(&mut leaves);
        let older = std::mem::replace(&mut self.hints, hints);
        self.hints.extend(older);
        self.limit();
    }

    /// Notes how an attempt ended.
    pub fn end(&mut self, failure: Option<&Failure>, now: Now) {
        self.random = now.random;
        self.failing = failure.map(|failure| failure.code);
        self.retry_after = failure.and_then(|failure| Some(now.mono + failure.retry_after?));
        self.failures = failure.map_or(0, |_| self.failures.saturating_add(1));
        if failure.is_some() {
            self.failed = Some(now.mono);
        }
    }

    /// Bounds what another worker wrote: nothing happened after `latest`.
    pub fn bound(&mut self, latest: Monotonic) {
        self.limit();
        if !(0.0..1.0).contains(&self.random) {
            self.random = 0.5;
        }
        let own = [&mut self.attempted, &mut self.partial, &mut self.failed];
        let absences = self.leaves.iter_mut().map(|leaf| &mut leaf.absent_since);
        for at in own.into_iter().chain(absences).flatten() {
            *at = latest.min(*at);
        }
        for leaf in &mut self.leaves {
            leaf.named_since = latest.min(leaf.named_since);
        }
        if let Some(Complete { began, ended, .. }) = &mut self.complete {
            (*began, *ended) = (latest.min(*began), latest.min(*ended));
        }
    }

    fn limit(&mut self) {
        while self.leaves.len() > MAX_LEAVES {
            // The one removed last: if an API names others each time, that is one of them.
            let last = self.leaves.iter().enumerate().max_by_key(|(_, leaf)| leaf.absent_since);
            let Some((last, _)) = last else { break };
            self.leaves.remove(last);
        }
        let mut room = MAX_DERS;
        for is_absent in [false, true] {
            for leaf in self.leaves.iter_mut().filter(|leaf| leaf.absent_since.is_some() == is_absent) {
                if room == 0 || leaf.der.len() > MAX_DER {
                    leaf.der = Vec::new();
                }
                room -= usize::from(!leaf.der.is_empty());
            }
        }
        let mut hints: Vec<Vec<u8>> = Vec::new();
        for der in self.hints.drain(..) {
            if hints.len() < MAX_HINTS && der.len() <= MAX_DER && !hints.contains(&der) {
                hints.push(der);
            }
        }
        self.hints = hints;
    }

    /// What a reader with these settings may rely on now. No signature is verified and no wall clock read: `decide` does
    /// both for each request.
    pub fn conclude(&self, region: &str, policy: &Policy, now: Monotonic) -> Conclusions {
        let of_region = |leaf: &Leaf| {
            let is_candidate = leaf.authority == Authority::Digicert;
            is_candidate.then(|| leaf.pin(region, policy)).flatten()
        };
        let leaves: Vec<(&Leaf, ApiPin)> =
            self.leaves.iter().filter_map(|leaf| Some((leaf, of_region(leaf)?))).collect();
        // Named by a complete answer.
        let confirmed =
            |leaf: &&Leaf| self.complete.is_some_and(|complete| leaf.named_since <= complete.ended);
        let confirmed = || leaves.iter().map(|(leaf, _)| *leaf).filter(confirmed);
        let is_success = confirmed().any(|leaf| leaf.absent_since.is_none());
        let success = if is_success {
            self.complete.map(|complete| complete.ended)
        } else {
            confirmed().filter_map(|leaf| leaf.absent_since).max()
        };
        let keep_removed = policy.refresh.keep_removed;
        // Counted from the first success that did not name it.
        let lapse = |leaf: &Leaf| {
            let absent = leaf.absent_since?;
            let later = confirmed().filter(|other| other.absent_since.is_none_or(|at| at > absent));
            Some(later.map(|other| other.named_since.max(absent)).min()? + keep_removed)
        };
        let stale = success.or(self.partial).zip(policy.refresh.max_staleness);
        let stale = stale.map(|(at, bound)| at + bound + Duration::from_millis(1));
        let state = match success {
            _ if stale.is_some_and(|at| at <= now) => ApiState::Stale,
            None => ApiState::NotLoaded,
            Some(_) => ApiState::Loaded,
        };
        let (mut pins, mut changes_at) = (Pins::new(), stale.filter(|at| *at > now));
        let mut trust = ApiTrust { state, ..ApiTrust::default() };
        for (leaf, pin) in &leaves {
            let lapse = lapse(leaf);
            if lapse.is_some_and(|at| at <= now) {
                continue;
            }
            changes_at = changes_at.into_iter().chain(lapse).min();
            let status = match (state, leaf.absent_since) {
                (ApiState::Stale, _) => PinStatus::Stale,
                (_, Some(_)) => PinStatus::Kept,
                (_, None) => PinStatus::Named,
            };
            pins.insert(leaf.fingerprint, (status, pin.not_after));
            trust.pins.insert(leaf.fingerprint, *pin);
        }
        trust.refreshed = self.complete.filter(|_| is_success).map(|complete| complete.began);
        let hints = self.hints.iter().filter_map(|der| CaCertificate::parse(der).ok());
        trust.hints = Rc::new(hints.collect());
        Conclusions { trust, pins, success, changes_at }
    }
}

impl Leaf {
    /// The pin that it is, if it has the region's name. Of one that is known by its fingerprint only, the name is not known.
    fn pin(&self, region: &str, policy: &Policy) -> Option<ApiPin> {
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
