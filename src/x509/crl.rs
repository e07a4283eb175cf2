//! Certificate revocation lists (RFC 5280, section 5).
//!
//! webpki reads structure and entries and refuses what it does not know. Checked here is what it leaves to its user: signature
//! (once, on arrival), the right to sign CRLs, thisUpdate, the CRL number, and which certificates the CRL is about.

use crate::{
    http::{BOM, Failure, FailureCode, form},
    time::{Clock, UnixSeconds},
    x509::{
        ca::{CaCertificate, IssuerError},
        certificate::ClientCertificate,
        name as distinguished_name, pem,
        signature::SignatureVerifier,
        uri,
    },
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use webpki::{BorrowedCertRevocationList, Error as WebpkiError};
use x509_parser::{
    asn1_rs::{Any, FromDer as _},
    extensions::{DistributionPointName, GeneralName, ParsedExtension, X509Extension},
    prelude::ASN1Time,
    x509::X509Name,
};

/// What is known of a certificate's revocation. Of several CRLs' answers the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RevocationStatus {
    /// No current CRL covers it.
    Unknown,
    /// A current CRL covers it and does not name it.
    Good,
    Revoked,
}

/// A CRL whose signature is verified.
#[derive(Debug)]
pub struct Crl<'a> {
    pub metadata: CrlMetadata,
    der: Cow<'a, [u8]>,
    /// What webpki reads instead of `der`, if it does not know a CRL that is accepted here.
    readable: Option<Vec<u8>>,
}

/// What a CRL says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlMetadata {
    /// [`CaCertificate::ca`] of the one that signed it, as hexadecimal digits.
    pub signer: String,
    pub this_update: UnixSeconds,
    pub next_update: UnixSeconds,
    /// CRL number (section 5.2.3), big-endian without leading zeros.
    pub number: Vec<u8>,
    /// Only certificates naming one of these distribution points are covered; none means all of the issuer's.
    pub distribution_points: Vec<String>,
}

impl CrlMetadata {
    /// Whether the CRL is about certificates like this one, issued by this CA. Where it was fetched does not matter.
    pub fn covers(&self, signer: &CaCertificate, certificate: &ClientCertificate) -> bool {
        (self.distribution_points.is_empty() || certificate.crl_urls.iter().any(|url| self.concerns(url)))
            && self.signer == signer.ca.to_string()
    }

    /// Whether the CRL is about certificates that name this distribution point.
    pub fn concerns(&self, url: &str) -> bool {
        self.distribution_points.is_empty()
            || self.distribution_points.iter().any(|point| uri::is_same(point, url))
    }

    /// What the CRL says of a certificate that it covers. Revoked stays revoked after nextUpdate, Good does not.
    pub fn status(&self, is_listed: bool, skew: UnixSeconds, clock: &mut Clock) -> RevocationStatus {
        if is_listed {
            return RevocationStatus::Revoked;
        }
        let has_expired = clock.is_after(self.next_update.saturating_add(skew));
        if has_expired { RevocationStatus::Unknown } else { RevocationStatus::Good }
    }

    /// Whether the CRL is current. `skew` is how far clocks may differ.
    pub fn check_time(&self, now: UnixSeconds, skew: UnixSeconds) -> Result<(), CrlError> {
        if self.this_update > now.saturating_add(skew) {
            return Err(CrlError::NotYetValid);
        }
        if self.next_update.saturating_add(skew) < now { Err(CrlError::Expired) } else { Ok(()) }
    }
}

