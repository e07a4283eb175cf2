//! A stand-in of Genesys Cloud: the login and API hosts of several regions on one TLS port, and a plain-HTTP host for
//! revocation lists. It answers as the real ones do, until a test sets a fault.

mod answers;
mod errors;
mod fault;
mod log;
mod server;
mod state;
mod tls;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use testbed_pki::Pki;
use tokio::{sync::watch, task::JoinHandle};

pub use fault::{Fault, Gate};
pub use log::{Endpoint, NotSeen, Seen};
pub use state::{Credentials, Entity, Status};
pub use tls::ServerIdentity;

use crate::net::{LOOPBACK, ReservedPort};
use fault::Rule;
use state::{Inner, Listing, RegionState, State};

#[derive(Debug)]
struct Shared {
    inner: Arc<Inner>,
    port: ReservedPort,
    crl_port: ReservedPort,
    resolver: Arc<tls::Resolver>,
    generation: watch::Sender<u64>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

/// The stand-in. Clones drive the same one; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Genesys(Arc<Shared>);

impl Genesys {
    /// Starts it for both regions of the cast. *Current* holds each region's DigiCert and Genesys certificate,
    /// *Upcoming* is empty. Needs a tokio runtime.
    pub async fn start(pki: &Pki) -> io::Result<Self> {
        Self::start_at(pki, LOOPBACK, LOOPBACK).await
    }

