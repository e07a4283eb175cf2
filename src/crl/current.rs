//! The CRL of one CA, as one worker knows it, and which CRL may replace it.
//!
//! A URL may serve the CRLs of several CAs, one after the other: each has its place, so none keeps another's away.

use crate::{
    crl::index::SerialIndex,
    http::{Failure, FailureCode},
    policy::{CrlSource, Policy},
    shared::SharedStore,
    time::{Clock, Now, UnixSeconds},
    x509::{
        ca::CaCertificate,
        certificate::ClientCertificate,
        crl::{Crl, CrlError, CrlMetadata, RevocationStatus},
        signature::SignatureVerifier,
    },
};
use std::rc::Rc;

/// The largest `clock_skew`, in seconds: workers of two configurations must accept each other's CRLs.
const LARGEST_SKEW: UnixSeconds = 3600;

/// One CA's CRL. Its bytes are in shared data only.
#[derive(Debug)]
pub struct CurrentCrl {
    policy: Rc<Policy>,
    source: CrlSource,
    /// [`CaCertificate::ca`], as hexadecimal digits.
    pub ca: String,
    /// Holds the DER.
    key: String,
    /// Its version moves with each write of the DER, which is too large to be read at every tick.
    version_key: String,
    seen: Option<u32>,
    pub verified: Option<(CrlMetadata, SerialIndex)>,
}

impl CurrentCrl {
    /// `prefix` is the key of all that is fetched from this URL.
    pub fn new(policy: Rc<Policy>, source: CrlSource, prefix: &str, ca: String) -> Self {
        let key = format!("{prefix}/{ca}");
        Self { policy, source, ca, version_key: format!("{key}/version"), key, seen: None, verified: None }
    }

    /// Reads what a worker wrote since the last look; whether that is another CRL. What is damaged, forged, or older than
    /// the CRL in use or `floor` is ignored. Not so what is past its nextUpdate, or a worker that starts late would know less.
    pub fn sync(
        &mut self,
        floor: Option<&CrlMetadata>,
        verifier: &dyn SignatureVerifier,
        store: &dyn SharedStore,
        now: Now,
    ) -> bool {
        let (_, version) = store.get(&self.version_key);
        if version.is_some() && version == self.seen {
            return false;
        }
        let der = store.get(&self.key).0.filter(|der| der.len() <= self.policy.revocation.max_size);
        let policy = self.policy.clone();
        let crl = der.as_deref().map(|der| Crl::verify(der, policy.cas(&self.source), verifier));
        if !matches!(crl, Some(Err(CrlError::VerifierUnavailable))) {
            self.seen = version;
        }
        let Some(Ok(crl)) = crl else { return false };
        let has_begun = crl.metadata.this_update <= now.wall.saturating_add(LARGEST_SKEW);
        has_begun && crl.metadata.signer == self.ca && self.replace(&crl, floor, now.wall).unwrap_or(false)
    }

    /// Puts a verified CRL of this CA in the place of the one before, if it may; whether they differ.
    pub fn replace(
        &mut self,
        crl: &Crl<'_>,
        floor: Option<&CrlMetadata>,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        for known in self.verified.iter().map(|(metadata, _)| metadata).chain(floor) {
            self.check_order(&crl.metadata, known, now)?;
        }
        let index = SerialIndex::of(crl)?;
        let before = self.verified.replace((crl.metadata.clone(), index));
        Ok(self.verified != before)
    }

    /// Writes a CRL where all workers look.
    pub fn publish(&self, crl: &Crl<'_>, store: &mut dyn SharedStore) {
        store.set(&self.key, crl.der(), None);
        store.set(&self.version_key, b"-", None);
    }

    /// A CRL must not be older than the known one, nor be about other certificates: an attacker may serve such a CRL to undo
    /// a revocation.
    fn check_order(&self, new: &CrlMetadata, known: &CrlMetadata, now: UnixSeconds) -> Result<(), Failure> {
        let older = Failure::new(
            FailureCode::CrlRollback,
            "the CRL is older than the one in use (lower CRL number or thisUpdate), which stays in use",
        );
        let url = &self.source.url;
        // One that came here by mistake or malice does not keep away one that belongs here. Times and numbers tell the order
        // of CRLs of one scope only (RFC 5280, section 5.2.3), so they have no say in it.
        if new.concerns(url) && !known.concerns(url) {
            return Ok(());
        }
        if new.this_update < known.this_update {
            return Err(older);
        }
        let has_expired = now > known.next_update.saturating_add(self.policy.clock_skew);
        let covers_all = new.distribution_points.is_empty()
            || !known.distribution_points.is_empty()
                && known.distribution_points.iter().all(|point| new.concerns(point));
        // What an expired CRL revoked stays revoked, but a CA that begins to partition its CRL has to be heard.
        if !(covers_all || has_expired && new.concerns(url)) {
            return Err(Failure::new(
                FailureCode::CrlOtherScope,
                "the CRL is about other distribution points than the one of its CA in use, which stays in use",
            ));
        }
        // A CA that begins to number anew is heard once its last CRL has expired.
        let one_scope = new.distribution_points.is_empty() == known.distribution_points.is_empty()
            && new.distribution_points.iter().all(|point| known.concerns(point));
        let number = |metadata: &CrlMetadata| (metadata.number.len(), metadata.number.clone());
        if !has_expired && one_scope && number(new) < number(known) { Err(older) } else { Ok(()) }
    }

    /// What this CRL says of a certificate that `signer` issued; nothing if it is not about such certificates.
    pub fn status(
        &self,
        signer: &CaCertificate,
        certificate: &ClientCertificate,
        clock: &mut Clock,
    ) -> Option<RevocationStatus> {
        let (metadata, index) = self.verified.as_ref()?;
        let is_listed = || index.contains(&certificate.serial);
        let covers = metadata.covers(signer, certificate);
        covers.then(|| metadata.status(is_listed(), self.policy.clock_skew, clock))
    }
}
