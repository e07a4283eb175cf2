//! A fleet that is started at one moment: how its calls spread, by simulation.

use crate::schedule::{first_period, period};
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);

/// Refreshes per second of 10,000 proxies that all began at second 0, for `seconds`.
fn fleet(interval: Duration, seconds: usize, spread_first: bool) -> Vec<u32> {
    // SplitMix64: the same fleet on every run.
    let mut state = 0x9e37_79b9_u64;
    let mut roll = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap()) / (f64::from(u32::MAX) + 1.0)
    };
    let mut load = vec![0; seconds];
    for _ in 0..10_000 {
        let mut at = Duration::ZERO;
        let mut first = spread_first;
        while let Some(second) = load.get_mut(usize::try_from(at.as_secs()).unwrap()) {
            *second += 1;
            at += if first { first_period(interval, roll()) } else { period(interval, 10, roll()) };
            first = false;
        }
    }
    load
}

/// The busiest window of `width` seconds after the first interval, as a multiple of the mean over a long time.
fn peak(load: &[u32], interval: Duration, width: usize) -> f64 {
    let after = &load[usize::try_from(interval.as_secs()).unwrap()..];
    let busiest = after.chunks_exact(width).map(|window| window.iter().sum::<u32>()).max().unwrap();
    let windows_per_interval = interval.as_secs_f64() / f64::from(u32::try_from(width).unwrap());
    f64::from(busiest) * windows_per_interval / 10_000.0
}

/// The rule is "no second with more than three times the mean". It is checked at an interval of ten minutes, 17
/// refreshes a second on average: there pure chance stays below three times the mean (once in 10^11 seconds), so
/// whatever exceeds it would be order. At the default of an hour the mean is 3 a second, and of the seconds of any
/// day some have ten by chance alone: there the windows are wider.
#[test]
fn ten_thousand_proxies_started_together_do_not_call_together() {
    let ten_minutes = Duration::from_mins(10);
    let day = 24 * 3600;
    let load = fleet(ten_minutes, day, true);
    assert_eq!(load[0], 10_000, "all of them have to begin at once");
    assert!(peak(&load, ten_minutes, 1) <= 3.0, "{}", peak(&load, ten_minutes, 1));
    assert!(peak(&load, ten_minutes, 60) <= 1.25, "{}", peak(&load, ten_minutes, 60));

    let load = fleet(HOUR, 2 * day, true);
    assert!(peak(&load, HOUR, 10) <= 3.0, "{}", peak(&load, HOUR, 10));
    assert!(peak(&load, HOUR, 60) <= 1.5, "{}", peak(&load, HOUR, 60));

    // Why the first period is drawn from the whole interval: jitter alone leaves crowds for many hours.
    let crowded = fleet(ten_minutes, day, false);
    assert!(peak(&crowded, ten_minutes, 1) > 5.0, "{}", peak(&crowded, ten_minutes, 1));
}
