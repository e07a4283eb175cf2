//! Requests: answered from the cache, decided, held for news, and released.

use crate::{
    decision::{
        Outcome, Reason, Verdict,
        cache::{Cached, Hit, VerdictCache},
        decide,
    },
    engine::{
        effect::{Action, Allowed, Effect},
        identity,
        io::Io,
        log::{Denial, DenialLog},
        metrics::Counters,
        sources::TrustSources,
    },
    peer::{
        digest::Digest,
        identify::{Identified, certificate, identify},
        request::Request,
    },
    policy::{Mode, Policy},
    time::{Clock, Monotonic, Now, UnixSeconds},
    x509::{certificate::ClientCertificate, fingerprint::Fingerprint},
};
use lru::LruCache;
use std::{num::NonZeroUsize, rc::Rc, time::Duration};

/// Certificates of which it is known when they were first seen, or that they were allowed. All of them have a verified
/// signature or a pin, so an attacker cannot fill this up.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Hits of the cache after which the clock is read without a tick, should Envoy not be allowed to tick. More than most
/// workers see between two ticks.
const HITS_WITHOUT_TICK: u64 = 1024;

/// Between two looks at shared data and the clock.
const TICK: Duration = Duration::from_millis(250);
/// The same while a request is held or the first answer is awaited.
const QUICK_TICK: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct RequestHandler {
    policy: Rc<Policy>,
    cache: VerdictCache<Digest, Rc<Allowed>, Reason>,
    held: Vec<HeldRequest>,
    counters: Counters,
    denials: DenialLog,
    first_seen: LruCache<Fingerprint, Monotonic>,
    /// Certificates that this worker allowed: it is worth a line and a count if one of them is denied.
    allowed_before: LruCache<Fingerprint, ()>,
    /// The wall clock as of the last tick: a request seen before reads no clock.
    wall: UnixSeconds,
    period: Duration,
}

#[derive(Debug)]
struct HeldRequest {
    stream: u32,
    request_id: Option<String>,
    digest: Digest,
    certificate: Box<ClientCertificate>,
    /// The region whose API is asked.
    region: String,
    /// The version of trust it was last decided under. Its signature is not verified again before there is news.
    version: u64,
    deadline: Monotonic,
}

/// A request that was decided, as far as its denial's log line needs it.
struct Decided<'a> {
    digest: Option<&'a Digest>,
    certificate: Option<&'a ClientCertificate>,
    request_id: &'a dyn Fn() -> Option<String>,
}

impl RequestHandler {
    pub fn new(policy: Rc<Policy>) -> Self {
        Self {
            counters: Counters::new(&policy),
            policy,
            cache: VerdictCache::default(),
            held: Vec::new(),
            denials: DenialLog::default(),
            first_seen: LruCache::new(REMEMBERED),
            allowed_before: LruCache::new(REMEMBERED),
            wall: 0,
            period: Duration::ZERO,
        }
    }

    /// Decides on a request, from the cache if it can.
    pub fn on_request(
        &mut self,
        stream: u32,
        request: &impl Request,
        clock: &impl Fn() -> Now,
        sources: &mut TrustSources,
        io: &mut Io<'_>,
        effects: &mut Vec<Effect>,
    ) -> Action {
        let id = || request.id();
        let unread = Decided { digest: None, certificate: None, request_id: &id };
        let identified = match identify(&self.policy.peer, request) {
            Ok(identified) => identified,
            Err((error, advice)) => return self.deny(error.into(), advice, &unread, clock().mono, effects),
        };
        if self.counters.cache_hits.get() >= HITS_WITHOUT_TICK {
            self.catch_up(clock(), sources, io, effects);
        }
        let version = sources.trust.version;
        if let Some(action) = self.decided_before(&identified.digest, version, &id, clock, effects) {
            return action;
        }
        self.decide(stream, request, identified, clock(), sources, io, effects)
    }

