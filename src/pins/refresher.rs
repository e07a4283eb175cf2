//! One region's refresh as one worker sees it: driven by ticks and answers, it says what to call and what changed.

use crate::{
    decision::trust::ApiTrust,
    policy::{DigicertPolicy, NameRule, Policy, Refresh, Source, names::RegionNames},
    time::{Monotonic, Now},
    x509::signature::SignatureVerifier,
};
use crate::{
    http::{Failure, FailureCode, HttpCall, HttpResponse},
    pins::{
        fetch::{Client, Fetch, FetchResult, Progress, Upstreams},
        oauth::Token,
        pin_news::Pins,
        record::Record,
        schedule, select as pins,
        select::{Criteria, Selection, Skipped},
        wanted::Wanted,
    },
    shared::{CALLBACK, FORM, Lease, Seal, SealedRecord, Secret, SharedStore, short},
};
use std::time::Duration;

/// Something an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A refresh succeeded; `recovered` from failures, or `changed` what is pinned.
    Refreshed { named: usize, kept: usize, changed: bool, recovered: bool },
    /// A refresh failed; `new` if not for the same reason as the one before.
    Failed { failure: Failure, failures: u32, next_in: Duration, new: bool },
    /// Entities of an answer that did not become pins, if others than in the last answer.
    Skipped { codes: Vec<&'static str> },
}

/// One region's source.
#[derive(Debug)]
pub struct Refresher {
    source: Source,
    settings: Refresh,
    names: NameRule,
    region_names: RegionNames,
    client: Client,
    /// What an answer comes to, and when the next is due, depends on these: a digest of them.
    under: String,
    /// Where a worker notes that it wants an early refresh.
    wanted: String,
    lease: Lease,
    record: SealedRecord<Record>,
    token: Option<Token>,
    pending: Option<Pending>,
    /// When this worker last asked for an early refresh.
    asked: Option<Monotonic>,
    skipped: Vec<Skipped>,
    /// When `trust` changes by itself.
    changes_at: Option<Monotonic>,
    /// Grows whenever `trust` may answer differently.
    pub changes: u64,
}

#[derive(Debug)]
struct Pending {
    fetch: Fetch,
    began: Monotonic,
    /// An answer to the last call has to be here by then; a callback may get lost.
    deadline: Monotonic,
}

impl Refresher {
    /// `secret` stands for the OAuth client, or nothing where Envoy authenticates; `worker` is a random id.
    pub fn new(
        policy: &Policy,
        source: &Source,
        client: Option<(String, Secret)>,
        worker: u64,
    ) -> Option<Self> {
        let client_id = client.as_ref().map_or("", |(id, _)| id.as_str());
        let secret = client.as_ref().map(|(_, secret)| secret);
        let key = format!("genesys_mtls/{}/{}", policy.name, source_digest(source, client_id, secret)?);
        let issuers = policy.regions.iter().find(|region| region.id == source.region);
        let issuers = issuers.and_then(|region| region.digicert.as_ref()).map_or(&[][..], |of| &of.issuers);
        let mut under = format!("{:?} {:?} {:?}", policy.refresh, policy.names, policy.region_names);
        for issuer in issuers {
            under.push_str(&issuer.ca.to_string());
        }
        let under = short(&under);
        // A lease is kept for as long as its holder lives. During a reload workers of both configurations do: were it one for
        // both, the old one would go on asking as it sees fit.
        let turns = format!("{key}/turns/{under}");
        let lease_key = format!("{turns}/lease");
        let lease = Lease::new(lease_key.clone(), worker, secret)?;
        let record = SealedRecord::new(format!("{key}/record"), secret)?;
        Some(Self {
            source: source.clone(),
            settings: policy.refresh.clone(),
            names: policy.names,
            region_names: policy.region_names.clone(),
            client: client.map_or(Client::Injected, |(id, secret)| Client::Own { id, secret }),
            under,
            wanted: format!("{turns}/wanted"),
            lease,
            record,
            token: None,
            pending: None,
            asked: None,
            skipped: Vec::new(),
            changes_at: None,
            changes: 0,
        })
    }

