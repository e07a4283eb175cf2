//! Where trust comes from: each region's certificates API and the CRLs, driven by ticks and answers.

use crate::{
    decision::{Reason, trust::Trust},
    engine::{
        crls::Crls,
        effect::{CallId, Effect},
        io::{Environment, Io},
        log, metrics,
    },
    http::{Failure, FailureCode, HttpResponse},
    pins::{Client, Event, Forecast, Pins, Refresher, Step, credential, pin_changes},
    policy::{Credentials, Policy, Source},
    shared::{Secret, claim},
    time::{Monotonic, UnixSeconds},
    x509::{certificate::ClientCertificate, fingerprint::Fingerprint},
};
use std::{collections::BTreeMap, fmt::Write as _, rc::Rc, time::Duration};

/// Between two writes of the gauges.
const GAUGES: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct TrustSources {
    policy: Rc<Policy>,
    /// A random id of this worker.
    worker: u64,
    /// What the decision reads.
    pub trust: Trust,
    /// By region, once opened; without the regions whose credentials are missing.
    regions: Option<BTreeMap<String, RegionSource>>,
    pub crls: Crls,
    gauges_written: Monotonic,
    /// Certificates allowed by a configured pin, by region: only a request shows until when such a pin can be used.
    used_pins: BTreeMap<String, BTreeMap<Fingerprint, UnixSeconds>>,
}

/// One region's certificates API.
#[derive(Debug)]
struct RegionSource {
    refresher: Refresher,
    /// As they were last logged.
    pins: Pins,
    /// The same of what will be denied; `None` before it was looked at.
    denied: Option<Vec<Forecast>>,
    /// The version of the refresher's trust that the decision reads.
    version: u64,
}

impl TrustSources {
    pub fn new(policy: Rc<Policy>, worker: u64) -> Self {
        Self {
            crls: Crls::new(policy.clone(), worker),
            policy,
            worker,
            trust: Trust::default(),
            regions: None,
            gauges_written: Monotonic::default(),
            used_pins: BTreeMap::new(),
        }
    }

    /// Reads the credentials and what other workers have fetched already, the first time it is called. Not done when the
    /// configuration is loaded: whether a variable is set must not decide whether that succeeds.
    pub fn open(&mut self, io: &mut Io<'_>) {
        if self.regions.is_some() {
            return;
        }
        if self.says_first(io, "announced") {
            let unusable = log::announce(io, &self.policy);
            metrics::authorities(io, &self.policy, unusable);
        }
        let policy = self.policy.clone();
        let mut regions = BTreeMap::new();
        for region in &policy.regions {
            let Some(source) = &region.source else { continue };
            match client(source, io.environment) {
                Ok(client) => {
                    if let Client::Own { secret, .. } = &client {
                        self.crls.set_secret(&region.id, secret.clone());
                    }
                    let refresher = Refresher::new(policy.clone(), region, client, self.worker);
                    let source = refresher.map(|refresher| RegionSource {
                        refresher,
                        pins: Pins::new(),
                        denied: None,
                        version: 0,
                    });
                    regions.extend(source.map(|source| (region.id.clone(), source)));
                }
                Err(variable) => {
                    if self.says_first(io, &format!("no_credentials/{}", region.id)) {
                        log::no_credentials(io, &policy, &region.id, variable);
                        metrics::refreshed(io, &policy, &region.id, Some(FailureCode::NoCredentials));
                    }
                }
            }
        }
        self.regions = Some(regions);
        self.catch_up(io);
    }

    /// Whether this worker is the first of the proxy to say something about this configuration.
    fn says_first(&self, io: &mut Io<'_>, what: &str) -> bool {
        let key = format!("genesys_mtls/{}/{what}", self.policy.name);
        claim(io.store, &key, self.policy.digest.as_bytes())
    }