    /// Decides on a certificate that is not in the cache. A function apart, for what it needs would be set up for each request.
    #[inline(never)]
    #[allow(clippy::too_many_arguments, reason = "what the request and this worker bring along")]
    fn decide(
        &mut self,
        stream: u32,
        request: &impl Request,
        Identified { digest, certificate: shown }: Identified,
        now: Now,
        sources: &mut TrustSources,
        io: &mut Io<'_>,
        effects: &mut Vec<Effect>,
    ) -> Action {
        self.wall = now.wall;
        sources.open(io, now, effects);
        let id = || request.id();
        let unparsed = Decided { digest: Some(&digest), certificate: None, request_id: &id };
        let der = match shown.map_or_else(|| certificate(&self.policy.peer, &digest, request), Ok) {
            Ok(der) => der,
            Err((error, advice)) => return self.deny(error.into(), advice, &unparsed, now.mono, effects),
        };
        // The digest is that of these bytes: they were bound to it, or a trusted hop's gave it.
        let parsed = match digest.fingerprint() {
            Some(fingerprint) => ClientCertificate::parse_bound(&der, fingerprint),
            None => ClientCertificate::parse(&der),
        };
        match parsed {
            Ok(certificate) => {
                let verdict = self.judge_with_news(&certificate, sources, io, now, effects);
                let Some(region) = self.holds_for(&verdict, &certificate, sources, io, now) else {
                    let decided = Decided { certificate: Some(&certificate), ..unparsed };
                    return self.apply(&digest, &certificate, &verdict, &decided, sources, now, effects);
                };
                let deadline = now.mono + self.policy.refresh.on_unknown_certificate.hold;
                let version = sources.trust.version;
                let request_id = request.id();
                self.held.push(HeldRequest {
                    stream,
                    request_id,
                    digest,
                    certificate: Box::new(certificate),
                    region,
                    version,
                    deadline,
                });
                self.counters.held.increment();
                self.tick_every(QUICK_TICK, effects);
                Action::Hold
            }
            Err(error) => {
                let reason = Reason::from(&error);
                let always = Clock::at(now.wall).window();
                self.cache.deny(digest, sources.trust.version, Cached { value: reason, window: always });
                self.deny(reason, &error.to_string(), &unparsed, now.mono, effects)
            }
        }
    }

