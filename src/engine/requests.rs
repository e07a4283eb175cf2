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
        metrics::{self, Counters, add_one},
        sources::TrustSources,
    },
    peer::{
        digest::Digest,
        identify::{Identified, certificate, identify},
        request::Request,
    },
    policy::{Mode, Policy},
    time::{Clock, Monotonic, UnixSeconds},
    x509::{certificate::ClientCertificate, fingerprint::Fingerprint, signature::self_test},
};
use lru::LruCache;
use std::{cell::Cell, fmt::Write as _, num::NonZeroUsize, rc::Rc, time::Duration};

/// Certificates of which it is known when they were first seen, or that they were allowed. All of them have a verified
/// signature or a pin, so an attacker cannot fill this up.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Hits of the cache after which the clock is read without a tick, should Envoy not be allowed to tick. More than most
/// workers see between two ticks.
const HITS_WITHOUT_TICK: u64 = 1024;

/// Between two looks at shared data and the clock.
const TICK: Duration = Duration::from_millis(250);
/// The same while a request is held or the first answer is awaited.
pub const QUICK_TICK: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct RequestHandler {
    policy: Rc<Policy>,
    cache: VerdictCache<Rc<Allowed>>,
    held: Vec<HeldRequest>,
    counters: Counters,
    /// Requests that the cache answered since the last flush.
    hits: Rc<Cell<u64>>,
    denials: DenialLog,
    first_seen: LruCache<Fingerprint, Monotonic>,
    /// Certificates that this worker allowed: it is worth a line and a count if one of them is denied.
    allowed_before: LruCache<Fingerprint, ()>,
    /// Whether the verifier could not be asked, and has not passed a test since.
    is_verifier_away: bool,
    /// The wall clock as of the last tick: a request seen before reads no clock.
    wall: UnixSeconds,
    period: Duration,
}

