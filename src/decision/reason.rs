//! Why a request is denied.

use crate::{
    peer::bind::PeerError,
    x509::{ca::IssuerError, certificate::CertificateError},
};
use std::fmt;

/// Why a request is denied, in the order of the decision table. The codes are stable: dashboards and alerts are built on
/// them.
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
    /// Names a configured authority as its issuer, and is signed with an algorithm that cannot be verified here.
    UnsupportedAlgorithm,
    /// The certificate's fingerprint is not among the region's pins.
    NotPinned,
    /// On a CRL of its issuer.
    Revoked,
    /// No current CRL covers it, and the policy (`hard`) demands one.
    RevocationUnknown,
    /// Envoy does not verify signatures for this module: its function is refused or missing.
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
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::BadSignature => "bad_signature",
            Self::SignatureUnavailable => "signature_unavailable",
            Self::NotPinned => "not_pinned",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::TrustNotLoaded => "trust_not_loaded",
            Self::TrustStale => "trust_stale",
            Self::TrustUnrefreshed => "trust_unrefreshed",
        }
    }

    /// HTTP status of the reply: 503 where a later request may have another answer, else 403.
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

impl From<PeerError> for Reason {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::NoClientCertificate => Self::NoClientCertificate,
            PeerError::Unavailable => Self::CertificateUnavailable,
            PeerError::Mismatch => Self::CertificateMismatch,
        }
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

impl From<IssuerError> for Reason {
    fn from(error: IssuerError) -> Self {
        match error {
            IssuerError::UnknownIssuer => Self::UnknownIssuer,
            IssuerError::UnsupportedAlgorithm => Self::UnsupportedAlgorithm,
            IssuerError::BadSignature => Self::BadSignature,
            IssuerError::VerifierUnavailable => Self::SignatureUnavailable,
        }
    }
}