    /// The same with chosen addresses: of the login and API hosts, and of the host of revocation lists.
    pub async fn start_at(pki: &Pki, addr: SocketAddr, crl_addr: SocketAddr) -> io::Result<Self> {
        let root = &pki.digicert_root.der;
        let regions = [&pki.us, &pki.eu].map(|r| RegionState::new(r, root)).into();
        let state = State { regions, ..State::default() };
        let genesys = Self(Arc::new(Shared {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                log: log::Log::new(),
                connections: AtomicU64::new(0),
            }),
            port: ReservedPort::new(addr)?,
            crl_port: ReservedPort::new(crl_addr)?,
            resolver: Arc::new(tls::Resolver::new(&pki.server_ca)),
            generation: watch::Sender::new(0),
            tasks: Mutex::default(),
        }));
        genesys.listen().await?;
        Ok(genesys)
    }

    /// Where the login and API hosts of all regions listen (TLS, HTTP/1.1).
    pub fn addr(&self) -> SocketAddr {
        self.0.port.addr()
    }

    /// Where revocation lists are served (plain HTTP).
    pub fn crl_addr(&self) -> SocketAddr {
        self.0.crl_port.addr()
    }

    /// The OAuth client that a region accepts.
    pub fn credentials(&self, region: &str) -> Credentials {
        self.0.inner.state().region(region).credentials.clone()
    }

    /// Changes the OAuth client that a region accepts; tokens given out stay good.
    pub fn set_credentials(&self, region: &str, credentials: Credentials) {
        self.0.inner.state().region(region).credentials = credentials;
    }

    /// Replaces a list.
    pub fn set_entities(&self, region: &str, status: Status, entities: Vec<Entity>) {
        *self.0.inner.state().region(region).list(status) = Listing::of(entities);
    }

    /// Replaces a list by one in pages, linked through `nextUri`.
    pub fn set_pages(&self, region: &str, status: Status, pages: Vec<Vec<Entity>>) {
        *self.0.inner.state().region(region).list(status) = Listing { pages, next_uri: None };
    }

    /// Gives the last page of a list a `nextUri`: to itself, to another host, anywhere.
    pub fn set_next_uri(&self, region: &str, status: Status, uri: Option<&str>) {
        self.0.inner.state().region(region).list(status).next_uri = uri.map(str::to_owned);
    }

    /// Upcoming entities become current, in place of those of the same authority.
    pub fn rotate(&self, region: &str) {
        self.0.inner.state().region(region).rotate();
    }

    /// Whether the OAuth client has `integrations:actionCertificate:view`; otherwise 403 `missing.permissions`.
    pub fn set_permitted(&self, region: &str, permitted: bool) {
        self.0.inner.state().region(region).permitted = permitted;
    }

    /// `expires_in` of new tokens, any JSON; `None` leaves it out.
    pub fn set_expires_in(&self, region: &str, expires_in: Option<Value>) {
        self.0.inner.state().region(region).expires_in = expires_in;
    }

    /// Forgets all tokens of a region: the next call with one gets 401.
    pub fn revoke_tokens(&self, region: &str) {
        self.0.inner.state().region(region).revoke_tokens();
    }

    /// Serves bytes as a revocation list under `path` (as in the URL, from the slash on), for any host name.
    pub fn set_crl(&self, path: &str, status: u16, bytes: impl Into<Vec<u8>>) {
        self.0.inner.state().crls.insert(path.to_owned(), (status, bytes.into()));
    }

    /// A fault at an endpoint, until cleared. `None` stands for all regions, or all endpoints. Earlier rules win.
    pub fn fault(&self, region: Option<&str>, endpoint: Option<Endpoint>, fault: Fault) {
        self.rule(region, endpoint, None, fault);
    }

    /// A fault for the next `times` requests.
    pub fn fault_times(&self, region: Option<&str>, endpoint: Option<Endpoint>, times: usize, fault: Fault) {
        if times > 0 {
            self.rule(region, endpoint, Some(times), fault);
        }
    }

    /// One fault per request, in this order, then back to normal.
    pub fn script(
        &self,
        region: Option<&str>,
        endpoint: Option<Endpoint>,
        faults: impl IntoIterator<Item = Fault>,
    ) {
        for fault in faults {
            self.rule(region, endpoint, Some(1), fault);
        }
    }

    fn rule(&self, region: Option<&str>, endpoint: Option<Endpoint>, times: Option<usize>, fault: Fault) {
        self.0.inner.state().rules.push(Rule { region: region.map(str::to_owned), endpoint, times, fault });
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.0.inner.state().rules.clear();
    }

    /// Exchanges the TLS certificate of a host (`api.mypurecloud.com`) and closes all connections, so the next
    /// request meets it.
    pub fn set_tls(&self, host: &str, identity: ServerIdentity) {
        self.0.resolver.set(host, identity);
        self.close_connections();
    }

    /// Closes all connections; new ones are welcome.
    pub fn close_connections(&self) {
        self.0.generation.send_modify(|n| *n += 1);
    }

    /// Stops listening and closes all connections: from now on they are refused.
    pub async fn stop(&self) {
        let tasks: Vec<_> = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
    }

    /// Listens again, on the same ports.
    pub async fn resume(&self) -> io::Result<()> {
        self.stop().await;
        self.listen().await
    }

    #[expect(clippy::unused_async, reason = "listening needs the runtime that an async caller is on")]
    async fn listen(&self) -> io::Result<()> {
        let tls = tls::server_config(self.0.resolver.clone());
        let tasks =
            [(self.0.port.listen()?, Some(tls)), (self.0.crl_port.listen()?, None)].map(|(listener, tls)| {
                let generation = self.0.generation.subscribe();
                tokio::spawn(server::accept(self.0.inner.clone(), listener, tls, generation))
            });
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
        Ok(())
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.0.inner.log.all()
    }

    /// How many requests an endpoint got, of one region or of all.
    pub fn count(&self, region: Option<&str>, endpoint: Endpoint) -> usize {
        self.0
            .inner
            .log
            .count(|s| s.endpoint == endpoint && region.is_none_or(|r| s.region.as_deref() == Some(r)))
    }

    /// How many TCP connections it accepted.
    pub fn connections(&self) -> u64 {
        self.0.inner.connections.load(Ordering::Relaxed)
    }

    /// The TLS handshakes that failed, and why (the alert that the client sent, mostly).
    pub fn failed_handshakes(&self) -> Vec<String> {
        self.0.inner.log.failed_handshakes()
    }

    /// Waits until `done` holds for the request log.
    pub async fn wait_for(
        &self,
        what: &str,
        timeout: Duration,
        done: impl Fn(&[Seen]) -> bool,
    ) -> Result<(), NotSeen> {
        self.0.inner.log.wait(what, timeout, |seen, _| done(seen)).await
    }

    /// Waits until an endpoint has answered at least `times` requests completely.
    pub async fn wait_answered(
        &self,
        region: Option<&str>,
        endpoint: Endpoint,
        times: usize,
        timeout: Duration,
    ) -> Result<(), NotSeen> {
        let answered = |s: &&Seen| {
            s.endpoint == endpoint
                && s.answered.is_some()
                && region.is_none_or(|r| s.region.as_deref() == Some(r))
        };
        let what = format!("{times} answers of {endpoint:?}");
        self.wait_for(&what, timeout, |seen| seen.iter().filter(answered).count() >= times).await
    }

    /// Waits until at least `count` TLS handshakes have failed.
    pub async fn wait_failed_handshakes(&self, count: usize, timeout: Duration) -> Result<(), NotSeen> {
        self.0.inner.log.wait("failed TLS handshakes", timeout, |_, failed| failed.len() >= count).await
    }
}
