//! Why a request is denied.

use crate::{
    peer::bind::PeerError,
    x509::{ca::IssuerError, certificate::CertificateError},
};
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $code:literal $status:literal)*) => {
        /// Why a request is denied, in the order of the decision table. Dashboards and alerts rely on the codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $variant),* }

        impl Reason {
            pub const ALL: [Self; [$($status),*].len()] = [$(Self::$variant),*];

            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// HTTP status of the reply: 503 where a later request may have another answer, else 403.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }
        }
    };
}

reasons! {
    /// The TLS connection came without a client certificate.
    NoClientCertificate "no_client_certificate" 403
    /// There is a certificate, but Envoy showed its bytes nowhere the configuration says to look.
    CertificateUnavailable "certificate_unavailable" 403
    /// The bytes shown are not those of the TLS connection's certificate.
    CertificateMismatch "certificate_mismatch" 403
    /// Not an X.509 v3 certificate that can be read in full.
    MalformedCertificate "malformed_certificate" 403
    /// A certificate that its own extensions forbid to use for TLS client authentication.
    NotAClientCertificate "not_a_client_certificate" 403
    /// The client of a Genesys Cloud region that is not configured.
    WrongRegion "wrong_region" 403
    /// Some other name.
    WrongName "wrong_name" 403
    NotYetValid "not_yet_valid" 403
    Expired "expired" 403
    /// No authority configured for the region has the name of its issuer, or none that is valid now.
    UnknownIssuer "unknown_issuer" 403
    /// Names a configured authority as its issuer, but is not signed by it.
    BadSignature "bad_signature" 403
    /// Names a configured authority as its issuer, and is signed with an algorithm that cannot be verified here.
    UnsupportedAlgorithm "unsupported_algorithm" 403
    /// The certificate's fingerprint is not among the region's pins.
    NotPinned "not_pinned" 403
    /// On a CRL of its issuer.
    Revoked "revoked" 403
    /// No current CRL covers it, and the policy (`hard`) demands one.
    RevocationUnknown "revocation_unknown" 403
    /// Envoy does not verify signatures for this module: its function is refused or missing.
    SignatureUnavailable "signature_unavailable" 503
    /// The API has not answered since the proxy started, and could have named this certificate.
    TrustNotLoaded "trust_not_loaded" 503
    /// The API's pins are older than `max_staleness`, and could have named this certificate.
    TrustStale "trust_stale" 503
    /// The API may have named this certificate since the last refresh, and could not be asked in time.
    TrustUnrefreshed "trust_unrefreshed" 503
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_error_has_the_reason_of_its_name() {
        for (error, code) in [
            (PeerError::NoClientCertificate, "no_client_certificate"),
            (PeerError::Unavailable, "certificate_unavailable"),
            (PeerError::Mismatch, "certificate_mismatch"),
        ] {
            assert_eq!(Reason::from(error).to_string(), code);
        }
    }
}
