//! The policy: the checked configuration, in plain types. It never changes afterwards.

pub mod names;
mod revocation;

pub use names::NameRule;
pub use revocation::{Authority, CrlSource, Revocation, RevocationMode, is_url_host};

use crate::{
    time::UnixSeconds,
    x509::{ca::CaCertificate, fingerprint::Fingerprint},
};
use names::RegionNames;
use std::{collections::HashSet, time::Duration};

/// A configuration that makes sense: what the decision and the refresh work from. It never changes afterwards.
#[derive(Debug)]
pub struct Policy {
    pub name: String,
    pub regions: Vec<RegionPolicy>,
    pub names: NameRule,
    /// Whose name is whose.
    pub region_names: RegionNames,
    /// In seconds.
    pub clock_skew: UnixSeconds,
    pub mode: Mode,
    pub peer: Peer,
    /// Request header that tells the service who called, in lower case.
    pub identity_header: Option<String>,
    pub refresh: Refresh,
    pub revocation: Revocation,
    /// Of the configuration as it was given: tells one from another.
    pub digest: Fingerprint,
}

impl Policy {
    /// The CAs that may sign what is fetched there.
    pub fn cas(&self, source: &CrlSource) -> &[CaCertificate] {
        let region = self.regions.iter().find(|region| region.id == source.region);
        region.map_or(&[], |region| region.cas(source.authority))
    }
}

impl RegionPolicy {
    /// The configured CAs of one of its authorities: those that sign its certificates, and its CRLs.
    pub fn cas(&self, authority: Authority) -> &[CaCertificate] {
        match authority {
            Authority::Genesys => &self.genesys,
            Authority::Digicert => self.digicert.as_ref().map_or(&[], |digicert| &digicert.issuers),
        }
    }
}

/// A region whose client may pass, and who vouches for it.
#[derive(Debug)]
pub struct RegionPolicy {
    pub id: String,
    /// The name its certificate carries, in lower case.
    pub certificate_name: String,
    /// The regional private CA; empty if that authority is not enabled.
    pub genesys: Vec<CaCertificate>,
    pub digicert: Option<DigicertPolicy>,
    /// Where pins are fetched, if `api` is among them.
    pub source: Option<Source>,
}

/// DigiCert-signed certificates, trusted one by one.
#[derive(Debug)]
pub struct DigicertPolicy {
    pub pins: HashSet<Fingerprint>,
    pub api: bool,
    /// If any, a pinned certificate must be signed by one of them as well.
    pub issuers: Vec<CaCertificate>,
}

/// One region's certificates API, and how to reach it.
#[derive(Clone, Debug)]
pub struct Source {
    pub region: String,
    pub certificate_name: String,
    pub api_host: String,
    pub login_host: String,
    pub api_cluster: String,
    pub login_cluster: String,
    pub credentials: Credentials,
}

/// Who authenticates the calls to the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// The filter, with an OAuth client whose id and secret stand in these environment variables.
    Environment { client_id: String, client_secret: String },
    /// Envoy, on the way to the API.
    Injected,
}

/// Where the peer's certificate is read.
#[derive(Clone, Debug)]
pub enum Peer {
    /// From this proxy's own TLS connection.
    Connection { source: PeerSource, filter_state_key: String },
    /// From a header of a fronting proxy.
    Hop(TrustedHop),
}

#[derive(Clone, Debug)]
pub struct TrustedHop {
    pub header: String,
    pub encoding: HopEncoding,
    pub peer: TrustedPeer,
}

/// What the fronting proxy writes. It is never guessed: a text may be readable in more than one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopEncoding {
    /// `x-forwarded-client-cert` as Envoy writes it.
    Xfcc,
    /// PEM, percent-encoded (RFC 3986); a `+` is a plus.
    UrlPem,
    /// PEM as HTML forms encode it; a `+` is a space.
    FormPem,
    /// DER in base64, without anything around it.
    Base64Der,
    /// `Client-Cert` of RFC 9440: DER in base64, between colons.
    Rfc9440,
}

/// How the fronting proxy is recognised.
#[derive(Clone, Debug)]
pub enum TrustedPeer {
    Sha256(Vec<Fingerprint>),
    DnsSan(String),
}

/// How the certificates API is asked.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// Between two refreshes.
    pub interval: Duration,
    /// What one call may take.
    pub timeout: Duration,
    /// Percent by which `interval` and the retry delays are spread.
    pub jitter: u32,
    pub retry: Retry,
    /// How long a pin that the API stopped naming stays valid.
    pub keep_removed: Duration,
    /// Age at which pins are out of use if no refresh succeeds.
    pub max_staleness: Option<Duration>,
    pub on_unknown_certificate: UnknownCertificate,
}

/// Delays after a failed refresh: doubling from `base` up to `max`.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    pub base: Duration,
    pub max: Duration,
}

/// What happens when a certificate lacks nothing but its pin.
#[derive(Clone, Copy, Debug)]
pub struct UnknownCertificate {
    /// Least time between two early refreshes.
    pub min_interval: Duration,
    /// How long such a request waits for the early refresh.
    pub hold: Duration,
    /// How many requests of one worker may wait at a time.
    pub max_held: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Deny each client that is not allowed.
    #[default]
    Enforce,
    /// Decide, count, log and record the verdict, but never reply.
    Shadow,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerSource {
    /// All of them, in this order.
    #[default]
    Auto,
    /// `connection.peer_certificate` (Envoy 1.39 and later).
    Attribute,
    /// Filter state written by `set_filter_state`.
    FilterState,
    /// `Cert` of the `x-forwarded-client-cert` header.
    Xfcc,
}
