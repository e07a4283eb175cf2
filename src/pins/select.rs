//! What an answer of the API names, and which of it the configuration allows.

use crate::{
    codes::codes,
    decision::trust::ApiPin,
    http::{Failure, FailureCode},
    pins::{api::Entity, fetch::FetchResult},
    policy::{Authority, NameRule, names::RegionNames},
    time::{Clock, UnixSeconds},
    x509::{
        ca::{CaCertificate, verify_issuer},
        certificate::{ClientCertificate, MAX_DER},
        fingerprint::Fingerprint,
        pem,
        signature::SignatureVerifier,
    },
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Signatures verified per answer, all of them in one callback; two new leaves with one issuer are usual.
const MAX_SIGNATURES: u32 = 64;
/// Leaves that an answer may name. Two are usual.
const MAX_LEAVES: usize = 1000;
/// Certificates in one entity: leaf, intermediate and root are usual.
const MAX_BLOCKS: usize = 8;

/// The list in which the API names a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiStatus {
    Current,
    Upcoming,
}

/// A leaf as the API names it.
#[derive(Debug)]
pub struct NamedLeaf {
    pub certificate: ClientCertificate,
    pub authority: Authority,
    pub status: ApiStatus,
    /// CA certificates in the same entity, in DER.
    issuers: Vec<Vec<u8>>,
}

/// What a certificate has to be to be used as one region's pin.
#[derive(Clone, Copy, Debug)]
pub struct Criteria<'a> {
    /// The id of the region whose API answered.
    pub region: &'a str,
    pub region_names: &'a RegionNames,
    pub names: NameRule,
    pub issuers: &'a [CaCertificate],
    pub verifier: &'a dyn SignatureVerifier,
    pub now: UnixSeconds,
}

/// What an answer names, and what of it can be used. The latter is for log, failure and metrics only: `decide` checks each
/// certificate itself.
#[derive(Debug, Default)]
pub struct Selection {
    pub leaves: BTreeMap<Fingerprint, NamedLeaf>,
    pub pins: BTreeMap<Fingerprint, ApiPin>,
    /// DER of CAs that came along and signed a leaf of the region.
    pub hints: Vec<Vec<u8>>,
    pub skipped: Vec<Skipped>,
    /// Paths of what could not be read.
    pub unreadable: Vec<String>,
    /// Both lists were read.
    pub is_complete: bool,
    /// Why this is no successful refresh.
    pub failure: Option<Failure>,
}

codes! {
    /// Why an entity is no pin.
    #[derive(PartialOrd, Ord)]
    pub enum Skipped {
        OtherAuthority = "other_authority",
        OtherType = "other_type",
        NoPem = "no_pem",
        NotOneLeaf = "not_one_leaf",
        Malformed = "malformed",
        Expired = "expired",
        WrongName = "wrong_name",
        WrongIssuer = "wrong_issuer",
        /// More certificates than are read: see [`MAX_SIGNATURES`], [`MAX_BLOCKS`].
        TooMany = "too_many",
    }
}

impl Selection {
    pub fn of(result: FetchResult, criteria: Criteria<'_>) -> Self {
        let mut this = Self::default();
        for (status, list) in [(ApiStatus::Current, result.current), (ApiStatus::Upcoming, result.upcoming)] {
            match list {
                Err(failure) => this.failure = this.failure.or(Some(failure)),
                Ok(list) => {
                    for listed in list {
                        match listed.map(|entity| named_leaf(&entity, status)) {
                            Ok(Ok(leaf)) => {
                                this.leaves.entry(leaf.certificate.fingerprint).or_insert(leaf);
                            }
                            Ok(Err(skipped)) => this.skipped.push(skipped),
                            Err(path) => this.unreadable.push(path),
                        }
                    }
                }
            }
        }
        let named = this.leaves.len();
        if named > MAX_LEAVES {
            let detail =
                format!("the answer names {named} certificates, far more than there can be: none is used");
            let failure = Failure::new(FailureCode::TooManyCertificates, detail);
            return Self { failure: Some(failure), ..Self::default() };
        }
        this.is_complete = this.failure.is_none();
        let mut budget = MAX_SIGNATURES;
        for (fingerprint, leaf) in &this.leaves {
            let usable = criteria.check(&leaf.certificate, leaf.authority, &mut budget);
            if !matches!(usable, Err(Skipped::OtherAuthority | Skipped::WrongName))
                && !leaf.issuers.iter().any(|der| this.hints.contains(der))
            {
                let signed = |der: &&Vec<u8>| {
                    let ca = CaCertificate::parse(der);
                    ca.is_ok_and(|ca| criteria.verify(&leaf.certificate, &[ca], &mut budget).is_ok())
                };
                this.hints.extend(leaf.issuers.iter().find(signed).cloned());
            }
            match usable {
                Ok(()) => {
                    this.pins.insert(*fingerprint, ApiPin::of(&leaf.certificate));
                }
                Err(skipped) => this.skipped.push(skipped),
            }
        }
        if this.pins.is_empty() && this.is_complete {
            let found = Skipped::ALL.iter().filter(|skipped| this.skipped.contains(skipped));
            let found: Vec<&str> = found.map(|skipped| skipped.code()).collect();
            let found =
                if found.is_empty() { "it names no certificate".to_owned() } else { found.join(", ") };
            let detail = format!("the answer holds no DigiCert client certificate of this region ({found})");
            this.failure = Some(Failure::new(FailureCode::NoUsableCertificate, detail));
        }
        this
    }
}