    /// To be called at every tick: learns what other workers wrote, and begins a refresh when it is due and this
    /// worker's turn.
    pub fn tick(
        &mut self,
        verifier: &dyn SignatureVerifier,
        store: &mut dyn SharedStore,
        now: Now,
    ) -> (Option<HttpCall>, Vec<Event>) {
        self.learn(store, now);
        if let Some(pending) = &self.pending {
            if now.mono <= pending.deadline {
                return (None, Vec::new());
            }
            let lost = Failure::new(FailureCode::NoAnswer, "Envoy reported no outcome of the call in time");
            return (None, self.finish(Err(lost), None, verifier, store, now));
        }
        if !self.is_due(store, now) {
            return (None, Vec::new());
        }
        if !self.lease.take(store, now.mono, self.settings.timeout + Duration::from_secs(5)) {
            return (None, Vec::new());
        }
        // The last holder may have refreshed just before its lease ended.
        self.learn(store, now);
        if !self.is_due(store, now) {
            return (None, Vec::new());
        }
        // One that is due anyway answers the question as well, and leaves the early one for later.
        if now.mono < self.next_attempt() {
            self.record.value.early_begins(now.mono);
            self.record.write(store, now.mono);
        }
        let parties =
            Upstreams { source: &self.source, client: &self.client, timeout: self.settings.timeout };
        let (fetch, call) = Fetch::begin(parties, &mut self.token, now.mono);
        self.pending = Some(Pending { fetch, began: now.mono, deadline: self.deadline(now) });
        (Some(call), Vec::new())
    }

    /// The answer to the last call, or why it could not be made.
    pub fn answered(
        &mut self,
        response: &Result<HttpResponse, Failure>,
        issuers: &DigicertPolicy,
        verifier: &dyn SignatureVerifier,
        store: &mut dyn SharedStore,
        now: Now,
    ) -> (Option<HttpCall>, Vec<Event>) {
        let deadline = self.deadline(now);
        let Some(pending) = &mut self.pending else { return (None, Vec::new()) };
        let parties =
            Upstreams { source: &self.source, client: &self.client, timeout: self.settings.timeout };
        match response {
            Err(failure) => (None, self.finish(Err(failure.clone()), None, verifier, store, now)),
            Ok(response) => match pending.fetch.on_response(response, parties, &mut self.token, now) {
                Progress::Call(call) => {
                    pending.deadline = deadline;
                    (Some(call), Vec::new())
                }
                Progress::Done(harvest) => {
                    (None, self.finish(Ok(harvest), Some(issuers), verifier, store, now))
                }
            },
        }
    }

    /// A certificate turned up that a refresh might explain: asks for one, in whatever worker it is to happen.
    pub fn ask_early(&mut self, store: &mut dyn SharedStore, now: Monotonic) {
        if self.early_is_allowed(now) && self.asked.is_none_or(|at| now > at + Duration::from_millis(200)) {
            self.asked = Some(now);
            let wanted = Wanted { at: now, known: self.record.value.last_success() };
            store.set(&self.wanted, &wanted.to_bytes(), None);
        }
    }

    /// Whether waiting until `deadline` is likely to bring news: a refresh is under way, due by then, or may be asked for
    /// by then.
    pub fn expects_news(&self, deadline: Monotonic, now: Monotonic) -> bool {
        // One that takes longer than requests are held is not waited for any more.
        let hold = self.settings.on_unknown_certificate.hold;
        let done = |at: Monotonic| self.record.value.last_success().is_some_and(|ended| ended >= at);
        let under_way = |at: Option<Monotonic>| at.is_some_and(|at| now <= at + hold && !done(at));
        self.pending.is_some()
            || under_way(self.asked)
            || under_way(self.record.value.last_early())
            || self.early_is_allowed(deadline)
            || self.next_attempt() <= deadline
    }

