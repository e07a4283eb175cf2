//! One region's refresh as one worker sees it: ticks and responses in, calls and events out.

use crate::{
    decision::trust::ApiTrust,
    http::{Failure, FailureCode, HttpCall, HttpResponse},
    pins::{
        early::EarlyRefreshRequest,
        fetch::{Client, Fetch, FetchResult, Progress, Upstreams},
        forecast::{Forecast, Reader},
        news::{PinStatus, Pins},
        oauth::Token,
        record::{Conclusions, Record},
        select::{Selection, Skipped},
    },
    policy::{Policy, RegionPolicy, Source},
    schedule,
    shared::{CALLBACK, FORM, Lease, Seal, SealedRecord, SharedStore},
    time::{Monotonic, Now},
    x509::{fingerprint::Fingerprint, signature::SignatureVerifier},
};
use std::{rc::Rc, time::Duration};

/// How much later a worker without a token refreshes, if another has one.
const TOKEN_FIRST: Duration = Duration::from_secs(2);

/// Something that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A refresh succeeded; `recovered` from failures, or `changed` what is pinned.
    Refreshed { named: usize, kept: usize, changed: bool, recovered: bool },
    /// A refresh failed; `new` if not for the same reason as the one before.
    Failed { failure: Failure, failures: u32, next_in: Duration, new: bool },
    /// Entities of a complete answer that are not used, and paths of what cannot be read, if they differ from the last ones.
    Skipped { reasons: Vec<Skipped>, unreadable: Vec<String> },
}

/// What follows from a tick or a response.
#[derive(Debug, Default)]
pub struct Step {
    pub call: Option<HttpCall>,
    pub events: Vec<Event>,
}

/// One region's certificates API.
#[derive(Debug)]
pub struct Refresher {
    policy: Rc<Policy>,
    source: Source,
    client: Client,
    lease: Lease,
    pub(super) record: SealedRecord<Record>,
    early: SealedRecord<EarlyRefreshRequest>,
    pub(super) token: Option<Token>,
    fetch: Option<Fetch>,
    conclusions: Conclusions,
    /// Of what the API names; `None` before it was looked at.
    forecasts: Option<Vec<Forecast>>,
    skipped: Event,
    /// Since when this worker knows of a question that no answer has settled.
    open_since: Option<Monotonic>,
    /// When this worker last began an early refresh: without a secret, the shared instant may be forged.
    early_began: Option<Monotonic>,
    version: u64,
}

impl Refresher {
    /// `worker` is a random id. `None` if the region has no API to ask, or the secret cannot be a key.
    pub fn new(policy: Rc<Policy>, region: &RegionPolicy, client: Client, worker: u64) -> Option<Self> {
        let source = region.source.clone()?;
        let (client_id, secret) = match &client {
            Client::Own { id, secret } => (id.as_str(), Some(secret)),
            Client::Injected => ("", None),
        };
        // Workers that cannot open each other's data must not replace it.
        let Source { region: id, certificate_name, api_host, login_host, api_cluster, login_cluster, .. } =
            &source;
        let context =
            [FORM, id, certificate_name, api_host, login_host, api_cluster, login_cluster, client_id];
        let digest = Seal::new(secret, &context.join("\0"))?.digest();
        let key = |name: &str| format!("genesys_mtls/{}/{digest}/{name}", policy.name);
        Some(Self {
            lease: Lease::new(key("lease"), worker, secret)?,
            record: SealedRecord::new(key("record"), secret)?,
            early: SealedRecord::new(key("early"), secret)?,
            policy,
            source,
            client,
            token: None,
            fetch: None,
            conclusions: Conclusions::default(),
            forecasts: None,
            skipped: Event::Skipped { reasons: Vec::new(), unreadable: Vec::new() },
            open_since: None,
            early_began: None,
            version: 0,
        })
    }

