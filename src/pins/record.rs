//! What all workers of a proxy know about one region's API: its pins, and how asking went. One of them writes it.

use crate::{
    decision::trust::{ApiPin, ApiState, ApiTrust},
    time::Monotonic,
    x509::{ca::CaCertificate, fingerprint::Fingerprint},
};
use crate::{
    http::{Failure, FailureCode},
    pins::{
        pin_news::{PinStatus, Pins},
        select::Selection,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::{rc::Rc, time::Duration};

/// Pins kept per region: as many as an answer may name, and some that are on their way out.
const MAX_PINS: usize = 1024;

/// The state of one source. Instants are monotonic, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    kept: Vec<Kept>,
    /// Issuing certificates that came along, base64 of their DER.
    hints: Vec<String>,
    /// When the last successful refresh began and ended.
    began: Option<u64>,
    ended: Option<u64>,
    /// The settings under which it was made: see [`Record::trust`].
    under: String,
    /// When half a refresh first brought pins, as long as none has succeeded.
    half: Option<u64>,
    /// When the last early refresh began.
    early: Option<u64>,
    pub failures: u32,
    /// The code of the last failure, until a refresh succeeds.
    pub failing: Option<FailureCode>,
    next: u64,
    /// Until then a server has asked to be left alone.
    quiet_until: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    sha256: String,
    pin: ApiPin,
    /// When the API stopped naming it.
    removed: Option<u64>,
}

impl Record {
    pub fn next_attempt(&self) -> Monotonic {
        Monotonic::from_millis(self.next)
    }

    /// When the last successful refresh began.
    pub fn began(&self) -> Option<Monotonic> {
        self.began.map(Monotonic::from_millis)
    }

    pub fn last_success(&self) -> Option<Monotonic> {
        self.ended.map(Monotonic::from_millis)
    }

    /// Whether the last successful refresh was made under these settings.
    pub fn is_under(&self, settings: &str) -> bool {
        self.under == settings
    }

    pub fn quiet_until(&self) -> Monotonic {
        Monotonic::from_millis(self.quiet_until)
    }

    pub fn last_early(&self) -> Option<Monotonic> {
        self.early.map(Monotonic::from_millis)
    }

    /// From here on a refresh is due until one has ended: should this worker die or leave, the next one makes up for it.
    pub fn early_begins(&mut self, now: Monotonic) {
        self.early = Some(now.millis());
        self.next = self.next.min(now.millis());
    }

    /// Whoever wrote it may have had a longer interval, or may want that nobody asks any more, or that a pin lasts for ever: whatever
    /// it says, workers wait no longer than this, and nothing of it happened later than that.
    pub fn keep_within(&mut self, wait: Monotonic, past: Monotonic) {
        let (wait, past) = (wait.millis(), past.millis());
        self.next = self.next.min(wait);
        self.quiet_until = self.quiet_until.min(wait);
        let removals = self.kept.iter_mut().map(|kept| &mut kept.removed);
        let own = [&mut self.early, &mut self.began, &mut self.ended, &mut self.half];
        for happened in own.into_iter().chain(removals) {
            *happened = happened.map(|at| at.min(past));
        }
    }

    /// A refresh that brought home both halves: what it names is in, what it stopped naming is on its way out. But after one under
    /// other settings nothing is: it may have named what these pass over, and there may be workers that count on it.
    pub fn succeed(
        &mut self,
        selection: &Selection,
        (began, now): (Monotonic, Monotonic),
        keep_removed: Duration,
        next_in: Duration,
        under: &str,
    ) {
        if self.is_under(under) {
            for kept in &mut self.kept {
                if !kept.is_named_by(selection) {
                    kept.removed = kept.removed.or(Some(now.millis()));
                }
            }
            // Not by its notAfter: the decision sees to that, and a wall clock that jumps must cost nothing.
            self.kept.retain(|kept| kept.lapses(keep_removed).is_none_or(|lapse| now < lapse));
        }
        self.add(selection);
        if !selection.issuers.is_empty() {
            self.hints = encode(&selection.issuers);
        }
        (self.began, self.ended, self.half) = (Some(began.millis()), Some(now.millis()), None);
        under.clone_into(&mut self.under);
        (self.failures, self.failing) = (0, None);
        self.next = (now + next_in).millis();
        self.quiet_until = 0;
    }

    /// A refresh that did not: what half an answer names is in, and nothing goes.
    pub fn fail(&mut self, selection: &Selection, failure: &Failure, now: Monotonic, next_in: Duration) {
        self.add(selection);
        if self.ended.is_none() && !selection.pins.is_empty() {
            self.half = self.half.or(Some(now.millis()));
        }
        if self.hints.is_empty() {
            self.hints = encode(&selection.issuers);
        }
        self.failures = self.failures.saturating_add(1);
        self.failing = Some(failure.code);
        self.next = (now + next_in).millis();
        self.quiet_until = if failure.retry_after.is_some() { self.next } else { 0 };
    }

    fn add(&mut self, selection: &Selection) {
        for (fingerprint, pin) in &selection.pins {
            let sha256 = fingerprint.to_string();
            if let Some(kept) = self.kept.iter_mut().find(|kept| kept.sha256 == sha256) {
                kept.removed = None;
                continue;
            }
            if self.kept.len() >= MAX_PINS {
                self.make_room();
            }
            if self.kept.len() < MAX_PINS {
                self.kept.push(Kept { sha256, pin: *pin, removed: None });
            }
        }
    }

    /// Of pins on their way out the one that was removed last goes: if an API that names others each time has filled all the room,
    /// that is one of its own.
    fn make_room(&mut self) {
        let removed = self.kept.iter().enumerate().filter_map(|(at, kept)| Some((kept.removed?, at)));
        if let Some((_, last)) = removed.max() {
            self.kept.remove(last);
        }
    }

    /// What the decision reads at this moment. Pins that the API stopped naming count for `keep_removed` longer. A refresh made
    /// under other settings than these, as during a reload, settles nothing: it may have passed over what counts under these.
    pub fn trust(
        &self,
        keep_removed: Duration,
        max_staleness: Option<Duration>,
        under: &str,
        now: Monotonic,
    ) -> ApiTrust {
        let good = self.in_force(keep_removed, now);
        let hints =
            self.hints.iter().filter_map(|hint| CaCertificate::parse(&STANDARD.decode(hint).ok()?).ok());
        ApiTrust {
            state: self.state(max_staleness, now),
            pins: good.filter_map(|kept| Some((kept.sha256.parse().ok()?, kept.pin))).collect(),
            hints: Rc::new(hints.collect()),
            refreshed: self.began().filter(|_| self.is_under(under)),
        }
    }

    /// The same pins as somebody sees them who looks after this: how each stands, and until when it is valid.
    pub fn pins(&self, keep_removed: Duration, max_staleness: Option<Duration>, now: Monotonic) -> Pins {
        let status = |kept: &Kept| match (self.state(max_staleness, now), kept.removed) {
            (ApiState::Stale, _) => PinStatus::Stale,
            (_, Some(_)) => PinStatus::Kept,
            (_, None) => PinStatus::Named,
        };
        let in_force = self.in_force(keep_removed, now);
        let mut pins = Pins::new();
        // Not collected, which would sort them first: 30 KB of the module.
        pins.extend(
            in_force.filter_map(|kept| Some((kept.sha256.parse().ok()?, (status(kept), kept.pin.not_after)))),
        );
        pins
    }

    fn state(&self, max_staleness: Option<Duration>, now: Monotonic) -> ApiState {
        let of_pins = self.age_begins();
        if of_pins.zip(max_staleness).is_some_and(|(at, bound)| now.since(at) > bound) {
            ApiState::Stale
        } else if self.ended.is_none() {
            ApiState::NotLoaded
        } else {
            ApiState::Loaded
        }
    }

    /// From when on pins age.
    fn age_begins(&self) -> Option<Monotonic> {
        self.ended.or(self.half).map(Monotonic::from_millis)
    }

    fn in_force(&self, keep_removed: Duration, now: Monotonic) -> impl Iterator<Item = &Kept> {
        self.kept.iter().filter(move |kept| kept.lapses(keep_removed).is_none_or(|lapse| now < lapse))
    }

    /// When [`Record::trust`] will next say something else though nobody wrote: a removed pin lapses, or all go stale.
    pub fn changes_at(
        &self,
        keep_removed: Duration,
        max_staleness: Option<Duration>,
        now: Monotonic,
    ) -> Option<Monotonic> {
        let stale =
            self.age_begins().zip(max_staleness).map(|(at, bound)| at + bound + Duration::from_millis(1));
        let lapses = self.kept.iter().filter_map(|kept| kept.lapses(keep_removed));
        lapses.chain(stale).filter(|at| *at > now).min()
    }

    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        self.kept.iter().filter_map(|kept| kept.sha256.parse().ok()).collect()
    }

    /// How many pins the API names, and how many it stopped naming.
    pub fn count(&self) -> (usize, usize) {
        let removed = self.kept.iter().filter(|kept| kept.removed.is_some()).count();
        (self.kept.len().saturating_sub(removed), removed)
    }
}

impl Kept {
    fn is_named_by(&self, selection: &Selection) -> bool {
        self.sha256.parse().is_ok_and(|fingerprint: Fingerprint| selection.pins.contains_key(&fingerprint))
    }

    fn lapses(&self, keep_removed: Duration) -> Option<Monotonic> {
        self.removed.map(|at| Monotonic::from_millis(at) + keep_removed)
    }
}

fn encode(certificates: &[Vec<u8>]) -> Vec<String> {
    certificates.iter().map(|der| STANDARD.encode(der)).collect()
}
