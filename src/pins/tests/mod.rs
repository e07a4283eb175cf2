//! Refreshers of one proxy against shared data and an API made for tests: time passes when a test says so.

mod clock;
mod damage;
mod early;
mod fleet;
mod pins_over_time;
mod reloads;
mod sharing;

use crate::test_support::VERIFIER;
use crate::{
    config,
    decision::trust::ApiTrust,
    policy::Policy,
    time::{Monotonic, UnixSeconds},
    x509::fingerprint::Fingerprint,
};
use crate::{
    http::{HttpCall, HttpResponse},
    pins::{Client, Event, PinChange, PinStatus, Pins, Refresher, Step, api, pin_changes},
    shared::{MemoryStore, Secret},
    time::Now,
};
use serde_json::{Value, json};
use std::{rc::Rc, sync::LazyLock, time::Duration};
use testbed_pki::{Leaf, Pki, pem_block};

pub const TICK: Duration = Duration::from_millis(250);

pub static PKI: LazyLock<Pki> = LazyLock::new(Pki::standard);

/// The one key with this ending.
pub fn key(store: &MemoryStore, ending: &str) -> String {
    let keys: Vec<&String> = store.values.keys().filter(|key| key.ends_with(ending)).collect();
    assert_eq!(keys.len(), 1, "{:?}", store.values.keys());
    keys[0].clone()
}

/// The login and API hosts.
#[derive(Debug)]
pub struct Api {
    pub current: Vec<Leaf>,
    pub upcoming: Vec<Leaf>,
    /// Named as current, of the region's own CA.
    pub genesys: Vec<Leaf>,
    /// Answers with this status instead.
    pub current_status: Option<u16>,
    pub upcoming_status: Option<u16>,
    pub retry_after: Option<String>,
    /// Says nothing at all.
    pub silent: bool,
    pub unanswered: usize,
    /// The login host answers with this status.
    pub login_status: Option<u16>,
    /// Of a token, in seconds.
    pub lifetime: u32,
    pub tokens: usize,
    pub sets: usize,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            current: Vec::new(),
            upcoming: Vec::new(),
            genesys: Vec::new(),
            current_status: None,
            upcoming_status: None,
            login_status: None,
            retry_after: None,
            silent: false,
            unanswered: 0,
            lifetime: 3600,
            tokens: 0,
            sets: 0,
        }
    }
}

impl Api {
    pub fn answer(&mut self, call: &HttpCall) -> Option<HttpResponse> {
        if self.silent {
            self.unanswered += 1;
            return None;
        }
        let path = &call.headers[1].1;
        let entities = |leaves: &[Leaf]| -> Vec<Value> {
            let entity = |leaf: &Leaf| json!({"signingAuthority": "DigiCert", "certificate": leaf.chain_pem});
            leaves.iter().map(entity).collect()
        };
        let (status, body) = if path == "/oauth/token" {
            self.tokens += 1;
            (self.login_status, json!({"access_token": "token", "expires_in": self.lifetime}))
        } else if path.ends_with("status=Current") {
            self.sets += 1;
            (self.current_status, {
                let mut entities = entities(&self.current);
                let genesys = self.genesys.iter();
                entities.extend(
                    genesys.map(|leaf| json!({"signingAuthority": "Genesys", "certificate": leaf.cert_pem})),
                );
                json!({"entities": entities})
            })
        } else {
            assert_eq!(path, &format!("{}?status=Upcoming", api::PATH));
            (self.upcoming_status, json!({"entities": entities(&self.upcoming)}))
        };
        let body = Some(body.to_string().into_bytes());
        Some(HttpResponse {
            status: status.unwrap_or(200),
            body,
            retry_after: self.retry_after.clone().map(String::into_bytes),
        })
    }
}

/// A proxy: its workers, what they share, and the API they ask.
pub struct Proxy {
    pub shared: MemoryStore,
    pub workers: Vec<Refresher>,
    pub api: Api,
    pub now: Monotonic,
    pub wall: UnixSeconds,
    /// Envoy's `node.id`.
    pub node: String,
    pub events: Vec<Event>,
    /// Changes of pins, with the worker that logged them.
    pub logged: Vec<(usize, PinChange)>,
    known: Vec<Pins>,
    policy: Rc<Policy>,
}

impl Proxy {
    /// Workers with these settings of `refresh`; the API names the region's usual certificate.
    pub fn new(workers: usize, refresh: &Value) -> Self {
        let issuers = json!(pem_block(&PKI.digicert_ca.der));
        Self::with(workers, policy(&json!({"pins": ["api"], "issuers": issuers}), refresh))
    }

    /// One worker that takes leaves of any issuer.
    pub fn without_issuers(refresh: &Value) -> Self {
        Self::with(1, policy(&json!({"pins": ["api"]}), refresh))
    }

    fn with(workers: usize, policy: Policy) -> Self {
        let mut proxy = Self {
            shared: MemoryStore::default(),
            workers: Vec::new(),
            api: Api { current: vec![PKI.us.digicert.clone()], ..Api::default() },
            now: Monotonic::from_millis(5_000_000),
            wall: time::OffsetDateTime::now_utc().unix_timestamp(),
            node: String::new(),
            events: Vec::new(),
            logged: Vec::new(),
            known: Vec::new(),
            policy: Rc::new(policy),
        };
        for _ in 0..workers {
            proxy.join();
        }
        proxy
    }

