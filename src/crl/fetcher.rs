//! The CRLs of one URL as one worker sees them: fetched by the worker that holds the lease, verified and looked up by all.

use crate::{
    crl::{current::CurrentCrl, record::FetchRecord},
    http::{Failure, FailureCode, HttpCall, HttpResponse, Upstream},
    policy::{CrlSource, Policy, Refresh},
    schedule::{backoff, period},
    shared::{CALLBACK, FORM, Lease, Seal, SealedRecord, Secret, SharedStore, short},
    time::{Clock, Monotonic, Now},
    x509::{
        ca::CaCertificate,
        certificate::ClientCertificate,
        crl::{Crl, CrlError, CrlMetadata, RevocationStatus},
        fingerprint::Fingerprint,
        signature::SignatureVerifier,
    },
};
use std::{collections::BTreeSet, rc::Rc, time::Duration};

/// Something an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrlEvent {
    /// `recovered` from failures, or `changed`: another CRL than before.
    Fetched { entries: usize, changed: bool, recovered: bool },
    /// `new` if not for the same reason as the one before.
    Failed { failure: Failure, failures: u32, next_in: Duration, new: bool },
}

/// One URL: the current CRL of each CA that may sign one.
#[derive(Debug)]
pub struct CrlFetcher {
    policy: Rc<Policy>,
    pub source: CrlSource,
    /// Tells it from the policy's others, in metrics and log lines.
    pub id: String,
    crls: Vec<CurrentCrl>,
    lease: Lease,
    record: SealedRecord<FetchRecord>,
    /// Whether only workers with this source's secret can have written the record.
    is_sealed: bool,
    /// The response has to be here by then; a callback may get lost.
    pending: Option<Monotonic>,
    /// This worker begins no fetch before, even if the record says so.
    rests_until: Monotonic,
    /// This worker's failures in a row.
    failures: u32,
    version: u64,
}

impl CrlFetcher {
    /// `secret` seals the region's data; `worker` is a random id. `None` if the secret cannot be a key.
    pub fn new(policy: &Rc<Policy>, source: CrlSource, secret: Option<&Secret>, worker: u64) -> Option<Self> {
        let named =
            [source.region.as_str(), source.authority.code(), &source.url, &source.cluster].join("\0");
        // A worker with another secret cannot read the record, and must not replace it. The CRL each worker can verify.
        let record = Seal::new(secret, &[&named, "\0", FORM].concat())?.digest();
        let url = Fingerprint::of([&source.url, "\0", &source.cluster, "\0", FORM].concat().as_bytes());
        let prefix = format!("genesys_mtls/{}/crl", policy.name);
        // A CA may have several certificates.
        let signers = policy.cas(&source).iter().filter(|ca| ca.signs_crls);
        // Collecting them would bring a sort of 5 KB.
        let mut names = BTreeSet::new();
        names.extend(signers.map(|ca| ca.ca.to_string()));
        let current = |ca| CurrentCrl::new(policy.clone(), source.clone(), &format!("{prefix}/{url}"), ca);
        Some(Self {
            id: short(&named),
            crls: names.into_iter().map(current).collect(),
            lease: Lease::new(format!("{prefix}/{record}/lease"), worker, secret)?,
            record: SealedRecord::new(format!("{prefix}/{record}/record"), secret)?,
            is_sealed: secret.is_some(),
            pending: None,
            rests_until: Monotonic::ZERO,
            failures: 0,
            version: 0,
            policy: policy.clone(),
            source,
        })
    }

    /// Reads what other workers wrote; true if [`Self::status`] may answer differently.
    pub fn sync(&mut self, verifier: &dyn SignatureVerifier, store: &mut dyn SharedStore, now: Now) -> bool {
        if self.record.sync(store, now.mono) {
            self.record.value.bound(now.mono);
        }
        let before = self.version;
        for crl in &mut self.crls {
            let floor = self.record.value.floor(&crl.ca).filter(|_| self.is_sealed);
            self.version += u64::from(crl.sync(floor, verifier, store, now));
        }
        self.version != before
    }

    /// To be called at every tick: begins a fetch when one is due and no other worker is at it.
    pub fn tick(
        &mut self,
        verifier: &dyn SignatureVerifier,
        store: &mut dyn SharedStore,
        now: Now,
    ) -> (Option<HttpCall>, Option<CrlEvent>) {
        self.sync(verifier, store, now);
        if let Some(deadline) = self.pending {
            if now.mono <= deadline {
                return (None, None);
            }
            let lost = Failure::new(FailureCode::NoAnswer, "Envoy reported no outcome of the call in time");
            return (None, Some(self.fail(lost, store, now)));
        }
        let timeout = self.policy.revocation.timeout;
        let term = timeout + CALLBACK;
        if !self.is_due(now.mono) || !self.lease.take(store, now.mono, term) {
            return (None, None);
        }
        // The last holder may have fetched since the look above.
        self.sync(verifier, store, now);
        if !self.is_due(now.mono) {
            self.lease.release(store, now.mono);
            return (None, None);
        }
        self.rests_until = now.mono + self.policy.refresh.retry.base;
        self.pending = Some(now.mono + term);
        let headers = vec![
            (":method", "GET".to_owned()),
            (":path", self.source.path.clone()),
            (":authority", self.source.host.clone()),
            ("accept", "application/pkix-crl, */*".to_owned()),
        ];
        let (cluster, max_body) = (self.source.cluster.clone(), self.policy.revocation.max_size);
        (Some(HttpCall { cluster, headers, body: b"", timeout, max_body }), None)
    }

