//! The policy's revocation lists in this VM: those configured, and those that certificates named.

use crate::filter::log_lines;
use crate::{
    crl::{ListEvent, RevocationList, RevocationStatus},
    decision::Revocations,
    host::{self, SharedData},
    http::{Failure, HttpCall, HttpResponse},
    policy::{Authority, ListSource, Policy, RegionPolicy, RevocationMode},
    shared::Secret,
    time::{Clock, Monotonic, Now},
    x509::{ca::CaCertificate, certificate::ClientCertificate},
};
use std::{cell::RefCell, rc::Rc};

pub struct Lists {
    policy: Rc<Policy>,
    followed: Vec<RevocationList>,
    /// Named by a certificate of one of our authorities, and not followed yet.
    wished: RefCell<Vec<ListSource>>,
    /// Whether this VM ever received a list, whole as it came.
    fetched: bool,
    worker: u64,
}

impl Lists {
    pub fn new(policy: Rc<Policy>, worker: u64) -> Self {
        let consulted = policy.revocation.mode != RevocationMode::Off;
        let wished = if consulted { policy.revocation.lists.clone() } else { Vec::new() };
        let wished = RefCell::new(wished);
        Self { policy, followed: Vec::new(), wished, fetched: false, worker }
    }

    /// Begins to follow the lists that were wished for. `secret` finds the secret that seals a region's data.
    pub fn open(&mut self, secret: impl Fn(&str) -> Option<Secret>, now: Now) {
        for source in self.wished.take() {
            let authorities = authorities(&self.policy, &source);
            let secret = secret(&source.region);
            let list = RevocationList::new(&self.policy, &source, authorities, secret.as_ref(), self.worker);
            if let Some(mut list) = list {
                list.learn(&mut SharedData, now);
                self.followed.push(list);
            }
        }
    }

    /// Reads what other workers have fetched.
    pub fn learn(&mut self, now: Now) {
        for list in &mut self.followed {
            list.learn(&mut SharedData, now);
        }
    }

    /// Whether certificates named lists that nobody here has looked for yet.
    pub fn has_wishes(&self) -> bool {
        !self.wished.borrow().is_empty()
    }

    pub fn len(&self) -> usize {
        self.followed.len()
    }

    /// One list's turn: the call to make, if any.
    pub fn tick(&mut self, index: usize, now: Now) -> Option<HttpCall> {
        let list = self.followed.get_mut(index)?;
        let (call, event) = list.tick(&mut SharedData, now);
        self.report(index, event);
        call
    }

    pub fn answered(&mut self, index: usize, response: Result<HttpResponse, Failure>, now: Now) {
        let Some(list) = self.followed.get_mut(index) else { return };
        self.fetched |= response.is_ok();
        let event = list.answered(response, &mut SharedData, now);
        self.report(index, event);
    }

    /// A number that moves whenever a verdict might turn by what the lists say.
    pub fn changes(&self) -> u64 {
        self.followed.iter().fold(0, |sum, list| sum.wrapping_add(list.changes))
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

    fn report(&self, index: usize, event: Option<ListEvent>) {
        let (Some(list), Some(event)) = (self.followed.get(index), event) else { return };
        let code = match &event {
            ListEvent::Fetched { .. } => "ok",
            ListEvent::Failed { failure, .. } => failure.code.code(),
        };
        host::count(&self.metric(&format!("crl_fetches.{code}"), &list.source), 1);
        log_lines::list(&self.policy.name, list, &event);
    }

    fn metric(&self, name: &str, source: &ListSource) -> String {
        format!("genesys_mtls.{}.{name}.{}.{}", self.policy.name, source.authority.code(), source.region)
    }
}

/// The CAs that may sign a list: those of its region and authority.
fn authorities<'p>(policy: &'p Policy, source: &ListSource) -> &'p [CaCertificate] {
    let region = policy.regions.iter().find(|region| region.id == source.region);
    region.map_or(&[], |region| match source.authority {
        Authority::Genesys => &region.genesys,
        Authority::Digicert => region.digicert.as_ref().map_or(&[], |digicert| &digicert.issuers),
    })
}

impl Revocations for Lists {
    fn standing(
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
        let said = lists.filter_map(|list| list.standing(signer, certificate, &SharedData, clock));
        let standing = said.max().unwrap_or(RevocationStatus::Unknown);
        if standing == RevocationStatus::Unknown {
            self.wish(region, authority, certificate);
        }
        standing
    }
}

impl Lists {
    /// Notes the lists that a certificate names and nobody follows. Only certificates that one of our authorities
    /// issued come this far, and only hosts that the configuration allows are asked.
    fn wish(&self, region: &RegionPolicy, authority: Authority, certificate: &ClientCertificate) {
        let mut wished = self.wished.borrow_mut();
        for url in &certificate.crl_urls {
            let known = self.followed.iter().map(|list| &list.source).chain(wished.iter());
            let source = self.policy.revocation.discovered(&region.id, authority, url, known);
            wished.extend(source);
        }
    }
}
