//! The revocation lists of one URL as one worker sees them: fetched by whoever holds the lease, looked up by all.

use crate::{
    crl::{
        latest::{Latest, refused},
        shelf::Known,
        table,
    },
    x509::crl::{CertificateList, CrlError},
};
use crate::{
    http::{Failure, FailureCode, HttpCall, HttpResponse, Upstream},
    pins::{backoff, longest, period},
    policy::{ListSource, Policy},
    shared::{FORM, Lease, Seal, SealedRecord, Secret, SharedStore, short},
    time::{Clock, Monotonic, Now, UnixSeconds},
    x509::{ca::CaCertificate, certificate::ClientCertificate},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Least time between two fetches because shared data was damaged.
const REPAIR: Duration = Duration::from_secs(30);

/// What is known of a certificate's revocation. In this order: of what several lists say, the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RevocationStatus {
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

/// What is fetched from one URL: the latest list of each CA that may sign one.
#[derive(Debug)]
pub struct RevocationList {
    pub source: ListSource,
    /// Tells it from the policy's other lists, in metrics and log lines.
    pub id: String,
    settings: Settings,
    authorities: Vec<CaCertificate>,
    lists: Vec<Latest>,
    lease: Lease,
    turns: SealedRecord<Turns>,
    /// Where workers note that they found shared data damaged.
    damage: String,
    /// An answer has to be here by then; a callback may get lost.
    pending: Option<Monotonic>,
    /// When this worker last began a fetch.
    began: Option<Monotonic>,
    /// When this worker last fetched it because of such damage.
    repaired: Option<Monotonic>,
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

/// What workers tell each other of fetching it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Turns {
    failures: u32,
    failing: Option<FailureCode>,
    next: u64,
}

impl RevocationList {
    /// `authorities` may sign it.
    pub fn new(
        policy: &Policy,
        source: &ListSource,
        authorities: &[CaCertificate],
        secret: Option<&Secret>,
        worker: u64,
    ) -> Option<Self> {
        let named =
            [source.region.as_str(), source.authority.code(), &source.url, &source.cluster].join("\0");
        // Whoever has another secret or another form of data has other keys, or old and new workers would go on replacing what the
        // others cannot read.
        // Where each worker verifies for itself, those that take longer lists must not put them where others look.
        let size = if secret.is_some() { 0 } else { policy.revocation.max_size };
        let form = format!("{FORM}\0{}\0{size}", table::form());
        let sealed = Seal::new(secret, &[&named, "\0", &form].concat())?.digest();
        let key = format!("genesys_mtls/{}/crl/{sealed}", policy.name);
        let settings = Settings {
            interval: policy.revocation.interval,
            timeout: policy.revocation.timeout,
            jitter: policy.refresh.jitter,
            retry: (policy.refresh.retry.base, policy.refresh.retry.max),
            max_size: policy.revocation.max_size,
            skew: policy.clock_skew,
        };
        let cas = signing_cas(authorities);
        // Workers with other CAs or settings fetch by themselves, as during a reload: a lease is kept for as long as its holder
        // lives, which may fetch less often, or be able to do nothing with a new CA's list.
        let turns_key = format!("{key}/turns/{}", short(&format!("{settings:?}{}", cas.concat())));
        let lease_key = format!("{turns_key}/lease");
        let list = |ca| Latest::new(&key, ca, &source.url, secret, settings.skew);
        Some(Self {
            source: source.clone(),
            id: short(&named),
            lists: cas.into_iter().map(list).collect::<Option<_>>()?,
            authorities: authorities.to_vec(),
            settings,
            lease: Lease::new(lease_key.clone(), worker, secret)?,
            turns: SealedRecord::new(format!("{turns_key}/record"), secret)?,
            damage: format!("{key}/damaged"),
            pending: None,
            began: None,
            repaired: None,
            rewrite: false,
            changes: 0,
        })
    }

    /// Reads what other workers wrote.
    pub fn learn(&mut self, store: &mut dyn SharedStore, now: Now) {
        let Settings { interval, jitter, retry: (_, max), max_size, .. } = self.settings;
        for list in &mut self.lists {
            let is_news = list.learn(&self.authorities, max_size, store, now);
            self.changes = self.changes.wrapping_add(is_news.into());
        }
        if self.turns.sync(store, now.mono) {
            // Whoever wrote it may have had a longer interval, or may want that nobody fetches any more.
            let latest = (now.mono + longest(interval, max, jitter)).millis();
            let turns = &mut self.turns.value;
            turns.next = turns.next.min(latest);
        }
    }

    /// To be called at every tick.
    pub fn tick(&mut self, store: &mut dyn SharedStore, now: Now) -> (Option<HttpCall>, Option<ListEvent>) {
        self.learn(store, now);
        if self.lists.iter().fold(false, |damaged, list| list.take_damage() | damaged) {
            store.set(&self.damage, &now.mono.millis().to_le_bytes(), None);
        }
        if let Some(deadline) = self.pending {
            if now.mono <= deadline {
                return (None, None);
            }
            let lost = Failure::new(FailureCode::NoAnswer, "Envoy reported no outcome of the call in time");
            return (None, Some(self.fail(lost, store, now)));
        }
        if !self.is_due(store, now.mono) {
            return (None, None);
        }
        if !self.lease.take(store, now.mono, self.settings.timeout + Duration::from_secs(5)) {
            return (None, None);
        }
        // The last holder may have fetched it just before its lease ended.
        self.learn(store, now);
        if !self.is_due(store, now.mono) {
            return (None, None);
        }
        if self.is_damaged(store, now.mono) {
            (self.repaired, self.rewrite) = (Some(now.mono), true);
            // What this worker knows need not wait for an answer.
            for list in &mut self.lists {
                list.share(store, now.mono);
            }
        }
        self.began = Some(now.mono);
        self.pending = Some(now.mono + self.settings.timeout + Duration::from_secs(5));
        let headers = vec![
            (":method", "GET".to_owned()),
            (":path", self.source.path.clone()),
            (":authority", self.source.host.clone()),
            ("accept", "application/pkix-crl, */*".to_owned()),
        ];
        (
            Some(HttpCall {
                cluster: self.source.cluster.clone(),
                headers,
                body: b"",
                timeout: self.settings.timeout,
                max_body: self.settings.max_size,
            }),
            None,
        )
    }

    /// Whatever others write of turns, this worker leaves the host alone for as long as after a first failure.
    fn is_due(&self, store: &dyn SharedStore, now: Monotonic) -> bool {
        let (pause, _) = self.settings.retry;
        let is_rested = self.began.is_none_or(|at| now >= at + pause / 2);
        is_rested && (self.next_fetch() <= now || self.is_damaged(store, now))
    }

    /// When the next fetch is due: at once after a success that left no list here, as one that another module has taken away.
    fn next_fetch(&self) -> Monotonic {
        let Turns { failures, next, .. } = self.turns.value;
        if failures == 0 && self.known().next().is_none() {
            Monotonic::ZERO
        } else {
            Monotonic::from_millis(next)
        }
    }

    fn known(&self) -> impl Iterator<Item = &Known> {
        self.lists.iter().filter_map(Latest::known)
    }

    /// Whether a worker reported damage that was not repaired since. At most one fetch in [`REPAIR`] follows from it in each
    /// worker that gets the lease, whoever reports.
    fn is_damaged(&self, store: &dyn SharedStore, now: Monotonic) -> bool {
        let told = self.damage_told(store).filter(|told| *told <= now);
        told.is_some_and(|told| self.repaired.is_none_or(|at| told > at && now >= at + REPAIR))
    }

    fn damage_told(&self, store: &dyn SharedStore) -> Option<Monotonic> {
        let told = store.get(&self.damage).0?.try_into().ok()?;
        Some(Monotonic::from_millis(u64::from_le_bytes(told)))
    }

    /// The answer to the call, or why it could not be made.
    pub fn answered(
        &mut self,
        response: Result<HttpResponse, Failure>,
        store: &mut dyn SharedStore,
        now: Now,
    ) -> Option<ListEvent> {
        self.pending.take()?;
        self.lease.release(store, now.mono);
        // A worker that stalled has lost its lease, and perhaps its turn to one that has a newer list.
        self.learn(store, now);
        let result = response.and_then(|response| self.take_list(&response, store, now));
        Some(match result {
            Ok(event) => event,
            Err(failure) => self.fail(failure, store, now),
        })
    }

    /// Verifies a list and puts it where all workers look.
    fn take_list(
        &mut self,
        response: &HttpResponse,
        store: &mut dyn SharedStore,
        now: Now,
    ) -> Result<ListEvent, Failure> {
        if response.status != 200 {
            return Err(response.unexpected(Upstream::Crl, now.wall));
        }
        let body = response.body_within(self.settings.max_size).map_err(|detail| {
            Failure::new(FailureCode::CrlTooLarge, format!("{detail}: see revocation.max_size"))
        })?;
        let list = CertificateList::verify(body, &self.authorities, now.wall, self.settings.skew)
            .map_err(|error| refused(&error))?;
        let of_its_ca = self.lists.iter_mut().find(|known| known.is_of(&list.terms));
        let of_its_ca =
            of_its_ca.ok_or_else(|| refused(&CrlError::OtherIssuer(list.terms.signer.clone())))?;
        let changed = of_its_ca.take(&list, self.rewrite, store, now)?;
        let entries = of_its_ca.known().map_or(0, |known| known.entries);
        self.changes = self.changes.wrapping_add((changed || self.rewrite).into());
        // Until then the next holder of the lease has to repair it, should this one fail.
        if self.rewrite && self.damage_told(store) <= self.repaired {
            store.set(&self.damage, b"-", None);
        }
        self.rewrite = false;
        let next_in = period(self.settings.interval, self.settings.jitter, now.random);
        let turns = &mut self.turns.value;
        let recovered = turns.failures > 0;
        (turns.failures, turns.failing, turns.next) = (0, None, (now.mono + next_in).millis());
        self.turns.write(store, now.mono);
        Ok(ListEvent::Fetched { entries, changed, recovered })
    }

    fn fail(&mut self, failure: Failure, store: &mut dyn SharedStore, now: Now) -> ListEvent {
        self.pending = None;
        self.lease.release(store, now.mono);
        let turns = &mut self.turns.value;
        turns.failures = turns.failures.saturating_add(1);
        let new = turns.failing != Some(failure.code);
        turns.failing = Some(failure.code);
        let Settings { interval, jitter, retry, .. } = self.settings;
        // A `Retry-After` is as unsigned as the rest of it: whoever was on the way once would keep lists away for an interval.
        let next_in = backoff(turns.failures, retry, jitter, now.random, None, interval);
        turns.next = (now.mono + next_in).millis();
        let failures = turns.failures;
        self.turns.write(store, now.mono);
        ListEvent::Failed { failure, failures, next_in, new }
    }

    /// What is known here of a certificate that `signer` issued; nothing if no list here is about such certificates.
    pub fn standing(
        &self,
        signer: &CaCertificate,
        certificate: &ClientCertificate,
        store: &dyn SharedStore,
        clock: &mut Clock,
    ) -> Option<RevocationStatus> {
        self.lists.iter().filter_map(|list| list.standing(signer, certificate, store, clock)).max()
    }

    pub fn leave(&mut self, store: &mut dyn SharedStore, now: Monotonic) {
        self.lease.release(store, now);
    }

    pub fn is_leader(&self, now: Monotonic) -> bool {
        self.lease.is_held(now)
    }

    /// Age since the last good fetch, seconds until nextUpdate (zero once past), and entries. Of several lists here the oldest
    /// counts, the first to run out, and all entries.
    pub fn gauges(&self, now: Now) -> Option<(Duration, u64, usize)> {
        let next_update = self.known().map(|known| known.terms.next_update).min()?;
        let fetched = self.known().map(|known| known.fetched).min().map(Monotonic::from_millis)?;
        let left = u64::try_from(next_update.saturating_sub(now.wall)).unwrap_or(0);
        Some((now.mono.since(fetched), left, self.known().map(|known| known.entries).sum()))
    }
}

/// The CAs that may sign lists, in order. A CA may have several certificates.
fn signing_cas(authorities: &[CaCertificate]) -> Vec<String> {
    let mut cas: Vec<String> = Vec::new();
    for authority in authorities.iter().filter(|authority| authority.signs_lists) {
        let ca = authority.ca.to_string();
        if let Err(place) = cas.binary_search(&ca) {
            cas.insert(place, ca);
        }
    }
    cas
}
