//! Where trust comes from: each region's certificates API and the CRLs, driven by ticks and answers.

use crate::{
    decision::trust::Trust,
    engine::{
        crls::Crls,
        effect::{CallId, Effect},
        io::{Environment, Io},
        log,
        metrics::{self, Gauges},
    },
    http::{Failure, HttpResponse},
    pins::{Client, Event, Pins, Refresher, Step, pin_changes},
    policy::{Credentials, Policy, Source},
    shared::{Secret, claim},
    time::{Monotonic, Now, UnixSeconds},
    x509::{certificate::ClientCertificate, fingerprint::Fingerprint},
};
use std::{collections::BTreeMap, rc::Rc, time::Duration};

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
    pinned: BTreeMap<String, BTreeMap<Fingerprint, UnixSeconds>>,
}

/// One region's certificates API.
#[derive(Debug)]
struct RegionSource {
    refresher: Refresher,
    /// As they were last logged.
    pins: Pins,
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
            pinned: BTreeMap::new(),
        }
    }

    /// Reads the credentials and what other workers have fetched already, the first time it is called. Not done when the
    /// configuration is loaded: whether a variable is set must not decide whether that succeeds.
    pub fn open(&mut self, io: &mut Io<'_>, now: Now, effects: &mut Vec<Effect>) {
        if self.regions.is_some() {
            return;
        }
        if self.says_first(io, "announced") {
            log::announce(&self.policy, now.wall, effects);
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
                    regions.extend(refresher.map(|refresher| {
                        (region.id.clone(), RegionSource { refresher, pins: Pins::new(), version: 0 })
                    }));
                }
                Err(variable) => {
                    if self.says_first(io, &format!("no_credentials/{}", region.id)) {
                        effects.push(log::no_credentials(&policy, &region.id, variable));
                        effects.push(metrics::refreshed(&policy.name, &region.id, "no_credentials"));
                    }
                }
            }
        }
        self.regions = Some(regions);
        self.catch_up(io, now, effects);
    }

    /// Whether this worker is the first of the proxy to say something about this configuration.
    fn says_first(&self, io: &mut Io<'_>, what: &str) -> bool {
        let key = format!("genesys_mtls/{}/{what}", self.policy.name);
        claim(io.store, &key, self.policy.digest.as_bytes())
    }

    pub fn tick(&mut self, io: &mut Io<'_>, now: Now, effects: &mut Vec<Effect>) {
        self.open(io, now, effects);
        for (id, source) in self.regions.iter_mut().flatten() {
            let step = source.refresher.tick(io.verifier, io.store, now);
            report(&self.policy.name, id, step, effects);
        }
        self.crls.tick(io, now, effects);
        self.gather(io, effects);
        if now.mono >= self.gauges_written + GAUGES {
            self.gauges_written = now.mono;
            self.write_gauges(io.environment, now, effects);
        }
    }

    /// An answer to a call, or why it could not be made.
    pub fn on_response(
        &mut self,
        id: &CallId,
        response: Result<HttpResponse, Failure>,
        io: &mut Io<'_>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        match id {
            CallId::Refresh(id) => {
                let Some(source) = self.regions.as_mut().and_then(|regions| regions.get_mut(id)) else {
                    return;
                };
                let step = source.refresher.on_response(response, io.verifier, io.store, now);
                report(&self.policy.name, id, step, effects);
            }
            CallId::Crl(id) => self.crls.on_response(id, response, io, now, effects),
        }
        self.gather(io, effects);
    }

    /// Reads what other workers have fetched since the last tick.
    pub fn catch_up(&mut self, io: &mut Io<'_>, now: Now, effects: &mut Vec<Effect>) {
        self.open(io, now, effects);
        for source in self.regions.iter_mut().flat_map(BTreeMap::values_mut) {
            source.refresher.sync(io.store, now);
        }
        self.crls.sync(io, now);
        self.gather(io, effects);
    }

    /// Gives the decision what is new, under a new version: a verdict could change by it, or at least its reason.
    fn gather(&mut self, io: &mut Io<'_>, effects: &mut Vec<Effect>) {
        for (id, source) in self.regions.iter_mut().flatten() {
            if source.version == source.refresher.version() {
                continue;
            }
            source.version = source.refresher.version();
            self.trust.version += 1;
            let (known, of) = (&mut source.pins, (self.policy.name.as_str(), id.as_str()));
            let changes = pin_changes(known, source.refresher.pins(), of, io.store);
            log::pins(&self.policy, id, &changes, effects);
            self.trust.regions.insert(id.clone(), source.refresher.trust().clone());
        }
        if self.crls.take_changed() {
            self.trust.version += 1;
        }
    }

    /// Notes until when a configured pin can be used.
    pub fn record_allowed(&mut self, region: &str, certificate: &ClientCertificate) {
        let mut regions = self.policy.regions.iter().filter(|policy| policy.id == region);
        let digicert = regions.find_map(|policy| policy.digicert.as_ref());
        if digicert.is_some_and(|digicert| digicert.pins.contains(&certificate.fingerprint)) {
            let pinned = self.pinned.entry(region.to_owned()).or_default();
            pinned.insert(certificate.fingerprint, certificate.not_after);
        }
    }

    pub fn request_early(&mut self, region: &str, fingerprint: Fingerprint, io: &mut Io<'_>, now: Now) {
        if let Some(source) = self.regions.as_mut().and_then(|regions| regions.get_mut(region)) {
            source.refresher.request_early(fingerprint, io.store, now);
        }
    }

    /// Whether news of this region are likely before the deadline.
    pub fn expects_news(&self, region: &str, deadline: Monotonic, now: Monotonic) -> bool {
        let source = self.regions.as_ref().and_then(|regions| regions.get(region));
        source.is_some_and(|source| source.refresher.expects_news(deadline, now))
    }

    /// Whether a first answer is still awaited.
    pub fn is_starting(&self) -> bool {
        let Some(regions) = &self.regions else { return true };
        regions.values().any(|source| source.refresher.is_starting())
    }

    /// This VM, or this configuration in it, ends.
    pub fn leave(&mut self, io: &mut Io<'_>, now: Monotonic) {
        for source in self.regions.iter_mut().flat_map(BTreeMap::values_mut) {
            source.refresher.leave(io.store, now);
        }
        self.crls.leave(io, now);
    }

    fn write_gauges(&self, environment: &dyn Environment, now: Now, effects: &mut Vec<Effect>) {
        let mut gauges = Gauges { policy: &self.policy, now, effects };
        gauges.mode();
        for region in &self.policy.regions {
            gauges.configured(region, self.pinned.get(&region.id));
            let source = self.regions.as_ref().and_then(|regions| regions.get(&region.id));
            if let Some(RegionSource { refresher, .. }) = source {
                gauges.fetched(region, refresher.pins(), refresher.failures(), refresher.age(now.mono));
            }
        }
        self.crls.write_gauges(&mut gauges, environment.memory());
    }
}

/// The OAuth client of a source, or the environment variable that is missing.
fn client<'s>(source: &'s Source, environment: &dyn Environment) -> Result<Client, &'s str> {
    let Credentials::Environment { client_id, client_secret } = &source.credentials else {
        return Ok(Client::Injected);
    };
    let read = |variable: &'s String| environment.variable(variable).ok_or(variable.as_str());
    let (id, secret) = (read(client_id)?, read(client_secret)?);
    Ok(Client::Own { id, secret: Secret::new(secret).on(environment.node_id()) })
}

/// Counts and logs what a step of a refresh brought, and makes its call.
fn report(policy: &str, region: &str, step: Step, effects: &mut Vec<Effect>) {
    for event in step.events {
        match &event {
            Event::Refreshed { .. } => effects.push(metrics::refreshed(policy, region, "ok")),
            Event::Failed { failure, .. } => {
                effects.push(metrics::refreshed(policy, region, failure.code.code()));
            }
            Event::Skipped { .. } => {}
        }
        effects.extend(log::refresh(policy, region, &event));
    }
    let id = CallId::Refresh(region.to_owned());
    effects.extend(step.call.map(|call| Effect::Call { id, call }));
}
