//! The configuration as written: one type per object, with its defaults. `config.schema.json` is generated from here.

use crate::config::{
    overrides::RegionRefresh,
    revocation::RevocationDocument,
    values::{Bound, Percent, Pin, Span},
};
use crate::{
    policy::{Mode, NameRule, PeerSource},
    x509::fingerprint::Fingerprint,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{collections::BTreeMap, fmt, marker::PhantomData, time::Duration};

#[cfg(feature = "schema")]
use crate::config::schema;
#[cfg(feature = "schema")]
use schemars::JsonSchema;

/// Configuration of the Genesys Cloud client filter: who may pass, and how the filter learns of new certificates.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(title = "genesys-mtls-filter"))]
#[serde(deny_unknown_fields, expecting = "an object with at least `regions`")]
pub struct Document {
    /// Name of this policy, 1 to 32 of a-z, 0-9 and _. It ends the filter-state key `wasm.genesys_mtls.<name>` that
    /// the RBAC guard reads, and labels metrics and log lines.
    #[serde(default = "default_name")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[a-z0-9_]{1,32}$")))]
    pub name: String,
    /// The regions whose client is let in, by id (`us-east-1`, ...).
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::regions"))]
    pub regions: BTreeMap<String, RegionDocument>,
    /// How pins are fetched from the certificates API.
    #[serde(default)]
    pub refresh: RefreshDocument,
    /// Where the certificate's bytes are read. They always have to match the TLS connection's own digest.
    #[serde(default)]
    pub peer_certificate: PeerCertificate,
    /// Which field of the certificate is its name.
    #[serde(default)]
    pub names: NameRule,
    /// How far the clocks of the two sides may differ when a certificate's validity is checked.
    #[serde(default = "default_skew")]
    pub clock_skew: Span,
    /// Revocation lists.
    #[serde(default)]
    pub revocation: RevocationDocument,
    /// Whether denials are answered or only recorded.
    #[serde(default)]
    pub mode: Mode,
    /// Tell the service who called, in a request header. Absent: no header is touched.
    pub identity: Option<Identity>,
}

/// One region: which authorities vouch for its client.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with `genesys`, `digicert` or both")]
pub struct RegionDocument {
    /// The name in the region's client certificate; only needed where the catalogue has none or an old one.
    pub certificate_name: Option<String>,
    /// The region's domain (`api.<domain>`, `login.<domain>`); only needed for regions outside the catalogue.
    pub domain: Option<String>,
    /// Trust certificates signed by the region's private Genesys CA.
    pub genesys: Option<GenesysDocument>,
    /// Trust certificates signed by DigiCert that are pinned one by one.
    pub digicert: Option<DigicertDocument>,
    /// What differs for this region from the top-level `refresh`.
    pub refresh: Option<RegionRefresh>,
}

/// The regional private CA.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with `ca_certificates`")]
pub struct GenesysDocument {
    /// PEM of the region's root, from the .zip on Genesys' help page; several while a root is being replaced.
    pub ca_certificates: String,
    /// Accept a DigiCert CA here. It signs for the public: whoever it gave a certificate of this name gets in.
    #[serde(default)]
    pub danger_public_ca: bool,
}

/// The DigiCert certificate, which is trusted by pin only.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with `pins`, and perhaps `issuers`")]
pub struct DigicertDocument {
    /// `api` for what the certificates API names, and `sha256:<hex>` for single certificates, which also serve while
    /// the API has not answered yet.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub pins: Vec<Pin>,
    /// PEM of the issuing CA. If given, a pinned certificate must carry its verified signature as well.
    pub issuers: Option<String>,
}

/// How the certificates API is asked.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "an object with `clusters`, `oauth` and so on")]
pub struct RefreshDocument {
    pub clusters: Clusters,
    pub oauth: OAuth,
    /// Time between two refreshes.
    pub interval: Span,
    /// Time that one call may take.
    pub timeout: Span,
    /// How far `interval` and the retry delays are spread, so that a fleet does not call at once.
    pub jitter: Percent,
    pub retry: RetryDocument,
    /// How long a pin that the API stopped naming stays good (its answers are inconsistent during a rotation).
    pub keep_removed: Span,
    /// Age at which pins are dropped when no refresh succeeds, or `none`.
    pub max_staleness: Bound,
    pub on_unknown_certificate: UnknownCertificateDocument,
}

/// Envoy clusters of the API and the login host. `{host}` and `{region}` in a name are replaced, so that
/// `outbound|443||{host}` serves every region in Istio.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "an object with `api` and `login`")]
pub struct Clusters {
    /// The cluster of `api.<domain>`.
    pub api: String,
    /// The cluster of `login.<domain>`.
    pub login: String,
}

/// Where the OAuth client credentials come from: two environment variables, or `injected` by the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[cfg_attr(feature = "schema", schemars(untagged))]
pub enum OAuth<Environment = OAuthEnvironment> {
    Environment(Environment),
    Injected(Injected),
}

/// Names of the environment variables that hold the OAuth client's id and secret.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "an object with `client_id_env` and `client_secret_env`")]
pub struct OAuthEnvironment {
    /// The variable that holds the client id.
    pub client_id_env: String,
    /// The variable that holds the client secret.
    pub client_secret_env: String,
}

/// Envoy adds the bearer token on its way to the API (`envoy.filters.http.credential_injector`).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Injected {
    Injected,
}

