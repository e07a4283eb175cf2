//! Authorities and certificates, the same in every process: keys come from labels, signatures need no randomness.

use crate::{NOW, der, text};
use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    config,
    decision::{self, Outcome, Reason, trust::Trust},
    policy::Policy,
    time::Monotonic,
    x509::{ca::CaCertificate, certificate::ClientCertificate, fingerprint::Fingerprint},
};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, PublicKeyData, RevokedCertParams,
    SanType, SerialNumber, SignatureAlgorithm,
};
use serde_json::{Value, json};
use std::sync::LazyLock;
use time::OffsetDateTime;

pub const US: &str = "dataactions.prod.us-east-1.mypurecloud.com";
pub const EU: &str = "dataactions.prod-euc1.eu-central-1.mypurecloud.com";

const DAY: i64 = 24 * 3600;

pub static CAST: LazyLock<Cast> = LazyLock::new(Cast::new);

pub struct Cast {
    pub us_ca: Ca,
    pub eu_ca: Ca,
    pub digicert: Ca,
    pub leaves: Vec<Leaf>,
    /// All that the CA of us-east-1 ever signed about revocation, but for what a target has it sign.
    pub lists: Vec<Vec<u8>>,
}

/// An end-entity certificate, and what may be said of it.
pub struct Leaf {
    pub what: &'static str,
    pub der: Vec<u8>,
    /// The region of which it is a client by its name, form and validity, no matter which CA signed it.
    pub region: Option<&'static str>,
    /// Signed by the DigiCert CA itself, not by another CA of that name.
    pub by_digicert: bool,
    /// As headers carry it: percent-encoded, plain PEM, escaped for JSON, percent-encoded to the last byte.
    forms: [String; 4],
}

/// The first two leaves are the clients that are allowed.
pub const US_BY_GENESYS: usize = 0;
pub const US_BY_DIGICERT: usize = 1;

impl Cast {
    fn new() -> Self {
        let us_ca = Ca::new("us", &[("C", "US"), ("CN", "Genesys us-east-1")]);
        let eu_ca = Ca::new("eu", &[("C", "US"), ("CN", "Genesys eu-central-1")]);
        let digicert = Ca::new("digicert", &[("O", "Fixture DigiCert Inc"), ("CN", "Client CA G2")]);
        let impostor = Ca::new("impostor", &[("C", "US"), ("CN", "Genesys us-east-1")]);
        let digicert_impostor = Ca::new("other", &[("O", "Fixture DigiCert Inc"), ("CN", "Client CA G2")]);
        let stranger = Ca::new("stranger", &[("CN", "Stranger's CA")]);
        let mut leaves = Vec::new();
        let mut add = |what, by: &Ca, region, names: &[&str], change: &dyn Fn(&mut CertificateParams)| {
            let mut params = params(what, &[("CN", names.first().copied().unwrap_or("no name"))]);
            let san = |name: &&str| SanType::DnsName((*name).try_into().unwrap());
            params.subject_alt_names = names.iter().map(san).collect();
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.use_authority_key_identifier_extension = true;
            change(&mut params);
            let der = params.signed_by(&Key::of(what), &by.issuer).unwrap().der().to_vec();
            let by_digicert = by.der == digicert.der;
            let forms = Leaf::forms(&der);
            leaves.push(Leaf { what, der, region, by_digicert, forms });
        };
        let (us, eu) = (Some("us-east-1"), Some("eu-central-1"));
        let as_is = |_: &mut CertificateParams| {};
        add("us by its Genesys CA", &us_ca, us, &[US], &as_is);
        add("us by DigiCert", &digicert, us, &[US], &as_is);
        add("us by DigiCert, the next one", &digicert, us, &[US], &as_is);
        add("us by DigiCert, by its CN", &digicert, us, &[US], &|params| params.subject_alt_names.clear());
        add("us by DigiCert, in capitals", &digicert, us, &[&US.to_uppercase()], &as_is);
        add("eu by its Genesys CA", &eu_ca, eu, &[EU], &as_is);
        add("eu by DigiCert", &digicert, eu, &[EU], &as_is);
        add("us by the Genesys CA of eu", &eu_ca, us, &[US], &as_is);
        add("us by an impostor of its CA", &impostor, us, &[US], &as_is);
        add("us by an impostor of DigiCert", &digicert_impostor, us, &[US], &as_is);
        add("us by a stranger", &stranger, us, &[US], &as_is);
        add("us and eu by DigiCert", &digicert, None, &[US, EU], &as_is);
        add("us and eu by the Genesys CA", &us_ca, None, &[US, EU], &as_is);
        add("a wildcard by DigiCert", &digicert, None, &["*.prod.us-east-1.mypurecloud.com"], &as_is);
        add("us under another domain", &digicert, None, &[&format!("{US}.evil.example")], &as_is);
        add("a person by DigiCert", &digicert, None, &["mail.example"], &as_is);
        add("a person, us by CN", &digicert, None, &[US], &|params| {
            params.subject_alt_names = vec![SanType::DnsName("mail.example".try_into().unwrap())];
        });
        add("us by DigiCert, expired", &digicert, None, &[US], &|params| {
            params.not_after = date(NOW - DAY / 2)
        });
        add("us by Genesys, expired", &us_ca, None, &[US], &|params| params.not_after = date(NOW - DAY / 2));
        add("us by DigiCert, not begun", &digicert, None, &[US], &|params| {
            params.not_before = date(NOW + DAY)
        });
        add("us by DigiCert, a server", &digicert, None, &[US], &|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        add("us by DigiCert, a CA", &digicert, None, &[US], &|params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        });
        let revoked: [&[usize]; 3] = [&[], &[0], &[0, 1, 12]];
        let lists = revoked.iter().zip(1..).map(|(revoked, number)| {
            us_ca.list(number, &revoked.iter().map(|leaf| &leaves[*leaf]).collect::<Vec<_>>())
        });
        let lists = lists.collect();
        Self { us_ca, eu_ca, digicert, leaves, lists }
    }

