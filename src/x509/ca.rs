//! The configured CAs: checked when configured, believed only with a verified signature.

use crate::{
    time::{Clock, UnixSeconds},
    x509::{
        certificate::ClientCertificate,
        fingerprint::Fingerprint,
        name::{self as distinguished_name, DistinguishedName},
        pem,
        signature::{
            RSA_BITS, SignatureVerifier, VerifierUnavailable, is_accepted_key, is_accepted_signature,
            with_algorithms,
        },
    },
};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::time::Duration;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::{
    asn1_rs::Any,
    certificate::X509Certificate,
    extensions::{GeneralName, KeyUsage, ParsedExtension},
    prelude::FromDer as _,
    public_key::PublicKey,
};

/// A CA certificate that may issue client certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificate {
    anchor: TrustAnchor<'static>,
    subject: DistinguishedName,
    key_id: Option<Vec<u8>>,
    pub not_before: UnixSeconds,
    pub not_after: UnixSeconds,
    /// The subject, printed for people.
    pub name: String,
    /// Whether the subject's organisation is DigiCert, whose CAs sign for the public.
    pub is_digicert: bool,
    /// SHA-256 of name and key: the same for every certificate of one CA, the renewed one included.
    pub ca: Fingerprint,
    /// Whether it may sign CRLs (keyUsage cRLSign).
    pub signs_crls: bool,
    /// What a later release will refuse, in words.
    pub doubt: Option<&'static str>,
    /// If it is self-signed and leaves a doubt: an RSA key is checked in full when it is parsed.
    own_signature: Option<OwnSignature>,
}

/// A CA's signature under itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OwnSignature {
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    message: Vec<u8>,
}

/// Why a bundle of CA certificates is refused.
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
        "`{0}` has no keyUsage, which has to allow keyCertSign: give a certificate of this CA that has one"
    )]
    NoKeyUsage(String),
    #[error(
        "`{0}` has a key that is not supported: RSA with {lo} to {hi} bits, P-256 or P-384 is needed",
        lo = RSA_BITS.start(),
        hi = RSA_BITS.end()
    )]
    Key(String),
    #[error(
        "`{0}` limits directory names (nameConstraints), which cannot be checked here, so every client certificate of this \
         CA would be denied: give a \
         certificate of this CA without that limit, or DigiCert's pins without `issuers`"
    )]
    DirectoryNames(String),
}

