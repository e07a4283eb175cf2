//! The names of all metrics. Counters are added up here and flushed by ticks: a request pays for no host call.

use crate::{
    crl::CrlFetcher,
    decision::Reason,
    engine::{effect::Effect, io::Io},
    http::FailureCode,
    pins::{Forecast, PinStatus, Refresher},
    policy::{Authority, CrlSource, Mode, Policy, RegionPolicy, RevocationMode},
    time::UnixSeconds,
    x509::fingerprint::Fingerprint,
};
use std::{cell::Cell, collections::BTreeMap, rc::Rc};

/// The counters of requests. They exist from the first flush on, so that the first of anything is a rise.
#[derive(Debug)]
pub struct Counters {
    prefix: String,
    values: BTreeMap<String, Rc<Cell<u64>>>,
    exist: bool,
}

impl Counters {
    pub fn new(policy: &Policy) -> Self {
        let prefix = format!("genesys_mtls.{}.", policy.name);
        let mut counters = Self { prefix, values: BTreeMap::new(), exist: false };
        let consulted = policy.revocation.mode != RevocationMode::Off;
        for region in &policy.regions {
            for authority in Authority::ALL {
                counters.allowed(&region.id, authority, consulted);
            }
        }
        for reason in Reason::ALL {
            counters.get(&format!("decisions.deny.{reason}"));
            counters.get(&format!("lost_access.{reason}"));
        }
        counters.get("cache_hits");
        counters.get("held_requests");
        counters
    }

    pub fn get(&mut self, name: &str) -> Rc<Cell<u64>> {
        self.values.entry(name.to_owned()).or_default().clone()
    }

    /// What counts a request allowed by this authority of a region; `unchecked` if no current CRL covers its certificate.
    pub fn allowed(&mut self, region: &str, authority: Authority, unchecked: bool) -> Vec<Rc<Cell<u64>>> {
        let label = format!("{}.{region}", authority.code());
        let mut counters = vec![self.get(&format!("decisions.allow.{label}"))];
        if unchecked {
            counters.push(self.get(&format!("crl_unchecked.{label}")));
        }
        counters
    }

    pub fn increment(&mut self, name: &str) {
        add_one(&self.get(name));
    }

    pub fn flush(&mut self, io: &mut Io<'_>) {
        let all = !std::mem::replace(&mut self.exist, true);
        for (name, value) in &self.values {
            let by = value.take();
            if all || by > 0 {
                io.count(format!("{}{name}", self.prefix), by);
            }
        }
    }
}

pub fn add_one(counter: &Cell<u64>) {
    counter.set(counter.get().saturating_add(1));
}

/// A refresh ended; nothing if it succeeded.
pub fn refreshed(io: &mut Io<'_>, policy: &Policy, region: &str, failure: Option<FailureCode>) {
    let result = failure.map_or("ok", FailureCode::code);
    io.count(format!("genesys_mtls.{}.refreshes.{result}.{region}", policy.name), 1);
}

/// The fetch of a CRL ended; nothing if it succeeded.
pub fn crl_fetched(io: &mut Io<'_>, policy: &Policy, source: &CrlSource, failure: Option<FailureCode>) {
    let result = failure.map_or("ok", FailureCode::code);
    io.count(crl_metric(policy, &format!("crl_fetches.{result}"), source), 1);
}

/// Gauges of the whole policy. Every worker writes all gauges, since all know the same, and the last write wins. Fetching a
/// CRL takes memory in one worker, which the others must not hide.
pub fn policy_gauges(io: &mut Io<'_>, policy: &Policy, has_fetched_crls: bool) {
    io.gauge(format!("genesys_mtls.{}.enforcing", policy.name), u64::from(policy.mode == Mode::Enforce));
    let role = if has_fetched_crls { "fetching" } else { "serving" };
    let metric = format!("genesys_mtls.{}.vm_memory_peak_bytes.{role}", policy.name);
    io.effects.push(Effect::RaiseGauge { metric, value: io.environment.memory() });
}

