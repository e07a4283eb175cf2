//! Which certificates of an API answer become pins. This is where the API's word ends: whatever it says, a pin is the
//! leaf of a DigiCert entity, with the name of the region that answered, and signed by the issuer if one is configured.

use crate::{
    decision::trust::ApiPin,
    policy::{NameRule, names::RegionNames},
    time::{Clock, UnixSeconds},
    x509::{
        ca::{CaCertificate, verify_issuer},
        certificate::{ClientCertificate, MAX_DER},
        fingerprint::Fingerprint,
        pem,
        signature::SignatureVerifier,
    },
};
use crate::{
    http::{Failure, FailureCode},
    pins::api::Entity,
};
use std::collections::BTreeMap;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Signatures verified per refresh. All of them in one callback, during which the worker serves nobody; two new leaves
/// with one issuer are usual.
const MAX_SIGNATURES: u32 = 64;

/// Pins that an answer may name. Two are usual.
const MAX_PINS: usize = 1000;

/// Certificates in one entity: leaf, intermediate and root are usual.
const MAX_BLOCKS: usize = 8;

/// Issuing certificates kept. Every worker verifies strangers' signatures with them.
const MAX_ISSUERS: usize = 4;

/// What a certificate has to be to become a pin of one region.
#[derive(Clone, Copy, Debug)]
pub struct Criteria<'a> {
    /// The id of the region whose API answered.
    pub region: &'a str,
    pub region_names: &'a RegionNames,
    pub names: NameRule,
    pub issuers: &'a [CaCertificate],
    /// Leaves found good before, perhaps under other `issuers`: they stay pinned as long as they are named, whatever becomes of them,
    /// and the decision sees to what they are worth.
    pub known: &'a [Fingerprint],
    pub verifier: &'a dyn SignatureVerifier,
    pub now: UnixSeconds,
}

/// Everything usable in an answer, and how often something was not.
#[derive(Debug, Default)]
pub struct Selection {
    pub pins: BTreeMap<Fingerprint, ApiPin>,
    /// DER of the CAs that came along and signed one of the leaves.
    pub issuers: Vec<Vec<u8>>,
    pub skipped: Vec<Skipped>,
    /// Whether any of the pins is good for something now.
    pub is_usable: bool,
}

/// Why an entity is no pin. The text of each is a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skipped {
    OtherAuthority,
    OtherType,
    NoPem,
    NotOneLeaf,
    Malformed,
    Expired,
    WrongName,
    WrongIssuer,
    /// More certificates than anybody needs: see [`MAX_SIGNATURES`], [`MAX_BLOCKS`].
    TooMany,
}

impl Skipped {
    pub fn code(self) -> &'static str {
        match self {
            Self::OtherAuthority => "other_authority",
            Self::OtherType => "other_type",
            Self::NoPem => "no_pem",
            Self::NotOneLeaf => "not_one_leaf",
            Self::Malformed => "malformed",
            Self::Expired => "expired",
            Self::WrongName => "wrong_name",
            Self::WrongIssuer => "wrong_issuer",
            Self::TooMany => "too_many",
        }
    }
}

/// Sorts the entities of an answer.
pub fn select<'e>(entities: impl IntoIterator<Item = &'e Entity>, criteria: Criteria<'_>) -> Selection {
    let mut selection = Selection::default();
    let mut budget = Budget(MAX_SIGNATURES);
    for entity in entities {
        match pin_of(entity, criteria, &mut budget) {
            Ok(Pin { leaf, of_no_use, authorities }) => {
                selection.is_usable |= of_no_use.is_none();
                selection.skipped.extend(of_no_use);
                selection.add_issuer(&leaf, authorities, criteria, &mut budget);
                let pin = ApiPin { not_before: leaf.not_before, not_after: leaf.not_after };
                selection.pins.insert(leaf.fingerprint, pin);
            }
            Err(skipped) => selection.skipped.push(skipped),
        }
    }
    selection
}

/// What becomes a pin, or stays one.
struct Pin {
    leaf: ClientCertificate,
    /// Why nobody gets in by it now.
    of_no_use: Option<Skipped>,
    /// CAs that came along.
    authorities: Vec<Vec<u8>>,
}

/// Signatures that may still be verified.
struct Budget(u32);

