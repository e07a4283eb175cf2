//! The decision: every rule about who may pass, in the order of the reason codes.
//!
//! Pure: the certificate, the policy, what the API said, and the time come in as arguments. The verdict comes with the
//! span of time in which it stays the same, so that it can be cached.

pub mod cache;
pub mod trust;

use crate::{
    decision::trust::{ApiState, ApiTrust, Trust},
    policy::{Authority, Policy, RegionPolicy, RevocationMode, names as name},
    regions,
    time::{Clock, Monotonic, UnixSeconds, Window},
    x509::{
        ca::{CaCertificate, IssuerError, verify_issuer},
        certificate::{CertificateError, ClientCertificate},
        crl::RevocationStatus,
        signature::SignatureVerifier,
    },
};
use std::fmt;

/// Why a request is refused. The codes are stable: dashboards and alerts are built on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The TLS connection came without a client certificate.
    NoClientCertificate,
    /// There is a certificate, but Envoy showed its bytes nowhere the configuration says to look.
    CertificateUnavailable,
    /// The bytes shown are not those of the TLS connection's certificate.
    CertificateMismatch,
    /// Not an X.509 v3 certificate that can be read in full.
    MalformedCertificate,
    /// A certificate that its own extensions forbid to use for TLS client authentication.
    NotAClientCertificate,
    /// The client of a Genesys Cloud region that is not configured.
    WrongRegion,
    /// Some other name.
    WrongName,
    NotYetValid,
    Expired,
    /// No authority configured for the region has the name of its issuer, or none that is valid now.
    UnknownIssuer,
    /// Names a configured authority as its issuer, but is not signed by it.
    BadSignature,
    /// Names a configured authority as its issuer, but is signed with an algorithm that is not verified here.
    UnsupportedAlgorithm,
    /// The certificate's fingerprint is not among the region's pins.
    NotPinned,
    /// On a revocation list of its issuer.
    Revoked,
    /// No current CRL covers it, and the policy (`hard`) demands one.
    RevocationUnknown,
    /// Envoy could not be asked to verify the issuer's signature.
    SignatureUnavailable,
    /// The API has not answered since the proxy started, and could have named this certificate.
    TrustNotLoaded,
    /// The API's pins are older than `max_staleness`, and could have named this certificate.
    TrustStale,
    /// The API may have named this certificate since the last refresh, and could not be asked in time.
    TrustUnrefreshed,
}

