//! The names of all metrics. Counters are added up here and flushed by ticks: a request pays for no host call.

use crate::{
    crl::CrlFetcher,
    decision::Reason,
    engine::{
        counter::{Allowances, Counter},
        effect::Effect,
    },
    http::Failure,
    pins::{PinStatus, Pins},
    policy::{Authority, CrlSource, Mode, Policy, RegionPolicy, RevocationMode},
    time::{Now, UnixSeconds},
    x509::fingerprint::Fingerprint,
};
use std::{collections::BTreeMap, rc::Rc, time::Duration};

/// The counters of requests. They exist from the first flush on, so that the first of anything is a rise.
#[derive(Debug)]
pub struct Counters {
    allowed: BTreeMap<(String, &'static str), Allowances>,
    denied: BTreeMap<Reason, Rc<Counter>>,
    access_revoked: BTreeMap<Reason, Rc<Counter>>,
    pub cache_hits: Rc<Counter>,
    pub held: Rc<Counter>,
    all: Vec<Rc<Counter>>,
    exist: bool,
}

impl Counters {
    pub fn new(policy: &Policy) -> Self {
        let mut all = Vec::new();
        let mut counter = |name: String| {
            let metric = format!("genesys_mtls.{}.{name}", policy.name);
            let counter = Rc::new(Counter::new(metric));
            all.push(counter.clone());
            counter
        };
        let mut allowed = BTreeMap::new();
        for region in &policy.regions {
            for authority in Authority::ALL {
                let label = format!("{}.{}", authority.code(), region.id);
                let consulted = policy.revocation.mode != RevocationMode::Off;
                let unchecked = consulted.then(|| counter(format!("crl_unchecked.{label}")));
                let allowances = Allowances { all: counter(format!("decisions.allow.{label}")), unchecked };
                allowed.insert((region.id.clone(), authority.code()), allowances);
            }
        }
        let mut by_reason = |name: &str| {
            let mut counters = BTreeMap::new();
            for reason in Reason::ALL {
                counters.insert(reason, counter(format!("{name}.{reason}")));
            }
            counters
        };
        Self {
            denied: by_reason("decisions.deny"),
            access_revoked: by_reason("turned_away"),
            cache_hits: counter("cache_hits".to_owned()),
            held: counter("held_requests".to_owned()),
            allowed,
            all,
            exist: false,
        }
    }

    pub fn allowances(&self, region: &str, authority: Authority) -> Option<Allowances> {
        self.allowed.get(&(region.to_owned(), authority.code())).cloned()
    }

    pub fn denied(&self, reason: Reason) {
        increment(&self.denied, reason);
    }

    /// Counts a certificate that was allowed before and is denied now.
    pub fn access_revoked(&self, reason: Reason) {
        increment(&self.access_revoked, reason);
    }

    pub fn flush(&mut self, effects: &mut Vec<Effect>) {
        let all = !std::mem::replace(&mut self.exist, true);
        for counter in &self.all {
            let by = counter.take();
            if all || by > 0 {
                effects.push(Effect::Count { metric: counter.metric.clone(), by });
            }
        }
    }
}

fn increment(counters: &BTreeMap<Reason, Rc<Counter>>, reason: Reason) {
    if let Some(counter) = counters.get(&reason) {
        counter.increment();
    }
}

/// A refresh ended: `ok`, or the code of what failed.
pub fn refreshed(policy: &str, region: &str, result: &str) -> Effect {
    Effect::Count { metric: format!("genesys_mtls.{policy}.refreshes.{result}.{region}"), by: 1 }
}

/// A CRL was fetched, or could not be.
pub fn crl_fetched(policy: &str, source: &CrlSource, failure: Option<&Failure>) -> Effect {
    let result = failure.map_or("ok", |failure| failure.code.code());
    Effect::Count { metric: crl_metric(policy, &format!("crl_fetches.{result}"), source), by: 1 }
}

/// Writes gauges. Every worker writes them, since all know the same, and the last write wins.
#[derive(Debug)]
pub struct Gauges<'a> {
    pub policy: &'a Policy,
    pub now: Now,
    pub effects: &'a mut Vec<Effect>,
}

