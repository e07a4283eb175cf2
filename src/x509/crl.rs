//! A certificate revocation list (RFC 5280, section 5), believed only after every check that its user has to make.
//!
//! webpki reads structure and entries and refuses what it does not know. What it leaves to its user is done here: the
//! signature (once, on arrival, instead of at every look-up), the issuer's right to sign lists, thisUpdate, the list's
//! number, and whom the list is about.

use crate::crl::RevocationStatus;
use crate::http::FailureCode;
use crate::{
    time::{Clock, UnixSeconds},
    x509::{
        ca::CaCertificate, certificate::ClientCertificate, name as distinguished_name,
        rust_crypto::MessageDigest,
    },
};
use serde::{Deserialize, Serialize};
use webpki::{BorrowedCertRevocationList, Error as WebpkiError};
use x509_parser::{
    asn1_rs::{Any, FromDer as _},
    extensions::{DistributionPointName, GeneralName, ParsedExtension, X509Extension},
    prelude::ASN1Time,
};

/// A verified list.
#[derive(Debug)]
pub struct CertificateList<'a> {
    pub terms: CrlMetadata,
    /// Digest of what is signed, as its signature algorithm wants it: tells one list from another.
    pub signed: Vec<u8>,
    pub(crate) parts: Parts<'a>,
    entries: BorrowedCertRevocationList<'a>,
}

/// What a list says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlMetadata {
    /// [`Authority::ca`] of the one that signed it, as hexadecimal digits.
    pub signer: String,
    pub this_update: UnixSeconds,
    pub next_update: UnixSeconds,
    /// CRL number (section 5.2.3), big-endian without leading zeros.
    pub number: Vec<u8>,
    /// Only certificates naming one of these distribution points are covered; none means all of the issuer's.
    pub distribution_points: Vec<String>,
}

impl CrlMetadata {
    /// Whether the list speaks of certificates like this one, issued by this authority.
    pub fn cover(&self, signer: &CaCertificate, certificate: &ClientCertificate) -> bool {
        let named =
            self.distribution_points.is_empty() || certificate.crl_urls.iter().any(|url| self.concern(url));
        named && self.signer == signer.ca.to_string()
    }

    /// Whether the list is about certificates that name this distribution point.
    pub fn concern(&self, url: &str) -> bool {
        self.distribution_points.is_empty() || self.distribution_points.iter().any(|point| point == url)
    }

    /// What the list says of a certificate that it covers. Whoever was revoked stays so when the list has run out; nobody
    /// is cleared by such a list.
    pub fn standing(&self, is_listed: bool, skew: UnixSeconds, clock: &mut Clock) -> RevocationStatus {
        if is_listed {
            RevocationStatus::Revoked
        } else if clock.is_after(self.next_update.saturating_add(skew)) {
            RevocationStatus::Unknown
        } else {
            RevocationStatus::Good
        }
    }
}

/// The encoding of a list, taken apart around its entries. Each part but `entries` keeps its headers.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Version to nextUpdate.
    pub before: &'a [u8],
    /// Content of revokedCertificates, if it is there.
    pub entries: Option<&'a [u8]>,
    /// crlExtensions.
    pub after: &'a [u8],
    /// signatureAlgorithm and signatureValue.
    pub behind: &'a [u8],
}

/// Why a list is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    #[error("not a DER-encoded revocation list ({0})")]
    Malformed(String),
    #[error("PEM text where DER is due (RFC 5280, section 4.2.1.13): publish the list as DER")]
    Pem,
    #[error("{0}, which this filter cannot judge by: configure a complete list of the CA")]
    Unsupported(&'static str),
    #[error("issued by `{0}`, which is no CA configured for this list")]
    OtherIssuer(String),
    #[error("its issuer may not sign revocation lists (keyUsage lacks cRLSign)")]
    MayNotSign,
    #[error("not signed by the CA it names as its issuer")]
    BadSignature,
    #[error("its thisUpdate lies ahead: check the clocks")]
    NotYetValid,
    #[error("its nextUpdate has passed: the CA did not publish a new list in time")]
    Expired,
}

impl CrlError {
    /// The stable code that labels metrics.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Malformed(_) | Self::Pem => FailureCode::CrlMalformed,
            Self::Unsupported(_) => FailureCode::CrlUnsupported,
            Self::OtherIssuer(_) => FailureCode::CrlOtherIssuer,
            Self::MayNotSign => FailureCode::CrlNotAllowed,
            Self::BadSignature => FailureCode::CrlBadSignature,
            Self::NotYetValid => FailureCode::CrlNotYetValid,
            Self::Expired => FailureCode::CrlExpired,
        }
    }
}

