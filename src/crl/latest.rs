//! The latest list of one CA, as one worker knows it, and which list may take its place.
//!
//! A URL may serve the lists of several CAs, one after the other: each has its own place, so none keeps another's away.

use crate::{
    crl::{
        RevocationStatus,
        shelf::{Known, Shelf},
    },
    x509::crl::{CertificateList, CrlError, CrlMetadata},
};
use crate::{
    http::{Failure, FailureCode},
    shared::{CALLBACK, SealedRecord, Secret, SharedStore},
    time::{Clock, Monotonic, Now, UnixSeconds},
    x509::{ca::CaCertificate, certificate::ClientCertificate},
};
use std::cell::Cell;

/// The largest `clock_skew`, in seconds. Workers of two configurations must not take each other's lists for damaged.
const LARGEST_SKEW: UnixSeconds = 3600;

/// One CA's list.
#[derive(Debug)]
pub(super) struct Latest {
    /// [`Authority::ca`], as hexadecimal digits.
    ca: String,
    /// Where the list is fetched.
    url: String,
    shelf: Shelf,
    /// Whether workers share a secret, and can take each other's word.
    sealed: bool,
    skew: UnixSeconds,
    /// What this worker believes in: it is verified by the time that anybody else can see it here.
    known: SealedRecord<Option<Known>>,
    /// What is shared was found damaged.
    damaged: Cell<bool>,
}

impl Latest {
    /// `key` is that of everything fetched from this URL.
    pub fn new(key: &str, ca: String, url: &str, secret: Option<&Secret>, skew: UnixSeconds) -> Option<Self> {
        let key = format!("{key}/{ca}");
        Some(Self {
            ca,
            url: url.to_owned(),
            sealed: secret.is_some(),
            skew,
            known: SealedRecord::new(format!("{key}/record"), secret)?,
            shelf: Shelf { key },
            damaged: Cell::new(false),
        })
    }

    /// Whether this is the CA that signed such a list.
    pub fn is_of(&self, terms: &CrlMetadata) -> bool {
        self.ca == terms.signer
    }

    pub fn known(&self) -> Option<&Known> {
        self.known.value.as_ref()
    }

    /// Whether damage was found since this was last asked.
    pub fn take_damage(&self) -> bool {
        self.damaged.take()
    }

    /// Reads what another worker wrote; whether that is another list. Without a secret that may have been anybody: then the
    /// CA's signature is what counts. With one it may have been a worker that missed the newest list; in either case a list
    /// must not be older than the one that this worker knows.
    pub fn learn(
        &mut self,
        authorities: &[CaCertificate],
        max_size: usize,
        store: &mut dyn SharedStore,
        now: Now,
    ) -> bool {
        let before = self.known.value.clone();
        if !self.known.sync(store, now.mono) {
            return false;
        }
        let mut claim = std::mem::replace(&mut self.known.value, before);
        // Nothing has been fetched later than now.
        if let Some(claim) = &mut claim {
            claim.fetched = claim.fetched.min((now.mono + CALLBACK).millis());
        }
        // What was fetched again brings nothing new, and need not be verified again.
        if let (Some(claim), Some(known)) = (&claim, &mut self.known.value)
            && known.is_same(claim)
        {
            known.fetched = claim.fetched;
            return false;
        }
        let believed = claim.and_then(|claim| {
            let known = if self.sealed {
                claim
            } else {
                let known = self.shelf.verify(store, &claim, authorities, max_size).ok()?;
                let has_begun = known.terms.this_update <= now.wall.saturating_add(LARGEST_SKEW);
                Some(known).filter(|known| has_begun && self.is_of(&known.terms))?
            };
            self.check_order(&known.terms, now.wall).is_ok().then_some(known)
        });
        let is_news = believed.is_some();
        if is_news {
            self.known.value = believed;
        } else {
            self.damaged.set(true);
        }
        is_news
    }

    /// Takes a list that was fetched and verified, and puts it where all workers look; whether it is another one than before.
    /// `again`: even if it is not, since what is there is damaged.
    pub fn take(
        &mut self,
        list: &CertificateList<'_>,
        again: bool,
        store: &mut dyn SharedStore,
        now: Now,
    ) -> Result<bool, Failure> {
        let changed = self.known().is_none_or(|known| known.signed != list.signed);
        if changed {
            self.check_order(&list.terms, now.wall)?;
        }
        let fetched = now.mono.millis();
        if changed || again {
            let known = self.shelf.put(store, list, self.known(), self.sealed, fetched);
            self.known.value = Some(known.map_err(|error| refused(&error))?);
        } else if let Some(known) = &mut self.known.value {
            known.fetched = fetched;
        }
        self.share(store, now.mono);
        Ok(changed)
    }

    /// Writes the record again, in the place of whatever another may have written there.
    pub fn share(&mut self, store: &mut dyn SharedStore, now: Monotonic) {
        if self.known.value.is_some() {
            self.known.write(store, now);
        }
    }

    /// A list must not be older than the one at hand, nor be about other certificates: whoever serves such a list may want
    /// somebody's revocation undone.
    fn check_order(&self, new: &CrlMetadata, now: UnixSeconds) -> Result<(), Failure> {
        let Some(known) = self.known().map(|known| &known.terms) else { return Ok(()) };
        let older = || {
            Failure::new(
                FailureCode::CrlRollback,
                "the revocation list is older than the one at hand (lower CRL number or thisUpdate), which stays in use",
            )
        };
        // One that came here by mistake or malice does not keep away one that belongs here. Times and numbers tell the order of
        // lists of one scope only (RFC 5280, section 5.2.3), so they have no say in it.
        if new.concern(&self.url) && !known.concern(&self.url) {
            return Ok(());
        }
        if new.this_update < known.this_update {
            return Err(older());
        }
        let has_run_out = now > known.next_update.saturating_add(self.skew);
        let covers_all = new.distribution_points.is_empty()
            || !known.distribution_points.is_empty()
                && known.distribution_points.iter().all(|point| new.concern(point));
        if !covers_all {
            // Whoever is on a list that has run out stays revoked, but a CA that begins to partition has to come in.
            return if has_run_out && new.concern(&self.url) {
                Ok(())
            } else {
                Err(Failure::new(
                    FailureCode::CrlOtherScope,
                    "the revocation list is about other distribution points than its CA's at hand, which stays in use",
                ))
            };
        }
        // A CA that begins to number anew comes in once its last list has run out.
        let one_scope = new.distribution_points.is_empty() == known.distribution_points.is_empty()
            && new.distribution_points.iter().all(|point| known.concern(point));
        let number = |terms: &CrlMetadata| (terms.number.len(), terms.number.clone());
        if !has_run_out && one_scope && number(new) < number(known) { Err(older()) } else { Ok(()) }
    }

    /// What this list says of a certificate that `signer` issued; nothing if it is not about such certificates.
    pub fn standing(
        &self,
        signer: &CaCertificate,
        certificate: &ClientCertificate,
        store: &dyn SharedStore,
        clock: &mut Clock,
    ) -> Option<RevocationStatus> {
        let known = self.known().filter(|known| known.terms.cover(signer, certificate))?;
        let Some(is_listed) = self.shelf.holds(store, known, &certificate.serial) else {
            self.damaged.set(true);
            return Some(RevocationStatus::Unreadable);
        };
        Some(known.terms.standing(is_listed, self.skew, clock))
    }
}

pub(super) fn refused(error: &CrlError) -> Failure {
    Failure::new(error.code(), format!("the revocation list is refused: {error}"))
}
