//! The rules of requests: a proxy of several workers, without Envoy.

mod crls;
mod denial;
mod gauges;
mod holding;
mod interleaving;
mod logging;
mod start;

use super::{
    Engine,
    effect::{Action, CallId, Effect},
    io::{Environment, Io},
};
use crate::{
    decision::Reason,
    http::{HttpCall, HttpResponse},
    peer::request::Request,
    shared::MemoryStore,
    test_support::{NOW, VERIFIER, cast, leaf, policy, us_leaf},
    time::{Monotonic, Now},
    x509::fingerprint::Fingerprint,
};
use serde_json::{Value, json};
use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};
use testbed_pki::Leaf;

/// Workers of one proxy, their shared data and their clocks.
struct Proxy {
    store: MemoryStore,
    workers: Vec<Engine>,
    around: Around,
    /// Effects of events other than ticks, not looked at yet.
    effects: Vec<Effect>,
}

/// What surrounds the workers.
struct Around {
    variables: BTreeMap<&'static str, &'static str>,
    now: Now,
    clock_reads: Cell<u32>,
}

impl Environment for Around {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|value| (*value).to_owned())
    }

    fn now(&self) -> Now {
        self.clock_reads.set(self.clock_reads.get() + 1);
        self.now
    }

    fn node_id(&self) -> String {
        "edge-1".to_owned()
    }

    fn memory(&self) -> u64 {
        1
    }
}

/// The API as a test has it answer.
type Api<'a> = &'a dyn Fn(&HttpCall) -> HttpResponse;

/// A request of a client with this certificate, as Envoy shows it.
struct Shown(Option<Leaf>);

impl Request for Shown {
    fn property(&self, path: &str) -> Option<Vec<u8>> {
        let leaf = self.0.as_ref()?;
        match path {
            "connection\0sha256_peer_certificate_digest" => {
                Some(Fingerprint::of(&leaf.der).to_string().into_bytes())
            }
            "connection\0peer_certificate" => Some(leaf.cert_pem.clone().into_bytes()),
            _ => None,
        }
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        (name == "x-request-id").then(|| b"r-1".to_vec())
    }
}

impl Proxy {
    fn new(document: &Value, workers: usize) -> Self {
        let policy = Rc::new(policy(document));
        let worker = |number| Engine::new(policy.clone(), number);
        let variables = [("GENESYS_CLIENT_ID", "id"), ("GENESYS_CLIENT_SECRET", "secret")];
        let now = Now { mono: Monotonic::from_millis(1_000_000), wall: NOW, random: 0.5 };
        Self {
            store: MemoryStore::default(),
            workers: (0..).take(workers).map(worker).collect(),
            around: Around { variables: variables.into(), now, clock_reads: Cell::new(0) },
            effects: Vec::new(),
        }
    }

    /// A proxy whose only trust is what the API names, signed by the configured issuer.
    fn by_api(changes: &Value, workers: usize) -> Self {
        let digicert = json!({"pins": ["api"], "issuers": cast().digicert_ca.pem});
        let base = json!({"regions": {"us-east-1": {"digicert": digicert}}});
        Self::new(&crate::test_support::merged(&base, changes), workers)
    }

    fn pass(&mut self, time: Duration) {
        self.around.now.mono += time;
        self.around.now.wall += i64::try_from(time.as_secs()).unwrap();
    }