    /// Reads what other workers wrote. True if [`Self::trust`] has changed.
    pub fn sync(&mut self, store: &mut dyn SharedStore, now: Now) -> bool {
        let latest = now.mono + CALLBACK;
        if self.early.sync(store, now.mono) {
            self.early.value.bound(latest);
        }
        if self.record.sync(store, now.mono) {
            self.record.value.bound(latest);
            return self.conclude(now.mono);
        }
        self.conclusions.changes_at.is_some_and(|at| at <= now.mono) && self.conclude(now.mono)
    }

    /// To be called at every tick: begins a refresh when it is due and no other worker has begun it.
    pub fn tick(&mut self, verifier: &dyn SignatureVerifier, store: &mut dyn SharedStore, now: Now) -> Step {
        self.sync(store, now);
        if self.fetch.is_some() && self.lease.is_held(now.mono) {
            return Step::default();
        }
        if let Some(mut fetch) = self.fetch.take() {
            let lost = Failure::new(FailureCode::NoAnswer, "Envoy reported no outcome of the call in time");
            let began = fetch.began;
            return self.finish(fetch.fail(lost), began, verifier, store, now);
        }
        if !self.is_due(verifier, now) || !self.take_lease(store, now) {
            return Step::default();
        }
        // The last holder may have refreshed right before.
        self.sync(store, now);
        if !self.is_due(verifier, now) {
            self.lease.release(store, now.mono);
            return Step::default();
        }
        let is_early = self.due_at(now.mono) > now.mono;
        // The record first: a worker that reads in between must see a refresh that is under way.
        self.record.value.attempted = Some(now.mono);
        self.record.write(store, now.mono);
        if is_early {
            self.early_began = Some(now.mono);
            self.early.value.begin(now.mono);
            self.early.write(store, now.mono);
        }
        let (upstreams, token) = self.upstreams();
        let (fetch, call) = Fetch::begin(upstreams, token, now.mono);
        self.fetch = Some(fetch);
        Step { call: Some(call), events: Vec::new() }
    }

    /// The response to the last call, or why it could not be made.
    pub fn on_response(
        &mut self,
        response: Result<HttpResponse, Failure>,
        verifier: &dyn SignatureVerifier,
        store: &mut dyn SharedStore,
        now: Now,
    ) -> Step {
        let Some(mut fetch) = self.fetch.take() else { return Step::default() };
        let began = fetch.began;
        let (upstreams, token) = self.upstreams();
        let progress = match response {
            Ok(response) => fetch.on_response(&response, upstreams, token, now),
            Err(failure) => Progress::Done(fetch.fail(failure)),
        };
        match progress {
            // Another worker has begun anew if this one stalled for longer than its lease.
            Progress::Call(_) if !self.take_lease(store, now) => Step::default(),
            Progress::Call(call) => {
                self.fetch = Some(fetch);
                Step { call: Some(call), events: Vec::new() }
            }
            Progress::Done(result) => self.finish(result, began, verifier, store, now),
        }
    }

    /// A certificate lacks only its pin: asks for an early refresh, in any worker. The fingerprint's signature is verified.
    pub fn request_early(&mut self, fingerprint: Fingerprint, store: &mut dyn SharedStore, now: Now) {
        // What was answered meanwhile may settle it: the caller has to decide again.
        if !self.sync(store, now) && self.early.value.ask(fingerprint, &self.policy.refresh, now.mono) {
            self.early.write(store, now.mono);
        }
    }

    /// Whether waiting until `deadline` is likely to bring news.
    pub fn expects_news(&self, deadline: Monotonic, now: Monotonic) -> bool {
        let is_regular = match self.record.value.unfinished() {
            // One that takes longer than requests are held is not waited for.
            Some(began) => now <= began + self.policy.refresh.on_unknown_certificate.hold,
            None => self.next(now) <= deadline,
        };
        is_regular || self.fetch.is_some() || self.early_at(now) <= deadline
    }

    /// When the API may be asked next, for a certificate that lacks only its pin.
    pub fn next(&self, now: Monotonic) -> Monotonic {
        self.due_at(now).min(self.early_at(now))
    }

