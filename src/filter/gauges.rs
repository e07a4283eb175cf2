//! What can be read off at any time: pins, ages, and how much time is left.
//!
//! Every worker writes them, since all know the same, and the last write wins.

use crate::filter::sources::Entry;
use crate::{
    host,
    pins::PinStatus,
    policy::{Mode, Policy, RegionPolicy},
    time::{Now, UnixSeconds},
    x509::fingerprint::Fingerprint,
};
use std::collections::BTreeMap;

/// `pinned`: certificates that this worker let in by a configured pin, and their notAfter, a region each.
pub fn write(
    policy: &Policy,
    refreshers: &[Option<Entry>],
    pinned: &[BTreeMap<Fingerprint, UnixSeconds>],
    now: Now,
) {
    let enforcing = u64::from(policy.mode == Mode::Enforce);
    host::gauge(&format!("genesys_mtls.{}.enforcing", policy.name), enforcing);
    for (region, pinned) in policy.regions.iter().zip(pinned) {
        let gauges = Gauges { policy: &policy.name, region, wall: now.wall };
        gauges.write_configured(pinned);
    }
    for (region, entry) in policy.regions.iter().zip(refreshers) {
        let gauges = Gauges { policy: &policy.name, region, wall: now.wall };
        if let Some(entry) = entry {
            gauges.write_fetched(entry, now);
        }
    }
}

/// The gauges of one region.
struct Gauges<'a> {
    policy: &'a str,
    region: &'a RegionPolicy,
    wall: UnixSeconds,
}

impl Gauges<'_> {
    fn write_configured(&self, pinned: &BTreeMap<Fingerprint, UnixSeconds>) {
        self.write_expiry("genesys_ca", self.region.genesys.iter().map(|ca| ca.not_after));
        let Some(digicert) = &self.region.digicert else { return };
        self.write_expiry("digicert_issuer", digicert.issuers.iter().map(|ca| ca.not_after));
        self.write_expiry("pin", pinned.values().copied());
        self.write("pins.configured", count(digicert.pins.len()));
    }

    fn write_fetched(&self, entry: &Entry, now: Now) {
        let pins = entry.news.pins();
        for status in PinStatus::ALL {
            let matching = pins.values().filter(|(of, _)| *of == status).count();
            self.write(&format!("pins.{}", status.code()), count(matching));
        }
        let named = pins.values().filter(|(status, _)| *status == PinStatus::Named);
        self.write_expiry("api_pin", named.map(|(_, not_after)| *not_after));
        self.write("refresh_failures_in_a_row", u64::from(entry.refresher.failures()));
        if let Some(age) = entry.refresher.age(now.mono) {
            self.write("trust_age_seconds", age.as_secs());
        }
    }

    /// How long until the first of these ends, of those that have not, and until the last one does.
    fn write_expiry(&self, trusted: &str, ends: impl Iterator<Item = UnixSeconds>) {
        let left = |end: UnixSeconds| u64::try_from(end.saturating_sub(self.wall)).unwrap_or(0);
        let ends: Vec<u64> = ends.map(left).collect();
        let Some(last) = ends.iter().max() else { return };
        let first = ends.iter().filter(|left| **left > 0).min().unwrap_or(&0);
        self.write(&format!("seconds_to_first_expiry.{trusted}"), *first);
        self.write(&format!("seconds_to_last_expiry.{trusted}"), *last);
    }

    fn write(&self, name: &str, value: u64) {
        host::gauge(&format!("genesys_mtls.{}.{name}.{}", self.policy, self.region.id), value);
    }
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}