    pub fn leaf(&self, number: u8) -> &Leaf {
        &self.leaves[usize::from(number) % self.leaves.len()]
    }

    /// The leaf of these bytes.
    pub fn leaf_of(&self, der: &[u8]) -> Option<&Leaf> {
        self.leaves.iter().find(|leaf| leaf.der == der)
    }
}

impl Leaf {
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// One of the forms in which headers carry it.
    pub fn form(&self, number: u8) -> &str {
        &self.forms[usize::from(number) % 4]
    }

    fn forms(der: &[u8]) -> [String; 4] {
        let pem = text::pem(der);
        let every_byte = pem.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
        [text::percent_encoded(&pem), pem.clone(), pem.replace('\n', "\\n"), every_byte]
    }
}

/// A certificate authority with a P-256 key.
pub struct Ca {
    pub der: Vec<u8>,
    pub pem: String,
    issuer: Issuer<'static, Key>,
}

impl Ca {
    fn new(label: &str, dn: &[(&str, &str)]) -> Self {
        let key = Key::of(label);
        let mut params = params(label, dn);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { pem: text::pem(&der), der, issuer: Issuer::new(params, key) }
    }

    pub fn key(&self) -> &Key {
        self.issuer.key()
    }

    pub fn authority(&self) -> CaCertificate {
        CaCertificate::parse(&self.der).unwrap()
    }