    pub fn tick(&mut self, io: &mut Io<'_>) {
        self.open(io);
        let now = io.now();
        for (id, source) in self.regions.iter_mut().flatten() {
            let step = source.refresher.tick(io.verifier, io.store, now);
            report(io, &self.policy, id, &source.refresher, step);
        }
        self.crls.tick(io);
        self.gather(io);
        if now.mono >= self.gauges_written + GAUGES {
            self.gauges_written = now.mono;
            self.write_gauges(io);
        }
    }

    /// An answer to a call, or why it could not be made.
    pub fn on_response(&mut self, id: &CallId, response: Result<HttpResponse, Failure>, io: &mut Io<'_>) {
        let now = io.now();
        match id {
            CallId::Refresh(id) => {
                let policy = self.policy.clone();
                let Some(source) = self.region_mut(id) else { return };
                let step = source.refresher.on_response(response, io.verifier, io.store, now);
                report(io, &policy, id, &source.refresher, step);
            }
            CallId::Crl(id) => self.crls.on_response(id, response, io),
        }
        self.gather(io);
    }

    /// Reads what other workers have fetched since the last tick.
    pub fn catch_up(&mut self, io: &mut Io<'_>) {
        self.open(io);
        let now = io.now();
        for source in self.regions.iter_mut().flat_map(BTreeMap::values_mut) {
            source.refresher.sync(io.store, now);
        }
        self.crls.sync(io);
        self.gather(io);
    }

    /// Gives the decision what is new, under a new version: a verdict could change by it, or at least its reason.
    fn gather(&mut self, io: &mut Io<'_>) {
        let now = io.now();
        for (id, source) in self.regions.iter_mut().flatten() {
            let is_answered = source.refresher.has_answer();
            let denied = source.refresher.forecasts(io.verifier, now).iter();
            let denied = denied.filter(|forecast| forecast.denied.is_some());
            if is_answered && source.denied.as_ref().is_none_or(|known| !denied.clone().eq(known)) {
                let denied = denied.cloned().collect();
                let news = source.news(denied, (&self.policy, id), io);
                log::denied_ahead(io, &self.policy, id, &news);
            }
            if source.version == source.refresher.version() {
                continue;
            }
            source.version = source.refresher.version();
            self.trust.version += 1;
            let (known, of) = (&mut source.pins, (self.policy.name.as_str(), id.as_str()));
            let changes = pin_changes(known, source.refresher.pins(), of, io.store);
            log::pins(io, &self.policy, id, &changes);
            self.trust.regions.insert(id.clone(), source.refresher.trust().clone());
        }
        if self.crls.take_changed() {
            self.trust.version += 1;
        }
    }

    /// Notes until when a configured pin can be used.
    pub fn record_allowed(&mut self, region: &str, certificate: &ClientCertificate) {
        self.crls.note(certificate);
        let mut regions = self.policy.regions.iter().filter(|policy| policy.id == region);
        let digicert = regions.find_map(|policy| policy.digicert.as_ref());
        if digicert.is_some_and(|digicert| digicert.pins.contains(&certificate.fingerprint)) {
            let used = self.used_pins.entry(region.to_owned()).or_default();
            used.insert(certificate.fingerprint, certificate.not_after);
        }
    }

    /// Asks for an early refresh. True if there were news already: the request has to be decided again.
    pub fn request_early(&mut self, region: &str, fingerprint: Fingerprint, io: &mut Io<'_>) -> bool {
        let (now, version) = (io.now(), self.trust.version);
        if let Some(source) = self.region_mut(region) {
            source.refresher.request_early(fingerprint, io.store, now);
            self.gather(io);
        }
        self.trust.version != version
    }

    /// Whether news of this region are likely before the deadline.
    pub fn expects_news(&self, region: &str, deadline: Monotonic, now: Monotonic) -> bool {
        let source = self.regions.as_ref().and_then(|regions| regions.get(region));
        source.is_some_and(|source| source.refresher.expects_news(deadline, now))
    }

