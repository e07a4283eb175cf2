//! The gate: who is at the door, what was decided on them before, what is decided now, and what Envoy is told.

use crate::filter::{
    caller, digest::Digest, log_lines::DenialLog, metrics::Metrics, sources::Sources, stream::refuse,
};
use crate::{
    decision::{
        Outcome, Reason, Verdict,
        cache::{Cached, Hit, VerdictCache},
        decide,
    },
    engine::identity,
    host,
    policy::{Authority, Mode, Policy},
    time::{Clock, Monotonic, Now, UnixSeconds, Window},
    x509::{certificate::ClientCertificate, fingerprint::Fingerprint},
};
use lru::LruCache;
use std::{
    cell::{Cell, RefCell},
    num::NonZeroUsize,
    rc::Rc,
    time::Duration,
};

/// Certificates of which it is remembered when they were first met, or that they were let in. Only those with an issuer's
/// verified signature or a pin are, so nobody can fill this up.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Hits of the cache after which the clock is read without a tick, should Envoy be told not to hand over ticks. More than
/// most workers see between two ticks.
const HITS_WITHOUT_TICK: u64 = 1024;

/// Between two looks at shared data and the clock.
const TICK: Duration = Duration::from_millis(250);
/// The same while something is awaited.
const QUICK_TICK: Duration = Duration::from_millis(50);

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It goes on, with whatever verdict is written on it.
    Open,
    /// It was answered.
    Answered,
    /// It waits for news from the certificates API.
    Held,
}

pub struct Gate {
    policy: Rc<Policy>,
    sources: Rc<RefCell<Sources>>,
    /// Name under which the verdict is written; the guard reads `wasm.<this>`.
    verdict_key: String,
    /// The wall clock as of the last tick, or zero: the warm path hardly ever reads a clock.
    wall: Cell<UnixSeconds>,
    trust_version: Cell<u64>,
    period: Cell<Duration>,
    state: RefCell<State>,
}

struct State {
    cache: VerdictCache<Digest, Admission, Reason>,
    held: Vec<Held>,
    metrics: Metrics,
    log: DenialLog,
    first_seen: LruCache<Fingerprint, Monotonic>,
    /// Certificates let in, by this worker: one of them that is refused is news.
    let_in: LruCache<Fingerprint, ()>,
}

impl State {
    fn new(regions: usize) -> Self {
        Self {
            cache: VerdictCache::default(),
            held: Vec::new(),
            metrics: Metrics::new(regions),
            log: DenialLog::default(),
            first_seen: LruCache::new(REMEMBERED),
            let_in: LruCache::new(REMEMBERED),
        }
    }
}

/// Everything an allowed request is given, made once per certificate.
struct Admission {
    region: usize,
    authority: Authority,
    /// No revocation list covers it.
    unchecked: bool,
    verdict: String,
    header: String,
}

/// A request that waits, and until when.
struct Held {
    context: u32,
    digest: Digest,
    certificate: Rc<ClientCertificate>,
    /// The region whose API is being asked.
    region: usize,
    /// What was known when it was last decided on. Its signature is not verified again before there is news.
    version: u64,
    deadline: Monotonic,
}

impl Gate {
    pub fn new(policy: Rc<Policy>, sources: Rc<RefCell<Sources>>) -> Self {
        let gate = Self {
            verdict_key: format!("genesys_mtls.{}", policy.name),
            sources,
            wall: Cell::new(0),
            trust_version: Cell::new(0),
            period: Cell::default(),
            state: RefCell::new(State::new(policy.regions.len())),
            policy,
        };
        gate.set_tick(QUICK_TICK);
        gate
    }

    /// Decides on the current request, from the cache if it can.
    pub fn check(&self, context: u32) -> Passage {
        let (digest, shown) = match caller::identify(&self.policy.peer) {
            Ok(caller) => caller,
            Err((reason, hint)) => return self.deny(reason, hint, None, None),
        };
        if let Some(passage) = self.decided_before(&digest) {
            return passage;
        }
        let now = host::now();
        self.wall.set(now.wall);
        let der = match shown.map_or_else(|| caller::certificate(&self.policy.peer, &digest), Ok) {
            Ok(der) => der,
            Err((reason, hint)) => return self.deny(reason, hint, Some(&digest), None),
        };
        match ClientCertificate::parse(&der) {
            Ok(certificate) => self.judge_new(context, digest, Rc::new(certificate), now),
            Err(error) => {
                let reason = Reason::from(&error);
                let always = Clock::at(now.wall).window();
                self.remember_denial(digest, reason, always);
                self.deny(reason, &error.to_string(), Some(&digest), None)
            }
        }
    }

