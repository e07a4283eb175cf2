//! One revocation list as one worker sees it: fetched by whoever holds its lease, looked up by all.

use super::{
    crl::{CertificateList, CrlError, significant},
    table::{self, BUCKETS, Table},
};
use crate::{
    authority::Authority,
    certificate::ClientCertificate,
    config::{ListSource, Policy},
    fingerprint::Fingerprint,
    refresh::{
        Failure, HttpCall, HttpResponse, Lease, Now, Party, Replica, Seal, Secret, Store, backoff, period,
    },
    trust::Mono,
    window::{Clock, UnixSeconds},
};
use serde::{Deserialize, Serialize};
use std::{cell::Cell, time::Duration};

/// Least time between two fetches because shared data was damaged.
const REPAIR: Duration = Duration::from_secs(30);

/// What is known of a certificate's revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A current list covers it and does not name it.
    Good,
    Revoked,
    /// No current list covers it.
    Unknown,
}

/// Something an operator may want to know of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListEvent {
    Fetched { entries: usize, changed: bool, recovered: bool },
    Failed { failure: Failure, failures: u32, next_in: Duration, new: bool },
}

/// One list.
#[derive(Debug)]
pub struct RevocationList {
    pub source: ListSource,
    settings: Settings,
    key: String,
    lease: Lease,
    buckets: Seal,
    state: Replica<State>,
    /// An answer has to be here by then; a callback may get lost.
    pending: Option<Mono>,
    /// A bucket was found damaged: the list has to be fetched again.
    damaged: Cell<bool>,
    /// Grows whenever a verdict might turn.
    pub changes: u64,
}

#[derive(Debug)]
struct Settings {
    interval: Duration,
    timeout: Duration,
    jitter: u32,
    retry: (Duration, Duration),
    max_size: usize,
    skew: UnixSeconds,
}

/// What all workers know of the list. Its serial numbers are in buckets of their own.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    list: Option<Known>,
    /// When it was last fetched with success (monotonic, milliseconds).
    fetched: Option<u64>,
    failures: u32,
    failing: Option<String>,
    next: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    /// SHA-256 of the list, to tell whether an answer is news.
    digest: String,
    /// SHA-256 of the CA that signed it.
    signer: String,
    this_update: UnixSeconds,
    next_update: UnixSeconds,
    /// CRL number, big-endian.
    number: Vec<u8>,
    distribution_points: Vec<String>,
    entries: usize,
    /// The buckets belong to this version or a later one.
    generation: u64,
}

impl RevocationList {
    pub fn new(policy: &Policy, source: &ListSource, secret: Option<&Secret>, worker: u64) -> Option<Self> {
        let named =
            [source.region.as_str(), source.authority.code(), &source.url, &source.cluster].join("\0");
        let digest: String = Fingerprint::of(named.as_bytes()).to_string().chars().take(16).collect();
        let key = format!("genesys_mtls/{}/crl/{digest}", policy.name);
        let lease_key = format!("{key}/lease");
        let settings = Settings {
            interval: policy.revocation.interval,
            timeout: policy.revocation.timeout,
            jitter: policy.refresh.jitter.0,
            retry: (policy.refresh.retry.base.0, policy.refresh.retry.max.0),
            max_size: policy.revocation.max_size,
            skew: policy.clock_skew,
        };
        Some(Self {
            source: source.clone(),
            settings,
            lease: Lease::new(lease_key.clone(), worker, Seal::new(secret, &lease_key)?),
            buckets: Seal::new(secret, &format!("{key}/bucket"))?,
            state: Replica::new(&key, secret)?,
            key,
            pending: None,
            damaged: Cell::new(false),
            changes: 0,
        })
    }

    /// The largest answer worth handing over, in bytes.
    pub fn max_size(&self) -> usize {
        self.settings.max_size
    }

    pub fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// Reads what another worker wrote.
    pub fn learn(&mut self, store: &mut impl Store, now: Mono) {
        if self.state.learn(store, &mut self.lease, now) {
            self.changes = self.changes.wrapping_add(1);
        }
    }

