//! A certificate revocation list (RFC 5280, section 5), believed only after every check that its user has to make.
//!
//! webpki reads structure and entries and refuses what it does not know. What it leaves to its user is done here: the
//! signature (once, on arrival, instead of at every look-up), the issuer's right to sign CRLs, thisUpdate, the CRL number,
//! and which certificates the CRL is about.

use crate::{
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
};

/// What is known of a certificate's revocation. In this order: of what several CRLs say, the greatest counts.
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
    /// In the place of `der` for webpki, which does not know every CRL that is accepted here.
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
        let named =
            self.distribution_points.is_empty() || certificate.crl_urls.iter().any(|url| self.concerns(url));
        named && self.signer == signer.ca.to_string()
    }

    /// Whether the CRL is about certificates that name this distribution point.
    pub fn concerns(&self, url: &str) -> bool {
        self.distribution_points.is_empty()
            || self.distribution_points.iter().any(|point| uri::is_same(point, url))
    }

    /// What the CRL says of a certificate that it covers. Revoked stays revoked after nextUpdate; an expired CRL clears no
    /// certificate.
    pub fn status(&self, is_listed: bool, skew: UnixSeconds, clock: &mut Clock) -> RevocationStatus {
        if is_listed {
            RevocationStatus::Revoked
        } else if clock.is_after(self.next_update.saturating_add(skew)) {
            RevocationStatus::Unknown
        } else {
            RevocationStatus::Good
        }
    }

    /// Whether the CRL is current. `skew` is how far clocks may differ.
    pub fn check_time(&self, now: UnixSeconds, skew: UnixSeconds) -> Result<(), CrlError> {
        if self.this_update > now.saturating_add(skew) {
            return Err(CrlError::NotYetValid);
        }
        if self.next_update.saturating_add(skew) < now { Err(CrlError::Expired) } else { Ok(()) }
    }
}

/// Why a CRL is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    #[error("not a CRL: {0}")]
    Malformed(&'static str),
    #[error("{0}, which this filter cannot judge by: configure a complete CRL of the CA")]
    Unsupported(&'static str),
    #[error("issued by `{0}`, which is no CA configured for this CRL")]
    OtherIssuer(String),
    #[error("its issuer may not sign CRLs (keyUsage lacks cRLSign)")]
    MayNotSign,
    #[error("not signed by the CA it names as its issuer")]
    BadSignature,
    #[error("its signature could not be verified: the host refuses or lacks the function")]
    VerifierUnavailable,
    #[error("its thisUpdate lies ahead: check the clocks")]
    NotYetValid,
    #[error("its nextUpdate has passed: the CA did not publish a new CRL in time")]
    Expired,
}

impl CrlError {
    /// The stable code that labels metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "crl_malformed",
            Self::Unsupported(_) => "crl_unsupported",
            Self::OtherIssuer(_) => "crl_other_issuer",
            Self::MayNotSign => "crl_not_allowed",
            Self::BadSignature => "crl_bad_signature",
            Self::VerifierUnavailable => "crl_unverified",
            Self::NotYetValid => "crl_not_yet_valid",
            Self::Expired => "crl_expired",
        }
    }
}

impl<'a> Crl<'a> {
    /// Reads a CRL in DER or PEM, and verifies its signature with the CAs that may have issued it. Does not look at the
    /// clock: see [`CrlMetadata::check_time`].
    pub fn verify(
        bytes: &'a [u8],
        cas: &[CaCertificate],
        verifier: &dyn SignatureVerifier,
    ) -> Result<Self, CrlError> {
        let der = decode(bytes)?;
        let unreadable = BorrowedCertRevocationList::from_der(&der).err();
        if let Some(error) = unreadable.filter(|error| *error != WebpkiError::UnsupportedCrlIssuingDistributionPoint) {
            return Err(refused(&error));
        }
        let fields = Fields::read(&der)?;
        let readable = fields.users_only.map(|at| {
            let mut readable = der.to_vec();
            if let Some(place) = readable.get_mut(at..at + UNREAD.len()) {
                place.copy_from_slice(UNREAD);
            }
            readable
        });
        BorrowedCertRevocationList::from_der(readable.as_ref().unwrap_or(&der)).map_err(|error| refused(&error))?;
        let signer = fields.signer(cas, verifier)?.ca.to_string();
        let Fields { this_update, next_update, number, distribution_points, .. } = fields;
        let metadata = CrlMetadata { signer, this_update, next_update, number, distribution_points };
        Ok(Self { metadata, der, readable })
    }

