//! The decision: every rule about which client is allowed, in the order of the reason codes.
//!
//! | row | check | reason code | reply |
//! |---|---|---|---|
//! | 1 | a TLS client certificate is presented | `no_client_certificate` | 403 |
//! | 2 | its bytes are obtained and bound to the digest | `certificate_unavailable`, `certificate_mismatch` | 403 |
//! | 3 | it parses, and may authenticate a TLS client | `malformed_certificate`, `not_a_client_certificate` | 403 |
//! | 4 | its name is exactly one configured region's | `wrong_region`, `wrong_name` | 403 |
//! | 5 | it is valid now, give or take the skew | `not_yet_valid`, `expired` | 403 |
//! | 6 | an authority of *that region* vouches: a CA by its verified signature, or a pin | `unknown_issuer`, `unsupported_algorithm`, `bad_signature`, `not_pinned` | 403 |
//! | | the signature cannot be verified now | `signature_unavailable` | 503 |
//! | 7 | it is not revoked | `revoked`, `revocation_unknown` | 403 |
//! | 8 | trust that is missing or stale could not have changed the verdict | `trust_not_loaded`, `trust_stale`, `trust_unrefreshed` | 503 |
//!
//! Rows 1 and 2 are `peer`'s, row 3 is `ClientCertificate::parse`, the others are here. All of it is pure, time included. A
//! verdict comes with the span of time in which it stays the same, so that it can be cached.

pub mod cache;
pub mod reason;
pub mod trust;

pub use reason::Reason;

use crate::{
    policy::{Authority, Policy, RegionPolicy, RevocationMode, names},
    regions,
    time::{Clock, Monotonic, UnixSeconds, Window},
    x509::{
        ca::{CaCertificate, IssuerError, verify_issuer},
        certificate::ClientCertificate,
        crl::RevocationStatus,
        signature::SignatureVerifier,
    },
};
use trust::{ApiState, ApiTrust, Trust};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Genesys Cloud's client of the region with this id.
    Allow {
        region: String,
        authority: Authority,
    },
    Deny(Reason),
}

impl Outcome {
    /// Whether what another worker has fetched since may make it an `Allow`.
    pub fn may_change_with_news(&self) -> bool {
        use Reason::{NotPinned, RevocationUnknown, TrustNotLoaded, TrustStale, TrustUnrefreshed};
        let open = [NotPinned, RevocationUnknown, TrustNotLoaded, TrustStale, TrustUnrefreshed];
        matches!(self, Self::Deny(reason) if open.contains(reason))
    }
}

/// An outcome, and what it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Within this span of wall-clock time, and for the same policy and trust, the outcome is the same.
    pub window: Window,
    /// The region whose API should be asked about this certificate: it lacks only a pin, and its signature is that of an
    /// issuer of Genesys Cloud's certificates. If the reason is `not_pinned`, the last answer did not name it.
    pub needs_pin: Option<String>,
    /// The region and authority whose CRLs do not cover it, where the policy consults CRLs and the issuer is verified.
    pub missing_crl: Option<(String, Authority)>,
    /// It is allowed though no current CRL covers it, as mode `soft` wants.
    pub unchecked: bool,
    /// For the log: what was found, in words.
    pub detail: String,
}

impl Verdict {
    /// The region whose next answer is worth waiting for.
    pub fn awaits(&self) -> Option<&String> {
        self.needs_pin.as_ref().filter(|_| self.outcome != Outcome::Deny(Reason::NotPinned))
    }

    /// How long it may be cached, if it was reached at `now`. A denial that a refresh, a CRL or a working host may end: for
    /// a second, since each request would cost a signature otherwise.
    pub fn cacheable(&self, now: UnixSeconds) -> Window {
        use Reason::{RevocationUnknown, SignatureUnavailable};
        let ends_soon = matches!(self.outcome, Outcome::Deny(RevocationUnknown | SignatureUnavailable));
        if ends_soon || self.needs_pin.is_some() { self.window.this_second(now) } else { self.window }
    }
}

/// What CRLs say.
pub trait Revocations {
    /// Asked only about certificates that `signer`, a CA of this region and authority, has issued.
    fn status(
        &self,
        region: &RegionPolicy,
        authority: Authority,
        signer: &CaCertificate,
        certificate: &ClientCertificate,
        clock: &mut Clock,
    ) -> RevocationStatus;
}

