//! What has to hold at the end.

use crate::{
    record::{Soak, WORKERS},
    sample::{SERIES, Sample},
};
use trials::report::thousands;

/// Room for noise, in percent: a value without a leak stays within it in a run of any length.
const NOISE: u64 = 5;
/// The same for Envoy as a whole. A small piece that is lost with each tick comes to more than that.
const NOISE_OF_ENVOY: u64 = 2;
/// Lines of refusals per reason, worker and minute that the filter allows itself.
const PER_MINUTE: u64 = 10;
/// Lines that a rotation, a list or a reload may cost.
const PER_EVENT: u64 = 15;

pub struct Check {
    pub what: String,
    pub found: String,
    pub demanded: String,
    pub good: bool,
}

fn check(what: &str, found: String, demanded: String, good: bool) -> Check {
    Check { what: what.to_owned(), found, demanded, good }
}

/// The median of a quarter of the run, counted from 0.
pub fn median(samples: &[Sample], quarter: usize, of: fn(&Sample) -> u64) -> u64 {
    let (from, to) = (samples.len() * quarter / 4, samples.len() * (quarter + 1) / 4);
    let mut values: Vec<u64> = samples[from..to].iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

pub fn all(soak: &Soak) -> Vec<Check> {
    let tally = &soak.tally;
    let mut checks = vec![
        check("requests lost", thousands(tally.lost), "0".into(), tally.lost == 0),
        check("wrong verdicts", thousands(tally.wrong), "0".into(), tally.wrong == 0),
    ];
    // The log grows, by so much per minute.
    for (name, of) in SERIES.into_iter().filter(|(name, _)| !name.starts_with("log")) {
        let (early, late) = (median(&soak.samples, 1, of), median(&soak.samples, 3, of));
        let noise = if name.starts_with("Envoy") { NOISE_OF_ENVOY } else { NOISE };
        let limit = early + early * noise / 100;
        checks.push(check(
            &format!("{name}: last quarter's median"),
            thousands(late),
            format!("at most {} (second quarter's {} and {noise} %)", thousands(limit), thousands(early)),
            late <= limit && late > 0,
        ));
    }
    let reasons = u64::try_from(tally.refused.len()).unwrap_or(u64::MAX);
    // A reload begins a new budget.
    let most = PER_MINUTE * reasons * u64::from(WORKERS) * (soak.minutes + soak.events.reloads + 1);
    let refused = tally.refused.values().sum::<u64>();
    checks.push(check(
        "log lines of refusals",
        format!("{} for {} refusals", thousands(soak.lines[0]), thousands(refused)),
        format!(
            "at most {}: {PER_MINUTE} a minute, reason and worker, and after a reload again",
            thousands(most)
        ),
        soak.lines[0] <= most && soak.lines[0] > 0,
    ));
    let events = soak.events.rotations + soak.events.lists + soak.events.reloads + 1;
    checks.push(check(
        "other log lines",
        thousands(soak.lines[1]),
        format!("at most {}: {PER_EVENT} per rotation, list or reload", thousands(PER_EVENT * events)),
        soak.lines[1] <= PER_EVENT * events,
    ));
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Events;
    use std::time::Duration;
    use trials::traffic::Tally;

    fn soak(resident: impl Fn(u64) -> u64) -> Soak {
        let sample = |n| Sample {
            at: Duration::from_secs(n),
            requests: n,
            refreshes: n,
            resident: resident(n),
            fetching: 1 << 20,
            serving: 1 << 20,
            keys: 10,
            bytes: 100,
            log: n,
        };
        let refused = [("wrong_name".to_owned(), 100)].into();
        Soak {
            minutes: 1,
            samples: (0..40).map(sample).collect(),
            events: Events::default(),
            tally: Tally { refused, ..Tally::default() },
            lines: [20, 10],
        }
    }

    #[test]
    fn growth_is_found_and_a_warm_up_is_not() {
        let failing = |soak: &Soak| -> Vec<String> {
            all(soak).into_iter().filter(|check| !check.good).map(|check| check.what).collect()
        };
        assert!(failing(&soak(|_| 1000)).is_empty());
        assert!(failing(&soak(|n| 1000 + n.min(9) * 1000)).is_empty(), "the first quarter is for warming up");
        assert_eq!(failing(&soak(|n| 1000 + 10 * n)), ["Envoy, resident, kB: last quarter's median"]);
        let talkative = Soak { lines: [41, 16], ..soak(|_| 1000) };
        assert_eq!(failing(&talkative), ["log lines of refusals", "other log lines"]);
        let wrong = Soak { tally: Tally { wrong: 1, ..soak(|_| 1).tally }, ..soak(|_| 1000) };
        assert_eq!(failing(&wrong), ["wrong verdicts"]);
    }
}
