//! A certificate revocation list (RFC 5280, section 5), believed only after every check that its user has to make.
//!
//! webpki reads structure and entries and refuses what it does not know. What it leaves to its user is done here: the
//! signature (once, on arrival, instead of at every look-up), the issuer's right to sign lists, thisUpdate, the list's
//! number, and whom the list is about.

use crate::{authority::Authority, window::UnixSeconds};
use webpki::{BorrowedCertRevocationList, Error as WebpkiError};
use x509_parser::{
    asn1_rs::{Any, FromDer as _, Sequence},
    extensions::{DistributionPointName, GeneralName, ParsedExtension, X509Extension},
    prelude::ASN1Time,
};

/// A verified list.
#[derive(Debug)]
pub struct CertificateList<'a> {
    /// The authority that signed it, among those it was verified with.
    pub signer: usize,
    pub this_update: UnixSeconds,
    pub next_update: UnixSeconds,
    /// CRL number (section 5.2.3), big-endian without leading zeros.
    pub number: Vec<u8>,
    /// Only certificates naming one of these distribution points are covered; none means all of the issuer's.
    pub distribution_points: Vec<String>,
    entries: BorrowedCertRevocationList<'a>,
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
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Pem => "crl_malformed",
            Self::Unsupported(_) => "crl_unsupported",
            Self::OtherIssuer(_) => "crl_other_issuer",
            Self::MayNotSign => "crl_not_allowed",
            Self::BadSignature => "crl_bad_signature",
            Self::NotYetValid => "crl_not_yet_valid",
            Self::Expired => "crl_expired",
        }
    }
}

impl<'a> CertificateList<'a> {
    /// Reads and verifies a list with the authorities that may have issued it. `skew` is how far clocks may differ.
    pub fn verify(
        der: &'a [u8],
        authorities: &[Authority],
        now: UnixSeconds,
        skew: UnixSeconds,
    ) -> Result<Self, CrlError> {
        if der.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Err(CrlError::Pem);
        }
        let entries = BorrowedCertRevocationList::from_der(der).map_err(refused)?;
        let (fields, signature) = Fields::parse(der)?;
        let named =
            || authorities.iter().enumerate().filter(|(_, authority)| authority.is_named(fields.issuer));
        if named().next().is_none() {
            let issuer = x509_parser::x509::X509Name::from_der(fields.issuer);
            return Err(CrlError::OtherIssuer(issuer.map(|(_, name)| name.to_string()).unwrap_or_default()));
        }
        if !named().any(|(_, authority)| authority.signs_lists) {
            return Err(CrlError::MayNotSign);
        }
        let signer = named()
            .filter(|(_, authority)| authority.signs_lists)
            .find(|(_, authority)| authority.has_signed(fields.signed, signature.algorithm, signature.bits))
            .map(|(index, _)| index)
            .ok_or(CrlError::BadSignature)?;
        if fields.this_update > now.saturating_add(skew) {
            return Err(CrlError::NotYetValid);
        }
        if fields.next_update.saturating_add(skew) < now {
            return Err(CrlError::Expired);
        }
        Ok(Self {
            signer,
            this_update: fields.this_update,
            next_update: fields.next_update,
            number: fields.number,
            distribution_points: fields.distribution_points,
            entries,
        })
    }

    /// The serial numbers on the list, big-endian without leading zeros. An entry that cannot be read spoils the list.
    pub fn serials(&self) -> impl Iterator<Item = Result<&[u8], CrlError>> {
        self.entries
            .into_iter()
            .map(|entry| entry.map(|entry| significant(entry.serial_number)).map_err(refused))
    }
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
        WebpkiError::UnsupportedCrlVersion => CrlError::Unsupported("a list before version 2"),
        other => CrlError::Malformed(other.to_string()),
    }
}