impl Budget {
    /// Takes one, if any is left.
    fn spend(&mut self) -> bool {
        self.0.checked_sub(1).map(|left| self.0 = left).is_some()
    }
}

impl Selection {
    /// The failure of an answer that names more pins than any region needs.
    pub fn flood(&self) -> Option<Failure> {
        let named = self.pins.len();
        (named > MAX_PINS).then(|| {
            Failure::new(
                FailureCode::TooManyCertificates,
                format!(
                    "the answer names {named} certificates of this region, far more than there can be: none of them is pinned"
                ),
            )
        })
    }

    /// Keeps the CA that signed the leaf. One that came along before is not verified again.
    fn add_issuer(
        &mut self,
        leaf: &ClientCertificate,
        authorities: Vec<Vec<u8>>,
        criteria: Criteria<'_>,
        budget: &mut Budget,
    ) {
        if self.issuers.len() >= MAX_ISSUERS || authorities.iter().any(|der| self.issuers.contains(der)) {
            return;
        }
        let signer = authorities.into_iter().find(|der| {
            let authority = CaCertificate::parse(der);
            authority.is_ok_and(|authority| {
                budget.spend()
                    && verify_issuer(&[authority], leaf, criteria.verifier, &mut Clock::at(criteria.now))
                        .is_ok()
            })
        });
        self.issuers.extend(signer);
    }
}

/// The leaf, and [`Pin::of_no_use`].
fn check(
    der: &[u8],
    criteria: Criteria<'_>,
    budget: &mut Budget,
) -> Result<(ClientCertificate, Option<Skipped>), Skipped> {
    let leaf = ClientCertificate::parse(der).map_err(|_| Skipped::Malformed)?;
    if criteria.region_names.owner(&leaf, criteria.names) != Ok(Some(criteria.region)) {
        return Err(Skipped::WrongName);
    }
    let is_known = criteria.known.contains(&leaf.fingerprint);
    let wrong = if leaf.not_after < criteria.now {
        Some(Skipped::Expired)
    } else if criteria.issuers.is_empty() {
        None
    } else if budget.spend() {
        let vouched = verify_issuer(criteria.issuers, &leaf, criteria.verifier, &mut Clock::at(criteria.now));
        vouched.is_err().then_some(Skipped::WrongIssuer)
    } else {
        (!is_known).then_some(Skipped::TooMany)
    };
    // The decision looks at the time and at the issuer. So one whose validity lies ahead is kept, and so is a known one: a wall clock
    // that is ahead for a while would take pins away for longer, and a configuration those of another that lives beside it.
    match wrong {
        Some(wrong) if !is_known => Err(wrong),
        wrong => Ok((leaf, wrong)),
    }
}

fn pin_of(entity: &Entity, criteria: Criteria<'_>, budget: &mut Budget) -> Result<Pin, Skipped> {
    let is = |field: &Option<String>, value: &str| {
        field.as_deref().is_some_and(|text| text.trim().eq_ignore_ascii_case(value))
    };
    if !is(&entity.signing_authority, "digicert") {
        return Err(Skipped::OtherAuthority);
    }
    if entity.kind.is_some() && !is(&entity.kind, "client") {
        return Err(Skipped::OtherType);
    }
    let text = entity.certificate.as_deref().ok_or(Skipped::NoPem)?;
    let blocks = pem::certificates(text.as_bytes()).map_err(|_| Skipped::NoPem)?;
    if blocks.len() > MAX_BLOCKS {
        return Err(Skipped::TooMany);
    }
    let mut leaves = Vec::new();
    let mut authorities = Vec::new();
    for der in blocks {
        if der.len() > MAX_DER {
            return Err(Skipped::Malformed);
        }
        if is_ca(&der)? { authorities.push(der) } else { leaves.push(der) }
    }
    let [leaf] = leaves.as_slice() else { return Err(Skipped::NotOneLeaf) };
    let (leaf, of_no_use) = check(leaf, criteria, budget)?;
    Ok(Pin { leaf, of_no_use, authorities })
}

fn is_ca(der: &[u8]) -> Result<bool, Skipped> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Skipped::Malformed)?;
    Ok(certificate.basic_constraints().map_err(|_| Skipped::Malformed)?.is_some_and(|bc| bc.value.ca))
}

#[cfg(test)]
mod tests;