    /// Time until this region's API is asked next.
    pub fn asks_in(&self, region: &str, now: Monotonic) -> Duration {
        let source = self.regions.as_ref().and_then(|regions| regions.get(region));
        source.map_or(Duration::ZERO, |source| source.refresher.next(now).since(now))
    }

    /// Whether a first answer is still awaited.
    pub fn is_starting(&self) -> bool {
        let Some(regions) = &self.regions else { return true };
        regions.values().any(|source| source.refresher.is_starting())
    }

    /// This VM, or this configuration in it, ends.
    pub fn leave(&mut self, io: &mut Io<'_>) {
        let now = io.now().mono;
        for source in self.regions.iter_mut().flat_map(BTreeMap::values_mut) {
            source.refresher.leave(io.store, now);
        }
        self.crls.leave(io, now);
    }

    fn write_gauges(&mut self, io: &mut Io<'_>) {
        for region in &self.policy.regions {
            let source = self.regions.as_mut().and_then(|regions| regions.get_mut(&region.id));
            let refresher = source.map(|source| &mut source.refresher);
            metrics::region_gauges(io, &self.policy, region, self.used_pins.get(&region.id), refresher);
        }
        self.crls.write_gauges(io);
    }

    fn region_mut(&mut self, id: &str) -> Option<&mut RegionSource> {
        self.regions.as_mut()?.get_mut(id)
    }
}

impl RegionSource {
    /// Takes over what will be denied. Returns what to log: each worker of the configuration knows it, and one logs it.
    /// Shared data has what was counted last, perhaps by a worker that is gone.
    fn news(
        &mut self,
        denied: Vec<Forecast>,
        (policy, region): (&Policy, &str),
        io: &mut Io<'_>,
    ) -> Vec<Forecast> {
        let key = format!("genesys_mtls/{}/denied/{region}", policy.name);
        let before = io.store.get(&key).0;
        let known = self.denied.replace(denied.clone()).unwrap_or_default();
        if before.is_none() && denied.is_empty() {
            return denied;
        }
        let before = String::from_utf8_lossy(&before.unwrap_or_default()).into_owned();
        let mut all = policy.digest.to_string();
        for Forecast { authority, status, fingerprint, denied, .. } in &denied {
            let (reason, authority, status) =
                (denied.map_or("", Reason::code), authority.code(), status.code());
            let fingerprint = fingerprint.map(|of| of.to_string()).unwrap_or_default();
            let _ = write!(all, "\n{reason}.{authority} {status} {fingerprint}");
        }
        metrics::denied_ahead(io, policy, region, &before, &denied);
        let is_first = claim(io.store, &key, all.as_bytes());
        denied.into_iter().filter(|forecast| is_first && !known.contains(forecast)).collect()
    }
}

/// The OAuth client of a source, or the environment variable that is missing.
fn client<'s>(source: &'s Source, environment: &dyn Environment) -> Result<Client, &'s str> {
    let Credentials::Environment { client_id, client_secret } = &source.credentials else {
        return Ok(Client::Injected);
    };
    let read = |variable: &'s String| {
        let value = environment.variable(variable).map(|value| credential(&value).to_owned());
        value.filter(|value| !value.is_empty()).ok_or(variable.as_str())
    };
    let (id, secret) = (read(client_id)?, read(client_secret)?);
    Ok(Client::Own { id, secret: Secret::new(secret).on(environment.node_id()) })
}

/// Counts and logs what a step of a refresh brought, and makes its call.
fn report(io: &mut Io<'_>, policy: &Policy, region: &str, refresher: &Refresher, step: Step) {
    for event in step.events {
        match &event {
            Event::Refreshed { .. } => metrics::refreshed(io, policy, region, None),
            Event::Failed { failure, .. } => metrics::refreshed(io, policy, region, Some(failure.code)),
            Event::Skipped { .. } => {}
        }
        log::refresh(io, policy, region, refresher, &event);
    }
    let id = CallId::Refresh(region.to_owned());
    io.effects.extend(step.call.map(|call| Effect::Call { id, call }));
}
