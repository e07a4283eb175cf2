//! End-entity certificates, good ones and odd ones.

use rcgen::{
    CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType, IsCa, KeyIdMethod,
    KeyUsagePurpose,
};
use rsa::{
    RsaPrivateKey,
    pkcs8::DecodePrivateKey as _,
    pss::SigningKey,
    rand_core::OsRng,
    sha2::Sha256,
    signature::{RandomizedSigner as _, SignatureEncoding as _},
};
use rustls_pki_types::{
    CertificateDer,
    pem::{self, PemObject as _},
};
use std::io;
use time::{Duration, OffsetDateTime};

use super::{
    ca::Ca,
    der::{self, SanTag},
    eku::{Eku, ekus},
    keys::{self, KeyType},
    serial::random_serial,
    text::{pem_block, sha256_hex},
};

const SUBJECT_ALT_NAME: [u64; 4] = [2, 5, 29, 17];
const COMMON_NAME: [u64; 4] = [2, 5, 4, 3];

/// A certificate with its private key and the intermediates that a TLS client sends along.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate alone.
    pub cert_pem: String,
    /// The certificate followed by its intermediates (no root): what a TLS peer presents.
    pub chain_pem: String,
    /// The private key, PKCS#8.
    pub key_pem: String,
    /// The certificate.
    pub der: Vec<u8>,
    /// The intermediates, the issuer first.
    pub intermediates: Vec<Vec<u8>>,
    /// SHA-256 of the certificate, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf").field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

impl Leaf {
    pub(super) fn assemble(der: Vec<u8>, key_pem: String, intermediates: Vec<Vec<u8>>) -> Self {
        let cert_pem = pem_block(&der);
        let chain_pem = intermediates.iter().fold(cert_pem.clone(), |pem, ca| pem + &pem_block(ca));
        Self { sha256: sha256_hex(&der), cert_pem, chain_pem, key_pem, der, intermediates }
    }

    /// A certificate with its intermediates (`chain_pem`) and its key, as read from files.
    ///
    /// # Errors
    /// If `chain_pem` holds no certificate, or something else.
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> io::Result<Self> {
        let malformed = |e: pem::Error| io::Error::new(io::ErrorKind::InvalidData, e.to_string());
        let mut chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
            .map(|der| der.map(|der| der.to_vec()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(malformed)?;
        if chain.is_empty() {
            return Err(malformed(pem::Error::NoItemsFound));
        }
        let leaf = chain.remove(0);
        Ok(Self::assemble(leaf, key_pem.to_owned(), chain))
    }

    /// The same key with other certificate bytes, e.g. from [`Ca::sign_tbs`].
    #[must_use]
    pub fn with_der(&self, der: Vec<u8>) -> Self {
        Self::assemble(der, self.key_pem.clone(), self.intermediates.clone())
    }

    /// The same certificate, presented with these intermediates instead.
    #[must_use]
    pub fn with_intermediates(&self, intermediates: Vec<Vec<u8>>) -> Self {
        Self::assemble(self.der.clone(), self.key_pem.clone(), intermediates)
    }

    /// The pin as the filter's configuration writes it: `sha256:<hex>`.
    pub fn pin(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    /// The TBSCertificate: to be changed and signed again with [`Ca::sign_tbs`].
    pub fn tbs(&self) -> Vec<u8> {
        der::children(&self.der).swap_remove(0)
    }
}

/// Basic constraints of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basic {
    Absent,
    NotCa,
    Ca,
}

/// Makes a [`Leaf`]; from [`Ca::leaf`].
///
/// By default: RSA-2048, valid from a day ago for 90 days, clientAuth, digitalSignature and
/// keyEncipherment, CA:FALSE, key identifiers, a random serial number, no name at all.
#[derive(Clone, Debug)]
#[must_use]
pub struct LeafBuilder<'a> {
    ca: &'a Ca,
    key: KeyType,
    key_name: String,
    subject: Vec<(DnType, String)>,
    sans: Vec<(SanTag, Vec<u8>)>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    ekus: Vec<Eku>,
    key_usages: Vec<KeyUsagePurpose>,
    basic: Basic,
    serial: Option<Vec<u8>>,
    crl_urls: Vec<String>,
    extensions: Vec<CustomExtension>,
    authority_key_id: bool,
}

impl Ca {
    /// Begins a leaf signed by this CA.
    pub fn leaf(&self) -> LeafBuilder<'_> {
        LeafBuilder::new(self)
    }

