//! The decision table for people: which row refused, and what each row saw.
//!
//! Which row failed comes from the verdict; what is under a row is commentary and decides nothing.

use super::{lists::Told, shown::Presented, trust::Assumed};
use crate::times;
use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    decision::{Outcome, Verdict},
    policy::{Policy, RegionPolicy, RevocationMode, names as name},
    time::{Clock, UnixSeconds},
    x509::{
        ca::{CaCertificate, IssuerError, verify_issuer},
        certificate::ClientCertificate,
    },
};

/// Number and title of each row.
pub const ROWS: [(&str, &str); 8] = [
    ("1", "TLS client certificate presented"),
    ("2", "its bytes obtained and bound to the connection's digest"),
    ("3", "well-formed, end-entity, may authenticate a client"),
    ("4", "its name is exactly one configured region's"),
    ("5", "valid at this time, give or take clock_skew"),
    ("6", "an authority configured for that region vouches"),
    ("7", "not revoked"),
    ("-", "no missing or stale trust could have changed the verdict"),
];

/// The reasons of each row, by code.
const REASONS: [&[&str]; 8] = [
    &["no_client_certificate"],
    &["certificate_unavailable", "certificate_mismatch"],
    &["malformed_certificate", "not_a_client_certificate"],
    &["wrong_region", "wrong_name"],
    &["not_yet_valid", "expired"],
    &["unknown_issuer", "bad_signature", "unsupported_algorithm", "signature_unavailable", "not_pinned"],
    &["revoked", "revocation_unknown"],
    &["trust_not_loaded", "trust_stale", "trust_unrefreshed"],
];

const AUTHORITY: usize = 5;
const REVOCATION: usize = 6;
const TRUST: usize = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Passed,
    Failed,
    NotReached,
}

impl State {
    pub fn code(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "deny",
            Self::NotReached => "not_reached",
        }
    }
}

#[derive(Debug)]
pub struct Row {
    pub state: State,
    pub evidence: Vec<String>,
}

/// The row that a reason code belongs to.
pub fn row_of(code: &str) -> Option<usize> {
    REASONS.iter().position(|codes| codes.contains(&code))
}

pub fn tell(
    presented: &Presented,
    certificate: Option<&ClientCertificate>,
    policy: &Policy,
    trust: &Assumed,
    lists: &[Told],
    at: UnixSeconds,
    verdict: &Verdict,
) -> Vec<Row> {
    let failed = match verdict.outcome {
        Outcome::Allow { .. } => None,
        Outcome::Deny(reason) => Some(row_of(reason.code()).unwrap_or(ROWS.len() - 1)),
    };
    let region = certificate.and_then(|certificate| region_of(certificate, policy));
    let evidence = |row: usize| match (row, certificate) {
        (0, _) => Vec::new(),
        (1, _) => vec![presented.note.clone()],
        (3, Some(certificate)) => names(certificate, policy),
        (4, Some(certificate)) => validity(certificate, policy, at),
        (5, Some(certificate)) => {
            region.map_or_else(Vec::new, |region| vouchers(certificate, region, trust, at))
        }
        (REVOCATION, Some(_)) => revocation(policy, lists, at),
        _ => Vec::new(),
    };
    (0..ROWS.len())
        .map(|row| {
            let state = match failed {
                Some(failed) if row == failed => State::Failed,
                Some(failed) if row > failed => State::NotReached,
                // The last row is one of row 6's outcomes, kept apart because it is answered 503.
                Some(TRUST) if row >= AUTHORITY => State::NotReached,
                _ => State::Passed,
            };
            let reached = state != State::NotReached || (row == AUTHORITY && failed == Some(TRUST));
            let mut evidence = if reached { evidence(row) } else { Vec::new() };
            if state == State::Failed && row != 1 && !verdict.detail.is_empty() {
                evidence.push(verdict.detail.clone());
            }
            Row { state, evidence }
        })
        .collect()
}