    fn event<T>(&mut self, worker: usize, event: impl FnOnce(&mut Engine, &mut Io<'_>) -> T) -> T {
        let mut io = Io::new(&mut self.store, VERIFIER, &self.around);
        let answer = event(&mut self.workers[worker], &mut io);
        self.effects.extend(io.effects);
        answer
    }

    fn request(&mut self, worker: usize, stream: u32, client: &Shown) -> Action {
        self.event(worker, |engine, io| engine.on_request(stream, client, io))
    }

    /// The effects so far.
    fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// A tick, and everything that follows from it while the API answers like this. Returns the effects other than calls.
    fn tick(&mut self, worker: usize, api: Api<'_>) -> Vec<Effect> {
        self.event(worker, Engine::on_tick);
        let mut done = Vec::new();
        while !self.effects.is_empty() {
            for effect in self.take() {
                let Effect::Call { id, call } = effect else {
                    done.push(effect);
                    continue;
                };
                let response = Ok(api(&call));
                self.event(worker, |engine, io| engine.on_response(&id, response, io));
            }
        }
        done
    }

    /// A tick, and the calls that it makes; they stay unanswered.
    fn calls(&mut self, worker: usize) -> Vec<CallId> {
        self.event(worker, Engine::on_tick);
        let calls = self.take().into_iter().filter_map(|effect| match effect {
            Effect::Call { id, .. } => Some(id),
            _ => None,
        });
        calls.collect()
    }

    fn log(&mut self) -> Vec<String> {
        lines(&self.take())
    }
}

/// The API, naming these certificates.
fn naming(leaves: &[&Leaf]) -> impl Fn(&HttpCall) -> HttpResponse + use<> {
    let entity = |leaf: &&Leaf| json!({"signingAuthority": "DigiCert", "certificate": leaf.chain_pem, "status": "Current"});
    let page = json!({"entities": leaves.iter().map(entity).collect::<Vec<_>>()}).to_string();
    move |call| {
        let is_login = call.headers.iter().any(|(_, value)| value == "/oauth/token");
        let token = r#"{"access_token":"t","expires_in":86400}"#.to_owned();
        let body = if is_login { token } else { page.clone() };
        HttpResponse { status: 200, body: Some(body.into_bytes()), retry_after: None }
    }
}

/// Genesys Cloud's certificate by the configured DigiCert issuer.
fn genuine() -> Leaf {
    us_leaf(&cast().digicert_ca)
}

fn stranger() -> Leaf {
    leaf(&cast().stranger_ca).name("client.example").issue()
}

/// What became of a request, in short.
fn said(action: &Action) -> &'static str {
    match action {
        Action::Allow(_) => "allow",
        Action::Deny { reason, .. } => reason.code(),
        Action::Hold => "hold",
    }
}

fn lines(effects: &[Effect]) -> Vec<String> {
    let line =
        |effect: &Effect| if let Effect::Log { line, .. } = effect { Some(line.clone()) } else { None };
    effects.iter().filter_map(line).collect()
}

/// What was added to the counter whose name ends like this.
fn counted(effects: &[Effect], ending: &str) -> u64 {
    let added = effects.iter().filter_map(|effect| match effect {
        Effect::Count { metric, by } if metric.ends_with(ending) => Some(by),
        _ => None,
    });
    added.sum()
}

/// The value last written to the gauge whose name contains this.
fn gauged(effects: &[Effect], part: &str) -> Option<u64> {
    let mut written = effects.iter().filter_map(|effect| match effect {
        Effect::Gauge { metric, value } | Effect::RaiseGauge { metric, value } if metric.contains(part) => {
            Some(*value)
        }
        _ => None,
    });
    written.next_back()
}

/// The held requests that these effects release, and how.
fn released(effects: &[Effect]) -> Vec<(u32, &'static str)> {
    let released = effects.iter().filter_map(|effect| match effect {
        Effect::Release { stream, action } => Some((*stream, said(action))),
        _ => None,
    });
    released.collect()
}

fn tick_periods(effects: &[Effect]) -> Vec<u128> {
    let periods = effects.iter().filter_map(|effect| match effect {
        Effect::Tick(period) => Some(period.as_millis()),
        _ => None,
    });
    periods.collect()
}

/// A response with this status and body.
fn response(status: u16, body: &[u8]) -> HttpResponse {
    HttpResponse { status, body: Some(body.to_vec()), retry_after: None }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

#[test]
fn reasons_have_a_counter_from_the_first_flush_on() {
    let mut proxy = Proxy::by_api(&json!({}), 1);
    let effects = proxy.tick(0, &naming(&[]));
    for reason in Reason::ALL {
        let name = format!("genesys_mtls.default.decisions.deny.{reason}");
        let is_there = |effect: &Effect| matches!(effect, Effect::Count { metric, by: 0 } if *metric == name);
        assert!(effects.iter().any(is_there), "{reason}");
    }
}
