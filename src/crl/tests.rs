//! Workers follow a CA's newest CRL through shared data, and no write of another module undoes a revocation.

mod damage;
mod order;
mod workers;

use crate::{
    config::load,
    crl::{CrlEvent, CrlFetcher},
    http::{HttpCall, HttpResponse},
    policy::Policy,
    shared::{MemoryStore, Secret, SharedStore as _},
    test_support::VERIFIER,
    time::{Clock, Monotonic, Now, UnixSeconds},
    x509::{ca::CaCertificate, certificate::ClientCertificate, crl::RevocationStatus},
};
use serde_json::{Value, json};
use std::{
    rc::Rc,
    sync::LazyLock,
    time::{Duration, SystemTime},
};
use testbed_pki::{Ca, Leaf, Pki, serial_of};

static PKI: LazyLock<Pki> = LazyLock::new(Pki::standard);
const URL: &str = "http://crl.example/us.crl";

/// With an OAuth secret to seal what workers share, and without.
const BOTH: [Option<&str>; 2] = [Some("s3cret"), None];

fn now() -> UnixSeconds {
    i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

fn authority(ca: &Ca) -> CaCertificate {
    CaCertificate::parse(&ca.der).unwrap()
}

fn at(seconds: u64) -> Now {
    Now { mono: Monotonic::from_millis(1000 * seconds), wall: now(), random: 0.5 }
}

/// A CRL of us-east-1's CA.
fn crl(number: u64, revoked: &[&Leaf]) -> Vec<u8> {
    let crl = PKI.us.root.crl().number(number);
    revoked.iter().fold(crl, |crl, leaf| crl.revoke(&serial_of(&leaf.der))).der()
}

/// A policy with these CAs, and these settings of `revocation`.
fn policy(cas: &[&Ca], settings: Value) -> Rc<Policy> {
    let pem: String = cas.iter().map(|ca| ca.pem.as_str()).collect();
    let list = json!({"region": "us-east-1", "authority": "genesys", "url": URL, "cluster": "crl"});
    let mut revocation = json!({"mode": "soft", "lists": [list]});
    revocation.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let document = json!({
        "regions": {"us-east-1": {"genesys": {"ca_certificates": pem}}}, "revocation": revocation,
    });
    Rc::new(load(document.to_string().as_bytes()).unwrap())
}

/// One worker that follows the CRL.
struct Worker {
    fetcher: CrlFetcher,
    cas: Vec<CaCertificate>,
}

impl Worker {
    fn new(number: u64, secret: Option<&str>) -> Self {
        Self::trusting(number, secret, &[&PKI.us.root])
    }

    fn trusting(number: u64, secret: Option<&str>, cas: &[&Ca]) -> Self {
        Self::under(&policy(cas, json!({})), number, secret)
    }

    fn under(policy: &Rc<Policy>, number: u64, secret: Option<&str>) -> Self {
        let secret = secret.map(|secret| Secret::new(secret.to_owned()));
        let source = policy.revocation.crls[0].clone();
        let cas = policy.cas(&source).to_vec();
        Self { fetcher: CrlFetcher::new(policy, source, secret.as_ref(), number).unwrap(), cas }
    }

    fn sync(&mut self, store: &mut MemoryStore, seconds: u64) -> bool {
        self.fetcher.sync(VERIFIER, store, at(seconds))
    }

    fn call(&mut self, store: &mut MemoryStore, now: Now) -> Option<HttpCall> {
        self.fetcher.tick(VERIFIER, store, now).0
    }

    fn respond(&mut self, store: &mut MemoryStore, now: Now, body: &[u8]) -> &'static str {
        let response = HttpResponse { status: 200, body: Some(body.to_vec()), retry_after: None };
        match self.fetcher.on_response(Ok(response), VERIFIER, store, now) {
            Some(CrlEvent::Fetched { .. }) => "ok",
            Some(CrlEvent::Failed { failure, .. }) => failure.code.code(),
            None => "no answer was awaited",
        }
    }

    /// One tick, and the response to the call that it makes, if it makes one.
    fn fetch(&mut self, store: &mut MemoryStore, seconds: u64, body: &[u8]) -> &'static str {
        self.fetch_at(store, at(seconds), body)
    }

    fn fetch_at(&mut self, store: &mut MemoryStore, now: Now, body: &[u8]) -> &'static str {
        let Some(call) = self.call(store, now) else { return "nothing" };
        assert_eq!(call.headers[1].1, "/us.crl");
        self.respond(store, now, body)
    }

    fn status(&self, leaf: &Leaf) -> Option<RevocationStatus> {
        self.status_at(&self.cas[0], leaf, now())
    }

    fn status_at(&self, ca: &CaCertificate, leaf: &Leaf, wall: UnixSeconds) -> Option<RevocationStatus> {
        let certificate = ClientCertificate::parse(&leaf.der).unwrap();
        self.fetcher.status(ca, &certificate, &mut Clock::at(wall))
    }
}

/// The key that holds a CA's DER.
fn der_key(store: &MemoryStore, ca: &Ca) -> String {
    store.key(&format!("/{}", authority(ca).ca)).unwrap()
}

/// Writes bytes in the place of a CA's DER, as another module may: with its version, so that all workers look.
fn put(store: &mut MemoryStore, ca: &Ca, bytes: &[u8]) {
    let key = der_key(store, ca);
    store.set(&key, bytes, None);
    store.set(&format!("{key}/version"), b"-", None);
}