    /// What the decision may rely on, as of the last sync, tick or response.
    pub fn trust(&self) -> &ApiTrust {
        &self.conclusions.trust
    }

    /// Grows whenever [`Self::trust`] has changed.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Ends this worker's part, so that another can go on at once.
    pub fn leave(&mut self, store: &mut dyn SharedStore, now: Monotonic) {
        self.lease.release(store, now);
    }

    /// The API's pins with their status.
    pub fn pins(&self) -> &Pins {
        &self.conclusions.pins
    }

    /// Age of the last successful refresh.
    pub fn age(&self, now: Monotonic) -> Option<Duration> {
        self.conclusions.success.map(|at| now.since(at))
    }

    /// In a row, by this worker's settings.
    pub fn failures(&self) -> u32 {
        let Record { complete, failures, failing, .. } = &self.record.value;
        let usable = self.forecasts.as_ref().map(|forecasts| forecasts.iter().any(Forecast::is_pin));
        match failing {
            None | Some(FailureCode::NoUsableCertificate) if usable == Some(true) => 0,
            None if complete.is_some() && usable == Some(false) => 1,
            _ => *failures,
        }
    }

    /// Whether the API has said what it names.
    pub fn has_answer(&self) -> bool {
        self.record.value.complete.is_some()
    }

    /// Whether no attempt has ended yet.
    pub fn is_starting(&self) -> bool {
        self.record.value.ended().is_none()
    }

    fn take_lease(&mut self, store: &mut dyn SharedStore, now: Now) -> bool {
        self.lease.take(store, now.mono, self.policy.refresh.timeout + CALLBACK)
    }

    fn upstreams(&mut self) -> (Upstreams<'_>, &mut Option<Token>) {
        let Self { source, client, token, policy, .. } = self;
        (Upstreams { source, client, timeout: policy.refresh.timeout }, token)
    }

    fn reader<'a>(&'a self, verifier: &'a dyn SignatureVerifier, now: Now) -> Reader<'a> {
        Reader { policy: &self.policy, region: &self.source.region, verifier, now: now.wall }
    }

    /// Settles a refresh and shares what comes of it.
    fn finish(
        &mut self,
        result: FetchResult,
        began: Monotonic,
        verifier: &dyn SignatureVerifier,
        store: &mut dyn SharedStore,
        now: Now,
    ) -> Step {
        self.sync(store, now);
        // A worker that stalled has missed what another one was answered later.
        if self.record.value.complete.is_some_and(|complete| complete.began > began) {
            self.lease.release(store, now.mono);
            return Step::default();
        }
        let mut answer = Selection::of(result, self.reader(verifier, now));
        let mut events = Vec::new();
        let (reasons, unreadable) =
            (std::mem::take(&mut answer.skipped), std::mem::take(&mut answer.unreadable));
        let skipped = Event::Skipped { reasons, unreadable };
        if answer.is_complete && self.skipped != skipped {
            self.skipped = skipped.clone();
            events.push(skipped);
        }
        let (recovered, failing) = (self.failures() > 0, self.record.value.failing);
        let before: Vec<Fingerprint> = self.conclusions.pins.keys().copied().collect();
        let failure = answer.failure.take();
        let forecasts = answer.is_complete.then(|| std::mem::take(&mut answer.forecasts));
        let record = &mut self.record.value;
        record.note(answer, failure.as_ref(), began, now);
        record.token_until = record.token_until.max(self.token.as_ref().map(|token| token.renew_at));
        self.record.write(store, now.mono);
        self.lease.release(store, now.mono);
        self.conclude(now.mono);
        // A complete answer names all that the record does.
        self.forecasts = forecasts;
        self.judge(verifier, now);
        events.push(match failure {
            None => {
                let pins = &self.conclusions.pins;
                let count = |wanted| pins.values().filter(|(status, _)| *status == wanted).count();
                let (named, kept) = (count(PinStatus::Named), count(PinStatus::Kept));
                Event::Refreshed { named, kept, changed: !pins.keys().eq(&before), recovered }
            }
            Some(failure) => {
                let new = failing != Some(failure.code);
                let next_in = self.due_at(now.mono).since(now.mono);
                Event::Failed { failure, failures: self.record.value.failures, next_in, new }
            }
        });
        Step { call: None, events }
    }