impl<'a> CertificateList<'a> {
    /// Reads and verifies a list with the authorities that may have issued it. `skew` is how far clocks may differ.
    pub fn verify(
        der: &'a [u8],
        authorities: &[CaCertificate],
        now: UnixSeconds,
        skew: UnixSeconds,
    ) -> Result<Self, CrlError> {
        let list = Self::verify_signature(der, authorities)?;
        if list.terms.this_update > now.saturating_add(skew) {
            return Err(CrlError::NotYetValid);
        }
        if list.terms.next_update.saturating_add(skew) < now {
            return Err(CrlError::Expired);
        }
        Ok(list)
    }

    /// The same without a look at the clock.
    pub fn verify_signature(der: &'a [u8], authorities: &[CaCertificate]) -> Result<Self, CrlError> {
        let structure = Structure::read(der)?;
        let mut digest = structure.begin_digest(authorities)?;
        digest.update(structure.signed);
        let signed = digest.finish();
        let signer = structure.signer(&signed, authorities)?;
        let terms = structure.terms(signer);
        Ok(Self { terms, signed, parts: structure.parts, entries: structure.entries })
    }

    /// The serial numbers on the list, big-endian without leading zeros. An entry that cannot be read spoils the list.
    pub fn serials(&self) -> impl Iterator<Item = Result<&[u8], CrlError>> {
        serials(&self.entries)
    }
}

fn serials<'l>(
    entries: &'l BorrowedCertRevocationList<'_>,
) -> impl Iterator<Item = Result<&'l [u8], CrlError>> {
    entries.into_iter().map(|entry| entry.map(|entry| significant(entry.serial_number)).map_err(refused))
}

/// A big-endian number without the zeros in front, so that equal numbers have equal bytes.
pub fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn refused(error: WebpkiError) -> CrlError {
    match error {
        WebpkiError::UnsupportedDeltaCrl => CrlError::Unsupported("a delta list"),
        WebpkiError::UnsupportedIndirectCrl => CrlError::Unsupported("an indirect list"),
        WebpkiError::UnsupportedRevocationReasonsPartitioning => {
            CrlError::Unsupported("a list of some revocation reasons only")
        }
        WebpkiError::UnsupportedCriticalExtension => {
            CrlError::Unsupported("a critical extension nobody here knows")
        }
        WebpkiError::UnsupportedCrlIssuingDistributionPoint => {
            CrlError::Unsupported("a distribution point without a full name")
        }
        WebpkiError::UnsupportedCrlVersion => CrlError::Unsupported("a list before version 2"),
        other => CrlError::Malformed(other.to_string()),
    }
}

/// A list that is well-formed and of a kind to judge by; nothing is said of its signature yet.
///
/// The fields around the entries are read a second time, since webpki does not show them. It has read them all by then,
/// so whatever does not parse here is a difference between two parsers, and reason enough to refuse.
pub(crate) struct Structure<'a> {
    /// What the signature covers.
    signed: &'a [u8],
    pub(crate) parts: Parts<'a>,
    issuer: &'a [u8],
    this_update: UnixSeconds,
    next_update: UnixSeconds,
    number: Vec<u8>,
    distribution_points: Vec<String>,
    /// Content of the `AlgorithmIdentifier`.
    algorithm: &'a [u8],
    signature: &'a [u8],
    entries: BorrowedCertRevocationList<'a>,
}