/// Delays after a failed refresh: doubling from `base` up to `max`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "an object with `base` and `max`")]
pub struct RetryDocument {
    /// The first delay.
    pub base: Span,
    /// The longest delay.
    pub max: Span,
}

/// What happens when a certificate lacks nothing but its pin: the API may have rotated since the last refresh.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "an object with `min_interval`, `hold` and `max_held`")]
pub struct UnknownCertificateDocument {
    /// Least time between two early refreshes.
    pub min_interval: Span,
    /// How long such a request waits for the early refresh; `0s` for not at all.
    pub hold: Span,
    /// How many requests of one worker may wait at a time.
    #[cfg_attr(feature = "schema", schemars(range(max = 10_000)))]
    pub max_held: u32,
}

/// Where the peer certificate is read.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "an object with `source`")]
pub struct PeerCertificate {
    /// Where to look.
    pub source: PeerSource,
    /// Filter-state key that a `set_filter_state` filter put `%DOWNSTREAM_PEER_CERT%` under.
    pub filter_state_key: Option<String>,
    /// Believe a fronting proxy that terminated the TLS connection, after checking that it is that proxy.
    pub danger_trusted_hop: Option<TrustedHopDocument>,
}

/// A proxy in front of this one that terminates Genesys Cloud's TLS connection and forwards its certificate.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with `header` and `peer`")]
pub struct TrustedHopDocument {
    /// Header that carries the certificate: XFCC, or URL-encoded PEM. The hop must always overwrite it.
    pub header: String,
    /// The hop's own client certificate on the connection to this proxy. Give exactly one of the two.
    pub peer: TrustedPeerDocument,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with `sha256` or `dns_san`")]
pub struct TrustedPeerDocument {
    /// Fingerprints of the hop's certificate: its current one, and the next.
    #[serde(default)]
    pub sha256: Vec<String>,
    /// First DNS name in the hop's certificate. Only sound where the listener requires and verifies it.
    pub dns_san: Option<String>,
}

impl TrustedPeerDocument {
    /// The fingerprints, or the first entry that is none.
    pub(super) fn fingerprints(&self) -> Result<Vec<Fingerprint>, String> {
        self.sha256.iter().map(|text| text.parse().map_err(|error| format!("`{text}`: {error}"))).collect()
    }
}

/// The identity header.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with `header`")]
pub struct Identity {
    /// Header to set on allowed requests; copies sent by the client are removed.
    #[serde(default = "default_identity_header")]
    pub header: String,
}

fn default_name() -> String {
    "default".to_owned()
}

fn default_skew() -> Span {
    Span(Duration::from_mins(1))
}

fn default_identity_header() -> String {
    "x-genesys-cloud-client".to_owned()
}

impl Default for RefreshDocument {
    fn default() -> Self {
        Self {
            clusters: Clusters::default(),
            oauth: OAuth::default(),
            interval: Span(Duration::from_hours(1)),
            timeout: Span(Duration::from_secs(5)),
            jitter: Percent(10),
            retry: RetryDocument::default(),
            keep_removed: Span(Duration::from_hours(24)),
            max_staleness: Bound(None),
            on_unknown_certificate: UnknownCertificateDocument::default(),
        }
    }
}

impl Default for Clusters {
    fn default() -> Self {
        Self { api: "genesys_api".to_owned(), login: "genesys_login".to_owned() }
    }
}

impl Default for OAuth {
    fn default() -> Self {
        Self::Environment(OAuthEnvironment::default())
    }
}

impl Default for OAuthEnvironment {
    fn default() -> Self {
        Self {
            client_id_env: "GENESYS_CLIENT_ID".to_owned(),
            client_secret_env: "GENESYS_CLIENT_SECRET".to_owned(),
        }
    }
}

impl Default for RetryDocument {
    fn default() -> Self {
        Self { base: Span(Duration::from_secs(1)), max: Span(Duration::from_mins(5)) }
    }
}

impl Default for UnknownCertificateDocument {
    fn default() -> Self {
        Self { min_interval: Span(Duration::from_secs(30)), hold: Span(Duration::from_secs(2)), max_held: 64 }
    }
}

/// Written by hand so that an error inside the object keeps its own words; serde's untagged enums lose them.
impl<'de, E: Deserialize<'de>> Deserialize<'de> for OAuth<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<E>(PhantomData<E>);
        impl<'de, E: Deserialize<'de>> Visitor<'de> for Either<E> {
            type Value = OAuth<E>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`injected`, or an object with `client_id_env` and `client_secret_env`")
            }

            fn visit_str<Error: de::Error>(self, text: &str) -> Result<Self::Value, Error> {
                if text == "injected" {
                    Ok(OAuth::Injected(Injected::Injected))
                } else {
                    Err(Error::invalid_value(de::Unexpected::Str(text), &self))
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                E::deserialize(MapAccessDeserializer::new(map)).map(OAuth::Environment)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}
