//! Certificate authorities.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, GeneralSubtree, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData, SignatureAlgorithm,
    SigningKey as _,
};
use time::{Duration, OffsetDateTime};

use super::{
    der,
    eku::{self, Eku},
    keys::{self, KeyType},
    serial::random_serial,
    text::pem_block,
};

/// A certificate authority that can sign. Clones share the key.
#[derive(Clone)]
pub struct Ca {
    /// The name given to the builder; also names the cached key.
    pub name: String,
    /// The certificate.
    pub der: Vec<u8>,
    /// The certificate.
    pub pem: String,
    params: Arc<CertificateParams>,
    pub(super) key: Arc<KeyPair>,
    /// From this CA up to the root, this CA's certificate included.
    chain: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Ca {
    /// Begins a CA; `name` names its cached key, so two CAs of one name and key type share the key.
    pub fn builder(name: &str) -> CaBuilder {
        CaBuilder::new(name)
    }

    /// From this CA up to its root, both included, as DER.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// What a leaf presents besides itself: everything up to the root, the root left out.
    pub(super) fn chain_below_root(&self) -> Vec<Vec<u8>> {
        self.chain[..self.chain.len() - 1].to_vec()
    }

    pub(super) fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &*self.key)
    }

    pub(super) fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Vec<u8> {
        params.signed_by(key, &self.issuer()).expect("a certificate that can be encoded").der().to_vec()
    }

    /// Signs any bytes as a `TBSCertificate` (or `TBSCertList`) and wraps them up.
    ///
    /// # Panics
    /// If the key fails to sign.
    pub fn sign_tbs(&self, tbs: &[u8]) -> Vec<u8> {
        let sample =
            CertificateParams::default().signed_by(&*self.key, &self.issuer()).expect("a sample certificate");
        let algorithm = &der::children(sample.der())[1];
        let mut signature = vec![0];
        signature.extend(self.key.sign(tbs).expect("a signature"));
        der::sequence(&[tbs, algorithm, &der::tlv(0x03, &signature)])
    }
}

/// Makes a [`Ca`].
///
/// By default: RSA-4096, DN `CN=<name>`, valid from a year ago for ten more, CA:TRUE,
/// keyCertSign and cRLSign, key identifiers, no EKU, self-signed.
#[derive(Clone, Debug)]
#[must_use]
pub struct CaBuilder {
    name: String,
    key: KeyType,
    algorithm: Option<&'static SignatureAlgorithm>,
    bogus_rsa: Option<usize>,
    dn: Vec<(String, String)>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    is_ca: IsCa,
    key_usages: Vec<KeyUsagePurpose>,
    ekus: Vec<Eku>,
    key_id: KeyIdMethod,
    serial: Option<Vec<u8>>,
    constraints: Option<NameConstraints>,
}