    /// Its revocation list of this number.
    pub fn list(&self, number: u64, revoked: &[&Leaf]) -> Vec<u8> {
        let revoke = |leaf: &&Leaf| RevokedCertParams {
            serial_number: serial(leaf.what),
            revocation_time: date(NOW - DAY),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date(NOW - DAY + i64::try_from(number).unwrap()),
            next_update: date(NOW + DAY),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(revoke).collect(),
            key_identifier_method: KeyIdMethod::PreSpecified(vec![1]),
        };
        list.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

/// A signing key that is made from its label.
pub struct Key {
    secret: SigningKey,
    public: Vec<u8>,
}

impl Key {
    fn of(label: &str) -> Self {
        let secret = SigningKey::from_slice(Fingerprint::of(label.as_bytes()).as_bytes()).unwrap();
        let public = secret.verifying_key().to_encoded_point(false).as_bytes().to_vec();
        Self { secret, public }
    }

    /// An ECDSA signature over SHA-256, in DER; RFC 6979, so always the same.
    pub fn signature(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.secret.sign(message);
        signature.to_der().as_bytes().to_vec()
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.signature(message))
    }
}

fn params(label: &str, dn: &[(&str, &str)]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial(label));
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in dn {
        let kind = match *kind {
            "C" => DnType::CountryName,
            "O" => DnType::OrganizationName,
            _ => DnType::CommonName,
        };
        params.distinguished_name.push(kind, *value);
    }
    (params.not_before, params.not_after) = (date(NOW - DAY), date(NOW + 90 * DAY));
    params.key_identifier_method = KeyIdMethod::PreSpecified(serial(label).to_bytes());
    params
}

fn serial(label: &str) -> SerialNumber {
    let mut digest = Fingerprint::of(label.as_bytes()).as_bytes()[..16].to_vec();
    digest[0] = digest[0] & 0x3f | 0x40;
    SerialNumber::from(digest)
}

fn date(at: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at).unwrap()
}

/// A policy that has to load.
pub fn policy(document: &Value) -> Policy {
    config::load(document.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// Us-east-1 alone, by its Genesys CA, and by the one certificate of DigiCert's that is pinned.
pub fn us_only() -> Policy {
    let pin = format!("sha256:{}", CAST.leaves[US_BY_DIGICERT].fingerprint());
    policy(&json!({"regions": {"us-east-1": {
        "genesys": {"ca_certificates": CAST.us_ca.pem},
        "digicert": {"pins": [pin], "issuers": CAST.digicert.pem},
    }}}))
}

/// Both regions by what their APIs say alone.
pub fn by_api(issuers: bool) -> Policy {
    let mut digicert = json!({"pins": ["api"]});
    if issuers {
        digicert["issuers"] = json!(CAST.digicert.pem);
    }
    policy(&json!({
        "regions": {
            "us-east-1": {"digicert": digicert},
            "eu-central-1": {"digicert": digicert, "refresh": {"oauth": {"client_secret_env": "EU_SECRET"}}},
        },
        "refresh": {"clusters": {"api": "api|{host}", "login": "login|{host}"}},
    }))
}

/// What becomes of these bytes once they are bound to the connection.
pub fn outcome(der: &[u8], policy: &Policy, trust: &Trust) -> Outcome {
    match ClientCertificate::parse(der) {
        Ok(certificate) => {
            decision::decide(&certificate, policy, trust, &(), &AwsLcVerifier, NOW, Monotonic::ZERO).outcome
        }
        Err(error) => Outcome::Deny(Reason::from(&error)),
    }
}

/// Whether what is signed in this certificate is what a leaf of the cast says, and which one it is. Written without the
/// filter's own parsers, to hold them to account.
pub fn same_statement(der: &[u8]) -> Option<&'static Leaf> {
    let statement = der::signed(der)?;
    CAST.leaves.iter().find(|leaf| der::signed(&leaf.der) == Some(statement))
}

/// Whether these bytes hold that name at all.
pub fn holds_name(der: &[u8], name: &str) -> bool {
    der.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name.as_bytes()))
}

/// Writes a hostile header out: 0xE0 to 0xE3 and a number stand for a whole certificate of the cast, in one of the forms
/// in which headers carry them. So a mutation of one byte makes another header of the kind that matters.
pub fn written_out(shorthand: &[u8]) -> Vec<u8> {
    let (mut header, mut bytes) = (Vec::new(), shorthand.iter());
    while let Some(&byte) = bytes.next() {
        match (byte, bytes.as_slice().first()) {
            (0xe0..=0xe3, Some(&number)) => {
                bytes.next();
                header.extend_from_slice(CAST.leaf(number).form(byte & 3).as_bytes());
            }
            _ => header.push(byte),
        }
    }
    header
}