    /// To be called at every tick.
    pub fn tick(&mut self, store: &mut impl Store, now: Now) -> (Option<HttpCall>, Option<ListEvent>) {
        self.learn(store, now.mono);
        if let Some(deadline) = self.pending {
            self.lease.keep(store, now.mono);
            if now.mono <= deadline {
                return (None, None);
            }
            let lost = Failure::new("no_answer", "Envoy reported no outcome of the call in time");
            return (None, Some(self.fail(lost, store, now)));
        }
        self.repair(store, now.mono);
        if now.mono < Duration::from_millis(self.state.value.next) {
            self.lease.keep(store, now.mono);
            return (None, None);
        }
        if !self.lease.take(store, now.mono) {
            return (None, None);
        }
        // The last holder may have fetched it just before its lease ended.
        self.learn(store, now.mono);
        if now.mono < Duration::from_millis(self.state.value.next) {
            return (None, None);
        }
        self.pending = Some(now.mono + self.settings.timeout + Duration::from_secs(5));
        let headers = vec![
            (":method", "GET".to_owned()),
            (":path", self.source.path.clone()),
            (":authority", self.source.host.clone()),
            ("accept", "application/pkix-crl, */*".to_owned()),
        ];
        (Some(HttpCall { cluster: self.source.cluster.clone(), headers, body: b"" }), None)
    }

    /// The answer to the call, or why it could not be made.
    pub fn answered(
        &mut self,
        response: Result<HttpResponse, Failure>,
        authorities: &[Authority],
        store: &mut impl Store,
        now: Now,
    ) -> Option<ListEvent> {
        self.pending.take()?;
        let result = response.and_then(|response| self.take_list(&response, authorities, store, now));
        Some(match result {
            Ok(event) => event,
            Err(failure) => self.fail(failure, store, now),
        })
    }

    /// Verifies a list and puts it where all workers look.
    fn take_list(
        &mut self,
        response: &HttpResponse,
        authorities: &[Authority],
        store: &mut impl Store,
        now: Now,
    ) -> Result<ListEvent, Failure> {
        if response.status != 200 {
            return Err(response.unexpected(Party::Crl));
        }
        let body = response
            .body_within(self.settings.max_size)
            .map_err(|detail| Failure::new("crl_too_large", format!("{detail}: see revocation.max_size")))?;
        let refused =
            |error: &CrlError| Failure::new(error.code(), format!("the revocation list is refused: {error}"));
        let list = CertificateList::verify(body, authorities, now.wall, self.settings.skew)
            .map_err(|e| refused(&e))?;
        let digest = Fingerprint::of(body).to_string();
        let changed = self.state.value.list.as_ref().is_none_or(|known| known.digest != digest);
        if changed {
            self.check_order(&list)?;
            let table = Table::collect(list.serials()).map_err(|error| refused(&error))?;
            let generation = u64::try_from(now.mono.as_millis()).unwrap_or(u64::MAX);
            for bucket in 0..BUCKETS {
                let content =
                    [&generation.to_le_bytes()[..], &[bucket_byte(bucket)], &table.bucket(bucket)].concat();
                store.set(&self.bucket_key(bucket), &self.buckets.seal(&content), None);
            }
            let signer = authorities.get(list.signer).map(|authority| authority.fingerprint.to_string());
            self.state.value.list = Some(Known {
                digest,
                signer: signer.unwrap_or_default(),
                this_update: list.this_update,
                next_update: list.next_update,
                number: list.number,
                distribution_points: list.distribution_points,
                entries: table.entries(),
                generation,
            });
        }
        let recovered = self.state.value.failures > 0;
        let next_in = period(self.settings.interval, self.settings.jitter, now.roll);
        let state = &mut self.state.value;
        (state.failures, state.failing, state.fetched) = (0, None, Some(millis(now.mono)));
        state.next = millis(now.mono + next_in);
        self.state.write(store, now.mono);
        self.changes = self.changes.wrapping_add(u64::from(changed));
        let entries = self.state.value.list.as_ref().map_or(0, |known| known.entries);
        Ok(ListEvent::Fetched { entries, changed, recovered })
    }