/// Gauges of a region: what the configuration says, what this worker saw of its pins (`used` and their notAfter), and what
/// the API says.
pub fn region_gauges(
    io: &mut Io<'_>,
    policy: &Policy,
    region: &RegionPolicy,
    used: Option<&BTreeMap<Fingerprint, UnixSeconds>>,
    refresher: Option<&mut Refresher>,
) {
    let (now, verifier) = (io.now(), io.verifier);
    let mut gauge = |name: &str, value| {
        io.gauge(format!("genesys_mtls.{}.{name}.{}", policy.name, region.id), value);
    };
    // Until the first of these expires, of those that have not, and until the last one does.
    let mut expiry = |what: &str, ends: &mut dyn Iterator<Item = UnixSeconds>| {
        let (mut first, mut last) = (u64::MAX, None);
        for end in ends {
            let left = u64::try_from(end.saturating_sub(now.wall)).unwrap_or(0);
            first = if left > 0 { first.min(left) } else { first };
            last = last.max(Some(left));
        }
        let Some(last) = last else { return };
        gauge(&format!("seconds_to_first_expiry.{what}"), first.min(last));
        gauge(&format!("seconds_to_last_expiry.{what}"), last);
    };
    expiry("genesys_ca", &mut region.genesys.iter().map(|ca| ca.not_after));
    if let Some(digicert) = &region.digicert {
        expiry("digicert_issuer", &mut digicert.issuers.iter().map(|ca| ca.not_after));
        expiry("pin", &mut used.into_iter().flat_map(BTreeMap::values).copied());
    }
    if let Some(refresher) = refresher {
        for (what, authority) in
            [("api_pin", Authority::Digicert), ("genesys_certificate", Authority::Genesys)]
        {
            if region.cas(Authority::Genesys).is_empty() && authority == Authority::Genesys {
                continue;
            }
            let named = refresher.forecasts(verifier, now).iter();
            let named = named.filter(|forecast| forecast.authority == authority);
            // One that is denied lasts no longer.
            let mut ends =
                named.map(|forecast| forecast.denied.map_or(forecast.not_after, |_| UnixSeconds::MIN));
            expiry(what, &mut ends);
        }
        for status in PinStatus::ALL {
            let matching = refresher.pins().values().filter(|(of, _)| *of == *status).count();
            gauge(&format!("pins.{}", status.code()), count(matching));
        }
        gauge("refresh_failures_in_a_row", u64::from(refresher.failures()));
        if let Some(age) = refresher.age(now.mono) {
            gauge("trust_age_seconds", age.as_secs());
        }
    }
    if let Some(digicert) = &region.digicert {
        gauge("pins.configured", count(digicert.pins.len()));
    }
}

/// How many configured CAs have a key that verifies nothing. Written if there are any.
pub fn authorities(io: &mut Io<'_>, policy: &Policy, unusable: usize) {
    if unusable > 0 {
        io.gauge(format!("genesys_mtls.{}.authority_unusable", policy.name), count(unusable));
    }
}

/// Whether Envoy refuses to verify signatures, so that no certificate of a CA is allowed. Written when it changes.
pub fn verifier(io: &mut Io<'_>, policy: &Policy, is_away: bool) {
    io.gauge(format!("genesys_mtls.{}.signature_unavailable", policy.name), u64::from(is_away));
}

/// How many announced certificates will be denied, by reason and authority. They are written when they change, and then
/// also those that `before` has.
pub fn denied_ahead(io: &mut Io<'_>, policy: &Policy, region: &str, before: &str, denied: &[Forecast]) {
    for reason in Forecast::REASONS {
        for authority in Authority::ALL {
            let is_it = |of: &&Forecast| of.denied == Some(reason) && of.authority == authority;
            let (counted, code) =
                (denied.iter().filter(is_it).count(), format!("{reason}.{}", authority.code()));
            if counted > 0 || before.contains(&code) {
                let metric = format!("genesys_mtls.{}.announced_but_denied.{code}.{region}", policy.name);
                io.gauge(metric, count(counted));
            }
        }
    }
}

/// Gauges of a CRL, by its id: one that is about to expire must not hide behind a fresh one.
pub fn crl_gauges(io: &mut Io<'_>, policy: &Policy, crl: &CrlFetcher, covers: bool) {
    let Some((age, left, entries)) = crl.gauges(io.now()) else { return };
    for (gauge, value) in [
        ("crl_age_seconds", age.as_secs()),
        ("crl_seconds_to_next_update", left),
        ("crl_entries", count(entries)),
        ("crl_covers", u64::from(covers)),
    ] {
        io.gauge(crl_metric(policy, &format!("{gauge}.{}", crl.id), &crl.source), value);
    }
}

fn crl_metric(policy: &Policy, name: &str, source: &CrlSource) -> String {
    format!("genesys_mtls.{}.{name}.{}.{}", policy.name, source.authority.code(), source.region)
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}
