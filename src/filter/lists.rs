//! The policy's revocation lists in this VM: those configured, and those that certificates named.

use super::log_lines;
use crate::{
    authority::Authority,
    certificate::ClientCertificate,
    config::{ListSource, Policy, RegionPolicy},
    decision::{AuthorityKind, Revocations},
    host::{self, SharedData},
    refresh::{Failure, HttpCall, HttpResponse, Now, Secret},
    revocation::{ListEvent, RevocationList, Standing},
    trust::Mono,
    window::Clock,
};
use std::{cell::RefCell, rc::Rc};

/// Lists followed because a certificate named them. A CA has a few; more would be somebody playing.
const MAX_DISCOVERED: usize = 32;

pub struct Lists {
    policy: Rc<Policy>,
    followed: Vec<RevocationList>,
    /// Named by a certificate of one of our authorities, and not followed yet.
    wished: RefCell<Vec<ListSource>>,
    worker: u64,
}

impl Lists {
    pub fn new(policy: Rc<Policy>, worker: u64) -> Self {
        let wished = RefCell::new(policy.revocation.lists.clone());
        Self { policy, followed: Vec::new(), wished, worker }
    }

    /// Begins to follow the lists that were wished for. `secret` finds the secret that seals a region's data.
    pub fn open(&mut self, secret: impl Fn(&str) -> Option<Secret>, now: Mono) {
        for source in self.wished.take() {
            let list =
                RevocationList::new(&self.policy, &source, secret(&source.region).as_ref(), self.worker);
            if let Some(mut list) = list {
                list.learn(&mut SharedData, now);
                self.followed.push(list);
            }
        }
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
        let policy = self.policy.clone();
        let Some(list) = self.followed.get_mut(index) else { return };
        let region = policy.regions.iter().find(|region| region.id == list.source.region);
        let authorities = region.map_or(&[][..], |region| match list.source.authority {
            AuthorityKind::Genesys => &region.genesys,
            AuthorityKind::Digicert => region.digicert.as_ref().map_or(&[], |digicert| &digicert.issuers),
        });
        let event = list.answered(response, authorities, &mut SharedData, now);
        self.report(index, event);
    }

    /// A number that moves whenever a verdict might turn by what the lists say.
    pub fn changes(&self) -> u64 {
        self.followed.iter().fold(0, |sum, list| sum.wrapping_add(list.changes))
    }

    /// The largest answer that a list's call may bring, and how long it may take.
    pub fn limits(&self, index: usize) -> (usize, std::time::Duration) {
        self.followed.get(index).map_or_else(Default::default, |list| (list.max_size(), list.timeout()))
    }

    pub fn leave(&mut self, now: Mono) {
        for list in &mut self.followed {
            list.leave(&mut SharedData, now);
        }
    }

    pub fn write_gauges(&self, now: Now) {
        for list in self.followed.iter().filter(|list| list.is_leader(now.mono)) {
            let Some((age, left, entries)) = list.gauges(now) else { continue };
            let name = |gauge: &str| self.metric(gauge, &list.source);
            host::gauge(&name("crl_age_seconds"), age.as_secs());
            host::gauge(&name("crl_seconds_to_next_update"), left);
            host::gauge(&name("crl_entries"), u64::try_from(entries).unwrap_or(u64::MAX));
        }
    }

    fn report(&self, index: usize, event: Option<ListEvent>) {
        let (Some(list), Some(event)) = (self.followed.get(index), event) else { return };
        let code = match &event {
            ListEvent::Fetched { .. } => "ok",
            ListEvent::Failed { failure, .. } => failure.code,
        };
        host::count(&self.metric(&format!("crl_fetches.{code}"), &list.source), 1);
        log_lines::list(&self.policy.name, &list.source, &event);
    }

    fn metric(&self, name: &str, source: &ListSource) -> String {
        format!("genesys_mtls.{}.{name}.{}.{}", self.policy.name, source.authority.code(), source.region)
    }
}

impl Revocations for Lists {
    fn standing(
        &self,
        region: &RegionPolicy,
        authority: AuthorityKind,
        signer: &Authority,
        certificate: &ClientCertificate,
        clock: &mut Clock,
    ) -> Standing {
        let lists = self
            .followed
            .iter()
            .filter(|list| list.source.region == region.id && list.source.authority == authority);
        let mut standing = Standing::Unknown;
        for list in lists {
            match list.standing(signer, certificate, &SharedData, clock) {
                Some(Standing::Revoked) => return Standing::Revoked,
                Some(Standing::Good) => standing = Standing::Good,
                Some(Standing::Unknown) | None => {}
            }
        }
        if standing == Standing::Unknown {
            self.wish(region, authority, certificate);
        }
        standing
    }
}

impl Lists {
    /// Notes the lists that a certificate names and nobody follows. Only certificates that one of our authorities
    /// issued come this far, and only hosts that the configuration allows are asked.
    fn wish(&self, region: &RegionPolicy, authority: AuthorityKind, certificate: &ClientCertificate) {
        let mut wished = self.wished.borrow_mut();
        for url in &certificate.crl_urls {
            let Some(source) = self.policy.revocation.discovered(&region.id, authority, url) else {
                continue;
            };
            let followed = self.followed.iter().any(|list| {
                let known = &list.source;
                known.url == source.url
                    && known.region == source.region
                    && known.authority == source.authority
            });
            if !followed && !wished.contains(&source) && self.followed.len() + wished.len() < MAX_DISCOVERED {
                wished.push(source);
            }
        }
    }
}
