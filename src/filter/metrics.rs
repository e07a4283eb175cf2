//! Counters are added up here and handed to Envoy on the tick: a request pays for no host call.

use crate::{
    config::Policy,
    decision::{AuthorityKind, Reason},
    host,
};
use std::collections::BTreeMap;

/// What was counted since the last tick.
#[derive(Default)]
pub struct Metrics {
    allowed: BTreeMap<(usize, &'static str), u64>,
    denied: BTreeMap<Reason, u64>,
    pub cache_hits: u64,
    pub held: u64,
}

impl Metrics {
    pub fn allow(&mut self, region: usize, authority: AuthorityKind) {
        *self.allowed.entry((region, authority.code())).or_default() += 1;
    }

    pub fn deny(&mut self, reason: Reason) {
        *self.denied.entry(reason).or_default() += 1;
    }

    pub fn flush(&mut self, policy: &Policy) {
        let prefix = format!("genesys_mtls.{}", policy.name);
        for ((region, authority), by) in std::mem::take(&mut self.allowed) {
            let region = policy.regions.get(region).map_or("", |region| region.id.as_str());
            host::count(&format!("{prefix}.decisions.allow.{authority}.{region}"), by);
        }
        for (reason, by) in std::mem::take(&mut self.denied) {
            host::count(&format!("{prefix}.decisions.deny.{reason}"), by);
        }
        host::count(&format!("{prefix}.cache_hits"), std::mem::take(&mut self.cache_hits));
        host::count(&format!("{prefix}.held_requests"), std::mem::take(&mut self.held));
    }
}