impl Gauges<'_> {
    pub fn mode(&mut self) {
        let enforcing = u64::from(self.policy.mode == Mode::Enforce);
        self.push(format!("genesys_mtls.{}.enforcing", self.policy.name), enforcing);
    }

    /// What the configuration alone says. `pinned`: certificates that this worker allowed by a configured pin, and their
    /// notAfter.
    pub fn configured(&mut self, region: &RegionPolicy, pinned: Option<&BTreeMap<Fingerprint, UnixSeconds>>) {
        self.expiry("genesys_ca", region, region.genesys.iter().map(|ca| ca.not_after));
        let Some(digicert) = &region.digicert else { return };
        self.expiry("digicert_issuer", region, digicert.issuers.iter().map(|ca| ca.not_after));
        self.expiry("pin", region, pinned.into_iter().flat_map(BTreeMap::values).copied());
        self.of_region("pins.configured", region, count(digicert.pins.len()));
    }

    pub fn fetched(&mut self, region: &RegionPolicy, pins: &Pins, failures: u32, age: Option<Duration>) {
        for status in PinStatus::ALL {
            let matching = pins.values().filter(|(of, _)| *of == *status).count();
            self.of_region(&format!("pins.{}", status.code()), region, count(matching));
        }
        let named = pins.values().filter(|(status, _)| *status == PinStatus::Named);
        self.expiry("api_pin", region, named.map(|(_, not_after)| *not_after));
        self.of_region("refresh_failures_in_a_row", region, u64::from(failures));
        if let Some(age) = age {
            self.of_region("trust_age_seconds", region, age.as_secs());
        }
    }

    /// Each CRL has gauges by its id, or one that is about to expire would hide behind a fresh one.
    pub fn crl(&mut self, crl: &CrlFetcher) {
        let Some((age, left, entries)) = crl.gauges(self.now) else { return };
        for (gauge, value) in [
            ("crl_age_seconds", age.as_secs()),
            ("crl_seconds_to_next_update", left),
            ("crl_entries", count(entries)),
        ] {
            let metric = crl_metric(&self.policy.name, &format!("{gauge}.{}", crl.id), &crl.source);
            self.push(metric, value);
        }
    }

    /// Fetching a CRL takes memory in one VM, which the others must not hide.
    pub fn memory(&mut self, has_fetched: bool, bytes: u64) {
        let role = if has_fetched { "fetching" } else { "serving" };
        let metric = format!("genesys_mtls.{}.vm_memory_peak_bytes.{role}", self.policy.name);
        self.effects.push(Effect::RaiseGauge { metric, value: bytes });
    }

    /// Until the first of these expires, of those that have not, and until the last one does.
    fn expiry(&mut self, what: &str, region: &RegionPolicy, ends: impl Iterator<Item = UnixSeconds>) {
        let left = |end: UnixSeconds| u64::try_from(end.saturating_sub(self.now.wall)).unwrap_or(0);
        let ends: Vec<u64> = ends.map(left).collect();
        let Some(last) = ends.iter().max() else { return };
        let first = ends.iter().filter(|left| **left > 0).min().unwrap_or(&0);
        self.of_region(&format!("seconds_to_first_expiry.{what}"), region, *first);
        self.of_region(&format!("seconds_to_last_expiry.{what}"), region, *last);
    }

    fn of_region(&mut self, name: &str, region: &RegionPolicy, value: u64) {
        self.push(format!("genesys_mtls.{}.{name}.{}", self.policy.name, region.id), value);
    }

    fn push(&mut self, metric: String, value: u64) {
        self.effects.push(Effect::Gauge { metric, value });
    }
}

fn crl_metric(policy: &str, name: &str, source: &CrlSource) -> String {
    format!("genesys_mtls.{policy}.{name}.{}.{}", source.authority.code(), source.region)
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}