    /// As the CA signed it.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Gives each serial number on the CRL, big-endian without leading zeros. An entry that cannot be read spoils the CRL.
    pub fn for_each_serial(&self, mut take: impl FnMut(&[u8])) -> Result<(), CrlError> {
        let der = self.readable.as_deref().unwrap_or(&self.der);
        let entries = BorrowedCertRevocationList::from_der(der).map_err(|error| refused(&error))?;
        for entry in &entries {
            take(significant(entry.map_err(|error| refused(&error))?.serial_number));
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
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(byte);
    match text {
        [] => Err(CrlError::Malformed("the answer is empty")),
        _ if bytes.starts_with(&[0x30]) => Ok(Cow::Borrowed(bytes)),
        [0x1f, 0x8b, ..] => Err(CrlError::Malformed("compressed with gzip: publish it as it is")),
        [b'<', ..] => Err(CrlError::Malformed("an HTML or XML page")),
        _ if pem::blocks(text) > 0 => pem::crl(text).map(Cow::Owned).ok_or(CrlError::Malformed(
            "PEM text, but not of exactly one block with the label `X509 CRL`",
        )),
        [b'M', ..] if text.iter().all(is_base64) => {
            Err(CrlError::Malformed("base64 text without `-----BEGIN X509 CRL-----`: publish DER or PEM"))
        }
        _ => Err(CrlError::Malformed("neither DER nor PEM")),
    }
}

fn refused(error: &WebpkiError) -> CrlError {
    match error {
        WebpkiError::UnsupportedDeltaCrl => CrlError::Unsupported("a delta CRL"),
        WebpkiError::UnsupportedIndirectCrl => CrlError::Unsupported("an indirect CRL"),
        WebpkiError::UnsupportedRevocationReasonsPartitioning => {
            CrlError::Unsupported("a CRL of some revocation reasons only")
        }
        WebpkiError::UnsupportedCriticalExtension => CrlError::Unsupported("an unknown critical extension"),
        WebpkiError::UnsupportedCrlIssuingDistributionPoint => {
            CrlError::Unsupported("a distribution point without a full name")
        }
        WebpkiError::UnsupportedCrlVersion => CrlError::Unsupported("a CRL before version 2"),
        WebpkiError::TrailingData(_) => CrlError::Malformed("bytes after its end"),
        _ => CrlError::Malformed("its DER is broken, cut off, or that of something else"),
    }
}

/// The whole issuingDistributionPoint extension of a CRL for all certificates of users and no others.
const USERS_ONLY: &[u8] = b"\x30\x0f\x06\x03\x55\x1d\x1c\x01\x01\xff\x04\x05\x30\x03\x81\x01\xff";
/// The same as an authorityKeyIdentifier, which webpki lets pass unread: it refuses the above for want of a name.
const UNREAD: &[u8] = b"\x30\x0f\x06\x03\x55\x1d\x23\x01\x01\xff\x04\x05\x30\x03\x81\x01\xff";

/// The fields around the entries, read a second time, since webpki does not show them. It has read them all by then, so
/// what does not parse here is a difference between two parsers, and reason enough to refuse.
struct Fields<'a> {
    /// What the signature covers.
    signed: &'a [u8],
    issuer: &'a [u8],
    this_update: UnixSeconds,
    next_update: UnixSeconds,
    number: Vec<u8>,
    distribution_points: Vec<String>,
    /// Where [`USERS_ONLY`] begins.
    users_only: Option<usize>,
    /// Content of the `AlgorithmIdentifier`.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(der: &'a [u8]) -> Result<Self, CrlError> {
        let (after_end, outer) = any(der)?;
        if !after_end.is_empty() {
            return Err(CrlError::Malformed("bytes after its end"));
        }
        let outer = outer.data;
        let (behind, tbs) = any(outer)?;
        let signed = outer.get(..outer.len() - behind.len()).ok_or(BROKEN)?;
        let (bits, algorithm) = any(behind)?;
        let (_, bits) = any(bits)?;
        // A signature is whole bytes: no unused bits.
        let signature = bits.data.strip_prefix(&[0]).ok_or(BROKEN)?;

        let (rest, _version) = any(tbs.data)?;
        let (rest, _algorithm) = any(rest)?;
        let (after_issuer, _) = any(rest)?;
        let issuer = rest.get(..rest.len() - after_issuer.len()).ok_or(BROKEN)?;
        let (rest, this_update) = ASN1Time::from_der(after_issuer).map_err(|_| BROKEN)?;
        let (rest, next_update) = ASN1Time::from_der(rest).map_err(|_| BROKEN)?;
        let (after_entries, next) = any(rest)?;
        // The entries are left out where there are none; the extensions follow, under [0].
        let extensions = if next.header.is_contextspecific() { rest } else { after_entries };
        let mut fields = Self {
            signed,
            issuer,
            this_update: this_update.timestamp(),
            next_update: next_update.timestamp(),
            number: Vec::new(),
            distribution_points: Vec::new(),
            users_only: None,
            algorithm: algorithm.data,
            signature,
        };
        let extensions = any(any(extensions)?.1.data)?.1.data;
        // They are the last that is signed.
        fields.extensions(extensions, der.len() - behind.len())?;
        Ok(fields)
    }