impl<'a> Structure<'a> {
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, CrlError> {
        if der.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Err(CrlError::Pem);
        }
        let entries = BorrowedCertRevocationList::from_der(der).map_err(refused)?;
        let malformed = |what: &'static str| CrlError::Malformed(what.to_owned());
        let mut structure = Self::fields(der, entries).map_err(malformed)?;
        structure.extensions()?;
        Ok(structure)
    }

    /// The serial numbers among its entries.
    pub(crate) fn serials(&self) -> impl Iterator<Item = Result<&[u8], CrlError>> {
        serials(&self.entries)
    }

    /// Begins the digest that the signature is made over, if anybody could have made it.
    pub(crate) fn begin_digest(&self, authorities: &[CaCertificate]) -> Result<MessageDigest, CrlError> {
        let named = || authorities.iter().filter(|authority| authority.is_named(self.issuer));
        if named().next().is_none() {
            let issuer = x509_parser::x509::X509Name::from_der(self.issuer);
            return Err(CrlError::OtherIssuer(
                issuer.map(|(_, name)| distinguished_name::text(&name)).unwrap_or_default(),
            ));
        }
        if !named().any(|authority| authority.signs_lists) {
            return Err(CrlError::MayNotSign);
        }
        MessageDigest::of(self.algorithm).ok_or(CrlError::BadSignature)
    }

    /// The authority whose key signed what has this digest.
    pub(crate) fn signer<'c>(
        &self,
        digest: &[u8],
        authorities: &'c [CaCertificate],
    ) -> Result<&'c CaCertificate, CrlError> {
        authorities
            .iter()
            .filter(|authority| authority.is_named(self.issuer) && authority.signs_lists)
            .find(|authority| authority.has_signed(digest, self.algorithm, self.signature))
            .ok_or(CrlError::BadSignature)
    }

    pub(crate) fn terms(&self, signer: &CaCertificate) -> CrlMetadata {
        CrlMetadata {
            signer: signer.ca.to_string(),
            this_update: self.this_update,
            next_update: self.next_update,
            number: self.number.clone(),
            distribution_points: self.distribution_points.clone(),
        }
    }

    fn fields(der: &'a [u8], entries: BorrowedCertRevocationList<'a>) -> Result<Self, &'static str> {
        let outer = any(der)?.1.data;
        let (behind, tbs) = any(outer)?;
        let signed = outer.get(..outer.len() - behind.len()).ok_or("tbsCertList")?;
        let (bits, algorithm) = any(behind)?;
        let (_, bits) = any(bits)?;
        // A signature is whole bytes: no unused bits.
        let signature = bits.data.strip_prefix(&[0]).ok_or("signature")?;

        let (rest, _version) = any(tbs.data)?;
        let (rest, _algorithm) = any(rest)?;
        let (after_issuer, _) = any(rest)?;
        let issuer = rest.get(..rest.len() - after_issuer.len()).ok_or("issuer")?;
        let (rest, this_update) = ASN1Time::from_der(after_issuer).map_err(|_| "thisUpdate")?;
        let (rest, next_update) = ASN1Time::from_der(rest).map_err(|_| "nextUpdate")?;
        let before = tbs.data.get(..tbs.data.len() - rest.len()).ok_or("nextUpdate")?;
        let (after_entries, next) = any(rest)?;
        // The entries are left out where there are none; the extensions follow, under [0].
        let (listed, after) =
            if next.header.is_contextspecific() { (None, rest) } else { (Some(next.data), after_entries) };
        Ok(Self {
            signed,
            parts: Parts { before, entries: listed, after, behind },
            issuer,
            this_update: this_update.timestamp(),
            next_update: next_update.timestamp(),
            number: Vec::new(),
            distribution_points: Vec::new(),
            algorithm: algorithm.data,
            signature,
            entries,
        })
    }

    fn extensions(&mut self) -> Result<(), CrlError> {
        let malformed = |what: &'static str| CrlError::Malformed(what.to_owned());
        let tagged = any(self.parts.after).map_err(malformed)?.1.data;
        let mut rest = any(tagged).map_err(malformed)?.1.data;
        while !rest.is_empty() {
            let (after, extension) = X509Extension::from_der(rest).map_err(|_| malformed("extension"))?;
            rest = after;
            match extension.parsed_extension() {
                ParsedExtension::CRLNumber(number) => {
                    self.number = significant(&number.to_bytes_be()).to_vec();
                }
                ParsedExtension::IssuingDistributionPoint(point) => {
                    if !is_in_order(extension.value).map_err(malformed)? {
                        return Err(malformed("fields of its issuingDistributionPoint out of order"));
                    }
                    if point.only_contains_ca_certs || point.only_contains_attribute_certs {
                        return Err(CrlError::Unsupported("a list of CA or attribute certificates"));
                    }
                    self.distribution_points = match &point.distribution_point {
                        Some(DistributionPointName::FullName(names)) => {
                            names.iter().filter_map(uri).collect()
                        }
                        Some(_) => {
                            return Err(CrlError::Unsupported("a distribution point with a relative name"));
                        }
                        None => return Err(malformed("distributionPoint")),
                    };
                    if self.distribution_points.is_empty() {
                        return Err(CrlError::Unsupported("a list for a distribution point without a URL"));
                    }
                }
                ParsedExtension::ParseError { .. } => return Err(malformed("extension")),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether the fields of a structure stand in the order of their tags, as DER has them. x509-parser looks for each where it
/// belongs and passes over the rest, while webpki takes them as they come: out of order they say to one of them that a
/// list is about everybody, and to the other that it is not.
fn is_in_order(structure: &[u8]) -> Result<bool, &'static str> {
    let mut rest = any(structure)?.1.data;
    let mut last = None;
    while !rest.is_empty() {
        let (after, field) = any(rest)?;
        let tag = Some(field.header.tag().0);
        if tag <= last {
            return Ok(false);
        }
        (rest, last) = (after, tag);
    }
    Ok(true)
}

pub(crate) fn any(der: &[u8]) -> Result<(&[u8], Any<'_>), &'static str> {
    Any::from_der(der).map_err(|_| "structure")
}

fn uri(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None }
}