/// No CRLs: for tools that have none.
impl Revocations for () {
    fn status(
        &self,
        _: &RegionPolicy,
        _: Authority,
        _: &CaCertificate,
        _: &ClientCertificate,
        _: &mut Clock,
    ) -> RevocationStatus {
        RevocationStatus::Unknown
    }
}

/// Decides on a certificate whose bytes are bound to the connection.
///
/// `first_seen` is when this proxy first saw the certificate: a refresh that began later and did not name it settles that the
/// API does not know it.
pub fn decide(
    certificate: &ClientCertificate,
    policy: &Policy,
    trust: &Trust,
    revocations: &impl Revocations,
    verifier: &dyn SignatureVerifier,
    now: UnixSeconds,
    first_seen: Monotonic,
) -> Verdict {
    let mut clock = Clock::at(now);
    let (mut needs_pin, mut missing_crl, mut unchecked) = (None, None, false);
    let result = check_name(certificate, policy).and_then(|region| {
        check_validity(certificate, policy.clock_skew, &mut clock)?;
        let unasked = ApiTrust::default();
        let api = trust.regions.get(&region.id).unwrap_or(&unasked);
        let Vouched { authority, signer, missing } =
            check_authority(certificate, region, api, verifier, first_seen, &mut clock)?;
        let status = match (policy.revocation.mode, signer) {
            (RevocationMode::Off, _) => RevocationStatus::Good,
            (_, None) => RevocationStatus::Unknown,
            (_, Some(signer)) => {
                let status = revocations.status(region, authority, signer, certificate, &mut clock);
                missing_crl = (status == RevocationStatus::Unknown).then(|| (region.id.clone(), authority));
                status
            }
        };
        // A revoked certificate waits for no pin: none would make it allowed.
        if let Some(denial) = missing.filter(|_| status != RevocationStatus::Revoked) {
            needs_pin = denial.needs_pin.then(|| region.id.clone());
            return Err(denial);
        }
        // Row 7.
        match status {
            RevocationStatus::Revoked => return deny(Reason::Revoked, "its issuer has revoked it"),
            RevocationStatus::Unknown if policy.revocation.mode == RevocationMode::Hard => {
                let named = policy.revocation.describe(&region.id, authority, &certificate.crl_urls);
                return deny(Reason::RevocationUnknown, ["no current CRL covers it; ", &named].concat());
            }
            RevocationStatus::Unknown => unchecked = true,
            RevocationStatus::Good => {}
        }
        Ok(Outcome::Allow { region: region.id.clone(), authority })
    });
    let (outcome, detail) = match result {
        Ok(outcome) => (outcome, String::new()),
        Err(denial) => (Outcome::Deny(denial.reason), denial.detail),
    };
    Verdict { outcome, window: clock.window(), needs_pin, missing_crl, unchecked, detail }
}

struct Denial {
    reason: Reason,
    detail: String,
    needs_pin: bool,
}

fn deny<T>(reason: Reason, detail: impl Into<String>) -> Result<T, Denial> {
    Err(Denial { reason, detail: detail.into(), needs_pin: false })
}

/// Row 4: its name is exactly one configured region's.
fn check_name<'p>(certificate: &ClientCertificate, policy: &'p Policy) -> Result<&'p RegionPolicy, Denial> {
    let configured = |id: &str| policy.regions.iter().find(|region| region.id == id);
    match policy.region_names.owner(certificate, policy.names).map(|owner| owner.and_then(configured)) {
        Err(several) => {
            return deny(Reason::WrongName, format!("names of several regions: {}", several.join(", ")));
        }
        Ok(Some(region)) => return Ok(region),
        Ok(None) => {}
    }
    let names = names::names(certificate, policy.names);
    let published = names.iter().find_map(|name| regions::by_certificate_name(name)).map(|region| region.id);
    let (reason, detail) = match published {
        Some(id) if configured(id).is_some() => (
            Reason::WrongName,
            format!("the published name of {id}, which is configured with another certificate_name"),
        ),
        Some(id) => (
            Reason::WrongRegion,
            format!("Genesys Cloud's client of {id}, which is not among the configured regions"),
        ),
        None if names.is_empty() => {
            let (dns, common) = (certificate.dns_names.len(), certificate.common_names.len());
            (Reason::WrongName, format!("no usable name: {dns} DNS names and {common} common names"))
        }
        None => (Reason::WrongName, "not the name of a configured region".to_owned()),
    };
    deny(reason, detail)
}