    /// A list must not be older than the one at hand: whoever serves an old one may want somebody's revocation undone.
    fn check_order(&self, list: &CertificateList<'_>) -> Result<(), Failure> {
        let Some(known) = &self.state.value.list else { return Ok(()) };
        let number = |number: &[u8]| (number.len(), number.to_vec());
        if number(&list.number) < number(&known.number) || list.this_update < known.this_update {
            return Err(Failure::new(
                "crl_rollback",
                "the revocation list is older than the one at hand (lower CRL number or thisUpdate), which stays in use",
            ));
        }
        Ok(())
    }

    fn fail(&mut self, failure: Failure, store: &mut impl Store, now: Now) -> ListEvent {
        self.pending = None;
        let state = &mut self.state.value;
        state.failures = state.failures.saturating_add(1);
        let new = state.failing.as_deref() != Some(failure.code);
        state.failing = Some(failure.code.to_owned());
        let Settings { interval, jitter, retry, .. } = self.settings;
        let next_in = backoff(state.failures, retry, jitter, now.roll, failure.retry_after, interval);
        state.next = millis(now.mono + next_in);
        let failures = state.failures;
        self.state.write(store, now.mono);
        ListEvent::Failed { failure, failures, next_in, new }
    }

    /// What this list says of a certificate that `signer` issued; nothing if it is not about such certificates.
    pub fn standing(
        &self,
        signer: &Authority,
        certificate: &ClientCertificate,
        store: &impl Store,
        clock: &mut Clock,
    ) -> Option<Standing> {
        let known = self.state.value.list.as_ref()?;
        let points = &known.distribution_points;
        let covered = points.is_empty() || points.iter().any(|point| certificate.crl_urls.contains(point));
        if known.signer != signer.fingerprint.to_string() || !covered {
            return None;
        }
        let bucket = table::bucket_for(&certificate.serial);
        let sealed = store.get(&self.bucket_key(bucket)).0.unwrap_or_default();
        let Some(entries) = self.open_bucket(bucket, &sealed, known.generation) else {
            self.damaged.set(true);
            return Some(Standing::Unknown);
        };
        // Whoever was revoked stays so when the list has run out; nobody is cleared by such a list.
        if table::contains(entries, significant(&certificate.serial)) {
            return Some(Standing::Revoked);
        }
        let current = !clock.is_after(known.next_update.saturating_add(self.settings.skew));
        Some(if current { Standing::Good } else { Standing::Unknown })
    }

    /// The hashes in a stored bucket, if it is what was written for this version of the list or a later one.
    fn open_bucket<'s>(&self, bucket: usize, sealed: &'s [u8], generation: u64) -> Option<&'s [u8]> {
        let (written, content) = self.buckets.open(sealed)?.split_first_chunk::<8>()?;
        let (number, entries) = content.split_first()?;
        (u64::from_le_bytes(*written) >= generation && *number == bucket_byte(bucket)).then_some(entries)
    }

    /// Forgets a list whose buckets somebody damaged, so that it is fetched again; at most once in [`REPAIR`].
    fn repair(&mut self, store: &mut impl Store, now: Mono) {
        let recent = |at: u64| now < Duration::from_millis(at) + REPAIR;
        if self.damaged.take()
            && !self.state.value.fetched.is_some_and(recent)
            && self.lease.take(store, now)
            && let Some(known) = &mut self.state.value.list
        {
            known.digest.clear();
            self.state.value.next = 0;
        }
    }

    pub fn leave(&mut self, store: &mut impl Store, now: Mono) {
        self.lease.release(store, now);
    }

    pub fn is_leader(&self, now: Mono) -> bool {
        self.lease.is_held(now)
    }

    /// Age since the last good fetch, seconds until nextUpdate (zero once past), and entries.
    pub fn gauges(&self, now: Now) -> Option<(Duration, u64, usize)> {
        let known = self.state.value.list.as_ref()?;
        let fetched = Duration::from_millis(self.state.value.fetched?);
        let left = u64::try_from(known.next_update.saturating_sub(now.wall)).unwrap_or(0);
        Some((now.mono.saturating_sub(fetched), left, known.entries))
    }

    fn bucket_key(&self, bucket: usize) -> String {
        format!("{}/{bucket:02x}", self.key)
    }
}

fn bucket_byte(bucket: usize) -> u8 {
    u8::try_from(bucket).unwrap_or(u8::MAX)
}

fn millis(at: Mono) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}
