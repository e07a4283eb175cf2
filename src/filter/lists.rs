//! The policy's CRLs in this VM: those configured, and those that certificates named.

use crate::filter::log_lines;
use crate::{
    crl::{CrlEvent, CrlFetcher},
    decision::Revocations,
    host::{self, SharedData},
    http::{Failure, HttpCall, HttpResponse},
    policy::{Authority, CrlSource, Policy, RegionPolicy, RevocationMode},
    shared::Secret,
    time::{Clock, Monotonic, Now},
    x509::{ca::CaCertificate, certificate::ClientCertificate, crl::RevocationStatus},
};
use std::rc::Rc;

pub struct Lists {
    policy: Rc<Policy>,
    followed: Vec<CrlFetcher>,
    /// To be followed, and not opened yet.
    wished: Vec<CrlSource>,
    /// Whether this VM ever received a CRL.
    fetched: bool,
    worker: u64,
}

impl Lists {
    pub fn new(policy: Rc<Policy>, worker: u64) -> Self {
        let consulted = policy.revocation.mode != RevocationMode::Off;
        let wished = if consulted { policy.revocation.lists.clone() } else { Vec::new() };
        Self { policy, followed: Vec::new(), wished, fetched: false, worker }
    }

    /// Begins to follow the CRLs that were wished for. `secret` finds the secret that seals a region's data.
    pub fn open(&mut self, secret: impl Fn(&str) -> Option<Secret>, now: Now) {
        for source in std::mem::take(&mut self.wished) {
            let secret = secret(&source.region);
            if let Some(mut list) = CrlFetcher::new(&self.policy, source, secret.as_ref(), self.worker) {
                list.sync(host::VERIFIER, &mut SharedData, now);
                self.followed.push(list);
            }
        }
    }

    /// Reads what other workers have fetched.
    pub fn sync(&mut self, now: Now) {
        for list in &mut self.followed {
            list.sync(host::VERIFIER, &mut SharedData, now);
        }
    }

    /// Follows the CRLs that a certificate names. One of the region's CAs has to have issued it; only hosts that the
    /// configuration allows are asked.
    pub fn follow(&mut self, region: usize, authority: Authority, certificate: &ClientCertificate) {
        let Some(region) = self.policy.regions.get(region) else { return };
        for url in &certificate.crl_urls {
            let known = self.followed.iter().map(|list| &list.source).chain(&self.wished);
            let source = self.policy.revocation.discovered(&region.id, authority, url, known);
            self.wished.extend(source);
        }
    }

    /// Whether certificates named CRLs that this worker has not looked for yet.
    pub fn has_wishes(&self) -> bool {
        !self.wished.is_empty()
    }

    pub fn len(&self) -> usize {
        self.followed.len()
    }

    /// One list's turn: the call to make, if any.
    pub fn tick(&mut self, index: usize, now: Now) -> Option<HttpCall> {
        let list = self.followed.get_mut(index)?;
        let (call, event) = list.tick(host::VERIFIER, &mut SharedData, now);
        self.report(index, event);
        call
    }

    pub fn answered(&mut self, index: usize, response: Result<HttpResponse, Failure>, now: Now) {
        let Some(list) = self.followed.get_mut(index) else { return };
        self.fetched |= response.is_ok();
        let event = list.on_response(response, host::VERIFIER, &mut SharedData, now);
        self.report(index, event);
    }

    /// A number that moves whenever a verdict might turn by what the lists say.
    pub fn changes(&self) -> u64 {
        self.followed.iter().fold(0, |sum, list| sum.wrapping_add(list.version()))
    }

    pub fn leave(&mut self, now: Monotonic) {
        for list in &mut self.followed {
            list.leave(&mut SharedData, now);
        }
    }

    /// Every worker that follows a list writes its gauges, since all know the same. Lists have gauges of their own, or one
    /// that is about to run out would hide behind a fresh one.
    pub fn write_gauges(&self, now: Now) {
        // Fetching a list takes memory in one VM, which the others must not hide.
        let role = if self.fetched { "fetching" } else { "serving" };
        let name = format!("genesys_mtls.{}.vm_memory_peak_bytes.{role}", self.policy.name);
        host::raise_gauge(&name, host::memory());
        for list in &self.followed {
            let Some((age, left, entries)) = list.gauges(now) else { continue };
            let name = |gauge: &str| self.metric(&format!("{gauge}.{}", list.id), &list.source);
            host::gauge(&name("crl_age_seconds"), age.as_secs());
            host::gauge(&name("crl_seconds_to_next_update"), left);
            host::gauge(&name("crl_entries"), u64::try_from(entries).unwrap_or(u64::MAX));
        }
    }

    fn report(&self, index: usize, event: Option<CrlEvent>) {
        let (Some(list), Some(event)) = (self.followed.get(index), event) else { return };
        let code = match &event {
            CrlEvent::Fetched { .. } => "ok",
            CrlEvent::Failed { failure, .. } => failure.code.code(),
        };
        host::count(&self.metric(&format!("crl_fetches.{code}"), &list.source), 1);
        log_lines::list(&self.policy.name, list, &event);
    }

    fn metric(&self, name: &str, source: &CrlSource) -> String {
        format!("genesys_mtls.{}.{name}.{}.{}", self.policy.name, source.authority.code(), source.region)
    }
}

impl Revocations for Lists {
    fn status(
        &self,
        region: &RegionPolicy,
        authority: Authority,
        signer: &CaCertificate,
        certificate: &ClientCertificate,
        clock: &mut Clock,
    ) -> RevocationStatus {
        let lists = self
            .followed
            .iter()
            .filter(|list| list.source.region == region.id && list.source.authority == authority);
        let statuses = lists.filter_map(|list| list.status(signer, certificate, clock));
        statuses.max().unwrap_or(RevocationStatus::Unknown)
    }
}