    /// The response to the call, or why it could not be made.
    pub fn on_response(
        &mut self,
        response: Result<HttpResponse, Failure>,
        verifier: &dyn SignatureVerifier,
        store: &mut dyn SharedStore,
        now: Now,
    ) -> Option<CrlEvent> {
        self.pending.take()?;
        // A worker that stalled has lost its lease, perhaps to one that fetched a newer CRL.
        self.sync(verifier, store, now);
        Some(match response.and_then(|response| self.accept(&response, verifier, store, now)) {
            Ok(event) => event,
            Err(failure) => self.fail(failure, store, now),
        })
    }

    /// Verifies a CRL and puts it where all workers look, changed or not: what was damaged there is whole again.
    fn accept(
        &mut self,
        response: &HttpResponse,
        verifier: &dyn SignatureVerifier,
        store: &mut dyn SharedStore,
        now: Now,
    ) -> Result<CrlEvent, Failure> {
        let policy = self.policy.clone();
        let body = response.ok_body(Upstream::Crl, policy.revocation.max_size, now.wall)?;
        let crl = Crl::verify(body, policy.cas(&self.source), verifier)?;
        let metadata = &crl.metadata;
        metadata.check_time(now.wall, policy.clock_skew)?;
        let mut crls = self.crls.iter_mut();
        let current = crls.find(|crl| crl.ca == metadata.signer).ok_or(CrlError::MayNotSign)?;
        let floor = self.record.value.floor(&current.ca).filter(|_| self.is_sealed);
        let changed = current.replace(&crl, floor, now.wall)?;
        current.publish(&crl, store);
        let entries = current.verified.as_ref().map_or(0, |(_, index)| index.entries());
        let recovered = self.record.value.failures > 0;
        self.version += u64::from(changed);
        self.failures = 0;
        self.finish(Ok(metadata), store, now);
        Ok(CrlEvent::Fetched { entries, changed, recovered })
    }

    fn fail(&mut self, failure: Failure, store: &mut dyn SharedStore, now: Now) -> CrlEvent {
        let new = self.record.value.failure != Some(failure.code);
        self.failures = self.failures.saturating_add(1);
        self.rests_until = now.mono + self.delay(self.failures, now.random);
        self.finish(Err(failure.code), store, now);
        let failures = self.record.value.failures;
        CrlEvent::Failed { failure, failures, next_in: self.delay(failures, now.random), new }
    }

    fn finish(&mut self, result: Result<&CrlMetadata, FailureCode>, store: &mut dyn SharedStore, now: Now) {
        self.pending = None;
        self.record.value.note(result, now);
        self.record.write(store, now.mono);
        self.lease.release(store, now.mono);
    }

    /// Without the response's `Retry-After`, which no signature covers: an attacker could keep CRLs away with it.
    fn delay(&self, failures: u32, random: f64) -> Duration {
        let Refresh { jitter, retry, .. } = self.policy.refresh;
        backoff(failures, (retry.base, retry.max), jitter, random, None, Duration::ZERO)
    }

    /// At once if this worker has no CRL though fetching did not fail, as when another module damaged what was fetched.
    fn is_due(&self, now: Monotonic) -> bool {
        let record = &self.record.value;
        let has_crl = self.crls.iter().any(|crl| crl.verified.is_some());
        let fetched = self.crls.iter().filter_map(|crl| record.fetched(&crl.ca)).max().filter(|_| has_crl);
        let next = if record.failures > 0 {
            Monotonic::from_millis(record.last_attempt) + self.delay(record.failures, record.random)
        } else {
            let interval = period(self.policy.revocation.interval, self.policy.refresh.jitter, record.random);
            fetched.map_or(Monotonic::ZERO, |at| at + interval)
        };
        now >= next.max(self.rests_until)
    }

    /// What is known here of a certificate that `signer` issued; nothing if no CRL here is about such certificates.
    pub fn status(
        &self,
        signer: &CaCertificate,
        certificate: &ClientCertificate,
        clock: &mut Clock,
    ) -> Option<RevocationStatus> {
        self.crls.iter().filter_map(|crl| crl.status(signer, certificate, clock)).max()
    }

    /// A distribution point of the CRLs here, if none of them is known to cover a certificate: neither the URL they come from is
    /// one of theirs, nor one that certificates were `seen` to name.
    pub fn uncovered(&self, seen: &BTreeSet<String>) -> Option<&str> {
        let mut point = None;
        for (metadata, _) in self.crls.iter().filter_map(|crl| crl.verified.as_ref()) {
            if metadata.concerns(&self.source.url) || seen.iter().any(|url| metadata.concerns(url)) {
                return None;
            }
            point = metadata.distribution_points.first().map(String::as_str);
        }
        point
    }

    /// Grows whenever [`Self::status`] may answer differently.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Ends this worker's part, so that another may fetch at once.
    pub fn leave(&mut self, store: &mut dyn SharedStore, now: Monotonic) {
        self.lease.release(store, now);
    }

    /// Age since the last good fetch, seconds until nextUpdate (zero once past), and entries. Of several CRLs here the oldest
    /// counts, the first to expire, and all entries.
    pub fn gauges(&self, now: Now) -> Option<(Duration, u64, usize)> {
        let seconds = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
        let known = || self.crls.iter().filter_map(|crl| crl.verified.as_ref());
        let age = known().map(|(metadata, _)| match self.record.value.fetched(&metadata.signer) {
            Some(at) => now.mono.since(at),
            // Fetched under another secret: at thisUpdate at the earliest.
            None => Duration::from_secs(seconds(now.wall.saturating_sub(metadata.this_update))),
        });
        let next_update = known().map(|(metadata, _)| metadata.next_update).min()?;
        let left = seconds(next_update.saturating_sub(now.wall));
        Some((age.max()?, left, known().map(|(_, index)| index.entries()).sum()))
    }
}