pub fn region_of<'p>(certificate: &ClientCertificate, policy: &'p Policy) -> Option<&'p RegionPolicy> {
    let names = name::names(certificate, policy.names);
    policy.regions.iter().find(|region| names.iter().any(|n| region.certificate_name.eq_ignore_ascii_case(n)))
}

fn names(certificate: &ClientCertificate, policy: &Policy) -> Vec<String> {
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let mut lines = vec![format!(
        "DNS names: {}; common names: {}",
        list(&certificate.dns_names),
        list(&certificate.common_names)
    )];
    if let Some(region) = region_of(certificate, policy) {
        lines.push(format!("{} is {}", region.certificate_name, region.id));
    }
    lines
}

fn validity(certificate: &ClientCertificate, policy: &Policy, at: UnixSeconds) -> Vec<String> {
    let end = certificate.not_after;
    vec![format!(
        "{} to {} ({}), skew {} s",
        times::rfc3339(certificate.not_before),
        times::rfc3339(end),
        times::away(end, at),
        policy.clock_skew
    )]
}

fn revocation(policy: &Policy, lists: &[Told], at: UnixSeconds) -> Vec<String> {
    let words = match (policy.revocation.mode, lists.is_empty()) {
        (RevocationMode::Off, true) => "revocation is off",
        (RevocationMode::Off, false) => "revocation is off: what the list says does not count",
        (RevocationMode::Soft, true) => "soft: no list is known here (give --crl), so none speaks against it",
        (RevocationMode::Hard, true) => "hard: no list is known here (give --crl), and one is demanded",
        (RevocationMode::Soft, false) => "soft: refused if a list names it",
        (RevocationMode::Hard, false) => "hard: refused if a list names it, or no current list is about it",
    };
    std::iter::once(words.to_owned()).chain(lists.iter().flat_map(|list| list.lines(at))).collect()
}

fn vouchers(
    certificate: &ClientCertificate,
    region: &RegionPolicy,
    trust: &Assumed,
    at: UnixSeconds,
) -> Vec<String> {
    let signed = |authorities: &[CaCertificate]| match verify_issuer(
        authorities,
        certificate,
        &AwsLcVerifier,
        &mut Clock::at(at),
    ) {
        Ok(_) => "issued it, signature verified",
        Err(IssuerError::BadSignature) => "has its issuer's name, but did not sign it",
        Err(IssuerError::UnsupportedAlgorithm) => {
            "has its issuer's name; its signature's algorithm is not supported"
        }
        Err(IssuerError::VerifierUnavailable) => "its signature cannot be verified here",
        Err(IssuerError::UnknownIssuer) => "none has its issuer's name and is valid now",
    };
    let mut lines = Vec::new();
    match region.genesys.as_slice() {
        [] => lines.push("genesys: not configured".to_owned()),
        authorities => lines.push(format!("genesys CA: {}", signed(authorities))),
    }
    let Some(digicert) = &region.digicert else {
        lines.push("digicert: not configured".to_owned());
        return lines;
    };
    let written = digicert.pins.contains(&certificate.fingerprint);
    let api = match (&trust.pins, digicert.api) {
        (_, false) => "the API is not asked",
        (None, true) => "the API has not answered yet",
        (Some(pins), true) if pins.contains(&certificate.fingerprint) => "named by the API",
        (Some(_), true) => "not named by the API",
    };
    let written = if written { "pinned in the configuration" } else { "not pinned in the configuration" };
    lines.push(format!("digicert pin: {written}, {api}"));
    if !digicert.issuers.is_empty() {
        lines.push(format!("digicert issuer: {}", signed(&digicert.issuers)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesys_mtls_filter::decision::Reason;

    #[test]
    fn every_reason_belongs_to_a_row() {
        for reason in Reason::ALL {
            assert!(row_of(reason.code()).is_some(), "{reason} is in no row");
        }
    }
}
