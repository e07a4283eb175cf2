//! The client certificate: parsed once, into the fields that the decision is made of.

use crate::{
    time::UnixSeconds,
    x509::{
        fingerprint::Fingerprint,
        name::{self as distinguished_name, DistinguishedName},
    },
};
use rustls_pki_types::CertificateDer;
use x509_parser::{
    extensions::{CRLDistributionPoints, DistributionPointName, GeneralName, ParsedExtension},
    prelude::{FromDer as _, X509Certificate},
};

/// The largest certificate looked at, in bytes of DER. Real ones stay under 3 KB.
pub const MAX_DER: usize = 16 * 1024;

/// An end-entity certificate that may authenticate a TLS client. Only [`ClientCertificate::parse`] makes one, so
/// holding it means that row 3 of the decision table is passed.
#[derive(Debug)]
pub struct ClientCertificate {
    pub der: CertificateDer<'static>,
    pub fingerprint: Fingerprint,
    /// `dNSName`s of the subject alternative name, as written.
    pub dns_names: Vec<String>,
    /// Common names of the subject, as written. More than one is legal and never used as a name.
    pub common_names: Vec<String>,
    pub not_before: UnixSeconds,
    pub not_after: UnixSeconds,
    pub issuer: DistinguishedName,
    /// The issuer's key, if the authority key identifier (RFC 5280, section 4.2.1.1) names it.
    pub authority_key: Option<Vec<u8>>,
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// URLs of the revocation lists it names (RFC 5280, section 4.2.1.13).
    pub crl_urls: Vec<String>,
}

/// For people: who the certificate says it is, who issued it, and its serial number.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub subject: String,
    pub issuer: String,
    pub serial: String,
}

/// Why a certificate cannot be a TLS client's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a v3 certificate in DER, or with an extension that is broken, doubled, or critical and unknown.
    #[error("malformed certificate: {0}")]
    Malformed(String),
    /// Well-formed, but its own extensions forbid TLS client authentication.
    #[error("not a client certificate: {0}")]
    NotAClient(&'static str),
}

impl ClientCertificate {
    /// Parses DER. Two independent parsers have to accept it, so that neither one's leniency decides.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        Self::parse_bound(der, Fingerprint::of(der))
    }

    /// The same for DER whose fingerprint is known already: hashing it is a large part of the work.
    pub fn parse_bound(der: &[u8], fingerprint: Fingerprint) -> Result<Self, CertificateError> {
        let malformed = |what: &str| CertificateError::Malformed(what.to_owned());
        if der.len() > MAX_DER {
            return Err(malformed("larger than 16 KiB"));
        }
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|error| CertificateError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("bytes after its end"));
        }
        let owned = CertificateDer::from(der.to_vec());
        // webpki refuses versions before 3, and critical extensions it does not know.
        webpki::EndEntityCert::try_from(&owned)
            .map_err(|error| CertificateError::Malformed(error.to_string()))?;
        // RFC 5280, section 4.2: no extension stands twice. Else the last one would win.
        parsed.extensions_map().map_err(|_| malformed("an extension stands twice"))?;

        let mut dns_names = Vec::new();
        let mut authority_key = None;
        let mut crl_urls = Vec::new();
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::ParseError { .. } => {
                    return Err(CertificateError::Malformed(format!("extension {}", extension.oid)));
                }
                ParsedExtension::SubjectAlternativeName(san) => dns_names = dns_names_of(&san.general_names)?,
                ParsedExtension::AuthorityKeyIdentifier(aki) => {
                    authority_key = aki.key_identifier.as_ref().map(|key| key.0.to_vec());
                }
                ParsedExtension::CRLDistributionPoints(points) => crl_urls = urls_of(points),
                ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                    return Err(CertificateError::NotAClient("it is a CA certificate"));
                }
                ParsedExtension::KeyUsage(usage) if !usage.digital_signature() => {
                    return Err(CertificateError::NotAClient("its key usage lacks digitalSignature"));
                }
                ParsedExtension::ExtendedKeyUsage(usage) if !usage.client_auth && !usage.any => {
                    return Err(CertificateError::NotAClient("its extended key usage lacks clientAuth"));
                }
                _ => {}
            }
        }
        let validity = parsed.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        if not_before > not_after {
            return Err(malformed("its validity ends before it begins"));
        }
        Ok(Self {
            fingerprint,
            dns_names,
            common_names: common_names_of(&parsed)?,
            not_before,
            not_after,
            issuer: DistinguishedName::new(parsed.issuer()),
            authority_key,
            serial: parsed.raw_serial().to_vec(),
            crl_urls,
            der: owned,
        })
    }

    /// Made when it is asked for: few certificates are ever printed.
    pub fn summary(&self) -> Summary {
        let parsed = X509Certificate::from_der(&self.der).map(|(_, parsed)| Summary {
            subject: distinguished_name::text(parsed.subject()),
            issuer: distinguished_name::text(parsed.issuer()),
            serial: parsed.raw_serial_as_string(),
        });
        parsed.unwrap_or_default()
    }
}

/// The `dNSName`s of a SAN. One unreadable entry spoils the extension: it might have been the deciding one.
fn dns_names_of(names: &[GeneralName<'_>]) -> Result<Vec<String>, CertificateError> {
    let unreadable = || CertificateError::Malformed("subject alternative name".to_owned());
    if names.is_empty() {
        return Err(unreadable());
    }
    let mut dns = Vec::new();
    for name in names {
        match name {
            GeneralName::DNSName(name) if name.is_ascii() => dns.push((*name).to_owned()),
            GeneralName::DNSName(_) | GeneralName::Invalid(..) => return Err(unreadable()),
            _ => {}
        }
    }
    Ok(dns)
}

/// The URLs under which a certificate's complete list is published.
fn urls_of(points: &CRLDistributionPoints<'_>) -> Vec<String> {
    let names = points.iter().filter_map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => Some(names),
        _ => None,
    });
    let urls =
        names.flatten().filter_map(|name| if let GeneralName::URI(url) = name { Some(*url) } else { None });
    urls.map(str::to_owned).collect()
}

fn common_names_of(parsed: &X509Certificate<'_>) -> Result<Vec<String>, CertificateError> {
    parsed
        .subject()
        .iter_common_name()
        .map(|name| {
            let text = name.as_str().map_err(|_| CertificateError::Malformed("common name".to_owned()));
            text.map(str::to_owned)
        })
        .collect()
}

#[cfg(test)]
mod tests;