    /// The action that is cached for this certificate, if it still applies.
    fn decided_before(
        &mut self,
        digest: &Digest,
        version: u64,
        request_id: &dyn Fn() -> Option<String>,
        clock: &impl Fn() -> Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Action> {
        let action = match self.cache.get(digest, version, self.wall)? {
            Hit::Allowed(allowed) => {
                if let Some(allowances) = &allowed.allowances {
                    allowances.increment(allowed.unchecked);
                }
                Ok(allowed.clone())
            }
            Hit::Denied(reason) => Err(*reason),
        };
        self.counters.cache_hits.increment();
        Some(match action {
            Ok(allowed) => Action::Allow(allowed),
            Err(reason) => {
                let decided = Decided { digest: Some(digest), certificate: None, request_id };
                self.deny(reason, "decided before", &decided, clock().mono, effects)
            }
        })
    }

    /// Does what cached verdicts need of a tick: the time, and what was learned or has expired since.
    #[cold]
    fn catch_up(&mut self, now: Now, sources: &mut TrustSources, io: &mut Io<'_>, effects: &mut Vec<Effect>) {
        self.wall = now.wall;
        self.counters.flush(effects);
        sources.catch_up(io, now, effects);
    }

    fn judge(
        &mut self,
        certificate: &ClientCertificate,
        sources: &TrustSources,
        io: &Io<'_>,
        now: Now,
    ) -> Verdict {
        let first_seen = self.first_seen.peek(&certificate.fingerprint).copied().unwrap_or(now.mono);
        let TrustSources { trust, crls, .. } = sources;
        let verdict = decide(certificate, &self.policy, trust, crls, io.verifier, now.wall, first_seen);
        if verdict.needs_pin.is_some() {
            self.first_seen.put(certificate.fingerprint, first_seen);
        }
        verdict
    }

    /// The same, after a look at what other workers know, if that may change the verdict.
    fn judge_with_news(
        &mut self,
        certificate: &ClientCertificate,
        sources: &mut TrustSources,
        io: &mut Io<'_>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Verdict {
        let verdict = self.judge(certificate, sources, io, now);
        let follows = verdict
            .missing_crl
            .as_ref()
            .is_some_and(|(region, authority)| sources.crls.follow(region, *authority, certificate));
        if !follows && !verdict.outcome.may_change_with_news() {
            return verdict;
        }
        let version = sources.trust.version;
        sources.catch_up(io, now, effects);
        if sources.trust.version == version { verdict } else { self.judge(certificate, sources, io, now) }
    }

    /// Asks for an early refresh if a pin is all that is missing. Returns the region whose news the request is to wait for.
    fn holds_for(
        &mut self,
        verdict: &Verdict,
        certificate: &ClientCertificate,
        sources: &mut TrustSources,
        io: &mut Io<'_>,
        now: Now,
    ) -> Option<String> {
        let region = verdict.needs_pin.as_ref()?;
        sources.request_early(region, certificate.fingerprint, io, now);
        let settings = &self.policy.refresh.on_unknown_certificate;
        let has_room = self.held.len() < settings.max_held && !settings.hold.is_zero();
        let holds = has_room && sources.expects_news(region, now.mono + settings.hold, now.mono);
        holds.then(|| region.clone())
    }

    /// Caches a verdict and makes it the request's action.
    #[allow(clippy::too_many_arguments)]
    fn apply(
        &mut self,
        digest: &Digest,
        certificate: &ClientCertificate,
        verdict: &Verdict,
        decided: &Decided<'_>,
        sources: &mut TrustSources,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Action {
        let version = sources.trust.version;
        match &verdict.outcome {
            Outcome::Allow { region, authority } => {
                let allowed = Rc::new(Allowed {
                    verdict: format!("allow;{region};{}", authority.code()),
                    identity: identity::header_value(region, *authority, certificate),
                    allowances: self.counters.allowances(region, *authority),
                    unchecked: verdict.unchecked,
                });
                if let Some(allowances) = &allowed.allowances {
                    allowances.increment(allowed.unchecked);
                }
                sources.record_allowed(region, certificate);
                self.allowed_before.put(certificate.fingerprint, ());
                let cached = Cached { value: allowed.clone(), window: verdict.window };
                self.cache.allow(*digest, version, cached);
                Action::Allow(allowed)
            }
            Outcome::Deny(reason) => {
                let window = verdict.cacheable(now.wall);
                self.cache.deny(*digest, version, Cached { value: *reason, window });
                let mut detail = verdict.detail.clone();
                if self.allowed_before.pop(&certificate.fingerprint).is_some() {
                    self.counters.access_revoked(*reason);
                    detail.push_str("; it was allowed before");
                }
                self.deny(*reason, &detail, decided, now.mono, effects)
            }
        }
    }

    fn deny(
        &mut self,
        reason: Reason,
        detail: &str,
        decided: &Decided<'_>,
        now: Monotonic,
        effects: &mut Vec<Effect>,
    ) -> Action {
        self.counters.denied(reason);
        if self.denials.admits(reason, now) {
            let denial = Denial {
                reason,
                detail,
                request_id: (decided.request_id)(),
                digest: decided.digest,
                certificate: decided.certificate,
            };
            effects.push(self.denials.denied(&self.policy, &denial));
        }
        Action::Deny { reason, replies: self.policy.mode == Mode::Enforce }
    }

    /// After each tick and answer: flushes the counters, and looks again at the requests that wait.
    pub fn tick(&mut self, sources: &mut TrustSources, io: &mut Io<'_>, now: Now, effects: &mut Vec<Effect>) {
        self.wall = now.wall;
        self.counters.flush(effects);
        for held in std::mem::take(&mut self.held) {
            let stream = held.stream;
            match self.release(held, sources, io, now, effects) {
                Ok(action) => effects.push(Effect::Release { stream, action }),
                Err(held) => self.held.push(held),
            }
        }
        let is_awaited = !self.held.is_empty() || sources.is_starting();
        self.tick_every(if is_awaited { QUICK_TICK } else { TICK }, effects);
    }

    /// Decides on a held request again, or returns it if it has to wait on.
    fn release(
        &mut self,
        mut held: HeldRequest,
        sources: &mut TrustSources,
        io: &mut Io<'_>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<Action, HeldRequest> {
        let version = sources.trust.version;
        let may_wait =
            now.mono < held.deadline && sources.expects_news(&held.region, held.deadline, now.mono);
        if may_wait && held.version == version {
            // A refresh that had begun before it was asked for may have come too early.
            sources.request_early(&held.region, held.certificate.fingerprint, io, now);
            return Err(held);
        }
        held.version = version;
        let id = || held.request_id.clone();
        if let Some(action) = self.decided_before(&held.digest, version, &id, &|| now, effects) {
            return Ok(action);
        }
        let verdict = self.judge(&held.certificate, sources, io, now);
        if may_wait && verdict.needs_pin.is_some() {
            return Err(held);
        }
        let decided =
            Decided { digest: Some(&held.digest), certificate: Some(&held.certificate), request_id: &id };
        Ok(self.apply(&held.digest, &held.certificate, &verdict, &decided, sources, now, effects))
    }

    /// The stream of a held request ended.
    pub fn forget(&mut self, stream: u32) {
        self.held.retain(|held| held.stream != stream);
    }

    /// What was counted since the last tick, when this configuration ends.
    pub fn flush(&mut self, effects: &mut Vec<Effect>) {
        self.counters.flush(effects);
    }

    /// Starts the ticks of a new configuration.
    pub fn start(&mut self, effects: &mut Vec<Effect>) {
        self.tick_every(QUICK_TICK, effects);
    }

    fn tick_every(&mut self, period: Duration, effects: &mut Vec<Effect>) {
        if self.period != period {
            self.period = period;
            effects.push(Effect::Tick(period));
        }
    }
}
