//! The policy's CRLs in this worker: those configured, and those that certificates named.

use crate::{
    crl::{CrlEvent, CrlFetcher},
    decision::Revocations,
    engine::{
        effect::{CallId, Effect},
        io::Io,
        log, metrics,
    },
    http::{Failure, HttpResponse},
    policy::{Authority, CrlSource, Policy, RegionPolicy, RevocationMode},
    shared::Secret,
    time::{Clock, Monotonic},
    x509::{ca::CaCertificate, certificate::ClientCertificate, crl::RevocationStatus},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// URLs remembered: a CA uses a few.
const MAX_SEEN: usize = 64;

#[derive(Debug)]
pub struct Crls {
    policy: Rc<Policy>,
    worker: u64,
    fetchers: Vec<CrlFetcher>,
    /// To be followed from the next event on.
    named: Vec<CrlSource>,
    /// The URLs that certificates of the configured CAs name.
    seen: BTreeSet<String>,
    /// OAuth secrets by region: they also seal what workers share.
    secrets: BTreeMap<String, Secret>,
    /// Whether this worker ever received a CRL.
    has_fetched: bool,
    /// The sum of the fetchers' versions that verdicts are based on.
    version: u64,
}

impl Crls {
    pub fn new(policy: Rc<Policy>, worker: u64) -> Self {
        let consulted = policy.revocation.mode != RevocationMode::Off;
        let named = if consulted { policy.revocation.crls.clone() } else { Vec::new() };
        Self {
            policy,
            worker,
            fetchers: Vec::new(),
            named,
            seen: BTreeSet::new(),
            secrets: BTreeMap::new(),
            has_fetched: false,
            version: 0,
        }
    }

    pub fn set_secret(&mut self, region: &str, secret: Secret) {
        self.secrets.insert(region.to_owned(), secret);
    }

    /// Notes the URLs of a certificate that a configured CA has issued.
    pub fn note(&mut self, certificate: &ClientCertificate) {
        let room = MAX_SEEN.saturating_sub(self.seen.len());
        self.seen.extend(certificate.crl_urls.iter().take(room).cloned());
    }

    /// Follows the CRLs that a certificate names, on hosts that the policy allows. To be asked for certificates that an
    /// authority of the region issued. True if there are new ones.
    pub fn follow(&mut self, region: &str, authority: Authority, certificate: &ClientCertificate) -> bool {
        self.note(certificate);
        for url in &certificate.crl_urls {
            let known = self.fetchers.iter().map(|fetcher| &fetcher.source).chain(&self.named);
            let source = self.policy.revocation.discovered(region, authority, url, known);
            self.named.extend(source);
        }
        !self.named.is_empty()
    }

    /// Reads what other workers have fetched, also of CRLs that are new here.
    pub fn sync(&mut self, io: &mut Io<'_>) {
        for source in std::mem::take(&mut self.named) {
            let secret = self.secrets.get(&source.region);
            self.fetchers.extend(CrlFetcher::new(&self.policy, source, secret, self.worker));
        }
        let now = io.now();
        for fetcher in &mut self.fetchers {
            fetcher.sync(io.verifier, io.store, now);
        }
    }

    pub fn tick(&mut self, io: &mut Io<'_>) {
        self.sync(io);
        let now = io.now();
        for fetcher in &mut self.fetchers {
            let (call, event) = fetcher.tick(io.verifier, io.store, now);
            report(io, &self.policy, fetcher, &self.seen, event);
            let id = CallId::Crl(fetcher.id.clone());
            io.effects.extend(call.map(|call| Effect::Call { id, call }));
        }
    }

    pub fn on_response(&mut self, id: &str, response: Result<HttpResponse, Failure>, io: &mut Io<'_>) {
        let Some(fetcher) = self.fetchers.iter_mut().find(|fetcher| fetcher.id == id) else { return };
        self.has_fetched |= response.is_ok();
        let now = io.now();
        let event = fetcher.on_response(response, io.verifier, io.store, now);
        report(io, &self.policy, fetcher, &self.seen, event);
    }

    /// Whether a verdict may have changed by what the CRLs say since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        let version = self.fetchers.iter().fold(0, |sum: u64, fetcher| sum.wrapping_add(fetcher.version()));
        std::mem::replace(&mut self.version, version) != version
    }

    pub fn leave(&mut self, io: &mut Io<'_>, now: Monotonic) {
        for fetcher in &mut self.fetchers {
            fetcher.leave(io.store, now);
        }
    }

    pub fn write_gauges(&self, io: &mut Io<'_>) {
        metrics::policy_gauges(io, &self.policy, self.has_fetched);
        for fetcher in &self.fetchers {
            metrics::crl_gauges(io, &self.policy, fetcher, fetcher.uncovered(&self.seen).is_none());
        }
    }
}

fn report(
    io: &mut Io<'_>,
    policy: &Policy,
    fetcher: &CrlFetcher,
    seen: &BTreeSet<String>,
    event: Option<CrlEvent>,
) {
    let Some(event) = event else { return };
    let failure = if let CrlEvent::Failed { failure, .. } = &event { Some(failure.code) } else { None };
    metrics::crl_fetched(io, policy, &fetcher.source, failure);
    log::crl(io, policy, fetcher, fetcher.uncovered(seen), &event);
}

impl Revocations for Crls {
    fn status(
        &self,
        region: &RegionPolicy,
        authority: Authority,
        signer: &CaCertificate,
        certificate: &ClientCertificate,
        clock: &mut Clock,
    ) -> RevocationStatus {
        let of_signer = |source: &CrlSource| source.region == region.id && source.authority == authority;
        let fetchers = self.fetchers.iter().filter(|fetcher| of_signer(&fetcher.source));
        let said = fetchers.filter_map(|fetcher| fetcher.status(signer, certificate, clock));
        said.max().unwrap_or(RevocationStatus::Unknown)
    }
}
