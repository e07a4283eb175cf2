//! Changes of pins, each logged once per proxy by the worker that comes to it first.

use crate::shared::{SharedStore, claim};
use crate::{time::UnixSeconds, x509::fingerprint::Fingerprint};
use std::collections::BTreeMap;

/// The status of a pin of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinStatus {
    Named,
    /// The API stopped naming it; it counts for `keep_removed`.
    Kept,
    /// Out of use, since the last good refresh is older than `max_staleness`.
    Stale,
}

impl PinStatus {
    pub const ALL: [Self; 3] = [Self::Named, Self::Kept, Self::Stale];

    /// As metrics show it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Kept => "kept",
            Self::Stale => "stale",
        }
    }
}

/// The pins of a region with their status and their notAfter.
pub type Pins = BTreeMap<Fingerprint, (PinStatus, UnixSeconds)>;

/// A pin that is new, has another status, or (without a status) is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinChange {
    pub pin: Fingerprint,
    pub status: Option<PinStatus>,
    pub not_after: UnixSeconds,
}

/// One region's pins as this worker last saw them.
#[derive(Debug)]
pub struct PinNews {
    key: String,
    pins: Pins,
}

impl PinNews {
    pub fn new(policy: &str, region: &str) -> Self {
        Self { key: format!("genesys_mtls/{policy}/told/{region}"), pins: Pins::new() }
    }

    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Takes over the pins as they are now. Returns what to log: nothing if another worker has logged it.
    pub fn follow(&mut self, pins: &Pins, store: &mut dyn SharedStore) -> Vec<PinChange> {
        let before = std::mem::replace(&mut self.pins, pins.clone());
        let changed = self
            .pins
            .iter()
            .filter(|(pin, (status, _))| before.get(pin).is_none_or(|(known, _)| known != status));
        let gone = before.iter().filter(|(pin, _)| !self.pins.contains_key(pin));
        let changes: Vec<PinChange> = changed
            .map(|(pin, (status, not_after))| (pin, Some(*status), not_after))
            .chain(gone.map(|(pin, (_, not_after))| (pin, None, not_after)))
            .map(|(pin, status, not_after)| PinChange { pin: *pin, status, not_after: *not_after })
            .collect();
        if changes.is_empty() || !claim(store, &self.key, self.digest().as_bytes()) {
            Vec::new()
        } else {
            changes
        }
    }

    fn digest(&self) -> Fingerprint {
        let mut listed = Vec::new();
        for (pin, (status, _)) in &self.pins {
            listed.extend(pin.as_bytes());
            listed.extend(status.code().as_bytes());
        }
        Fingerprint::of(&listed)
    }
}
