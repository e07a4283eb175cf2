//! Certificate revocation lists.

use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope,
    KeyIdMethod, RevocationReason, RevokedCertParams,
};
use time::{Duration, OffsetDateTime};

use super::{ca::Ca, text::pem_block_of};

/// Makes a revocation list; from [`Ca::crl`].
///
/// By default: issued an hour ago, due in a day, number 1, empty.
#[derive(Clone, Debug)]
#[must_use]
pub struct CrlBuilder<'a> {
    ca: &'a Ca,
    this_update: OffsetDateTime,
    next_update: OffsetDateTime,
    number: u64,
    revoked: Vec<Vec<u8>>,
    distribution_point: Option<(String, Option<CrlScope>)>,
}

impl Ca {
    /// Begins a revocation list of this CA.
    pub fn crl(&self) -> CrlBuilder<'_> {
        CrlBuilder::new(self)
    }
}

impl<'a> CrlBuilder<'a> {
    fn new(ca: &'a Ca) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            ca,
            this_update: now - Duration::HOUR,
            next_update: now + Duration::DAY,
            number: 1,
            revoked: Vec::new(),
            distribution_point: None,
        }
    }

    /// Revokes a serial number (big-endian, see [`crate::serial_of`]).
    pub fn revoke(mut self, serial: &[u8]) -> Self {
        self.revoked.push(serial.to_vec());
        self
    }

    /// Revokes `count` serial numbers of no certificate, for a list of realistic size.
    pub fn padding(mut self, count: u32) -> Self {
        self.revoked.extend((0..count).map(|i| {
            let mut serial = vec![0x7f; 12];
            serial.extend(i.to_be_bytes());
            serial
        }));
        self
    }

    /// The CRL number.
    pub fn number(mut self, number: u64) -> Self {
        self.number = number;
        self
    }

    /// thisUpdate and nextUpdate as distances from now.
    pub fn valid_from_now(mut self, this_update: Duration, next_update: Duration) -> Self {
        let now = OffsetDateTime::now_utc();
        (self.this_update, self.next_update) = (now + this_update, now + next_update);
        self
    }

    /// thisUpdate and nextUpdate.
    pub fn valid(mut self, this_update: OffsetDateTime, next_update: OffsetDateTime) -> Self {
        (self.this_update, self.next_update) = (this_update, next_update);
        self
    }

    /// A critical issuingDistributionPoint: a list for that URL, and that scope, only.
    pub fn distribution_point(mut self, url: &str, scope: Option<CrlScope>) -> Self {
        self.distribution_point = Some((url.into(), scope));
        self
    }

    /// The list as DER.
    ///
    /// # Panics
    /// If the CA has key usages without cRLSign.
    pub fn der(self) -> Vec<u8> {
        let params = CertificateRevocationListParams {
            this_update: self.this_update,
            next_update: self.next_update,
            crl_number: self.number.into(),
            issuing_distribution_point: self.distribution_point.map(|(url, scope)| {
                CrlIssuingDistributionPoint {
                    distribution_point: CrlDistributionPoint { uris: vec![url] },
                    scope,
                }
            }),
            revoked_certs: self
                .revoked
                .into_iter()
                .map(|serial| RevokedCertParams {
                    serial_number: serial.into(),
                    revocation_time: self.this_update,
                    reason_code: Some(RevocationReason::KeyCompromise),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.ca.issuer()).expect("a list that can be signed").der().to_vec()
    }

    /// The list as PEM.
    pub fn pem(self) -> String {
        pem_block_of("X509 CRL", &self.der())
    }
}