type Reject = fn(String) -> CaError;

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
    /// Every CA of a PEM bundle.
    pub fn parse_bundle(pem_text: &[u8]) -> Result<Vec<Self>, CaBundleError> {
        let numbered = pem::certificates(pem_text)?.into_iter().zip(1..);
        numbered.map(|(der, n)| Self::parse(&der).map_err(|error| CaBundleError::CaError(n, error))).collect()
    }

    /// Checks what RFC 5280, section 6.1.4 (k) to (n) asks of an issuer, and its key. The decision checks its validity,
    /// since a configuration must load the same today and in ten years.
    pub fn parse(der: &[u8]) -> Result<Self, CaError> {
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|error| CaError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(CaError::Malformed("bytes after its end".to_owned()));
        }
        parsed.extensions_map().map_err(|_| CaError::Malformed("an extension occurs twice".to_owned()))?;
        let (mut is_ca, mut usage, mut key_id, mut doubt) = (false, None, None, None);
        let mut limits_directory_names = false;
        let mut authority_key = None;
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => is_ca = constraints.ca,
                ParsedExtension::KeyUsage(found) => usage = Some(found),
                ParsedExtension::ExtendedKeyUsage(purposes) if !purposes.client_auth && !purposes.any => {
                    doubt = Some(
                        "its extendedKeyUsage lacks clientAuth, so it may not issue client certificates",
                    );
                }
                ParsedExtension::UnsupportedExtension { .. } if extension.critical => {
                    doubt = Some("it has a critical extension that is not known");
                }
                ParsedExtension::SubjectKeyIdentifier(key) => key_id = Some(key.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(authority) => {
                    authority_key = authority.key_identifier.as_ref().map(|key| key.0.to_vec());
                }
                ParsedExtension::NameConstraints(names) => {
                    let mut limits =
                        names.permitted_subtrees.iter().chain(&names.excluded_subtrees).flatten();
                    limits_directory_names =
                        limits.any(|limit| matches!(limit.base, GeneralName::DirectoryName(_)));
                }
                ParsedExtension::ParseError { .. } => {
                    return Err(CaError::Malformed(format!("extension {}", extension.oid)));
                }
                _ => {}
            }
        }
        let owned = CertificateDer::from(der);
        let anchor = webpki::anchor_from_trusted_cert(&owned);
        let has_bad_key = anchor.as_ref().is_ok_and(|anchor| {
            !public_key(anchor).is_some_and(|(algorithm, key)| is_accepted_key(algorithm, key))
        });
        // Every certificate has a directory name, its subject, and webpki refuses what it cannot check.
        let checks: [(bool, Reject); 5] = [
            (!is_ca, CaError::NotACa),
            (usage.is_none(), CaError::NoKeyUsage),
            (!usage.is_some_and(KeyUsage::key_cert_sign), CaError::NoCertSign),
            (has_bad_key, CaError::Key),
            (limits_directory_names, CaError::DirectoryNames),
        ];
        let name = distinguished_name::text(parsed.subject());
        if let Some((_, error)) = checks.into_iter().find(|(is_wrong, _)| *is_wrong) {
            return Err(error(name));
        }
        let anchor = anchor.map_err(|error| CaError::Malformed(error.to_string()))?.to_owned();
        let has_own_key = authority_key == key_id;
        Ok(Self {
            anchor,
            subject: DistinguishedName::new(parsed.subject()),
            key_id,
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            is_digicert: parsed.subject().iter_organization().any(|organization| {
                organization.as_str().is_ok_and(|text| text.to_ascii_lowercase().contains("digicert"))
            }),
            ca: Fingerprint::of(&[parsed.subject().as_raw(), parsed.public_key().raw].concat()),
            signs_crls: usage.is_some_and(KeyUsage::crl_sign),
            doubt,
            // In a rollover the old key may sign the new one, under the same name.
            own_signature: own_signature(der, &parsed).filter(|_| authority_key.is_none() || has_own_key),
            name,
        })
    }

    /// Its key: the content of the `AlgorithmIdentifier`, and of the `BIT STRING`.
    pub fn public_key(&self) -> Option<(&[u8], &[u8])> {
        public_key(&self.anchor)
    }

    /// Whether this is the CA's distinguished name (DER).
    pub fn is_named(&self, subject: &[u8]) -> bool {
        DistinguishedName::from_der(subject).is_some_and(|subject| self.subject == subject)
    }

    /// Whether its key works: it has to verify the CA's own signature, if there is one.
    pub fn check_key(&self, verifier: &dyn SignatureVerifier) -> Result<(), IssuerError> {
        let Some(OwnSignature { algorithm, signature, message }) = &self.own_signature else { return Ok(()) };
        self.verify_signature(verifier, algorithm, signature, message)
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
            let mut error = IssuerError::UnsupportedAlgorithm;
            for one in algorithms.iter().filter(|one| one.signature_alg_id().as_ref() == algorithm) {
                error = IssuerError::BadSignature;
                if one.public_key_alg_id().as_ref() == key_algorithm {
                    return one.verify_signature(key, message, signature).map_err(|_| error);
                }
            }
            Err(error)
        })?
    }

    fn verify_issued(
        &self,
        verifier: &dyn SignatureVerifier,
        certificate: &ClientCertificate,
    ) -> Result<(), IssuerError> {
        let leaf = EndEntityCert::try_from(&certificate.der).map_err(|_| IssuerError::BadSignature)?;
        // The decision checks validity, with the configured skew: webpki gets a moment at which it holds.
        let within = Duration::from_secs(u64::try_from(certificate.not_after).unwrap_or(0));
        // Names were compared before: webpki compares bytes.
        let (_, issuer) = Any::from_der(&certificate.issuer.der).map_err(|_| IssuerError::BadSignature)?;
        let anchor = TrustAnchor { subject: issuer.data.into(), ..self.anchor.clone() };
        let verified = with_algorithms(verifier, |algorithms| {
            leaf.verify_for_usage(
                algorithms,
                std::slice::from_ref(&anchor),
                &[],
                UnixTime::since_unix_epoch(within),
                UsageAlreadyChecked,
                None,
                None,
            )
            .map(drop)
        })?;
        verified.map_err(|error| match error {
            webpki::Error::UnsupportedSignatureAlgorithmContext(_) => IssuerError::UnsupportedAlgorithm,
            _ => IssuerError::BadSignature,
        })
    }
}

/// The first CA that is valid now and signed the certificate. Only CAs with its issuer's name are asked; among several
/// (a root rollover) only those whose key the certificate names, if any.
pub fn verify_issuer<'a>(
    cas: &'a [CaCertificate],
    certificate: &ClientCertificate,
    verifier: &dyn SignatureVerifier,
    clock: &mut Clock,
) -> Result<&'a CaCertificate, IssuerError> {
    let named: Vec<_> = cas.iter().filter(|ca| ca.subject == certificate.issuer).collect();
    let has_key = |ca: &CaCertificate| ca.key_id == certificate.authority_key;
    let is_key_known = certificate.authority_key.is_some() && named.iter().any(|ca| has_key(ca));
    let mut worst = IssuerError::UnknownIssuer;
    for ca in named.into_iter().filter(|ca| !is_key_known || has_key(ca)) {
        if clock.is_before(ca.not_before) || clock.is_after(ca.not_after) {
            continue;
        }
        match ca.verify_issued(verifier, certificate) {
            Ok(()) => return Ok(ca),
            Err(error) => worst = worst.max(error),
        }
    }
    Err(worst)
}

fn own_signature(der: &[u8], parsed: &X509Certificate<'_>) -> Option<OwnSignature> {
    if parsed.subject().as_raw() != parsed.issuer().as_raw() {
        return None;
    }
    let message = parsed.tbs_certificate.as_ref().to_vec();
    let (_, whole) = Any::from_der(der).ok()?;
    let (_, algorithm) = Any::from_der(whole.data.get(message.len()..)?).ok()?;
    let signature = parsed.signature_value.data.to_vec();
    let is_rsa = parsed.public_key().parsed().is_ok_and(|key| matches!(key, PublicKey::RSA(_)));
    let is_doubtful = !is_rsa || !is_accepted_signature(algorithm.data);
    is_doubtful.then(|| OwnSignature { algorithm: algorithm.data.to_vec(), signature, message })
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
        usages.try_for_each(|usage| usage.map(drop))
    }
}

#[cfg(test)]
mod tests;
