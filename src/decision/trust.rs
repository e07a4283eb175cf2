//! What the certificates APIs said, region by region, as the decision reads it.

use crate::{
    time::{Monotonic, UnixSeconds},
    x509::{ca::CaCertificate, certificate::ClientCertificate, fingerprint::Fingerprint},
};
use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

/// What the API says of each region, by the region's id.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Grows with every news, also that an answer brought nothing. Cached verdicts of another version are void.
    pub version: u64,
    pub regions: BTreeMap<String, ApiTrust>,
}

/// One region's pins as its API delivered them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiTrust {
    pub state: ApiState,
    pub pins: HashMap<Fingerprint, ApiPin>,
    /// The issuing certificates delivered with the pins. They show which certificates are worth asking the API about;
    /// they never make one trusted.
    pub hints: Rc<Vec<CaCertificate>>,
    /// When the last completed refresh began: it cured every certificate first seen before, or none will.
    pub refreshed: Option<Monotonic>,
}

/// Whether a region's API pins can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiState {
    /// No refresh has succeeded yet. (Half a success may have delivered pins.)
    #[default]
    NotLoaded,
    Loaded,
    /// Older than `max_staleness`: the pins are out of use until a refresh succeeds.
    Stale,
}

/// A certificate that the API names as Genesys Cloud's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiPin {
    pub not_before: UnixSeconds,
    pub not_after: UnixSeconds,
}

impl ApiPin {
    pub fn of(certificate: &ClientCertificate) -> Self {
        Self { not_before: certificate.not_before, not_after: certificate.not_after }
    }
}

impl ApiTrust {
    pub fn has_pin(&self, fingerprint: &Fingerprint) -> bool {
        self.state != ApiState::Stale && self.pins.contains_key(fingerprint)
    }
}