    /// What the decision may rely on now.
    pub fn trust(&self, now: Monotonic) -> ApiTrust {
        let Refresh { keep_removed, max_staleness, .. } = &self.settings;
        self.record.value.trust(*keep_removed, *max_staleness, &self.under, now)
    }

    /// Ends this worker's part, so that another may take over at once.
    pub fn leave(&mut self, store: &mut dyn SharedStore, now: Monotonic) {
        self.lease.release(store, now);
    }

    pub fn region(&self) -> &str {
        &self.source.region
    }

    /// The API's pins, and how each stands.
    pub fn pins(&self, now: Monotonic) -> Pins {
        self.record.value.pins(self.settings.keep_removed, self.settings.max_staleness, now)
    }

    /// Age of the last successful refresh.
    pub fn age(&self, now: Monotonic) -> Option<Duration> {
        self.record.value.last_success().map(|at| now.since(at))
    }

    pub fn failures(&self) -> u32 {
        self.record.value.failures
    }

    /// Whether this worker is the one that asks.
    pub fn is_leader(&self, now: Monotonic) -> bool {
        self.lease.is_held(now)
    }

    /// Whether nothing was ever delivered, so that quick ticks are worth their cost.
    pub fn is_starting(&self) -> bool {
        self.record.value.last_success().is_none() && self.record.value.failures == 0
    }

    fn deadline(&self, now: Now) -> Monotonic {
        now.mono + self.settings.timeout + Duration::from_secs(5)
    }

    /// Settles a refresh, successful or not, and writes down what comes of it.
    fn finish(
        &mut self,
        harvest: Result<FetchResult, Failure>,
        digicert: Option<&DigicertPolicy>,
        verifier: &dyn SignatureVerifier,
        store: &mut dyn SharedStore,
        now: Now,
    ) -> Vec<Event> {
        let Some(pending) = self.pending.take() else { return Vec::new() };
        self.lease.release(store, now.mono);
        // A worker that stalled has lost its lease, and perhaps its turn to one that asked later and knows better.
        self.learn(store, now);
        if self.record.value.is_under(&self.under) && self.record.value.began() > Some(pending.began) {
            return Vec::new();
        }
        let known = self.record.value.fingerprints();
        let criteria = Criteria {
            region: &self.source.region,
            region_names: &self.region_names,
            names: self.names,
            issuers: digicert.map_or(&[], |digicert| &digicert.issuers),
            known: &known,
            verifier,
            now: now.wall,
        };
        let (selection, failure) = match harvest {
            Err(failure) => (Selection::default(), Some(failure)),
            Ok(harvest) => {
                let halves = [&harvest.current, &harvest.upcoming];
                let selection = pins::select(halves.into_iter().flatten().flatten().flatten(), criteria);
                let flood = selection.flood();
                let nothing = (!selection.is_usable).then(|| nothing_usable(&selection));
                let selection = if flood.is_some() { Selection::default() } else { selection };
                (selection, flood.or(harvest.current.err()).or(harvest.upcoming.err()).or(nothing))
            }
        };
        let mut events = Vec::new();
        // An answer that is missing, or half missing, says nothing about what the API holds.
        let whole = failure.as_ref().is_none_or(|failure| failure.code == FailureCode::NoUsableCertificate);
        if whole && self.skipped != selection.skipped {
            self.skipped.clone_from(&selection.skipped);
            events
                .push(Event::Skipped { codes: self.skipped.iter().map(|skipped| skipped.code()).collect() });
        }
        let before = self.trust(now.mono).pins;
        let (interval, jitter) = (self.settings.interval, self.settings.jitter);
        match failure {
            None => {
                let recovered = self.record.value.failures > 0;
                let next_in = match self.record.value.last_success() {
                    None => schedule::first_period(interval, now.random),
                    Some(_) => schedule::period(interval, jitter, now.random),
                };
                let keep_removed = self.settings.keep_removed;
                let times = (pending.began, now.mono);
                self.record.value.succeed(&selection, times, keep_removed, next_in, &self.under);
                let (named, kept) = self.record.value.count();
                let changed = self.trust(now.mono).pins != before;
                events.push(Event::Refreshed { named, kept, changed, recovered });
            }
            Some(failure) => {
                let retry = (self.settings.retry.base, self.settings.retry.max);
                let failures = self.record.value.failures.saturating_add(1);
                let next_in =
                    schedule::backoff(failures, retry, jitter, now.random, failure.retry_after, interval);
                let new = self.record.value.failing != Some(failure.code);
                self.record.value.fail(&selection, &failure, now.mono, next_in);
                events.push(Event::Failed { failure, failures, next_in, new });
            }
        }
        self.record.write(store, now.mono);
        self.changed(now);
        events
    }