    /// The leaf, signed with RSA-PSS and SHA-256 by this CA, whose key has to be RSA.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn sign_pss(&self, leaf: &Leaf) -> Leaf {
        // RFC 4055, section 3.1: the parameters name hash, mask generation and length of the salt.
        let null = der::tlv(0x05, &[]);
        let sha256 = der::sequence(&[&der::oid(&[2, 16, 840, 1, 101, 3, 4, 2, 1]), &null]);
        let mask = der::sequence(&[&der::oid(&[1, 2, 840, 113_549, 1, 1, 8]), &sha256]);
        let salt = der::tlv(0x02, &[32]);
        let parameters =
            der::sequence(&[&der::tlv(0xa0, &sha256), &der::tlv(0xa1, &mask), &der::tlv(0xa2, &salt)]);
        let algorithm = der::sequence(&[&der::oid(&[1, 2, 840, 113_549, 1, 1, 10]), &parameters]);
        let mut fields = der::children(&leaf.tbs());
        // Version and serial number come before it.
        fields[2].clone_from(&algorithm);
        let tbs = der::sequence(&fields.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let key = RsaPrivateKey::from_pkcs8_der(self.key.serialized_der()).expect("an RSA key");
        let signature = SigningKey::<Sha256>::new(key).sign_with_rng(&mut OsRng, &tbs).to_vec();
        let signature = der::tlv(0x03, &[&[0][..], &signature].concat());
        leaf.with_der(der::sequence(&[&tbs, &algorithm, &signature]))
    }
}