impl CaBuilder {
    fn new(name: &str) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            name: name.into(),
            key: KeyType::Rsa4096,
            algorithm: None,
            bogus_rsa: None,
            dn: vec![("CN".into(), name.into())],
            not_before: now - Duration::days(365),
            not_after: now + Duration::days(3650),
            is_ca: IsCa::Ca(BasicConstraints::Unconstrained),
            key_usages: vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
            ekus: Vec::new(),
            key_id: KeyIdMethod::Sha256,
            serial: None,
            constraints: None,
        }
    }

    /// The kind of key.
    pub fn key(mut self, key: KeyType) -> Self {
        self.key = key;
        self
    }

    /// The signature algorithm used with the key, e.g. `&rcgen::PKCS_RSA_SHA384`.
    pub fn signature(mut self, algorithm: &'static SignatureAlgorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Certifies a made-up RSA key of this many bits. The CA signs with its real key, so nothing it
    /// signs verifies: only for showing that a key size is refused.
    pub fn bogus_rsa_key(mut self, bits: usize) -> Self {
        self.bogus_rsa = Some(bits);
        self
    }

    /// The distinguished name, in this order: `C`, `ST`, `L`, `O`, `OU`, `CN`. UTF8String throughout.
    pub fn dn(mut self, attributes: &[(&str, &str)]) -> Self {
        self.dn = attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        self
    }

    /// Exact validity.
    pub fn valid(mut self, not_before: OffsetDateTime, not_after: OffsetDateTime) -> Self {
        (self.not_before, self.not_after) = (not_before, not_after);
        self
    }

    /// Validity as distances from now.
    pub fn valid_from_now(self, not_before: Duration, not_after: Duration) -> Self {
        let now = OffsetDateTime::now_utc();
        self.valid(now + not_before, now + not_after)
    }

    /// CA:TRUE with a path length.
    pub fn path_len(mut self, len: u8) -> Self {
        self.is_ca = IsCa::Ca(BasicConstraints::Constrained(len));
        self
    }

    /// CA:FALSE.
    pub fn not_a_ca(mut self) -> Self {
        self.is_ca = IsCa::ExplicitNoCa;
        self
    }

    /// No basic constraints (and no subject key identifier).
    pub fn no_basic_constraints(mut self) -> Self {
        self.is_ca = IsCa::NoCa;
        self
    }

    /// Key usages; an empty list leaves the extension out.
    pub fn key_usages(mut self, usages: &[KeyUsagePurpose]) -> Self {
        self.key_usages = usages.to_vec();
        self
    }

    /// Extended key usages; an empty list leaves the extension out.
    pub fn ekus(mut self, ekus: &[Eku]) -> Self {
        self.ekus = ekus.to_vec();
        self
    }

    /// A fixed subject key identifier (and so the authority key identifier of what it signs).
    pub fn ski(mut self, id: &[u8]) -> Self {
        self.key_id = KeyIdMethod::PreSpecified(id.to_vec());
        self
    }

    /// The serial number, big-endian.
    pub fn serial(mut self, serial: &[u8]) -> Self {
        self.serial = Some(serial.to_vec());
        self
    }

    /// Names that it may issue to, and names that it may not.
    pub fn name_constraints(mut self, permitted: &[GeneralSubtree], excluded: &[GeneralSubtree]) -> Self {
        self.constraints = Some(NameConstraints {
            permitted_subtrees: permitted.to_vec(),
            excluded_subtrees: excluded.to_vec(),
        });
        self
    }

    /// A root.
    pub fn self_signed(self) -> Ca {
        self.finish(None)
    }

    /// An intermediate of `parent`.
    pub fn signed_by(self, parent: &Ca) -> Ca {
        self.finish(Some(parent))
    }

    fn finish(self, parent: Option<&Ca>) -> Ca {
        let algorithm = self.algorithm.unwrap_or_else(|| self.key.algorithm());
        let key = keys::key(&format!("ca-{}", self.name), self.key, algorithm);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in &self.dn {
            params.distinguished_name.push(dn_type(kind), value.as_str());
        }
        (params.not_before, params.not_after) = (self.not_before, self.not_after);
        params.is_ca = self.is_ca;
        params.key_usages = self.key_usages;
        params.extended_key_usages = eku::ekus(&self.ekus);
        params.key_identifier_method = self.key_id;
        params.use_authority_key_identifier_extension = parent.is_some();
        params.name_constraints = self.constraints;
        params.serial_number = Some(self.serial.unwrap_or_else(random_serial).into());
        let issuer = parent.map_or_else(|| Issuer::from_params(&params, &key), Ca::issuer);
        let cert = match self.bogus_rsa {
            None => params.signed_by(&key, &issuer),
            Some(bits) => params.signed_by(&BogusRsa(der::rsa_public_key(bits)), &issuer),
        };
        let der = cert.expect("a certificate that can be encoded").der().to_vec();
        let mut chain = vec![der.clone()];
        chain.extend(parent.map(|p| p.chain.clone()).unwrap_or_default());
        let pem = pem_block(&der);
        drop(issuer);
        Ca { name: self.name, pem, der, params: Arc::new(params), key: Arc::new(key), chain }
    }
}

fn dn_type(kind: &str) -> DnType {
    match kind {
        "C" => DnType::CountryName,
        "ST" => DnType::StateOrProvinceName,
        "L" => DnType::LocalityName,
        "O" => DnType::OrganizationName,
        "OU" => DnType::OrganizationalUnitName,
        "CN" => DnType::CommonName,
        other => panic!("{other} is not a DN attribute known here"),
    }
}

struct BogusRsa(Vec<u8>);

impl PublicKeyData for BogusRsa {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}