    fn conclude(&mut self, now: Monotonic) -> bool {
        let conclusions = self.record.value.conclude(&self.source.region, &self.policy, now);
        let changed = conclusions.trust != self.conclusions.trust;
        self.version = self.version.wrapping_add(changed.into());
        self.conclusions = conclusions;
        self.forecasts = None;
        changed
    }

    /// Looks what will become of what the API names, by these settings.
    fn judge(&mut self, verifier: &dyn SignatureVerifier, now: Now) {
        if self.forecasts.is_none() {
            let Record { leaves, illegible, .. } = &self.record.value;
            let leaves = leaves.iter().filter(|leaf| leaf.absent_since.is_none() && !leaf.der.is_empty());
            let leaves = leaves
                .map(|leaf| (Some((leaf.fingerprint, leaf.der.as_slice())), leaf.authority, leaf.status));
            let illegible = illegible.iter().map(|(authority, status)| (None, *authority, *status));
            self.forecasts = Some(self.reader(verifier, now).forecasts(leaves.chain(illegible)));
        }
    }

    /// What will become of the certificates that the API names.
    pub fn forecasts(&mut self, verifier: &dyn SignatureVerifier, now: Now) -> &[Forecast] {
        self.judge(verifier, now);
        self.forecasts.as_deref().unwrap_or_default()
    }

    fn is_due(&mut self, verifier: &dyn SignatureVerifier, now: Now) -> bool {
        self.judge(verifier, now);
        let (now, answered) = (now.mono, self.record.value.complete.map(|complete| complete.ended));
        let is_open = self.early.value.is_open(answered, &self.policy.refresh, now);
        self.open_since = is_open.then(|| self.open_since.unwrap_or(now));
        let early = self.open_since.map(|since| since.max(self.early_at(now)));
        // A worker with a token goes first, as long as it is fresh.
        let other_has_token = self.record.value.token_until.is_some_and(|until| now < until);
        let wait = if other_has_token && !self.has_token(now) { TOKEN_FIRST } else { Duration::ZERO };
        early.into_iter().chain([self.due_at(now)]).any(|at| at + wait <= now)
    }

    fn has_token(&self, now: Monotonic) -> bool {
        self.token.as_ref().is_some_and(|token| token.is_fresh(now))
    }

    /// When this worker refreshes next.
    fn due_at(&self, now: Monotonic) -> Monotonic {
        let Record { complete, failing, retry_after, random, .. } = self.record.value;
        let settings = &self.policy.refresh;
        let (interval, jitter) = (settings.interval, settings.jitter);
        // A login host that fails stops no worker that has a token.
        let is_ignored = self.has_token(now) && failing.is_some_and(FailureCode::is_login);
        let failures = if is_ignored { 0 } else { self.failures() };
        match (self.record.value.unfinished(), self.record.value.ended()) {
            (Some(began), _) => began,
            (None, Some(ended)) if failures > 0 => {
                let retry_after = retry_after.map(|until| until.since(ended));
                let bounds = (settings.retry.base, settings.retry.max);
                ended + schedule::backoff(failures, bounds, jitter, random, retry_after, interval)
            }
            _ => complete.map_or(Monotonic::ZERO, |last| {
                let next = schedule::period(interval, jitter, random);
                last.ended + if last.is_first { schedule::first_period(interval, random) } else { next }
            }),
        }
    }

    /// When the next early refresh may begin.
    fn early_at(&self, now: Monotonic) -> Monotonic {
        let settings = &self.policy.refresh;
        let own = self.early_began.map(|at| at + settings.on_unknown_certificate.min_interval);
        // A server that asked to be left alone is.
        let quiet = self.record.value.retry_after.map(|_| self.due_at(now));
        self.early.value.next(settings).max(own.max(quiet).unwrap_or_default())
    }
}
