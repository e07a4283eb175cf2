//! What workers share of fetching from one URL: facts only. Each worker computes by its own settings when it is due.

use crate::{
    http::FailureCode,
    shared::CALLBACK,
    time::{Monotonic, Now},
    x509::crl::CrlMetadata,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Instants are milliseconds of the monotonic clock.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FetchRecord {
    pub last_attempt: u64,
    /// In a row, and the kind of the last one.
    pub failures: u32,
    pub failure: Option<FailureCode>,
    /// Spreads the next fetch, in `0.0..=1.0`.
    pub random: f64,
    /// Of each CA the last CRL that was fetched and accepted, and when: no older one may replace it.
    pub accepted: BTreeMap<String, (CrlMetadata, u64)>,
}

impl FetchRecord {
    /// Bounds what was read, since without a seal any module may have written it: no fetch was later than now.
    pub fn bound(&mut self, now: Monotonic) {
        let latest = (now + CALLBACK).millis();
        for (_, fetched) in self.accepted.values_mut() {
            *fetched = latest.min(*fetched);
        }
        self.last_attempt = latest.min(self.last_attempt);
        self.random = if (0.0..=1.0).contains(&self.random) { self.random } else { 0.5 };
    }

    /// Notes the end of an attempt.
    pub fn note(&mut self, result: Result<&CrlMetadata, FailureCode>, now: Now) {
        (self.last_attempt, self.random) = (now.mono.millis(), now.random);
        (self.failures, self.failure) = match result {
            Ok(_) => (0, None),
            Err(failure) => (self.failures.saturating_add(1), Some(failure)),
        };
        if let Ok(metadata) = result {
            self.accepted.insert(metadata.signer.clone(), (metadata.clone(), self.last_attempt));
        }
    }

    /// What the CA's last accepted CRL says of itself.
    pub fn floor(&self, ca: &str) -> Option<&CrlMetadata> {
        self.accepted.get(ca).map(|(metadata, _)| metadata)
    }

    /// When a CRL of the CA was last fetched.
    pub fn fetched(&self, ca: &str) -> Option<Monotonic> {
        self.accepted.get(ca).map(|(_, at)| Monotonic::from_millis(*at))
    }
}