#[derive(Debug)]
struct HeldRequest {
    stream: u32,
    request_id: Option<String>,
    digest: Digest,
    certificate: ClientCertificate,
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
        let mut counters = Counters::new(&policy);
        Self {
            hits: counters.get("cache_hits"),
            counters,
            policy,
            cache: VerdictCache::default(),
            held: Vec::new(),
            denials: DenialLog::default(),
            first_seen: LruCache::new(REMEMBERED),
            allowed_before: LruCache::new(REMEMBERED),
            is_verifier_away: false,
            wall: 0,
            period: Duration::ZERO,
        }
    }

    /// Decides on a request, from the cache if it can.
    pub fn on_request(
        &mut self,
        stream: u32,
        request: &impl Request,
        sources: &mut TrustSources,
        io: &mut Io<'_>,
    ) -> Action {
        let id = || request.id();
        let unread = Decided { digest: None, certificate: None, request_id: &id };
        let identified = match identify(&self.policy.peer, request) {
            Ok(identified) => identified,
            Err((error, advice)) => return self.deny(error.into(), advice, &unread, io),
        };
        if self.hits.get() >= HITS_WITHOUT_TICK {
            self.wall = io.now().wall;
            self.counters.flush(io);
            sources.catch_up(io);
        }
        if let Some(action) = self.decided_before(&identified.digest, sources.trust.version, &id, io) {
            return action;
        }
        self.decide(stream, request, identified, sources, io)
    }

    /// Decides on a certificate that is not in the cache. A function apart: what it needs would be set up for each request.
    #[inline(never)]
    fn decide(
        &mut self,
        stream: u32,
        request: &impl Request,
        Identified { digest, certificate: shown }: Identified,
        sources: &mut TrustSources,
        io: &mut Io<'_>,
    ) -> Action {
        self.wall = io.now().wall;
        sources.open(io);
        let id = || request.id();
        let unparsed = Decided { digest: Some(&digest), certificate: None, request_id: &id };
        let der = match shown.map_or_else(|| certificate(&self.policy.peer, &digest, request), Ok) {
            Ok(der) => der,
            Err((error, advice)) => return self.deny(error.into(), advice, &unparsed, io),
        };
        // The digest is that of these bytes: they were bound to it, or a trusted hop's gave it.
        let fingerprint = digest.fingerprint().unwrap_or_else(|| Fingerprint::of(&der));
        match ClientCertificate::parse_bound(&der, fingerprint) {
            Ok(certificate) => {
                let mut verdict = self.judge_with_news(&certificate, sources, io);
                if let Some(region) = &verdict.needs_pin
                    && sources.request_early(region, certificate.fingerprint, io)
                {
                    verdict = self.judge(&certificate, sources, io);
                }
                let Some(region) = self.holds_for(&verdict, sources, io) else {
                    let decided = Decided { certificate: Some(&certificate), ..unparsed };
                    return self.apply(&certificate, &verdict, &decided, sources, io);
                };
                let deadline = io.now().mono + self.policy.refresh.on_unknown_certificate.hold;
                let (request_id, version) = (request.id(), sources.trust.version);
                self.held.push(HeldRequest {
                    stream,
                    request_id,
                    digest,
                    certificate,
                    region,
                    version,
                    deadline,
                });
                self.counters.increment("held_requests");
                self.tick_every(QUICK_TICK, io);
                Action::Hold
            }
            Err(error) => {
                let reason = Reason::from(&error);
                let always = Clock::at(self.wall).window();
                self.cache.deny(digest, sources.trust.version, Cached { value: reason, window: always });
                self.deny(reason, &error.to_string(), &unparsed, io)
            }
        }
    }

    /// The action that is cached for this certificate, if it still applies.
    fn decided_before(
        &mut self,
        digest: &Digest,
        version: u64,
        request_id: &dyn Fn() -> Option<String>,
        io: &mut Io<'_>,
    ) -> Option<Action> {
        let reason = match self.cache.get(digest, version, self.wall)? {
            Hit::Allowed(allowed) => {
                add_one(&self.hits);
                allowed.counters.iter().for_each(|counter| add_one(counter));
                return Some(Action::Allow(allowed.clone()));
            }
            Hit::Denied(reason) => *reason,
        };
        add_one(&self.hits);
        let decided = Decided { digest: Some(digest), certificate: None, request_id };
        Some(self.deny(reason, "decided before", &decided, io))
    }

    fn judge(&mut self, certificate: &ClientCertificate, sources: &TrustSources, io: &mut Io<'_>) -> Verdict {
        let now = io.now();
        let first_seen = self.first_seen.peek(&certificate.fingerprint).copied().unwrap_or(now.mono);
        let TrustSources { trust, crls, .. } = sources;
        let verdict = decide(certificate, &self.policy, trust, crls, io.verifier, now.wall, first_seen);
        if verdict.outcome == Outcome::Deny(Reason::SignatureUnavailable) {
            self.verifier_is_away(true, io);
        }
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
    ) -> Verdict {
        let verdict = self.judge(certificate, sources, io);
        let missing = verdict.missing_crl.as_ref();
        let follows = missing.is_some_and(|(id, authority)| sources.crls.follow(id, *authority, certificate));
        if !follows && !verdict.outcome.may_change_with_news() {
            return verdict;
        }
        let version = sources.trust.version;
        sources.catch_up(io);
        if sources.trust.version == version { verdict } else { self.judge(certificate, sources, io) }
    }

    /// The region whose news the request is to wait for, if a pin is all that is missing and news are likely.
    fn holds_for(&self, verdict: &Verdict, sources: &TrustSources, io: &mut Io<'_>) -> Option<String> {
        let region = verdict.awaits()?;
        let settings = &self.policy.refresh.on_unknown_certificate;
        let has_room = self.held.len() < settings.max_held && !settings.hold.is_zero();
        let now = io.now().mono;
        (has_room && sources.expects_news(region, now + settings.hold, now)).then(|| region.clone())
    }

    /// Caches a verdict and makes it the request's action.
    fn apply(
        &mut self,
        certificate: &ClientCertificate,
        verdict: &Verdict,
        decided: &Decided<'_>,
        sources: &mut TrustSources,
        io: &mut Io<'_>,
    ) -> Action {
        let (digest, version) = (decided.digest.copied(), sources.trust.version);
        match &verdict.outcome {
            Outcome::Allow { region, authority } => {
                let allowed = Rc::new(Allowed {
                    verdict: format!("allow;{region};{}", authority.code()),
                    identity: identity::header_value(region, *authority, certificate),
                    counters: self.counters.allowed(region, *authority, verdict.unchecked),
                });
                allowed.counters.iter().for_each(|counter| add_one(counter));
                sources.record_allowed(region, certificate);
                self.allowed_before.put(certificate.fingerprint, ());
                if let Some(digest) = digest {
                    let cached = Cached { value: allowed.clone(), window: verdict.window };
                    self.cache.allow(digest, version, cached);
                }
                Action::Allow(allowed)
            }
            Outcome::Deny(reason) => {
                if let Some(digest) = digest {
                    let window = verdict.cacheable(io.now().wall);
                    self.cache.deny(digest, version, Cached { value: *reason, window });
                }
                let mut detail = verdict.detail.clone();
                if let Some(region) = &verdict.needs_pin {
                    let next = sources.asks_in(region, io.now().mono).as_secs();
                    let _ = write!(detail, "; the API is asked again in {next}s");
                }
                if self.allowed_before.pop(&certificate.fingerprint).is_some() {
                    self.counters.increment(&format!("lost_access.{reason}"));
                    detail.push_str("; it was allowed before");
                }
                self.deny(*reason, &detail, decided, io)
            }
        }
    }

    fn deny(&mut self, reason: Reason, detail: &str, decided: &Decided<'_>, io: &mut Io<'_>) -> Action {
        self.counters.increment(&format!("decisions.deny.{reason}"));
        if self.denials.admits(reason, io.now().mono) {
            let Decided { digest, certificate, request_id } = *decided;
            let denial = Denial { reason, detail, request_id: request_id(), digest, certificate };
            self.denials.denied(io, &self.policy, &denial);
        }
        Action::Deny { reason, replies: self.policy.mode == Mode::Enforce }
    }

    fn verifier_is_away(&mut self, is_away: bool, io: &mut Io<'_>) {
        if self.is_verifier_away != is_away {
            self.is_verifier_away = is_away;
            metrics::verifier(io, &self.policy, is_away);
        }
    }

    /// After each tick and answer: flushes the counters, and looks again at the requests that wait.
    pub fn tick(&mut self, sources: &mut TrustSources, io: &mut Io<'_>) {
        self.wall = io.now().wall;
        self.counters.flush(io);
        if self.is_verifier_away && self_test(io.verifier) {
            self.verifier_is_away(false, io);
        }
        for held in std::mem::take(&mut self.held) {
            let stream = held.stream;
            match self.release(held, sources, io) {
                Ok(action) => io.effects.push(Effect::Release { stream, action }),
                Err(held) => self.held.push(*held),
            }
        }
        let is_awaited = !self.held.is_empty() || sources.is_starting();
        self.tick_every(if is_awaited { QUICK_TICK } else { TICK }, io);
    }

    /// Decides on a held request again, or returns it if it has to wait on.
    fn release(
        &mut self,
        mut held: HeldRequest,
        sources: &mut TrustSources,
        io: &mut Io<'_>,
    ) -> Result<Action, Box<HeldRequest>> {
        let (now, version) = (io.now().mono, sources.trust.version);
        let may_wait = now < held.deadline && sources.expects_news(&held.region, held.deadline, now);
        if may_wait && held.version == version {
            // A refresh that had begun before it was asked for may have come too early.
            sources.request_early(&held.region, held.certificate.fingerprint, io);
            return Err(Box::new(held));
        }
        held.version = version;
        let id = || held.request_id.clone();
        if let Some(action) = self.decided_before(&held.digest, version, &id, io) {
            return Ok(action);
        }
        let verdict = self.judge(&held.certificate, sources, io);
        if may_wait && verdict.awaits().is_some() {
            return Err(Box::new(held));
        }
        let (digest, certificate) = (Some(&held.digest), Some(&held.certificate));
        let decided = Decided { digest, certificate, request_id: &id };
        Ok(self.apply(&held.certificate, &verdict, &decided, sources, io))
    }

    /// The stream of a held request ended.
    pub fn forget(&mut self, stream: u32) {
        self.held.retain(|held| held.stream != stream);
    }

    /// This configuration ends.
    pub fn end(&mut self, io: &mut Io<'_>) {
        self.counters.flush(io);
    }

    pub fn tick_every(&mut self, period: Duration, io: &mut Io<'_>) {
        if self.period != period {
            self.period = period;
            io.effects.push(Effect::Tick(period));
        }
    }
}
