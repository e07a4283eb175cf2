//! What workers share of fetching from one URL: facts only. Each worker computes by its own settings when it is due.

use crate::{
    http::FailureCode,
    shared::CALLBACK,
    time::{Monotonic, Now},
    x509::crl::CrlMetadata,
};
use serde::{Deserialize, Serialize};

/// Instants are milliseconds of the monotonic clock.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FetchRecord {
    last_attempt: u64,
    /// In a row.
    pub failures: u32,
    pub failure: Option<FailureCode>,
    /// Spreads the next fetch, in `0.0..=1.0`.
    pub random: f64,
    accepted: Vec<Accepted>,
}

/// The last CRL of one CA that was fetched and accepted: no older one is to replace it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Accepted {
    metadata: CrlMetadata,
    fetched: u64,
}

impl FetchRecord {
    /// Bounds what a worker read, since without a seal any module may have written it: no fetch was later than now.
    pub fn bound(&mut self, now: Monotonic) {
        let latest = (now + CALLBACK).millis();
        for instant in self.accepted.iter_mut().map(|crl| &mut crl.fetched).chain([&mut self.last_attempt]) {
            *instant = latest.min(*instant);
        }
        if !(0.0..=1.0).contains(&self.random) {
            self.random = 0.5;
        }
    }

    /// What the CA's last accepted CRL said of itself.
    pub fn floor(&self, ca: &str) -> Option<&CrlMetadata> {
        self.of(ca).map(|crl| &crl.metadata)
    }

    /// When a CRL of the CA was last fetched.
    pub fn fetched(&self, ca: &str) -> Option<Monotonic> {
        self.of(ca).map(|crl| Monotonic::from_millis(crl.fetched))
    }

    pub fn last_attempt(&self) -> Monotonic {
        Monotonic::from_millis(self.last_attempt)
    }

    pub fn succeed(&mut self, metadata: &CrlMetadata, now: Now) {
        self.accepted.retain(|crl| crl.metadata.signer != metadata.signer);
        self.accepted.push(Accepted { metadata: metadata.clone(), fetched: now.mono.millis() });
        (self.failures, self.failure) = (0, None);
        (self.last_attempt, self.random) = (now.mono.millis(), now.random);
    }

    pub fn fail(&mut self, failure: FailureCode, now: Now) {
        self.failures = self.failures.saturating_add(1);
        self.failure = Some(failure);
        (self.last_attempt, self.random) = (now.mono.millis(), now.random);
    }

    fn of(&self, ca: &str) -> Option<&Accepted> {
        self.accepted.iter().find(|crl| crl.metadata.signer == ca)
    }
}