/// The fields around the entries, which webpki reads but does not show. It has read them all by now, so whatever does
/// not parse here is a difference between two parsers, and reason enough to refuse.
struct Fields<'a> {
    /// What the signature covers.
    signed: &'a [u8],
    issuer: &'a [u8],
    this_update: UnixSeconds,
    next_update: UnixSeconds,
    number: Vec<u8>,
    distribution_points: Vec<String>,
}

struct Signature<'a> {
    /// Content of the `AlgorithmIdentifier`.
    algorithm: &'a [u8],
    bits: &'a [u8],
}

impl<'a> Fields<'a> {
    fn parse(der: &'a [u8]) -> Result<(Self, Signature<'a>), CrlError> {
        Self::parse_with_asn1(der).map_err(|what| CrlError::Malformed(what.to_owned()))?
    }

    fn parse_with_asn1(der: &'a [u8]) -> Result<Result<(Self, Signature<'a>), CrlError>, &'static str> {
        let outer = any(der)?.1.data;
        let (after_tbs, tbs) = any(outer)?;
        let signed = outer.get(..outer.len() - after_tbs.len()).ok_or("tbsCertList")?;
        let (bits, algorithm) = any(after_tbs)?;
        let (_, bits) = any(bits)?;
        // A signature is whole bytes: no unused bits.
        let bits = bits.data.strip_prefix(&[0]).ok_or("signature")?;

        let (rest, _version) = any(tbs.data)?;
        let (rest, _algorithm) = any(rest)?;
        let (after_issuer, _) = any(rest)?;
        let issuer = rest.get(..rest.len() - after_issuer.len()).ok_or("issuer")?;
        let (rest, this_update) = ASN1Time::from_der(after_issuer).map_err(|_| "thisUpdate")?;
        let (rest, next_update) = ASN1Time::from_der(rest).map_err(|_| "nextUpdate")?;
        let (after_entries, next) = any(rest)?;
        // The entries are left out where there are none; the extensions follow, under [0].
        let extensions = if next.header.is_contextspecific() { next } else { any(after_entries)?.1 };

        let mut fields = Self {
            signed,
            issuer,
            this_update: this_update.timestamp(),
            next_update: next_update.timestamp(),
            number: Vec::new(),
            distribution_points: Vec::new(),
        };
        let (_, extensions) = Sequence::from_der(extensions.data).map_err(|_| "crlExtensions")?;
        let mut rest: &[u8] = match &extensions.content {
            std::borrow::Cow::Borrowed(content) => content,
            std::borrow::Cow::Owned(_) => return Err("crlExtensions"),
        };
        while !rest.is_empty() {
            let (after, extension) = X509Extension::from_der(rest).map_err(|_| "extension")?;
            rest = after;
            match extension.parsed_extension() {
                ParsedExtension::CRLNumber(number) => {
                    fields.number = significant(&number.to_bytes_be()).to_vec();
                }
                ParsedExtension::IssuingDistributionPoint(point) => {
                    if point.only_contains_ca_certs || point.only_contains_attribute_certs {
                        return Ok(Err(CrlError::Unsupported("a list of CA or attribute certificates")));
                    }
                    match &point.distribution_point {
                        Some(DistributionPointName::FullName(names)) => {
                            fields.distribution_points = names.iter().filter_map(uri).collect();
                            if fields.distribution_points.is_empty() {
                                return Ok(Err(CrlError::Unsupported(
                                    "a list for a distribution point without a URL",
                                )));
                            }
                        }
                        Some(_) => {
                            return Ok(Err(CrlError::Unsupported(
                                "a distribution point with a relative name",
                            )));
                        }
                        None => {}
                    }
                }
                ParsedExtension::ParseError { .. } => return Err("extension"),
                _ => {}
            }
        }
        Ok(Ok((fields, Signature { algorithm: algorithm.data, bits })))
    }
}

fn any(der: &[u8]) -> Result<(&[u8], Any<'_>), &'static str> {
    Any::from_der(der).map_err(|_| "structure")
}

fn uri(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None }
}