    /// `end` is where they end in the DER.
    fn extensions(&mut self, mut rest: &[u8], end: usize) -> Result<(), CrlError> {
        let mut has_point = false;
        while !rest.is_empty() {
            let (after, extension) = X509Extension::from_der(rest).map_err(|_| BROKEN)?;
            let (begin, whole) = (end - rest.len(), rest.get(..rest.len() - after.len()));
            rest = after;
            match extension.parsed_extension() {
                ParsedExtension::CRLNumber(number) => {
                    self.number = significant(&number.to_bytes_be()).to_vec();
                }
                ParsedExtension::IssuingDistributionPoint(_) if has_point => {
                    return Err(CrlError::Malformed("two distribution points"));
                }
                ParsedExtension::IssuingDistributionPoint(_) if whole == Some(USERS_ONLY) => {
                    (has_point, self.users_only) = (true, Some(begin));
                }
                ParsedExtension::IssuingDistributionPoint(point) => {
                    has_point = true;
                    if !is_in_order(extension.value)? {
                        return Err(CrlError::Malformed("fields of its issuingDistributionPoint out of order"));
                    }
                    if point.only_contains_ca_certs || point.only_contains_attribute_certs {
                        return Err(CrlError::Unsupported("a CRL of CA or attribute certificates"));
                    }
                    self.distribution_points = match &point.distribution_point {
                        Some(DistributionPointName::FullName(names)) => {
                            names.iter().filter_map(url).collect()
                        }
                        _ => Vec::new(),
                    };
                    if self.distribution_points.is_empty() {
                        return Err(CrlError::Unsupported("a CRL for a distribution point without a URL"));
                    }
                }
                ParsedExtension::ParseError { .. } => return Err(BROKEN),
                _ => {}
            }
        }
        Ok(())
    }

    /// The CA whose key signed it.
    fn signer<'c>(
        &self,
        cas: &'c [CaCertificate],
        verifier: &dyn SignatureVerifier,
    ) -> Result<&'c CaCertificate, CrlError> {
        let mut error = None;
        for ca in cas.iter().filter(|ca| ca.is_named(self.issuer)) {
            let signed = if ca.signs_lists {
                ca.verify_signature(verifier, self.algorithm, self.signature, self.signed)
            } else {
                Err(IssuerError::UnknownIssuer)
            };
            match signed {
                Ok(()) => return Ok(ca),
                Err(other) => error = error.max(Some(other)),
            }
        }
        Err(match error {
            None => {
                let issuer = x509_parser::x509::X509Name::from_der(self.issuer);
                CrlError::OtherIssuer(
                    issuer.map(|(_, name)| distinguished_name::text(&name)).unwrap_or_default(),
                )
            }
            Some(IssuerError::UnknownIssuer) => CrlError::MayNotSign,
            Some(IssuerError::UnsupportedAlgorithm) => {
                CrlError::Unsupported("a CRL signed with an algorithm other than RSA PKCS#1 or ECDSA with SHA-2")
            }
            Some(IssuerError::BadSignature) => CrlError::BadSignature,
            Some(IssuerError::VerifierUnavailable) => CrlError::VerifierUnavailable,
        })
    }
}

/// Whether the fields of a structure are in the order of their tags, as DER has them. x509-parser looks for each in its
/// place and skips the others, while webpki takes them as they come: out of order they say to one of them that a CRL is
/// about all certificates, and to the other that it is not.
fn is_in_order(structure: &[u8]) -> Result<bool, CrlError> {
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

const BROKEN: CrlError = CrlError::Malformed("its DER is broken");

fn any(der: &[u8]) -> Result<(&[u8], Any<'_>), CrlError> {
    Any::from_der(der).map_err(|_| BROKEN)
}

fn url(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::URI(url) = name { Some((*url).to_owned()) } else { None }
}
