//! What the tests of the rules share: a small cast with fixed times and fast keys, and short ways to what a rule takes.

use crate::{
    config::{self, ConfigError},
    policy::Policy,
    time::UnixSeconds,
    x509::{
        ca::CaCertificate,
        certificate::ClientCertificate,
        signature::{Hash, SignatureVerifier, VerifierUnavailable},
    },
};
use serde_json::{Value, json};
use std::sync::OnceLock;
use testbed_pki::{Ca, CaBuilder, EU_CENTRAL_1, KeyType, Leaf, LeafBuilder, US_EAST_1};
use time::OffsetDateTime;

/// The name of us-east-1's client.
pub const US: &str = US_EAST_1.certificate_name;
/// The name of eu-central-1's client.
pub const EU: &str = EU_CENTRAL_1.certificate_name;

/// The moment at which the tests decide, unless they are about time.
pub const NOW: UnixSeconds = 1_800_000_000;
pub const DAY: UnixSeconds = 24 * 3600;
/// The validity of leaves made by [`leaf`].
pub const BEGIN: UnixSeconds = NOW - DAY;
pub const END: UnixSeconds = NOW + 90 * DAY;
/// The validity of authorities made by [`ca`].
pub const CA_BEGIN: UnixSeconds = NOW - 365 * DAY;
pub const CA_END: UnixSeconds = NOW + 3650 * DAY;

/// The authorities that most cases need.
pub struct Cast {
    pub us_ca: Ca,
    pub eu_ca: Ca,
    /// The public intermediate that signs Genesys' DigiCert certificate, and everybody else's.
    pub digicert_ca: Ca,
    /// Has the DN of `us_ca`, and another key.
    pub impostor: Ca,
    /// Has the DN of `digicert_ca`, and another key.
    pub digicert_impostor: Ca,
    pub stranger_ca: Ca,
}

/// Verifies signatures without Envoy.
pub const VERIFIER: &dyn SignatureVerifier = &PkiVerifier;

pub fn cast() -> &'static Cast {
    static CAST: OnceLock<Cast> = OnceLock::new();
    CAST.get_or_init(|| {
        let us_dn = [("C", "US"), ("ST", "Indiana"), ("CN", "Unit root us-east-1")];
        let digicert_dn = [("C", "US"), ("O", "Testbed DigiCert Inc"), ("CN", "Unit Client CA G2")];
        let digicert_root = ca("unit-digicert-root").self_signed();
        Cast {
            us_ca: ca("unit-us").dn(&us_dn).self_signed(),
            eu_ca: ca("unit-eu").self_signed(),
            digicert_ca: ca("unit-digicert").dn(&digicert_dn).signed_by(&digicert_root),
            impostor: ca("unit-impostor").dn(&us_dn).self_signed(),
            digicert_impostor: ca("unit-digicert-impostor").dn(&digicert_dn).self_signed(),
            stranger_ca: ca("unit-stranger").self_signed(),
        }
    })
}

pub fn date(at: UnixSeconds) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at).unwrap()
}

/// An authority with a P-256 key, valid from [`CA_BEGIN`] to [`CA_END`].
pub fn ca(name: &str) -> CaBuilder {
    Ca::builder(name).key(KeyType::P256).valid(date(CA_BEGIN), date(CA_END))
}

/// A leaf with a P-256 key, valid from [`BEGIN`] to [`END`]; it still needs a name.
pub fn leaf(ca: &Ca) -> LeafBuilder<'_> {
    ca.leaf().key(KeyType::P256).valid(date(BEGIN), date(END))
}

/// Us-east-1's client, by this authority.
pub fn us_leaf(ca: &Ca) -> Leaf {
    leaf(ca).name(US).issue()
}

pub fn client(leaf: &Leaf) -> ClientCertificate {
    ClientCertificate::parse(&leaf.der).expect("a client certificate")
}

pub fn authority(ca: &Ca) -> CaCertificate {
    CaCertificate::parse(&ca.der).expect("an authority")
}

pub fn load(document: &Value) -> Result<Policy, Vec<ConfigError>> {
    config::load(document.to_string().as_bytes())
}

pub fn policy(document: &Value) -> Policy {
    load(document).unwrap_or_else(|errors| panic!("{errors:?}\n{document:#}"))
}

/// A configuration of us-east-1 alone.
pub fn us_only(region: &Value) -> Value {
    json!({"regions": {"us-east-1": region}})
}

/// `base` with the members of `changes` laid over it, object by object.
pub fn merged(base: &Value, changes: &Value) -> Value {
    match (base, changes) {
        (Value::Object(base), Value::Object(changes)) => {
            let mut all = base.clone();
            for (key, change) in changes {
                let old = base.get(key).unwrap_or(&Value::Null);
                all.insert(key.clone(), merged(old, change));
            }
            Value::Object(all)
        }
        _ => changes.clone(),
    }
}

#[derive(Debug)]
struct PkiVerifier;

impl SignatureVerifier for PkiVerifier {
    fn verify(
        &self,
        hash: Hash,
        public_key: &[u8],
        signature: &[u8],
        message: &[u8],
    ) -> Result<bool, VerifierUnavailable> {
        Ok(testbed_pki::verify(hash.name(), public_key, signature, message))
    }
}
