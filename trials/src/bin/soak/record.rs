//! What a run leaves behind for the checks and the page.

use crate::sample::Sample;
use trials::traffic::Tally;

pub const WORKERS: u32 = 2;
pub const LANES: usize = 2;

/// What happened, besides requests.
#[derive(Debug, Default)]
pub struct Events {
    pub rotations: u64,
    pub lists: u64,
    pub reloads: u64,
}

/// The whole run.
pub struct Soak {
    pub minutes: u64,
    pub samples: Vec<Sample>,
    pub events: Events,
    pub tally: Tally,
    /// Lines of Envoy's log: of refusals, and all others.
    pub lines: [u64; 2],
}