    /// The warm path: one look-up, one write.
    fn decided_before(&self, digest: &Digest) -> Option<Passage> {
        let mut state = self.state.borrow_mut();
        // Each tick hands over what was counted.
        if state.metrics.cache_hits % HITS_WITHOUT_TICK == HITS_WITHOUT_TICK - 1 {
            drop(state);
            self.catch_up();
            state = self.state.borrow_mut();
        }
        let State { cache, metrics, .. } = &mut *state;
        let reason = match cache.get(digest, self.trust_version.get(), self.wall.get())? {
            Hit::Allowed(admission) => {
                metrics.allow(admission.region, admission.authority, admission.unchecked);
                metrics.cache_hits += 1;
                self.admit(admission);
                return Some(Passage::Open);
            }
            Hit::Denied(reason) => *reason,
        };
        metrics.cache_hits += 1;
        drop(state);
        Some(self.deny(reason, "decided before", Some(digest), None))
    }

    /// What verdicts need of a tick: what time it is, and what was learned or has lapsed since.
    #[cold]
    fn catch_up(&self) {
        let now = host::now();
        self.wall.set(now.wall);
        self.sources.borrow_mut().catch_up(now);
        self.follow_trust(now);
    }

    fn judge_new(
        &self,
        context: u32,
        digest: Digest,
        certificate: Rc<ClientCertificate>,
        now: Now,
    ) -> Passage {
        self.follow_trust(now);
        let mut verdict = self.judge(&certificate, now);
        // Another worker may have the answer already, if only since the last tick: also to a list that this certificate named first.
        let may_change = verdict.outcome.may_change_with_news() || self.sources.borrow().lists.has_wishes();
        if may_change && self.sources.borrow_mut().catch_up(now) {
            self.follow_trust(now);
            verdict = self.judge(&certificate, now);
        }
        if let Some(region) = verdict.worth_asking {
            let mut sources = self.sources.borrow_mut();
            sources.request_early(region, certificate.fingerprint, now);
            let settings = &self.policy.refresh.on_unknown_certificate;
            let mut state = self.state.borrow_mut();
            let room = state.held.len() < settings.max_held;
            let deadline = now.mono + settings.hold;
            if room && !settings.hold.is_zero() && sources.expects_news(region, deadline, now) {
                let version = sources.trust.version;
                state.held.push(Held { context, digest, certificate, region, version, deadline });
                state.metrics.held += 1;
                self.set_tick(QUICK_TICK);
                return Passage::Held;
            }
        }
        self.carry_out(digest, &certificate, &verdict)
    }

    /// Decides on a certificate, and remembers when one that waits for the API was first met.
    fn judge(&self, certificate: &ClientCertificate, now: Now) -> Verdict {
        let mut state = self.state.borrow_mut();
        let met = state.first_seen.peek(&certificate.fingerprint).copied().unwrap_or(now.mono);
        let sources = self.sources.borrow();
        let verdict =
            decide(certificate, &self.policy, &sources.trust, &sources.lists, host::VERIFIER, now.wall, met);
        drop(sources);
        if let Some((region, authority)) = verdict.missing_crl {
            self.sources.borrow_mut().lists.follow(region, authority, certificate);
        }
        if verdict.worth_asking.is_some() {
            state.first_seen.put(certificate.fingerprint, met);
        }
        verdict
    }

    /// Keeps a verdict for later requests and applies it to the current one.
    fn carry_out(&self, digest: Digest, certificate: &ClientCertificate, verdict: &Verdict) -> Passage {
        match verdict.outcome {
            Outcome::Allow { region, authority } => {
                let id = self.policy.regions.get(region).map_or("", |region| region.id.as_str());
                let admission = Admission {
                    region,
                    authority,
                    unchecked: verdict.unchecked,
                    verdict: format!("allow;{id};{}", authority.code()),
                    header: identity::header_value(id, authority, certificate),
                };
                self.admit(&admission);
                self.sources.borrow_mut().let_in(region, certificate);
                let mut state = self.state.borrow_mut();
                state.metrics.allow(region, authority, verdict.unchecked);
                state.let_in.put(certificate.fingerprint, ());
                let cached = Cached { value: admission, window: verdict.window };
                state.cache.allow(digest, self.trust_version.get(), cached);
                Passage::Open
            }
            Outcome::Deny(reason) => {
                self.remember_denial(digest, reason, verdict.remembered(self.wall.get()));
                let mut detail = verdict.detail.clone();
                if self.turns_away(certificate, reason) {
                    detail.push_str("; it was let in before");
                }
                self.deny(reason, &detail, Some(&digest), Some(certificate))
            }
        }
    }