    /// Another worker, with nothing but what the others share; returns its index.
    pub fn join(&mut self) -> usize {
        let worker = self.worker("secret");
        self.add(worker);
        self.workers.len() - 1
    }

    pub fn add(&mut self, worker: Refresher) {
        self.workers.push(worker);
        self.known.push(Pins::new());
    }

    /// A worker is gone, and says nothing.
    pub fn remove(&mut self, worker: usize) -> Refresher {
        self.known.remove(worker);
        self.workers.remove(worker)
    }

    /// Workers from now on are of a region with this name.
    pub fn certificate_name(&mut self, name: &str) {
        let region = json!({"certificate_name": name, "digicert": {"pins": ["api"]}});
        let document = json!({"regions": {"us-east-1": region}});
        self.policy = Rc::new(config::load(document.to_string().as_bytes()).unwrap());
    }

    /// A worker that has this secret.
    pub fn worker(&self, secret: &str) -> Refresher {
        let id = u64::try_from(self.workers.len()).unwrap() + 1;
        let secret = Secret::new(secret.to_owned()).on(self.node.clone());
        let client = Client::Own { id: "client".to_owned(), secret };
        let mut worker = Refresher::new(self.policy.clone(), &self.policy.regions[0], client, id).unwrap();
        worker.sync(&mut self.shared.clone(), self.at());
        worker
    }

    pub fn configure(&mut self, refresh: &Value) {
        self.reconfigure(&json!({"pins": ["api"]}), refresh);
    }

    pub fn reconfigure(&mut self, digicert: &Value, refresh: &Value) {
        self.policy = Rc::new(policy(digicert, refresh));
    }

    /// Every worker leaves, as when a reload has drained its connections.
    pub fn end(&mut self) {
        for mut worker in std::mem::take(&mut self.workers) {
            worker.leave(&mut self.shared, self.now);
        }
        self.known.clear();
    }

    pub fn at(&self) -> Now {
        Now { mono: self.now, wall: self.wall, random: 0.5 }
    }

    /// One tick of one worker, and the answers to all calls that come of it.
    pub fn tick(&mut self, worker: usize) {
        let now = self.at();
        let Step { call, events } = self.workers[worker].tick(VERIFIER, &mut self.shared, now);
        self.events.extend(events);
        self.answer(worker, call);
    }

    /// The answers to a worker's call and to all that come of it, now.
    pub fn answer(&mut self, worker: usize, mut call: Option<HttpCall>) {
        while let Some(made) = call {
            let Some(response) = self.api.answer(&made) else { return };
            call = self.answer_one(worker, response);
        }
        let (known, pins) = (&mut self.known[worker], self.workers[worker].pins());
        let changes = pin_changes(known, pins, ("default", "us-east-1"), &mut self.shared);
        self.logged.extend(changes.into_iter().map(|change| (worker, change)));
    }

    /// One answer; the call that comes of it waits.
    pub fn answer_one(&mut self, worker: usize, response: HttpResponse) -> Option<HttpCall> {
        let now = self.at();
        let step = self.workers[worker].on_response(Ok(response), VERIFIER, &mut self.shared, now);
        self.events.extend(step.events);
        step.call
    }

    /// Time passes, and every worker ticks in turn, each time another one first.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        let mut first = 0;
        while self.now < end {
            self.now += TICK;
            first += 1;
            for worker in 0..self.workers.len() {
                self.tick((first + worker) % self.workers.len());
            }
        }
    }

    /// The same, with one worker only.
    pub fn run_worker(&mut self, worker: usize, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += TICK;
            self.tick(worker);
        }
    }

    pub fn trust(&self, worker: usize) -> ApiTrust {
        self.workers[worker].trust().clone()
    }

    pub fn has_pin(&self, worker: usize, leaf: &Leaf) -> bool {
        self.trust(worker).has_pin(&fingerprint(leaf))
    }

    /// How many pins the API names, and how many are kept though it does not.
    pub fn count(&self) -> (usize, usize) {
        let pins = self.workers[0].pins();
        let count = |wanted| pins.values().filter(|(status, _)| *status == wanted).count();
        (count(PinStatus::Named), count(PinStatus::Kept))
    }

    /// Codes of the failures so far.
    pub fn failures(&self) -> Vec<&'static str> {
        let failed = self.events.iter().filter_map(|event| match event {
            Event::Failed { failure, .. } => Some(failure.code.code()),
            _ => None,
        });
        failed.collect()
    }
}

pub fn fingerprint(leaf: &Leaf) -> Fingerprint {
    Fingerprint::of(&leaf.der)
}

fn policy(digicert: &Value, refresh: &Value) -> Policy {
    let document = json!({"regions": {"us-east-1": {"digicert": digicert}}, "refresh": refresh});
    config::load(document.to_string().as_bytes()).unwrap()
}