impl<'a> LeafBuilder<'a> {
    fn new(ca: &'a Ca) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            ca,
            key: KeyType::Rsa2048,
            key_name: "leaf".into(),
            subject: Vec::new(),
            sans: Vec::new(),
            not_before: now - Duration::DAY,
            not_after: now + Duration::days(90),
            ekus: vec![Eku::ClientAuth],
            key_usages: vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment],
            basic: Basic::NotCa,
            serial: None,
            crl_urls: Vec::new(),
            extensions: Vec::new(),
            authority_key_id: true,
        }
    }

    /// The kind of key.
    pub fn key(mut self, key: KeyType) -> Self {
        self.key = key;
        self
    }

    /// Another cached key than the one that leaves share.
    pub fn key_name(mut self, name: &str) -> Self {
        self.key_name = name.into();
        self
    }

    /// A common name. May be called twice (no more) for a subject with two.
    ///
    /// # Panics
    /// On the third call.
    pub fn cn(mut self, cn: &str) -> Self {
        // One attribute may appear once per type; the OID spelled out counts as another type.
        let spelled = DnType::CustomDnType(COMMON_NAME.to_vec());
        let kind = [DnType::CommonName, spelled]
            .into_iter()
            .find(|kind| self.subject.iter().all(|(k, _)| k != kind));
        self.subject.push((kind.expect("two common names at most"), cn.into()));
        self
    }

    /// Organisation in the subject.
    pub fn organization(mut self, name: &str) -> Self {
        self.subject.push((DnType::OrganizationName, name.into()));
        self
    }

    /// A DNS name in the SAN; the bytes go in as they are.
    pub fn dns(self, name: impl AsRef<[u8]>) -> Self {
        self.san(SanTag::Dns, name)
    }

    /// A URI in the SAN; the bytes go in as they are.
    pub fn uri(self, uri: impl AsRef<[u8]>) -> Self {
        self.san(SanTag::Uri, uri)
    }

    /// An e-mail address in the SAN.
    pub fn email(self, address: impl AsRef<[u8]>) -> Self {
        self.san(SanTag::Email, address)
    }

    /// Any general name in the SAN.
    pub fn san(mut self, tag: SanTag, value: impl AsRef<[u8]>) -> Self {
        self.sans.push((tag, value.as_ref().to_vec()));
        self
    }

    /// CN and SAN dNSName alike.
    pub fn name(self, name: &str) -> Self {
        self.cn(name).dns(name)
    }

    /// A SAN extension with exactly these bytes as its value, well-formed or not.
    pub fn raw_san(self, value: Vec<u8>) -> Self {
        self.extension(&SUBJECT_ALT_NAME, value, false)
    }

    /// Any extension: OID, DER value, criticality.
    pub fn extension(mut self, oid: &[u64], value: Vec<u8>, critical: bool) -> Self {
        let mut extension = CustomExtension::from_oid_content(oid, value);
        extension.set_criticality(critical);
        self.extensions.push(extension);
        self
    }

    /// Exact validity.
    pub fn valid(mut self, not_before: OffsetDateTime, not_after: OffsetDateTime) -> Self {
        (self.not_before, self.not_after) = (not_before, not_after);
        self
    }

    /// Validity as distances from now, negative ones in the past.
    pub fn valid_from_now(self, not_before: Duration, not_after: Duration) -> Self {
        let now = OffsetDateTime::now_utc();
        self.valid(now + not_before, now + not_after)
    }

    /// Valid last month.
    pub fn expired(self) -> Self {
        self.valid_from_now(Duration::days(-60), Duration::days(-30))
    }

    /// Valid next month.
    pub fn not_yet_valid(self) -> Self {
        self.valid_from_now(Duration::days(30), Duration::days(60))
    }

    /// Extended key usages; an empty list leaves the extension out.
    pub fn ekus(mut self, ekus: &[Eku]) -> Self {
        self.ekus = ekus.to_vec();
        self
    }

    /// Key usages; an empty list leaves the extension out.
    pub fn key_usages(mut self, usages: &[KeyUsagePurpose]) -> Self {
        self.key_usages = usages.to_vec();
        self
    }

    /// CA:TRUE (a leaf that is none), or CA:FALSE.
    pub fn is_ca(mut self, yes: bool) -> Self {
        self.basic = if yes { Basic::Ca } else { Basic::NotCa };
        self
    }

    /// No basic constraints and no subject key identifier.
    pub fn no_basic_constraints(mut self) -> Self {
        self.basic = Basic::Absent;
        self
    }

    /// No authority key identifier.
    pub fn no_authority_key_id(mut self) -> Self {
        self.authority_key_id = false;
        self
    }

    /// The serial number, big-endian.
    pub fn serial(mut self, serial: &[u8]) -> Self {
        self.serial = Some(serial.to_vec());
        self
    }

    /// A CRL distribution point.
    pub fn crl(mut self, url: &str) -> Self {
        self.crl_urls.push(url.into());
        self
    }

    /// Signs it.
    ///
    /// # Panics
    /// If the certificate cannot be encoded.
    pub fn issue(self) -> Leaf {
        let key = keys::key(&self.key_name, self.key, self.key.algorithm());
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in self.subject {
            params.distinguished_name.push(kind, value);
        }
        (params.not_before, params.not_after) = (self.not_before, self.not_after);
        params.is_ca = match self.basic {
            Basic::Absent => IsCa::NoCa,
            Basic::NotCa => IsCa::ExplicitNoCa,
            Basic::Ca => IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
        };
        params.key_usages = self.key_usages;
        params.extended_key_usages = ekus(&self.ekus);
        params.use_authority_key_identifier_extension = self.authority_key_id;
        params.key_identifier_method = KeyIdMethod::Sha256;
        params.serial_number = Some(self.serial.unwrap_or_else(random_serial).into());
        params.crl_distribution_points =
            self.crl_urls.into_iter().map(|url| CrlDistributionPoint { uris: vec![url] }).collect();
        if !self.sans.is_empty() {
            let names: Vec<(SanTag, &[u8])> = self.sans.iter().map(|(t, v)| (*t, v.as_slice())).collect();
            let value = der::general_names(&names);
            params.custom_extensions.push(CustomExtension::from_oid_content(&SUBJECT_ALT_NAME, value));
        }
        params.custom_extensions.extend(self.extensions);
        Leaf::assemble(self.ca.sign(&params, &key), key.serialize_pem(), self.ca.chain_below_root())
    }
}
