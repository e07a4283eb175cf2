//! Changes of pins, each logged once per proxy by the worker that comes to it first.

use crate::{
    codes::codes,
    shared::{SharedStore, claim},
    time::UnixSeconds,
    x509::fingerprint::Fingerprint,
};
use std::collections::BTreeMap;

codes! {
    /// The status of a pin of the API.
    pub enum PinStatus {
        Named = "named",
        /// The API stopped naming it; it counts for `keep_removed`.
        Kept = "kept",
        /// Out of use, since the last good refresh is older than `max_staleness`.
        Stale = "stale",
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

/// Puts the pins of `region` as they are now in the place of `known`. Returns what to log: nothing if another worker of the
/// policy has logged it.
pub fn pin_changes(
    known: &mut Pins,
    pins: &Pins,
    (policy, region): (&str, &str),
    store: &mut dyn SharedStore,
) -> Vec<PinChange> {
    let (mut changes, mut all) = (Vec::new(), Vec::new());
    let before = std::mem::replace(known, pins.clone());
    for (pin, (status, not_after)) in pins {
        if before.get(pin).is_none_or(|(known, _)| known != status) {
            changes.push(PinChange { pin: *pin, status: Some(*status), not_after: *not_after });
        }
        all.extend(pin.as_bytes());
        all.push(*status as u8);
    }
    for (pin, (_, not_after)) in before {
        if !pins.contains_key(&pin) {
            changes.push(PinChange { pin, status: None, not_after });
        }
    }
    let key = format!("genesys_mtls/{policy}/logged/{region}");
    if !changes.is_empty() && !claim(store, &key, Fingerprint::of(&all).as_bytes()) {
        changes.clear();
    }
    changes
}
