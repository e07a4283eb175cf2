//! One look at everything that could grow.

use std::{fmt, fs, time::Duration};
use trials::{Failure, stage::Stage, traffic::Tally};

/// What something is called, and the number that a sample has for it.
pub type Series = (&'static str, fn(&Sample) -> u64);

/// What is looked at.
pub const SERIES: [Series; 6] = [
    ("Envoy, resident, kB", |sample| sample.resident),
    ("largest VM that fetches lists, kB", |sample| sample.fetching / 1024),
    ("largest other VM, kB", |sample| sample.serving / 1024),
    ("shared data, keys", |sample| sample.keys),
    ("shared data, bytes", |sample| sample.bytes),
    ("log, kB", |sample| sample.log / 1000),
];

#[derive(Clone, Debug)]
pub struct Sample {
    pub at: Duration,
    pub requests: u64,
    pub refreshes: u64,
    pub resident: u64,
    pub fetching: u64,
    pub serving: u64,
    pub keys: u64,
    pub bytes: u64,
    pub log: u64,
}

impl Sample {
    pub async fn take(stage: &Stage, tally: &Tally, at: Duration) -> Result<Self, Failure> {
        let stats = stage.envoy.stats().await?;
        let stat = |name: &str| stats.get(&format!("wasmcustom.{name}")).copied().unwrap_or_default();
        let largest = |role: &str| {
            let of = |policy: &str| stat(&format!("genesys_mtls.{policy}.vm_memory_peak_bytes.{role}"));
            of("default").max(of("hard"))
        };
        let status = fs::read_to_string(format!("/proc/{}/status", stage.envoy.pid()))?;
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc")?;
        let resident = resident.trim().trim_end_matches("kB").trim().parse()?;
        let log = fs::metadata(stage.envoy.dir().join("envoy.log"))?.len();
        Ok(Self {
            at,
            requests: tally.requests,
            refreshes: stat("genesys_mtls.default.refreshes.ok.us-east-1"),
            resident,
            fetching: largest("fetching"),
            serving: largest("serving"),
            keys: stat("shared_data_keys"),
            bytes: stat("shared_data_bytes"),
            log,
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5} s  {:>7} requests  {:>5} refreshes",
            self.at.as_secs(),
            self.requests,
            self.refreshes
        )?;
        for (name, of) in SERIES {
            let short = name.split(',').next().unwrap_or_default();
            write!(f, "  {short} {}", of(self))?;
        }
        Ok(())
    }
}
