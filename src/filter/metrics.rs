//! Counters are added up here and handed to Envoy on the tick: a request pays for no host call.

use crate::{
    decision::Reason,
    host,
    policy::{Authority, Policy, RevocationMode},
};

const REASONS: usize = Reason::ALL.len();

/// What was counted since the last tick.
pub struct Metrics {
    /// Per region, in the policy's order: let in by the Genesys CA, by DigiCert.
    allowed: Vec<[u64; 2]>,
    /// The same, of those that no revocation list covered.
    unchecked: Vec<[u64; 2]>,
    denied: [u64; REASONS],
    turned_away: [u64; REASONS],
    pub cache_hits: u64,
    pub held: u64,
    /// Whether Envoy knows the counters. They begin with zero: the first of anything has to be a rise.
    defined: bool,
}

impl Metrics {
    pub fn new(regions: usize) -> Self {
        Self {
            allowed: vec![[0; 2]; regions],
            unchecked: vec![[0; 2]; regions],
            denied: [0; REASONS],
            turned_away: [0; REASONS],
            cache_hits: 0,
            held: 0,
            defined: false,
        }
    }

    pub fn allow(&mut self, region: usize, authority: Authority, unchecked: bool) {
        let count = |of: &mut Vec<[u64; 2]>| {
            if let Some(count) = of.get_mut(region).and_then(|counts| counts.get_mut(authority as usize)) {
                *count += 1;
            }
        };
        count(&mut self.allowed);
        if unchecked {
            count(&mut self.unchecked);
        }
    }

    pub fn deny(&mut self, reason: Reason) {
        if let Some(count) = self.denied.get_mut(reason as usize) {
            *count += 1;
        }
    }

    /// A certificate that was let in before is refused.
    pub fn turn_away(&mut self, reason: Reason) {
        if let Some(count) = self.turned_away.get_mut(reason as usize) {
            *count += 1;
        }
    }

    pub fn flush(&mut self, policy: &Policy) {
        let all = !std::mem::replace(&mut self.defined, true);
        let hand_over = |count: &mut u64, name: &dyn Fn() -> String| {
            if all || *count > 0 {
                let name = format!("genesys_mtls.{}.{}", policy.name, name());
                host::count(&name, std::mem::take(count));
            }
        };
        for (region, counts) in policy.regions.iter().zip(&mut self.allowed) {
            for (authority, count) in Authority::ALL.into_iter().zip(counts) {
                hand_over(count, &|| format!("decisions.allow.{}.{}", authority.code(), region.id));
            }
        }
        if policy.revocation.mode != RevocationMode::Off {
            for (region, counts) in policy.regions.iter().zip(&mut self.unchecked) {
                for (authority, count) in Authority::ALL.into_iter().zip(counts) {
                    hand_over(count, &|| format!("crl_unchecked.{}.{}", authority.code(), region.id));
                }
            }
        }
        for (reason, count) in Reason::ALL.into_iter().zip(&mut self.denied) {
            hand_over(count, &|| format!("decisions.deny.{reason}"));
        }
        for (reason, count) in Reason::ALL.into_iter().zip(&mut self.turned_away) {
            hand_over(count, &|| format!("turned_away.{reason}"));
        }
        hand_over(&mut self.cache_hits, &|| "cache_hits".to_owned());
        hand_over(&mut self.held, &|| "held_requests".to_owned());
    }
}