impl Reason {
    pub const ALL: [Self; 19] = [
        Self::NoClientCertificate,
        Self::CertificateUnavailable,
        Self::CertificateMismatch,
        Self::MalformedCertificate,
        Self::NotAClientCertificate,
        Self::WrongRegion,
        Self::WrongName,
        Self::NotYetValid,
        Self::Expired,
        Self::UnknownIssuer,
        Self::BadSignature,
        Self::UnsupportedAlgorithm,
        Self::NotPinned,
        Self::Revoked,
        Self::RevocationUnknown,
        Self::SignatureUnavailable,
        Self::TrustNotLoaded,
        Self::TrustStale,
        Self::TrustUnrefreshed,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::NoClientCertificate => "no_client_certificate",
            Self::CertificateUnavailable => "certificate_unavailable",
            Self::CertificateMismatch => "certificate_mismatch",
            Self::MalformedCertificate => "malformed_certificate",
            Self::NotAClientCertificate => "not_a_client_certificate",
            Self::WrongRegion => "wrong_region",
            Self::WrongName => "wrong_name",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::UnknownIssuer => "unknown_issuer",
            Self::BadSignature => "bad_signature",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::NotPinned => "not_pinned",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::SignatureUnavailable => "signature_unavailable",
            Self::TrustNotLoaded => "trust_not_loaded",
            Self::TrustStale => "trust_stale",
            Self::TrustUnrefreshed => "trust_unrefreshed",
        }
    }

    /// HTTP status of the reply: 503 where fresher trust or a signature could have changed the verdict, else 403.
    pub fn status(self) -> u16 {
        match self {
            Self::SignatureUnavailable | Self::TrustNotLoaded | Self::TrustStale | Self::TrustUnrefreshed => {
                503
            }
            _ => 403,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl From<&CertificateError> for Reason {
    fn from(error: &CertificateError) -> Self {
        match error {
            CertificateError::Malformed(_) => Self::MalformedCertificate,
            CertificateError::NotAClient(_) => Self::NotAClientCertificate,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Genesys Cloud's client of the policy's region with this index.
    Allow {
        region: usize,
        authority: Authority,
    },
    Deny(Reason),
}

impl Outcome {
    /// Whether another worker may have fetched since what would turn this into a yes.
    pub fn may_change_with_news(self) -> bool {
        matches!(
            self,
            Self::Deny(
                Reason::NotPinned
                    | Reason::RevocationUnknown
                    | Reason::TrustNotLoaded
                    | Reason::TrustStale
                    | Reason::TrustUnrefreshed
            )
        )
    }
}

/// An outcome, and what it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Within this span of wall-clock time, and for the same policy and trust, the outcome is the same.
    pub window: Window,
    /// The region (by index) whose API should be asked about this certificate: it lacks nothing but a pin, and its
    /// signature shows that it is no noise.
    pub worth_asking: Option<usize>,
    /// It was let in though no current CRL covers it, as mode `soft` wants.
    pub unchecked: bool,
    /// The region (by index) and the authority that issued it, if none of their CRLs covers it.
    pub missing_crl: Option<(usize, Authority)>,
    /// For the log: what was found, in words.
    pub detail: String,
}

impl Verdict {
    /// When to go by it again, if it was reached at `now`. A denial after which something is to happen, be it a refresh, the
    /// fetch of a CRL or the return of the verifier, counts for a second only: then it asks again. Not for each request, or
    /// each would cost a signature.
    pub fn remembered(&self, now: UnixSeconds) -> Window {
        let asks_again =
            matches!(self.outcome, Outcome::Deny(Reason::RevocationUnknown | Reason::SignatureUnavailable));
        if self.worth_asking.is_some() || asks_again { self.window.this_second(now) } else { self.window }
    }
}

/// What CRLs say. A question changes nothing.
pub trait Revocations {
    /// Asked only about certificates that `signer`, an authority of this region, has issued.
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
/// `first_seen` is when this proxy first met the certificate: a refresh that began later and did not name it settles
/// that the API does not know it.
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
    let (mut worth_asking, mut unchecked, mut missing_crl) = (None, false, None);
    let result = check_name(certificate, policy).and_then(|(index, region)| {
        check_validity(certificate, policy.clock_skew, &mut clock)?;
        let unasked = ApiTrust::default();
        let api = trust.regions.get(index).unwrap_or(&unasked);
        let Vouched { authority, signer, missing } =
            check_authority(certificate, region, api, verifier, first_seen, &mut clock)?;
        let status = match (policy.revocation.mode, signer) {
            (RevocationMode::Off, _) => RevocationStatus::Good,
            (_, None) => RevocationStatus::Unknown,
            (_, Some(signer)) => revocations.status(region, authority, signer, certificate, &mut clock),
        };
        missing_crl = (status == RevocationStatus::Unknown && signer.is_some()).then_some((index, authority));
        // What is revoked waits for no pin: none would let it in.
        if let Some(refusal) = missing.filter(|_| status != RevocationStatus::Revoked) {
            worth_asking = refusal.worth_asking.then_some(index);
            return Err(refusal);
        }
        check_revocation(status, policy.revocation.mode)?;
        unchecked = status == RevocationStatus::Unknown;
        Ok(Outcome::Allow { region: index, authority })
    });
    let (outcome, detail) = match result {
        Ok(outcome) => (outcome, String::new()),
        Err(refusal) => (Outcome::Deny(refusal.reason), refusal.detail),
    };
    Verdict { outcome, window: clock.window(), worth_asking, unchecked, missing_crl, detail }
}

struct Refusal {
    reason: Reason,
    detail: String,
    worth_asking: bool,
}

impl Refusal {
    fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), worth_asking: false }
    }
}

/// Row 4: its name is exactly one configured region's. Returns the region and its index.
fn check_name<'p>(
    certificate: &ClientCertificate,
    policy: &'p Policy,
) -> Result<(usize, &'p RegionPolicy), Refusal> {
    let owner = policy.region_names.owner(certificate, policy.names).map_err(|several| {
        Refusal::new(Reason::WrongName, format!("names of several regions: {}", several.join(", ")))
    })?;
    let mut configured = policy.regions.iter().enumerate();
    if let Some(found) = configured.find(|(_, region)| owner == Some(&region.id)) {
        return Ok(found);
    }
    let names = name::names(certificate, policy.names);
    match names.iter().find_map(|name| regions::by_certificate_name(name)) {
        Some(own) if policy.regions.iter().any(|region| region.id == own.id) => Err(Refusal::new(
            Reason::WrongName,
            format!("the published name of {}, which is configured with another certificate_name", own.id),
        )),
        Some(other) => Err(Refusal::new(
            Reason::WrongRegion,
            format!("Genesys Cloud's client of {}, which is not among the configured regions", other.id),
        )),
        None if names.is_empty() => Err(Refusal::new(
            Reason::WrongName,
            format!(
                "no usable name: {} DNS names and {} common names",
                certificate.dns_names.len(),
                certificate.common_names.len()
            ),
        )),
        None => Err(Refusal::new(Reason::WrongName, "not the name of a configured region")),
    }
}

/// Row 5: valid now, give or take the skew. Asked on every request, since a resumed TLS session never asks again.
fn check_validity(
    certificate: &ClientCertificate,
    skew: UnixSeconds,
    clock: &mut Clock,
) -> Result<(), Refusal> {
    if clock.is_before(certificate.not_before.saturating_sub(skew)) {
        return Err(Refusal::new(Reason::NotYetValid, "its validity has not begun"));
    }
    if clock.is_after(certificate.not_after.saturating_add(skew)) {
        return Err(Refusal::new(Reason::Expired, "its validity has ended"));
    }
    Ok(())
}

