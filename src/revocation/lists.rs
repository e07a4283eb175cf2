//! One revocation list as one worker sees it: fetched by whoever holds its lease, looked up by all.

use super::{
    crl::{CertificateList, CrlError, Terms},
    shelf::{Known, Shelf},
};
use crate::{
    authority::Authority,
    certificate::ClientCertificate,
    config::{ListSource, Policy},
    fingerprint::Fingerprint,
    refresh::{
        Failure, HttpCall, HttpResponse, Lease, Now, Party, Replica, Seal, Secret, Store, backoff, longest,
        period,
    },
    trust::Mono,
    window::{Clock, UnixSeconds},
};
use serde::{Deserialize, Serialize};
use std::{cell::Cell, time::Duration};

/// Least time between two fetches because shared data was damaged.
const REPAIR: Duration = Duration::from_secs(30);

/// What is known of a certificate's revocation. In this order: of what several lists say, the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// No current list covers it.
    Unknown,
    /// A current list covers it and does not name it.
    Good,
    /// A list covers it, and somebody damaged what is kept of that list.
    Unreadable,
    Revoked,
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
    /// Tells it from the policy's other lists, in metrics and log lines.
    pub id: String,
    settings: Settings,
    shelf: Shelf,
    lease: Lease,
    /// Whether workers share a secret, and can take each other's word.
    sealed: bool,
    state: Replica<State>,
    /// The list that this worker believes in: what the shared state names, once it is verified.
    list: Option<Known>,
    /// An answer has to be here by then; a callback may get lost.
    pending: Option<Mono>,
    /// What is shared was found damaged.
    damaged: Cell<bool>,
    /// When this worker last fetched it because of such damage.
    repaired: Option<Mono>,
    /// The next answer is written down even if it brings nothing new.
    rewrite: bool,
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

/// What workers tell each other of the list.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    list: Option<Known>,
    /// When it was last fetched with success (monotonic, milliseconds).
    fetched: Option<u64>,
    failures: u32,
    failing: Option<String>,
    next: u64,
}

