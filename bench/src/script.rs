//! What a run of the module is about. Clock and randomness are part of it, so every run is the same.

use std::collections::BTreeMap;

/// What the host shows and remembers.
#[derive(Debug, Default)]
pub struct Script {
    pub configuration: Vec<u8>,
    /// `NAME=value`
    pub environment: Vec<String>,
    /// By path, its parts joined by dots.
    pub properties: BTreeMap<String, Vec<u8>>,
    pub request_headers: BTreeMap<String, String>,
    /// Wall clock and monotonic clock, in nanoseconds.
    pub wall: u64,
    pub monotonic: u64,
    /// The body of the answer that is being delivered; its status is 200.
    pub response: Vec<u8>,

    /// Host calls so far, by name.
    pub calls: BTreeMap<String, u64>,
    /// Properties written, in order.
    pub written: Vec<(String, String)>,
    /// Status and details of local replies.
    pub replies: Vec<(u64, String)>,
    /// Calls dispatched and not answered yet: token and path.
    pub dispatched: Vec<(u32, String)>,
    pub log: Vec<String>,
    pub(crate) shared: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    /// Name and value.
    pub(crate) metrics: Vec<(String, u64)>,
    random: u64,
    pub(crate) tokens: u32,
}

impl Script {
    /// The keys of shared data.
    pub fn keys(&self) -> Vec<String> {
        self.shared.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
    }

    pub(crate) fn random_byte(&mut self) -> u8 {
        // Knuth's MMIX generator; its upper bits are good enough for hash seeds.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random.to_be_bytes()[0]
    }
}