macro_rules! crl_errors {
    ($($variant:ident $(($field:ty))? $code:ident $text:literal)*) => {
        /// Why a CRL is refused. Of several CAs' reasons the greatest counts.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
        pub enum CrlError { $(#[error($text)] $variant $(($field))?),* }

        impl CrlError {
            /// As metrics count it.
            pub fn code(&self) -> FailureCode {
                match self { $(Self::$variant { .. } => FailureCode::$code),* }
            }
        }
    };
}

crl_errors! {
    Malformed(&'static str) CrlMalformed "not a CRL: {0}"
    OtherIssuer(String) CrlOtherIssuer "issued by `{0}`, which is no CA configured for this CRL"
    MayNotSign CrlNotAllowed "its issuer may not sign CRLs (keyUsage lacks cRLSign)"
    Unsupported(&'static str) CrlUnsupported "{0}, which this filter cannot judge by: configure a complete CRL of the CA"
    BadSignature CrlBadSignature "not signed by the CA it names as its issuer"
    VerifierUnavailable CrlUnverified "its signature could not be verified: the host refuses or lacks the function"
    NotYetValid CrlNotYetValid "its thisUpdate lies ahead: check the clocks"
    Expired CrlExpired "its nextUpdate has passed: the CA did not publish a new CRL in time"
}

impl From<CrlError> for Failure {
    fn from(error: CrlError) -> Self {
        Self::new(error.code(), format!("the CRL is refused: {error}"))
    }
}

impl From<IssuerError> for CrlError {
    fn from(error: IssuerError) -> Self {
        match error {
            IssuerError::UnknownIssuer | IssuerError::BadSignature => Self::BadSignature,
            IssuerError::UnsupportedAlgorithm => {
                Self::Unsupported("signed neither by RSA PKCS#1 nor ECDSA, with SHA-2")
            }
            IssuerError::VerifierUnavailable => Self::VerifierUnavailable,
        }
    }
}

impl From<WebpkiError> for CrlError {
    fn from(error: WebpkiError) -> Self {
        Self::Unsupported(match error {
            WebpkiError::UnsupportedDeltaCrl => "a delta CRL",
            WebpkiError::UnsupportedIndirectCrl => "an indirect CRL",
            WebpkiError::UnsupportedRevocationReasonsPartitioning => "a CRL of some revocation reasons only",
            WebpkiError::UnsupportedCriticalExtension => "an unknown critical extension",
            WebpkiError::UnsupportedCrlIssuingDistributionPoint => "a distribution point without a full name",
            WebpkiError::UnsupportedCrlVersion => "a CRL of another version than 2",
            _ => return BROKEN,
        })
    }
}

impl<'a> Crl<'a> {
    /// Reads a CRL in DER or PEM, and verifies its signature with the CAs that may have issued it. The caller checks its
    /// times: see [`CrlMetadata::check_time`].
    pub fn verify(
        bytes: &'a [u8],
        cas: &[CaCertificate],
        verifier: &dyn SignatureVerifier,
    ) -> Result<Self, CrlError> {
        let der = decode(bytes)?;
        if !element(&der)?.0.is_empty() {
            return Err(CrlError::Malformed("bytes after its end"));
        }
        let refused = match BorrowedCertRevocationList::from_der(&der) {
            Ok(_) => None,
            Err(error @ WebpkiError::UnsupportedCrlIssuingDistributionPoint) => Some(error),
            Err(error) => return Err(error.into()),
        };
        let fields = Fields::read(&der).map_err(|error| refused.map_or(error, CrlError::from))?;
        let Fields { signed, issuer, algorithm, signature, mut metadata, users_only } = fields;
        let readable = users_only.map(|at| {
            let (before, after) = (der.get(..at), der.get(at + UNREAD.len()..));
            [before.unwrap_or_default(), UNREAD, after.unwrap_or_default()].concat()
        });
        BorrowedCertRevocationList::from_der(readable.as_deref().unwrap_or(&der))?;
        let name = X509Name::from_der(issuer).map_err(|_| BROKEN)?.1;
        let mut error = CrlError::OtherIssuer(distinguished_name::text(&name));
        for ca in cas.iter().filter(|ca| ca.is_named(issuer)) {
            let verified = ca.verify_signature(verifier, algorithm, signature, signed);
            match verified.map_err(CrlError::from) {
                _ if !ca.signs_crls => error = error.max(CrlError::MayNotSign),
                Ok(()) => {
                    metadata.signer = ca.ca.to_string();
                    return Ok(Self { metadata, der, readable });
                }
                Err(refused) => error = error.max(refused),
            }
        }
        Err(error)
    }

    /// As the CA signed it.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Gives each serial number on the CRL, big-endian without leading zeros. An entry that cannot be read spoils the CRL.
    pub fn for_each_serial(&self, mut take: impl FnMut(&[u8])) -> Result<(), CrlError> {
        let der = self.readable.as_deref().unwrap_or(&self.der);
        for entry in &BorrowedCertRevocationList::from_der(der)? {
            take(significant(entry?.serial_number));
        }
        Ok(())
    }
}

/// A big-endian number without the zeros in front, so that equal numbers have equal bytes.
pub fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// The DER in what a server sent, or what that is instead.
fn decode(bytes: &[u8]) -> Result<Cow<'_, [u8]>, CrlError> {
    let text = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii();
    Err(CrlError::Malformed(match text {
        [0x30, ..] => return Ok(Cow::Borrowed(bytes)),
        _ if pem::blocks(text) > 0 => match pem::crl(text) {
            Some(der) => return Ok(Cow::Owned(der)),
            None => "PEM text, but not of exactly one `X509 CRL` block",
        },
        [b'{', ..] => "JSON",
        _ => form(text).unwrap_or("neither DER nor PEM"),
    }))
}

/// The whole issuingDistributionPoint extension of a CRL about all certificates of users, and no others.
const USERS_ONLY: &[u8] = b"\x30\x0f\x06\x03\x55\x1d\x1c\x01\x01\xff\x04\x05\x30\x03\x81\x01\xff";
/// The same as an authorityKeyIdentifier, which webpki does not look into: it refuses the above for want of a name.
const UNREAD: &[u8] = b"\x30\x0f\x06\x03\x55\x1d\x23\x01\x01\xff\x04\x05\x30\x03\x81\x01\xff";

/// The fields around the entries, which webpki reads but does not show. If they do not parse here, the two parsers differ,
/// and the CRL is refused.
struct Fields<'a> {
    /// What the signature covers.
    signed: &'a [u8],
    issuer: &'a [u8],
    /// Content of the `AlgorithmIdentifier`.
    algorithm: &'a [u8],
    signature: &'a [u8],
    /// Still without the signer.
    metadata: CrlMetadata,
    /// Where [`USERS_ONLY`] begins.
    users_only: Option<usize>,
}

impl<'a> Fields<'a> {
    fn read(der: &'a [u8]) -> Result<Self, CrlError> {
        let outer = element(der)?.1.data;
        let (behind, tbs) = element(outer)?;
        let signed = until(outer, behind);
        let (bits, algorithm) = element(behind)?;
        // A signature is whole bytes: no unused bits.
        let signature = element(bits)?.1.data.strip_prefix(&[0]).ok_or(BROKEN)?;

        let (rest, _version) = element(tbs.data)?;
        let (rest, _algorithm) = element(rest)?;
        let (after_issuer, _) = element(rest)?;
        let issuer = until(rest, after_issuer);
        let (rest, this_update) = ASN1Time::from_der(after_issuer).map_err(|_| BROKEN)?;
        let (rest, next_update) = ASN1Time::from_der(rest).map_err(|_| BROKEN)?;
        // The entries are left out if there are none; the extensions follow, under [0].
        let (after_entries, next) = element(rest)?;
        let extensions = if next.header.is_contextspecific() { next } else { element(after_entries)?.1 };
        let mut metadata = CrlMetadata {
            signer: String::new(),
            this_update: this_update.timestamp(),
            next_update: next_update.timestamp(),
            number: Vec::new(),
            distribution_points: Vec::new(),
        };
        let mut users_only = None;
        // None is there twice: webpki has refused that.
        let mut rest = element(extensions.data)?.1.data;
        while !rest.is_empty() {
            let (after, extension) = X509Extension::from_der(rest).map_err(|_| BROKEN)?;
            // The extensions are the last that is signed.
            let (at, whole) = (der.len() - behind.len() - rest.len(), until(rest, after));
            rest = after;
            match extension.parsed_extension() {
                ParsedExtension::CRLNumber(number) => {
                    metadata.number = significant(&number.to_bytes_be()).to_vec();
                }
                ParsedExtension::IssuingDistributionPoint(_) if whole == USERS_ONLY => users_only = Some(at),
                ParsedExtension::IssuingDistributionPoint(point) => {
                    check_order(extension.value)?;
                    if point.only_contains_ca_certs || point.only_contains_attribute_certs {
                        return Err(CrlError::Unsupported("a CRL of CA or attribute certificates"));
                    }
                    let Some(DistributionPointName::FullName(names)) = &point.distribution_point else {
                        return Err(BROKEN);
                    };
                    let url = |name: &GeneralName<'_>| match name {
                        GeneralName::URI(url) => Some((*url).to_owned()),
                        _ => None,
                    };
                    metadata.distribution_points = names.iter().filter_map(url).collect();
                    if metadata.distribution_points.is_empty() {
                        return Err(CrlError::Unsupported("a CRL for a distribution point without a URL"));
                    }
                }
                ParsedExtension::ParseError { .. } => return Err(BROKEN),
                _ => {}
            }
        }
        Ok(Self { signed, issuer, algorithm: algorithm.data, signature, metadata, users_only })
    }
}

/// Refuses an issuingDistributionPoint whose fields are not in the order of their tags, as DER has them: x509-parser skips a
/// field out of order, webpki reads it, and the two would differ about which certificates the CRL covers.
fn check_order(structure: &[u8]) -> Result<(), CrlError> {
    let mut rest = element(structure)?.1.data;
    let mut last = None;
    while !rest.is_empty() {
        let (after, field) = element(rest)?;
        let tag = Some(field.header.tag().0);
        if tag <= last {
            return Err(CrlError::Malformed("fields of its issuingDistributionPoint out of order"));
        }
        (rest, last) = (after, tag);
    }
    Ok(())
}

const BROKEN: CrlError = CrlError::Malformed("its DER is broken, cut off, or that of something else");

fn element(der: &[u8]) -> Result<(&[u8], Any<'_>), CrlError> {
    Any::from_der(der).map_err(|_| BROKEN)
}

/// The part of `der` before `rest`, which is its end.
fn until<'a>(der: &'a [u8], rest: &[u8]) -> &'a [u8] {
    der.get(..der.len().saturating_sub(rest.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests;