    /// Whether this worker had let a certificate in that it now refuses. Counted once for each time that it turns.
    fn turns_away(&self, certificate: &ClientCertificate, reason: Reason) -> bool {
        let mut state = self.state.borrow_mut();
        let turned = state.let_in.pop(&certificate.fingerprint).is_some();
        if turned {
            state.metrics.turn_away(reason);
        }
        turned
    }

    fn remember_denial(&self, digest: Digest, reason: Reason, window: Window) {
        // With a trusted hop the digest is of the header's certificate, so this holds for every source.
        let cached = Cached { value: reason, window };
        self.state.borrow_mut().cache.deny(digest, self.trust_version.get(), cached);
    }

    fn admit(&self, admission: &Admission) {
        // If the write fails the request goes on without a verdict, and the guard refuses it.
        host::set_filter_state(&self.verdict_key, &admission.verdict);
        if let Some(header) = &self.policy.identity_header {
            host::replace_request_header(header, &admission.header);
        }
    }

    /// Writes, counts and logs a denial, and answers with it unless the policy only watches.
    fn deny(
        &self,
        reason: Reason,
        detail: &str,
        digest: Option<&Digest>,
        certificate: Option<&ClientCertificate>,
    ) -> Passage {
        host::set_filter_state(&self.verdict_key, &format!("deny;{reason}"));
        if let Some(header) = &self.policy.identity_header {
            host::remove_request_header(header);
        }
        let mut state = self.state.borrow_mut();
        state.metrics.deny(reason);
        state.log.denied(&self.policy, reason, detail, digest, certificate, host::monotonic());
        drop(state);
        if self.policy.mode == Mode::Enforce && refuse(reason) { Passage::Answered } else { Passage::Open }
    }

    /// Hands over what was counted: on the tick, and when this configuration ends.
    pub fn flush(&self) {
        self.state.borrow_mut().metrics.flush(&self.policy);
    }

    /// Once per tick and after each answer: flushes counters, and looks again at the requests that wait.
    pub fn tick(&self, now: Now) {
        self.wall.set(now.wall);
        self.follow_trust(now);
        self.flush();
        let waiting: Vec<u32> = self.state.borrow().held.iter().map(|held| held.context).collect();
        for context in waiting {
            self.look_again(context, now);
        }
        let awaiting = !self.state.borrow().held.is_empty() || self.sources.borrow().is_starting();
        self.set_tick(if awaiting { QUICK_TICK } else { TICK });
    }

    fn look_again(&self, context: u32, now: Now) {
        let held = {
            let mut state = self.state.borrow_mut();
            let Some(at) = state.held.iter().position(|held| held.context == context) else { return };
            state.held.swap_remove(at)
        };
        // No borrow may be alive meanwhile: an answer can end the stream, which calls `forget`.
        if let Some(held) = self.release(held, now) {
            self.state.borrow_mut().held.push(held);
        }
    }

    /// Lets a held request go, or returns it if it is to wait on.
    fn release(&self, mut held: Held, now: Now) -> Option<Held> {
        let (may_wait, version) = {
            let sources = self.sources.borrow();
            let may_wait = now.mono < held.deadline && sources.expects_news(held.region, held.deadline, now);
            (may_wait, sources.trust.version)
        };
        if may_wait && held.version == version {
            // A refresh that was under way when it was first asked for may have come too early.
            self.sources.borrow_mut().request_early(held.region, held.certificate.fingerprint, now);
            return Some(held);
        }
        held.version = version;
        if !host::enter_request(held.context) {
            return None;
        }
        let passage = if let Some(passage) = self.decided_before(&held.digest) {
            passage
        } else {
            let verdict = self.judge(&held.certificate, now);
            if may_wait && verdict.worth_asking.is_some() {
                return Some(held);
            }
            self.carry_out(held.digest, &held.certificate, &verdict)
        };
        if passage == Passage::Open {
            host::resume_request();
        }
        None
    }

    /// A held request ended by itself.
    pub fn forget(&self, context: u32) {
        if let Ok(mut state) = self.state.try_borrow_mut() {
            state.held.retain(|held| held.context != context);
        }
    }

    /// Ticks are quick while something is awaited: requests that are held, or the first answer ever.
    fn set_tick(&self, period: Duration) {
        if self.period.replace(period) != period {
            host::set_tick(period);
        }
    }

    fn follow_trust(&self, now: Now) {
        let mut sources = self.sources.borrow_mut();
        sources.open(now);
        self.trust_version.set(sources.trust.version);
    }
}
