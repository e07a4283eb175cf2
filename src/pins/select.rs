//! What an answer of the API names, and what becomes of it.

use crate::{
    codes::codes,
    http::{Failure, FailureCode},
    pins::{
        api::Entity,
        fetch::FetchResult,
        forecast::{ApiStatus, Forecast, Reader},
    },
    policy::Authority,
    time::Clock,
    x509::{
        ca::{CaCertificate, verify_issuer},
        certificate::{ClientCertificate, MAX_DER},
        fingerprint::Fingerprint,
        pem,
    },
};
use std::collections::BTreeMap;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Signatures verified per answer to find the hints, all of them in one callback; one is usual.
const MAX_SIGNATURES: u32 = 64;
/// Leaves that an answer may name. Two are usual.
const MAX_LEAVES: usize = 1000;
/// Certificates in one entity: leaf, intermediate and root are usual.
const MAX_BLOCKS: usize = 8;

/// A leaf as the API names it.
#[derive(Debug)]
pub struct NamedLeaf {
    pub der: Vec<u8>,
    pub authority: Authority,
    pub status: ApiStatus,
    /// CA certificates in the same entity, in DER.
    issuers: Vec<Vec<u8>>,
}

/// What an answer names. The forecasts are for log, failure and metrics only: `decide` checks each certificate itself.
#[derive(Debug, Default)]
pub struct Selection {
    pub leaves: BTreeMap<Fingerprint, NamedLeaf>,
    /// Client certificates of an authority of which no leaf can be read.
    pub illegible: Vec<(Authority, ApiStatus)>,
    pub forecasts: Vec<Forecast>,
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
    /// Why an entity is no leaf.
    #[derive(PartialOrd, Ord)]
    pub enum Skipped {
        OtherAuthority = "other_authority",
        OtherType = "other_type",
        NoPem = "no_pem",
        NotOneLeaf = "not_one_leaf",
        Malformed = "malformed",
        /// More certificates than are read: see [`MAX_BLOCKS`].
        TooMany = "too_many",
    }
}

impl Selection {
    pub fn of(result: FetchResult, reader: Reader<'_>) -> Self {
        let mut this = Self::default();
        for (status, list) in [(ApiStatus::Current, result.current), (ApiStatus::Upcoming, result.upcoming)] {
            match list {
                Err(failure) => this.failure = this.failure.or(Some(failure)),
                Ok(list) => {
                    for listed in list {
                        match listed {
                            Ok(entity) => this.add(&entity, status),
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
        this.find_hints(reader);
        let leaves = this.leaves.iter();
        let leaves = leaves.map(|(of, leaf)| (Some((*of, leaf.der.as_slice())), leaf.authority, leaf.status));
        let illegible = this.illegible.iter().map(|(authority, status)| (None, *authority, *status));
        this.forecasts = reader.forecasts(leaves.chain(illegible));
        if this.is_complete && !this.forecasts.iter().any(Forecast::is_pin) {
            this.failure = Some(this.unusable());
        }
        this
    }

    fn add(&mut self, entity: &Entity, status: ApiStatus) {
        let is = |field: &Option<String>, value: &str| {
            field.as_deref().is_some_and(|text| text.trim().eq_ignore_ascii_case(value))
        };
        let mut authorities = Authority::ALL.into_iter();
        let authority = authorities.find(|authority| is(&entity.signing_authority, authority.code()));
        let Some(authority) = authority else { return self.skipped.push(Skipped::OtherAuthority) };
        if entity.kind.is_some() && !is(&entity.kind, "client") {
            return self.skipped.push(Skipped::OtherType);
        }
        match blocks(entity) {
            Ok((der, issuers)) => {
                let leaf = NamedLeaf { der, authority, status, issuers };
                self.leaves.entry(Fingerprint::of(&leaf.der)).or_insert(leaf);
            }
            Err(skipped) => {
                self.skipped.push(skipped);
                self.illegible.push((authority, status));
            }
        }
    }

    /// CAs that came along with a leaf of DigiCert's and the region's, and signed it.
    fn find_hints(&mut self, reader: Reader<'_>) {
        let (mut budget, names) = (MAX_SIGNATURES, &reader.policy.region_names);
        for (fingerprint, leaf) in &self.leaves {
            let is_new = !leaf.issuers.is_empty() && !leaf.issuers.iter().any(|der| self.hints.contains(der));
            if leaf.authority != Authority::Digicert || !is_new || budget == 0 {
                continue;
            }
            let Ok(certificate) = ClientCertificate::parse_bound(&leaf.der, *fingerprint) else { continue };
            if names.owner(&certificate, reader.policy.names) != Ok(Some(reader.region)) {
                continue;
            }
            let signed = |der: &&Vec<u8>| {
                let Some(left) = budget.checked_sub(1) else { return false };
                budget = left;
                let clock = &mut Clock::at(reader.now.max(certificate.not_before));
                CaCertificate::parse(der)
                    .is_ok_and(|ca| verify_issuer(&[ca], &certificate, reader.verifier, clock).is_ok())
            };
            self.hints.extend(leaf.issuers.iter().find(signed).cloned());
        }
    }

    fn unusable(&self) -> Failure {
        let reasons = Forecast::REASONS.iter().filter(|reason| {
            let digicert = self.forecasts.iter().filter(|forecast| forecast.authority == Authority::Digicert);
            digicert.filter_map(|forecast| forecast.denied).any(|denied| denied == **reason)
        });
        let skipped = Skipped::ALL.iter().filter(|skipped| self.skipped.contains(skipped));
        let found: Vec<&str> =
            reasons.map(|reason| reason.code()).chain(skipped.map(|skipped| skipped.code())).collect();
        let found = if found.is_empty() { "it names none".to_owned() } else { found.join(", ") };
        let detail =
            format!("the answer holds no DigiCert client certificate that this policy allows ({found})");
        Failure::new(FailureCode::NoUsableCertificate, detail)
    }
}

/// The one leaf of an entity, and the CAs next to it.
fn blocks(entity: &Entity) -> Result<(Vec<u8>, Vec<Vec<u8>>), Skipped> {
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
    match <[Vec<u8>; 1]>::try_from(leaves) {
        Ok([leaf]) => Ok((leaf, issuers)),
        Err(_) => Err(Skipped::NotOneLeaf),
    }
}

fn is_ca(der: &[u8]) -> Result<bool, Skipped> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Skipped::Malformed)?;
    Ok(certificate.basic_constraints().map_err(|_| Skipped::Malformed)?.is_some_and(|bc| bc.value.ca))
}

#[cfg(test)]
mod tests;