impl RevocationList {
    pub fn new(policy: &Policy, source: &ListSource, secret: Option<&Secret>, worker: u64) -> Option<Self> {
        let named =
            [source.region.as_str(), source.authority.code(), &source.url, &source.cluster].join("\0");
        // Whoever has another secret has other keys, or old and new workers would go on replacing what the others cannot open.
        let sealed = Seal::new(secret, &named)?.digest();
        let key = format!("genesys_mtls/{}/crl/{sealed}", policy.name);
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
            id: Fingerprint::of(named.as_bytes()).to_string().chars().take(8).collect(),
            lease: Lease::new(lease_key.clone(), worker, Seal::new(secret, &lease_key)?),
            sealed: secret.is_some(),
            state: Replica::new(&key, secret)?,
            shelf: Shelf { key },
            list: None,
            pending: None,
            damaged: Cell::new(false),
            repaired: None,
            rewrite: false,
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

    /// Reads what another worker wrote. Without a secret that may have been anybody: then the CA's signature is what
    /// counts, and a list must not be older than the one that this worker knows.
    pub fn learn(&mut self, authorities: &[Authority], store: &mut impl Store, now: Now) {
        let Some(before) = self.state.learn(store, &mut self.lease, now.mono) else { return };
        // Whoever wrote it may have had a longer interval, or may want that nobody fetches any more.
        let Settings { interval, jitter, retry: (_, max), .. } = self.settings;
        let latest = millis(now.mono + longest(interval, max, jitter));
        self.state.value.next = self.state.value.next.min(latest);
        if self.state.value.list == self.list {
            return;
        }
        let believed = self.state.value.list.take().and_then(|claim| {
            if self.sealed {
                return Some(claim);
            }
            let known = self.shelf.verify(store, &claim, authorities, self.settings.max_size).ok()?;
            self.check_order(&known.terms, authorities, now.wall).is_ok().then_some(known)
        });
        if believed.is_some() {
            self.state.value.list.clone_from(&believed);
            self.list = believed;
            self.changes = self.changes.wrapping_add(1);
        } else {
            self.state.value = before;
            self.damaged.set(true);
        }
    }

    /// To be called at every tick.
    pub fn tick(
        &mut self,
        authorities: &[Authority],
        store: &mut impl Store,
        now: Now,
    ) -> (Option<HttpCall>, Option<ListEvent>) {
        self.learn(authorities, store, now);
        if self.damaged.take() {
            let at = u64::try_from(now.mono.as_nanos()).unwrap_or(u64::MAX);
            store.set(&self.damaged_key(), &at.to_le_bytes(), None);
        }
        if let Some(deadline) = self.pending {
            self.lease.keep(store, now.mono);
            if now.mono <= deadline {
                return (None, None);
            }
            let lost = Failure::new("no_answer", "Envoy reported no outcome of the call in time");
            return (None, Some(self.fail(lost, store, now)));
        }
        if !self.is_due(store, now.mono) {
            self.lease.keep(store, now.mono);
            return (None, None);
        }
        if !self.lease.take(store, now.mono) {
            return (None, None);
        }
        // The last holder may have fetched it just before its lease ended.
        self.learn(authorities, store, now);
        if !self.is_due(store, now.mono) {
            return (None, None);
        }
        if self.is_damaged(store, now.mono) {
            (self.repaired, self.rewrite) = (Some(now.mono), true);
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

    fn is_due(&self, store: &impl Store, now: Mono) -> bool {
        self.next_fetch() <= now || self.is_damaged(store, now)
    }

    /// When the next fetch is due. The interval of this configuration counts, whichever one set the time; so does its longest
    /// wait after a failure, from when this worker read of it.
    fn next_fetch(&self) -> Mono {
        let next = Duration::from_millis(self.state.value.next);
        let longest = period(self.settings.interval, self.settings.jitter, 1.0);
        match self.state.value.fetched {
            Some(at) if self.state.value.failures == 0 => next.min(Duration::from_millis(at) + longest),
            _ => next,
        }
    }

    /// Whether a worker reported damage that was not repaired since. At most one fetch in [`REPAIR`] follows from it,
    /// whoever reports.
    fn is_damaged(&self, store: &impl Store, now: Mono) -> bool {
        let told = store.get(&self.damaged_key()).0.and_then(|bytes| bytes.try_into().ok());
        let Some(told) = told.map(u64::from_le_bytes).map(Duration::from_nanos) else { return false };
        let fresh = told <= now && now <= told + REPAIR;
        fresh && self.repaired.is_none_or(|at| told > at && now >= at + REPAIR)
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
        // A worker that stalled has lost its lease, and perhaps its turn to one that has a newer list.
        self.learn(authorities, store, now);
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
        let changed = self.list.as_ref().is_none_or(|known| known.signed != list.signed);
        if changed {
            self.check_order(&list.terms, authorities, now.wall)?;
        }
        if changed || self.rewrite {
            let known = self.shelf.put(store, &list, self.list.as_ref(), self.sealed);
            self.list = Some(known.map_err(|error| refused(&error))?);
            self.rewrite = false;
            self.changes = self.changes.wrapping_add(1);
        }
        let recovered = self.state.value.failures > 0;
        let next_in = period(self.settings.interval, self.settings.jitter, now.roll);
        let state = &mut self.state.value;
        (state.failures, state.failing, state.fetched) = (0, None, Some(millis(now.mono)));
        state.next = millis(now.mono + next_in);
        self.write(store, now.mono);
        let entries = self.list.as_ref().map_or(0, |known| known.entries);
        Ok(ListEvent::Fetched { entries, changed, recovered })
    }

    /// A list must not be older than the one at hand, nor be about other certificates: whoever serves such a list may want
    /// somebody's revocation undone.
    fn check_order(&self, new: &Terms, authorities: &[Authority], now: UnixSeconds) -> Result<(), Failure> {
        let Some(known) = self.list.as_ref().map(|known| &known.terms) else { return Ok(()) };
        let older = || {
            Failure::new(
                "crl_rollback",
                "the revocation list is older than the one at hand (lower CRL number or thisUpdate), which stays in use",
            )
        };
        let of_one_ca = new.signer == known.signer;
        // One that came here by mistake or malice does not keep away the one that belongs here. Times and numbers tell the order of
        // lists of one scope only (RFC 5280, section 5.2.3), so they have no say in it.
        let belongs = new.distribution_points.contains(&self.source.url);
        if of_one_ca && belongs && !known.concern(&self.source.url) {
            return Ok(());
        }
        if of_one_ca && new.this_update < known.this_update {
            return Err(older());
        }
        if !authorities.iter().any(|authority| authority.ca.to_string() == known.signer) {
            return Ok(());
        }
        let has_run_out = now > known.next_update.saturating_add(self.settings.skew);
        let covers_all = new.distribution_points.is_empty()
            || !known.distribution_points.is_empty()
                && known.distribution_points.iter().all(|point| new.concern(point));
        if !of_one_ca || !covers_all {
            // Whoever is on a list that has run out stays revoked, but a CA that takes over, or begins to partition, has to come in.
            return if has_run_out && (!of_one_ca || belongs) {
                Ok(())
            } else {
                Err(Failure::new(
                    "crl_other_scope",
                    "the revocation list is another CA's, or about other distribution points, than the one at hand, \
                     which stays in use",
                ))
            };
        }
        // A CA that begins to number anew comes in once its last list has run out.
        let one_scope = new.distribution_points.is_empty() == known.distribution_points.is_empty()
            && new.distribution_points.iter().all(|point| known.concern(point));
        let number = |terms: &Terms| (terms.number.len(), terms.number.clone());
        if !has_run_out && one_scope && number(new) < number(known) { Err(older()) } else { Ok(()) }
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
        self.write(store, now.mono);
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
        let known = self.list.as_ref().filter(|known| known.terms.cover(signer, certificate))?;
        let Some(is_listed) = self.shelf.holds(store, known, &certificate.serial) else {
            self.damaged.set(true);
            return Some(Standing::Unreadable);
        };
        Some(known.terms.standing(is_listed, self.settings.skew, clock))
    }

    fn write(&mut self, store: &mut impl Store, now: Mono) {
        self.state.value.list.clone_from(&self.list);
        self.state.write(store, now);
    }

    pub fn leave(&mut self, store: &mut impl Store, now: Mono) {
        self.lease.release(store, now);
    }

    pub fn is_leader(&self, now: Mono) -> bool {
        self.lease.is_held(now)
    }

    /// Age since the last good fetch, seconds until nextUpdate (zero once past), and entries.
    pub fn gauges(&self, now: Now) -> Option<(Duration, u64, usize)> {
        let known = self.list.as_ref()?;
        let fetched = Duration::from_millis(self.state.value.fetched?);
        let left = u64::try_from(known.terms.next_update.saturating_sub(now.wall)).unwrap_or(0);
        Some((now.mono.saturating_sub(fetched), left, known.entries))
    }

    fn damaged_key(&self) -> String {
        format!("{}/damaged", self.shelf.key)
    }
}

fn millis(at: Mono) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}
