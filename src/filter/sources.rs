//! The policy's refreshers in this VM: opened once, ticked, and their answers put together into [`Trust`].

use crate::filter::{gauges, lists::Lists, log_lines};
use crate::{
    decision::trust::{ApiTrust, Trust},
    host::{self, SharedData},
    http::{Failure, FailureCode, HttpCall, HttpResponse},
    pins::{Client, Event, PinNews, Refresher, Step},
    policy::{Credentials, Policy, RegionPolicy, RevocationMode},
    shared::Secret,
    time::{Monotonic, Now, UnixSeconds},
    x509::{certificate::ClientCertificate, fingerprint::Fingerprint},
};
use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::Duration,
};

/// Between two writes of the gauges.
const GAUGES: Duration = Duration::from_secs(1);

pub struct Sources {
    policy: Rc<Policy>,
    /// A random name of this worker.
    worker: u64,
    /// What the decision reads, a region each in the policy's order.
    pub trust: Trust,
    /// A refresher per region, where it has a source and its credentials are there. Nothing before they are opened.
    refreshers: Option<Vec<Option<Entry>>>,
    pub lists: Lists,
    list_changes: u64,
    /// OAuth secrets by region: they also seal what workers share.
    secrets: BTreeMap<String, Secret>,
    /// What an answer belongs to, and how large it may be.
    calls: HashMap<u32, (Call, usize)>,
    gauges_written: Monotonic,
    /// Certificates let in by a configured pin, a region each: only callers show until when such a pin is any good.
    pinned: Vec<BTreeMap<Fingerprint, UnixSeconds>>,
}

/// A call under way: a region's refresh, or the fetching of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Refresh(usize),
    List(usize),
}

pub struct Entry {
    pub refresher: Refresher,
    pub news: PinNews,
    /// The version of the refresher that `trust` was made from.
    version: Option<u64>,
}

impl Sources {
    pub fn new(policy: Rc<Policy>) -> Self {
        let trust = Trust { version: 0, regions: vec![ApiTrust::default(); policy.regions.len()] };
        let worker = host::random();
        Self {
            lists: Lists::new(policy.clone(), worker),
            worker,
            pinned: vec![BTreeMap::new(); policy.regions.len()],
            policy,
            trust,
            refreshers: None,
            list_changes: 0,
            secrets: BTreeMap::new(),
            calls: HashMap::new(),
            gauges_written: Monotonic::ZERO,
        }
    }

    /// Reads credentials and what other workers have fetched already, the first time it is called. Not done when the
    /// configuration is loaded: whether a variable is set must not decide whether that succeeds.
    pub fn open(&mut self, now: Now) {
        if self.refreshers.is_some() {
            return;
        }
        log_lines::announce(&self.policy, now.wall);
        let policy = self.policy.clone();
        let mut refreshers: Vec<Option<Entry>> = Vec::new();
        for region in &policy.regions {
            let refresher = self.open_region(region);
            refreshers.push(refresher.map(|mut refresher| {
                refresher.sync(&mut SharedData, now);
                Entry { refresher, news: PinNews::new(&policy.name, &region.id), version: None }
            }));
        }
        self.refreshers = Some(refreshers);
        self.open_lists(now);
        self.gather();
    }

    fn open_lists(&mut self, now: Now) {
        if self.policy.revocation.mode != RevocationMode::Off {
            self.lists.open(|region| self.secrets.get(region).cloned(), now);
        }
    }

    fn open_region(&mut self, region: &RegionPolicy) -> Option<Refresher> {
        let source = region.source.as_ref()?;
        let client = match &source.credentials {
            Credentials::Injected => Client::Injected,
            Credentials::Environment { client_id, client_secret } => {
                match (host::environment(client_id), host::environment(client_secret)) {
                    (Some(id), Some(secret)) => {
                        let secret = Secret::new(secret).on(host::node());
                        self.secrets.insert(source.region.clone(), secret.clone());
                        Client::Own { id, secret }
                    }
                    (id, _) => {
                        let missing = if id.is_none() { client_id } else { client_secret };
                        if log_lines::no_credentials(&self.policy, &source.region, missing) {
                            self.count(&source.region, "no_credentials");
                        }
                        return None;
                    }
                }
            }
        };
        Refresher::new(self.policy.clone(), region, client, self.worker)
    }

    pub fn tick(&mut self, now: Now) {
        self.open(now);
        for index in 0..self.policy.regions.len() {
            let Some(entry) = self.entry(index) else { continue };
            let Step { call, events } = entry.refresher.tick(host::VERIFIER, &mut SharedData, now);
            self.report(index, events);
            self.make(index, call, now);
        }
        self.open_lists(now);
        for index in 0..self.lists.len() {
            if let Some(call) = self.lists.tick(index, now) {
                self.fetch_list(index, &call, now);
            }
        }
        self.gather();
        if now.mono >= self.gauges_written + GAUGES {
            self.gauges_written = now.mono;
            gauges::write(&self.policy, self.refreshers.as_deref().unwrap_or_default(), &self.pinned, now);
            self.lists.write_gauges(now);
        }
    }

    /// An answer arrived.
    pub fn answered(&mut self, token: u32, headers: usize, body_size: usize, now: Now) {
        let Some((call, limit)) = self.calls.remove(&token) else { return };
        match call {
            Call::Refresh(index) => {
                self.answer(index, Ok(host::response(headers, body_size, limit)), now);
            }
            Call::List(index) => {
                self.lists.answered(index, Ok(host::response(headers, body_size, limit)), now);
            }
        }
        self.gather();
    }

    fn fetch_list(&mut self, index: usize, call: &HttpCall, now: Now) {
        match host::dispatch(call) {
            Ok(token) => {
                self.expect(token, Call::List(index), call.max_body);
            }
            Err(status) => self.lists.answered(index, Err(not_dispatched(call, &status)), now),
        }
    }