/// An authority of the region stands for the certificate, or would, had the API named it.
struct Vouched<'a> {
    authority: Authority,
    /// The configured CA that signed, if one did.
    signer: Option<&'a CaCertificate>,
    /// The last row's refusal, of a certificate that lacks nothing but its pin.
    missing: Option<Refusal>,
}

/// Row 6 and the last: an authority of *this* region vouches, or its missing trust is the only thing that stands
/// against it.
fn check_authority<'a>(
    certificate: &ClientCertificate,
    region: &'a RegionPolicy,
    api: &ApiTrust,
    verifier: &dyn SignatureVerifier,
    first_seen: Monotonic,
    clock: &mut Clock,
) -> Result<Vouched<'a>, Refusal> {
    let by_ca = match verify_issuer(&region.genesys, certificate, verifier, clock) {
        Ok(signer) => {
            return Ok(Vouched { authority: Authority::Genesys, signer: Some(signer), missing: None });
        }
        Err(refusal) => refusal,
    };
    let Some(digicert) = &region.digicert else { return Err(refused_by_issuer(by_ca, region)) };
    let pinned = digicert.pins.contains(&certificate.fingerprint)
        || digicert.api && api.has_pin(&certificate.fingerprint);
    let issuer = match digicert.issuers.as_slice() {
        [] => None,
        issuers => Some(verify_issuer(issuers, certificate, verifier, clock).map_err(|by_issuer| {
            // Whatever the API may say, this signature is not what the configuration demands.
            let mut refusal = refused_by_issuer(by_ca.max(by_issuer), region);
            if pinned {
                refusal.detail.push_str("; it is pinned, but not signed by digicert.issuers");
            }
            refusal
        })?),
    };
    let vouched = |missing| Vouched { authority: Authority::Digicert, signer: issuer, missing };
    if pinned {
        return Ok(vouched(None));
    }
    // A certificate that claims the Genesys CA is not one that the API could add a pin for.
    if issuer.is_none() && by_ca != IssuerError::UnknownIssuer {
        return Err(refused_by_issuer(by_ca, region));
    }
    if !digicert.api {
        return Err(Refusal::new(Reason::NotPinned, "its fingerprint is not among digicert.pins"));
    }
    let verified = issuer.is_some()
        || match verify_issuer(&api.hints, certificate, verifier, clock) {
            Err(by_hint @ IssuerError::VerifierUnavailable) => {
                return Err(refused_by_issuer(by_hint, region));
            }
            by_hint => by_hint.is_ok(),
        };
    let refusal = missing_pin(api, verified, first_seen);
    if refusal.reason == Reason::NotPinned { Err(refusal) } else { Ok(vouched(Some(refusal))) }
}

/// Row 7: not revoked, as far as the policy wants to know.
fn check_revocation(status: RevocationStatus, mode: RevocationMode) -> Result<(), Refusal> {
    match (status, mode) {
        (RevocationStatus::Revoked, _) => Err(Refusal::new(Reason::Revoked, "its issuer has revoked it")),
        (RevocationStatus::Unknown, RevocationMode::Hard) => {
            Err(Refusal::new(Reason::RevocationUnknown, "no current CRL covers it"))
        }
        (RevocationStatus::Unknown | RevocationStatus::Good, _) => Ok(()),
    }
}

/// The API is to name this certificate, and has not. May fresher trust change that?
fn missing_pin(api: &ApiTrust, verified: bool, first_seen: Monotonic) -> Refusal {
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
    Refusal { reason, detail: detail.to_owned(), worth_asking: verified && reason != Reason::NotPinned }
}

fn refused_by_issuer(refusal: IssuerError, region: &RegionPolicy) -> Refusal {
    match refusal {
        IssuerError::BadSignature => Refusal::new(
            Reason::BadSignature,
            format!("names a CA of {} as its issuer, which did not sign it", region.id),
        ),
        IssuerError::UnsupportedAlgorithm => Refusal::new(
            Reason::UnsupportedAlgorithm,
            format!(
                "names a CA of {} as its issuer, with a signature that cannot be verified: RSA PKCS#1 or ECDSA on P-256 or \
                 P-384 with SHA-256, 384 or 512 can",
                region.id
            ),
        ),
        IssuerError::VerifierUnavailable => Refusal::new(
            Reason::SignatureUnavailable,
            "Envoy does not verify signatures: allow proxy_call_foreign_function in capability_restriction_config",
        ),
        IssuerError::UnknownIssuer => Refusal::new(
            Reason::UnknownIssuer,
            format!("no CA configured for {} has its issuer's name and is valid now", region.id),
        ),
    }
}

#[cfg(test)]
mod tests;
