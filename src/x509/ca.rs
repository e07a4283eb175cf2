//! Certificate authorities that the operator named: checked when configured, believed only with a verified signature.

use crate::{
    time::{Clock, UnixSeconds},
    x509::{
        certificate::ClientCertificate,
        fingerprint::Fingerprint,
        name as distinguished_name, pem,
        signature::{RSA_BITS, SignatureVerifier, VerifierUnavailable, is_accepted_key, with_algorithms},
    },
};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::time::Duration;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::{
    asn1_rs::Any,
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
};

/// One CA certificate, fit to issue client certificates. webpki takes any anchor as it comes; the checks that it
/// leaves to its caller are made in [`Authority::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificate {
    anchor: TrustAnchor<'static>,
    subject: Vec<u8>,
    key_id: Option<Vec<u8>>,
    pub not_before: UnixSeconds,
    pub not_after: UnixSeconds,
    /// The subject, printed for people.
    pub name: String,
    /// Whether the subject's organisation is DigiCert, whose CAs sign for the public.
    pub is_digicert: bool,
    /// SHA-256 of name and key: the same for every certificate of one CA, the renewed one included.
    pub ca: Fingerprint,
    /// Whether it may sign revocation lists (keyUsage cRLSign).
    pub signs_lists: bool,
}

/// Why a certificate cannot serve as an authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaBundleError {
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    #[error("certificate {0} of the bundle: {1}")]
    CaError(usize, CaError),
}

/// What is wrong with one CA certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    #[error("cannot be parsed ({0})")]
    Malformed(String),
    #[error("`{0}` is not a CA (basicConstraints lacks CA:TRUE): give the certificate of its issuer")]
    NotACa(String),
    #[error("`{0}` may not sign certificates (keyUsage lacks keyCertSign)")]
    NoCertSign(String),
    #[error(
        "`{0}` has a key that is not supported: RSA with {lo} to {hi} bits, P-256 or P-384 is needed",
        lo = RSA_BITS.start(),
        hi = RSA_BITS.end()
    )]
    Key(String),
    #[error(
        "`{0}` limits directory names (nameConstraints), which cannot be checked here, so it would verify_issuer for nobody: give a \
         certificate of this CA without that limit, or DigiCert's pins without `issuers`"
    )]
    DirectoryNames(String),
}

/// Why no CA is shown to have issued a certificate. Of several CAs' reasons the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IssuerError {
    /// No CA of its issuer's name, or none that is valid now.
    UnknownIssuer,
    /// Signed with an algorithm that is not verified here, such as RSA-PSS or Ed25519: it cannot be judged.
    UnsupportedAlgorithm,
    /// A CA of its issuer's name, but its key did not sign the certificate.
    BadSignature,
    /// The verifier could not be asked.
    VerifierUnavailable,
}

impl From<VerifierUnavailable> for IssuerError {
    fn from(_: VerifierUnavailable) -> Self {
        Self::VerifierUnavailable
    }
}

impl CaCertificate {
    /// Every authority of a PEM bundle.
    pub fn parse_bundle(pem_text: &[u8]) -> Result<Vec<Self>, CaBundleError> {
        let certificates = pem::certificates(pem_text)?;
        let numbered = certificates.iter().zip(1..);
        numbered.map(|(der, n)| Self::parse(der).map_err(|unfit| CaBundleError::CaError(n, unfit))).collect()
    }