/// Row 5: valid now, give or take the skew. Asked on every request, since a resumed TLS session never asks again.
fn check_validity(
    certificate: &ClientCertificate,
    skew: UnixSeconds,
    clock: &mut Clock,
) -> Result<(), Denial> {
    if clock.is_before(certificate.not_before.saturating_sub(skew)) {
        return deny(Reason::NotYetValid, "its validity has not begun");
    }
    if clock.is_after(certificate.not_after.saturating_add(skew)) {
        return deny(Reason::Expired, "its validity has ended");
    }
    Ok(())
}

/// An authority of the region vouches for the certificate, or would if the API named it.
struct Vouched<'a> {
    authority: Authority,
    /// The configured CA that signed, if one did.
    signer: Option<&'a CaCertificate>,
    /// Row 8's denial, of a certificate that lacks only its pin.
    missing: Option<Denial>,
}

/// Rows 6 and 8: an authority of *this* region vouches, or missing trust is the only reason that it does not.
fn check_authority<'a>(
    certificate: &ClientCertificate,
    region: &'a RegionPolicy,
    api: &ApiTrust,
    verifier: &dyn SignatureVerifier,
    first_seen: Monotonic,
    clock: &mut Clock,
) -> Result<Vouched<'a>, Denial> {
    let by_ca = match verify_issuer(&region.genesys, certificate, verifier, clock) {
        Ok(signer) => {
            return Ok(Vouched { authority: Authority::Genesys, signer: Some(signer), missing: None });
        }
        Err(error) => error,
    };
    let Some(digicert) = &region.digicert else { return Err(denied_by_issuer(by_ca, region)) };
    let pinned = digicert.pins.contains(&certificate.fingerprint)
        || digicert.api && api.has_pin(&certificate.fingerprint);
    let signer = match digicert.issuers.as_slice() {
        [] => None,
        issuers => Some(verify_issuer(issuers, certificate, verifier, clock).map_err(|by_issuer| {
            // The API may name the certificate: its signature is still not what the configuration demands.
            let mut denial = denied_by_issuer(by_ca.max(by_issuer), region);
            if pinned {
                denial.detail.push_str("; it is pinned, but not signed by digicert.issuers");
            }
            denial
        })?),
    };
    let vouched = |missing| Ok(Vouched { authority: Authority::Digicert, signer, missing });
    if pinned {
        return vouched(None);
    }
    // A certificate that names the Genesys CA is not one that the API could add a pin for.
    if signer.is_none() && by_ca != IssuerError::UnknownIssuer {
        return Err(denied_by_issuer(by_ca, region));
    }
    if !digicert.api {
        return deny(Reason::NotPinned, "its fingerprint is not among digicert.pins");
    }
    let verified = match signer.map_or_else(|| verify_issuer(&api.hints, certificate, verifier, clock), Ok) {
        Err(error @ IssuerError::VerifierUnavailable) => return Err(denied_by_issuer(error, region)),
        verified => verified.is_ok(),
    };
    // Row 8: may fresher trust change that the API does not name this certificate?
    let settled = api.refreshed.is_some_and(|began| began > first_seen);
    let (reason, detail) = match api.state {
        ApiState::NotLoaded => (Reason::TrustNotLoaded, "the certificates API has not delivered pins yet"),
        ApiState::Stale => {
            (Reason::TrustStale, "the pins of the certificates API are older than max_staleness")
        }
        ApiState::Loaded if verified && !settled => {
            (Reason::TrustUnrefreshed, "not pinned; the certificates API may have news and is being asked")
        }
        ApiState::Loaded => (Reason::NotPinned, "the certificates API does not name its fingerprint"),
    };
    vouched(Some(Denial { reason, detail: detail.to_owned(), needs_pin: verified }))
}

fn denied_by_issuer(error: IssuerError, region: &RegionPolicy) -> Denial {
    let id = &region.id;
    let detail = match error {
        IssuerError::UnknownIssuer => {
            format!("no CA configured for {id} has its issuer's name and is valid now")
        }
        IssuerError::UnsupportedAlgorithm => format!(
            "names a CA of {id} as its issuer, with a signature algorithm that is not supported: RSA PKCS#1, P-256 and P-384 with \
             SHA-256, SHA-384 or SHA-512 are"
        ),
        IssuerError::BadSignature => format!("names a CA of {id} as its issuer, which did not sign it"),
        IssuerError::VerifierUnavailable => {
            "Envoy refuses to verify signatures: allow proxy_call_foreign_function in \
             capability_restriction_config"
                .to_owned()
        }
    };
    Denial { reason: error.into(), detail, needs_pin: false }
}

#[cfg(test)]
mod tests;