    fn answer(&mut self, index: usize, response: Result<HttpResponse, Failure>, now: Now) {
        let Some(entry) = self.entry(index) else { return };
        let Step { call, events } =
            entry.refresher.on_response(response, host::VERIFIER, &mut SharedData, now);
        self.report(index, events);
        self.make(index, call, now);
    }

    /// Makes a call. One that cannot even begin never calls back, so its failure is the answer.
    fn make(&mut self, index: usize, call: Option<HttpCall>, now: Now) {
        let Some(call) = call else { return };
        match host::dispatch(&call) {
            Ok(token) => {
                self.expect(token, Call::Refresh(index), call.max_body);
            }
            Err(status) => {
                self.answer(index, Err(not_dispatched(&call, &status)), now);
            }
        }
    }

    /// Reads what other workers have fetched since the last tick, lists included that a certificate named just now. True
    /// if there was any news.
    pub fn catch_up(&mut self, now: Now) -> bool {
        // A burst may come before the first tick, and before anybody had to be decided on: no list is to be opened without its secret.
        self.open(now);
        let mut news = false;
        for entry in self.refreshers.iter_mut().flatten().flatten() {
            news |= entry.refresher.sync(&mut SharedData, now);
        }
        let lists = self.lists.changes();
        self.open_lists(now);
        self.lists.sync(now);
        self.gather();
        news || self.lists.changes() != lists
    }

    /// Notes what an answer will belong to. A region, or a list, has one call at a time: the answer to one that was given
    /// up must not pass for the next one's.
    fn expect(&mut self, token: u32, call: Call, max_body: usize) {
        self.calls.retain(|_, (of, _)| *of != call);
        self.calls.insert(token, (call, max_body));
    }

    /// A certificate was let in.
    pub fn let_in(&mut self, index: usize, certificate: &ClientCertificate) {
        let digicert = self.policy.regions.get(index).and_then(|region| region.digicert.as_ref());
        let is_pinned = digicert.is_some_and(|digicert| digicert.pins.contains(&certificate.fingerprint));
        if let (true, Some(pinned)) = (is_pinned, self.pinned.get_mut(index)) {
            pinned.insert(certificate.fingerprint, certificate.not_after);
        }
    }

    pub fn request_early(&mut self, index: usize, fingerprint: Fingerprint, now: Now) {
        if let Some(entry) = self.entry(index) {
            entry.refresher.request_early(fingerprint, &mut SharedData, now);
        }
    }

    /// Whether waiting may help: news of this region are likely before the request has waited as long as it may.
    pub fn expects_news(&self, index: usize, deadline: Monotonic, now: Now) -> bool {
        let entry = self.refreshers.as_ref().and_then(|all| all.get(index)?.as_ref());
        entry.is_some_and(|entry| entry.refresher.expects_news(deadline, now.mono))
    }

    /// Whether a first answer is still awaited.
    pub fn is_starting(&self) -> bool {
        let Some(refreshers) = &self.refreshers else { return true };
        refreshers.iter().flatten().any(|entry| entry.refresher.is_starting())
    }

    /// This VM, or this configuration in it, ends.
    pub fn leave(&mut self, now: Monotonic) {
        self.lists.leave(now);
        for entry in self.refreshers.iter_mut().flatten().flatten() {
            entry.refresher.leave(&mut SharedData, now);
        }
    }

    /// Takes over what is new in the refreshers, and gives trust a new version: a verdict could turn by it, or at least
    /// its reason, since an answer that brought nothing settles that the API does not know a certificate.
    fn gather(&mut self) {
        let refreshers = self.refreshers.iter_mut().flatten();
        for (entry, known) in refreshers.zip(&mut self.trust.regions) {
            let Some(entry) = entry.as_mut().filter(|entry| entry.version != Some(entry.refresher.version()))
            else {
                continue;
            };
            entry.version = Some(entry.refresher.version());
            self.trust.version += 1;
            let changes = entry.news.follow(entry.refresher.pins(), &mut SharedData);
            log_lines::pins(&self.policy, entry.refresher.region(), &changes);
            *known = entry.refresher.trust().clone();
        }
        let list_changes = self.lists.changes();
        if self.list_changes != list_changes {
            self.list_changes = list_changes;
            self.trust.version += 1;
        }
    }

    fn entry(&mut self, index: usize) -> Option<&mut Entry> {
        self.refreshers.as_mut()?.get_mut(index)?.as_mut()
    }

    fn report(&self, index: usize, events: Vec<Event>) {
        let Some(region) = self.policy.regions.get(index).map(|region| region.id.as_str()) else { return };
        for event in events {
            let code = match &event {
                Event::Refreshed { .. } => "ok",
                Event::Failed { failure, .. } => failure.code.code(),
                Event::Skipped(_) => "",
            };
            if !code.is_empty() {
                self.count(region, code);
            }
            log_lines::refresh(&self.policy.name, region, &event);
        }
    }

    fn count(&self, region: &str, result: &str) {
        host::count(&format!("genesys_mtls.{}.refreshes.{result}.{region}", self.policy.name), 1);
    }
}

fn not_dispatched(call: &HttpCall, status: &str) -> Failure {
    let cluster = &call.cluster;
    let detail = if status == "BadArgument" {
        format!("Envoy has no cluster `{cluster}`")
    } else {
        // The call has ended before it began, so its answer cannot be read.
        format!(
            "Envoy could not begin the call to cluster `{cluster}` ({status}): it has no address, since its host does not \
             resolve (cluster.{cluster}.membership_total is 0), or a filter on it has no credentials to add"
        )
    };
    Failure::new(FailureCode::DispatchFailed, detail)
}