    /// Checks what RFC 5280, section 6.1.4 (k) to (n) asks of an issuer, and its key. Not its validity: that is asked
    /// at each decision, since a configuration must load the same today and in ten years.
    pub fn parse(der: &[u8]) -> Result<Self, CaError> {
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|error| CaError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(CaError::Malformed("bytes after its end".to_owned()));
        }
        parsed.extensions_map().map_err(|_| CaError::Malformed("an extension stands twice".to_owned()))?;
        let name = distinguished_name::text(parsed.subject());
        let (mut is_ca, mut signs, mut signs_lists, mut key_id) = (false, false, false, None);
        let mut limits_directory_names = false;
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => is_ca = constraints.ca,
                ParsedExtension::KeyUsage(usage) => {
                    (signs, signs_lists) = (usage.key_cert_sign(), usage.crl_sign());
                }
                ParsedExtension::SubjectKeyIdentifier(key) => key_id = Some(key.0.to_vec()),
                ParsedExtension::NameConstraints(names) => {
                    let mut limits =
                        [&names.permitted_subtrees, &names.excluded_subtrees].into_iter().flatten().flatten();
                    limits_directory_names =
                        limits.any(|limit| matches!(limit.base, GeneralName::DirectoryName(_)));
                }
                ParsedExtension::ParseError { .. } => {
                    return Err(CaError::Malformed(format!("extension {}", extension.oid)));
                }
                _ => {}
            }
        }
        if !is_ca {
            return Err(CaError::NotACa(name));
        }
        if !signs {
            return Err(CaError::NoCertSign(name));
        }
        let owned = CertificateDer::from(der);
        let anchor = webpki::anchor_from_trusted_cert(&owned)
            .map_err(|error| CaError::Malformed(error.to_string()))?
            .to_owned();
        if !public_key(&anchor).is_some_and(|(algorithm, key)| is_accepted_key(algorithm, key)) {
            return Err(CaError::Key(name));
        }
        // Every certificate has a directory name, its subject, and webpki refuses what it cannot check. Limits of other kinds
        // than DNS and IP it cannot check either, but they concern certificates with such a name only.
        if limits_directory_names {
            return Err(CaError::DirectoryNames(name));
        }
        Ok(Self {
            anchor,
            subject: parsed.subject().as_raw().to_vec(),
            key_id,
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            is_digicert: parsed
                .subject()
                .iter_organization()
                .filter_map(|organization| organization.as_str().ok())
                .any(|organization| organization.to_ascii_lowercase().contains("digicert")),
            ca: Fingerprint::of(&[parsed.subject().as_raw(), parsed.public_key().raw].concat()),
            signs_lists,
            name,
        })
    }

    /// Whether this is the authority of that distinguished name (DER).
    pub fn is_named(&self, subject: &[u8]) -> bool {
        self.subject == subject
    }

    /// Whether this CA's key signed the message. `algorithm` is the content of an `AlgorithmIdentifier`.
    pub fn verify_signature(
        &self,
        verifier: &dyn SignatureVerifier,
        algorithm: &[u8],
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), IssuerError> {
        let (key_algorithm, key) = public_key(&self.anchor).ok_or(IssuerError::UnsupportedAlgorithm)?;
        with_algorithms(verifier, |algorithms| {
            let mut with =
                algorithms.iter().filter(|one| one.signature_alg_id().as_ref() == algorithm).peekable();
            with.peek().ok_or(IssuerError::UnsupportedAlgorithm)?;
            with.find(|one| one.public_key_alg_id().as_ref() == key_algorithm)
                .and_then(|one| one.verify_signature(key, message, signature).ok())
                .ok_or(IssuerError::BadSignature)
        })?
    }

    fn verify_issued(
        &self,
        verifier: &dyn SignatureVerifier,
        certificate: &ClientCertificate,
    ) -> Result<(), IssuerError> {
        let leaf = EndEntityCert::try_from(&certificate.der).map_err(|_| IssuerError::BadSignature)?;
        // Validity, with the configured skew, is the decision's own rule; webpki gets a moment at which it holds.
        let within = Duration::from_secs(u64::try_from(certificate.not_after).unwrap_or(0));
        let verified = with_algorithms(verifier, |algorithms| {
            leaf.verify_for_usage(
                algorithms,
                std::slice::from_ref(&self.anchor),
                &[],
                UnixTime::since_unix_epoch(within),
                UsageAlreadyChecked,
                None,
                None,
            )
            .map(|_| ())
        })?;
        verified.map_err(|error| match error {
            webpki::Error::UnsupportedSignatureAlgorithmContext(_) => IssuerError::UnsupportedAlgorithm,
            _ => IssuerError::BadSignature,
        })
    }
}

/// Asks the authorities that could have issued the certificate: those with its issuer's name, and among several of one
/// name (a root rollover) the one whose key the certificate names. The answer is the first that did, and is valid now.
pub fn verify_issuer<'a>(
    authorities: &'a [CaCertificate],
    certificate: &ClientCertificate,
    verifier: &dyn SignatureVerifier,
    clock: &mut Clock,
) -> Result<&'a CaCertificate, IssuerError> {
    let named = || authorities.iter().filter(|authority| authority.subject == certificate.issuer);
    let by_key = |authority: &&CaCertificate| authority.key_id == certificate.authority_key;
    let key_is_known = certificate.authority_key.is_some() && named().any(|authority| by_key(&authority));
    let mut refusal = IssuerError::UnknownIssuer;
    for authority in named().filter(|authority| !key_is_known || by_key(authority)) {
        if clock.is_before(authority.not_before) || clock.is_after(authority.not_after) {
            continue;
        }
        match authority.verify_issued(verifier, certificate) {
            Ok(()) => return Ok(authority),
            Err(error) => refusal = refusal.max(error),
        }
    }
    Err(refusal)
}

/// An anchor's key: the content of its `AlgorithmIdentifier`, and of its `BIT STRING`.
fn public_key<'a>(anchor: &'a TrustAnchor<'_>) -> Option<(&'a [u8], &'a [u8])> {
    let (bits, algorithm) = Any::from_der(anchor.subject_public_key_info.as_ref()).ok()?;
    let (_, bits) = Any::from_der(bits).ok()?;
    // A BIT STRING of whole bytes begins with a zero: the number of unused bits.
    Some((algorithm.data, bits.data.strip_prefix(&[0])?))
}

/// [`ClientCertificate::parse`] has looked at the extended key usage; webpki would refuse anyExtendedKeyUsage.
struct UsageAlreadyChecked;

impl ExtendedKeyUsageValidator for UsageAlreadyChecked {
    fn validate(&self, mut usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        usages.try_for_each(|usage| usage.map(|_| ()))
    }
}

#[cfg(test)]
mod tests;