    /// Reads what another worker wrote. True if it was news.
    pub fn learn(&mut self, store: &mut dyn SharedStore, now: Now) -> bool {
        if self.changes_at.is_some_and(|at| at <= now.mono) {
            self.changed(now);
        }
        let is_news = self.record.sync(store, now.mono);
        if is_news {
            self.record.value.keep_within(now.mono + self.longest_wait(), now.mono + CALLBACK);
            self.changed(now);
        }
        is_news
    }

    fn changed(&mut self, now: Now) {
        let (keep, stale) = (self.settings.keep_removed, self.settings.max_staleness);
        self.changes_at = self.record.value.changes_at(keep, stale, now.mono);
        self.changes = self.changes.wrapping_add(1);
    }

    fn is_due(&self, store: &dyn SharedStore, now: Now) -> bool {
        self.next_attempt() <= now.mono || self.early_is_due(store, now)
    }

    fn longest_wait(&self) -> Duration {
        let Refresh { interval, retry, jitter, .. } = &self.settings;
        schedule::longest(*interval, retry.max, *jitter)
    }

    /// When the next refresh is due. The interval of this configuration counts, whichever one wrote the record; so does its
    /// longest wait after a failure, from when this worker read of it.
    fn next_attempt(&self) -> Monotonic {
        let longest = schedule::period(self.settings.interval, self.settings.jitter, 1.0);
        match self.record.value.last_success() {
            Some(at) if self.record.value.failures == 0 => self.record.value.next_attempt().min(at + longest),
            _ => self.record.value.next_attempt(),
        }
    }

    /// Whether a worker asked for an early refresh that knew the last one, and none has begun since.
    fn early_is_due(&self, store: &dyn SharedStore, now: Now) -> bool {
        if !self.early_is_allowed(now.mono) {
            return false;
        }
        let wanted = store.get(&self.wanted).0.as_deref().and_then(Wanted::from_bytes);
        let Some(Wanted { at, known }) = wanted else { return false };
        let fresh = at <= now.mono && now.mono <= at + self.settings.on_unknown_certificate.min_interval;
        fresh
            && known == self.record.value.last_success()
            && self.record.value.last_early().is_none_or(|early| at > early)
    }

    fn early_is_allowed(&self, now: Monotonic) -> bool {
        let pause = self.settings.on_unknown_certificate.min_interval;
        self.record.value.last_early().is_none_or(|at| now >= at + pause)
            && now >= self.record.value.quiet_until()
    }
}

fn nothing_usable(selection: &Selection) -> Failure {
    let mut codes: Vec<&str> = selection.skipped.iter().map(|skipped| skipped.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    let found = if codes.is_empty() { "it names no certificate".to_owned() } else { codes.join(", ") };
    Failure::new(
        FailureCode::NoUsableCertificate,
        format!("the answer holds no DigiCert client certificate of this region ({found})"),
    )
}

/// Ties shared data to where it came from: another region, host, cluster or OAuth client is another source. So is
/// another secret of the same client, or old and new workers would go on replacing what the others cannot open.
fn source_digest(source: &Source, client_id: &str, secret: Option<&Secret>) -> Option<String> {
    let parts = [
        FORM,
        source.region.as_str(),
        &source.certificate_name,
        &source.api_host,
        &source.login_host,
        &source.api_cluster,
        &source.login_cluster,
        client_id,
    ];
    Some(Seal::new(secret, &parts.join("\0"))?.digest())
}