impl Criteria<'_> {
    /// Whether the certificate can be used as a pin. One whose validity has not begun can.
    fn check(
        &self,
        certificate: &ClientCertificate,
        authority: Authority,
        budget: &mut u32,
    ) -> Result<(), Skipped> {
        if authority != Authority::Digicert {
            return Err(Skipped::OtherAuthority);
        }
        if self.region_names.owner(certificate, self.names) != Ok(Some(self.region)) {
            return Err(Skipped::WrongName);
        }
        if certificate.not_after < self.now {
            return Err(Skipped::Expired);
        }
        if self.issuers.is_empty() { Ok(()) } else { self.verify(certificate, self.issuers, budget) }
    }

    /// Spends one of the signatures that may still be verified.
    fn verify(
        &self,
        certificate: &ClientCertificate,
        cas: &[CaCertificate],
        budget: &mut u32,
    ) -> Result<(), Skipped> {
        *budget = budget.checked_sub(1).ok_or(Skipped::TooMany)?;
        let verified = verify_issuer(cas, certificate, self.verifier, &mut Clock::at(self.now));
        verified.map(drop).map_err(|_| Skipped::WrongIssuer)
    }

    /// Whether any of these certificates of DigiCert's, in DER, can be used.
    pub fn any_usable<'d>(&self, ders: impl IntoIterator<Item = &'d [u8]>) -> bool {
        let mut budget = MAX_SIGNATURES;
        ders.into_iter()
            .filter_map(|der| ClientCertificate::parse(der).ok())
            .any(|certificate| self.check(&certificate, Authority::Digicert, &mut budget).is_ok())
    }
}

fn named_leaf(entity: &Entity, status: ApiStatus) -> Result<NamedLeaf, Skipped> {
    let is = |field: &Option<String>, value: &str| {
        field.as_deref().is_some_and(|text| text.trim().eq_ignore_ascii_case(value))
    };
    let mut authorities = Authority::ALL.into_iter();
    let authority = authorities.find(|authority| is(&entity.signing_authority, authority.code()));
    let authority = authority.ok_or(Skipped::OtherAuthority)?;
    if entity.kind.is_some() && !is(&entity.kind, "client") {
        return Err(Skipped::OtherType);
    }
    let text = entity.certificate.as_deref().ok_or(Skipped::NoPem)?;
    let blocks = pem::certificates(text.as_bytes()).map_err(|_| Skipped::NoPem)?;
    if blocks.len() > MAX_BLOCKS {
        return Err(Skipped::TooMany);
    }
    let (mut leaves, mut issuers) = (Vec::new(), Vec::new());
    for der in blocks {
        if der.len() > MAX_DER {
            return Err(Skipped::Malformed);
        }
        if is_ca(&der)? { issuers.push(der) } else { leaves.push(der) }
    }
    let [leaf] = leaves.as_slice() else { return Err(Skipped::NotOneLeaf) };
    let certificate = ClientCertificate::parse(leaf).map_err(|_| Skipped::Malformed)?;
    Ok(NamedLeaf { certificate, authority, status, issuers })
}

fn is_ca(der: &[u8]) -> Result<bool, Skipped> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Skipped::Malformed)?;
    Ok(certificate.basic_constraints().map_err(|_| Skipped::Malformed)?.is_some_and(|bc| bc.value.ca))
}

#[cfg(test)]
mod tests;
