//! When to ask again. Pure functions; `random` is in `0.0..1.0`, drawn by the caller.

use std::time::Duration;

/// Delay after the `failures`-th failure in a row (1 for the first): doubling from `base`, spread by `jitter` percent to
/// either side, at most `max`, and not before `retry_after`, which counts up to `interval`: no server may switch refreshing off.
pub fn backoff(
    failures: u32,
    (base, max): (Duration, Duration),
    jitter: u32,
    random: f64,
    retry_after: Option<Duration>,
    interval: Duration,
) -> Duration {
    let share = f64::from(jitter) / 100.0;
    let doublings = failures.saturating_sub(1).min(31);
    // The whole band lies below `max`. Cut off there, half of a fleet would call again at the same instant.
    let middle = base.saturating_mul(1 << doublings).min(max.div_f64(1.0 + share));
    // A server that names one moment to all is not to meet all at that moment.
    let asked = retry_after.unwrap_or_default().min(interval).mul_f64(1.0 + share * random);
    period(middle, jitter, random).min(max).max(asked)
}

/// Time until the next refresh after a successful one: `interval`, moved by up to `jitter` percent to either side.
pub fn period(interval: Duration, jitter: u32, random: f64) -> Duration {
    interval.mul_f64(1.0 + f64::from(jitter) / 100.0 * (2.0 * random - 1.0))
}

/// The same after the first success of a proxy: anywhere up to `interval`. Jitter alone would leave proxies that started
/// together together for days.
pub fn first_period(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.1 + 0.9 * random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn delays_double_up_to_the_maximum() {
        let delays = |random| -> Vec<u64> {
            (1..=11).map(|n| backoff(n, BOUNDS, 10, random, None, HOUR).as_secs()).collect()
        };
        assert_eq!(delays(0.5), [1, 2, 4, 8, 16, 32, 64, 128, 256, 272, 272]);
        assert_eq!(delays(1.0)[8..], [281, 300, 300]);
        assert_eq!(backoff(u32::MAX, BOUNDS, 10, 1.0, None, HOUR), BOUNDS.1);
    }

    #[test]
    fn retry_after_is_honoured_for_at_most_one_interval() {
        let year = Some(Duration::from_hours(365 * 24));
        let minute = Some(Duration::from_mins(1));
        assert_eq!(backoff(1, BOUNDS, 10, 0.0, minute, HOUR), Duration::from_mins(1));
        assert_eq!(
            backoff(1, BOUNDS, 10, 1.0, minute, HOUR),
            Duration::from_secs(66),
            "spread, but never early"
        );
        assert_eq!(backoff(9, BOUNDS, 10, 0.5, minute, HOUR), Duration::from_secs(256));
        assert_eq!(backoff(1, BOUNDS, 10, 0.0, year, HOUR), HOUR);
        assert_eq!(backoff(1, BOUNDS, 0, 0.7, year, HOUR), HOUR);
    }

    proptest! {
        #[test]
        fn backoff_stays_in_its_bounds_and_never_shrinks(
            failures in 1_u32..100, base in 1_u64..5000, factor in 1_u64..500, jitter in 0_u32..=50,
            random in 0.0..1.0_f64,
        ) {
            let bounds = (Duration::from_millis(base), Duration::from_millis(base * factor));
            let delay = backoff(failures, bounds, jitter, random, None, HOUR);
            let share = f64::from(jitter) / 100.0;
            let low = bounds.0.min(bounds.1.div_f64(1.0 + share)).mul_f64(1.0 - share);
            prop_assert!(delay + Duration::from_nanos(1) >= low && delay <= bounds.1);
            prop_assert!(backoff(failures + 1, bounds, jitter, random, None, HOUR) >= delay);
        }

        #[test]
        fn retry_after_is_kept_and_bounded(
            failures in 1_u32..100, asked in 0_u64..100_000, jitter in 0_u32..=50, random in 0.0..1.0_f64,
        ) {
            let asked = Duration::from_secs(asked);
            let delay = backoff(failures, BOUNDS, jitter, random, Some(asked), HOUR);
            prop_assert!(delay >= asked.min(HOUR));
            prop_assert!(delay <= HOUR.mul_f64(1.0 + f64::from(jitter) / 100.0));
        }

        #[test]
        fn no_wait_is_longer_than_the_longest(
            failures in 1_u32..100, asked in proptest::option::of(0_u64..100_000), jitter in 0_u32..=50,
            interval in 1_u64..10_000, random in 0.0..1.0_f64,
        ) {
            let interval = Duration::from_secs(interval);
            let longest = period(interval, jitter, 1.0).max(BOUNDS.1);
            let asked = asked.map(Duration::from_secs);
            prop_assert!(backoff(failures, BOUNDS, jitter, random, asked, interval) <= longest);
            prop_assert!(period(interval, jitter, random) <= longest);
            prop_assert!(first_period(interval, random) <= longest);
        }

        #[test]
        fn the_first_period_is_no_longer_than_the_interval(seconds in 1_u64..100_000, random in 0.0..1.0_f64) {
            let first = first_period(Duration::from_secs(seconds), random).as_secs_f64();
            prop_assert!(first >= 0.1 * f64::from(u32::try_from(seconds).unwrap()) - 1e-6);
            prop_assert!(first <= f64::from(u32::try_from(seconds).unwrap()));
        }

        #[test]
        fn a_period_stays_within_its_jitter(seconds in 1_u64..100_000, jitter in 0_u32..=50, random in 0.0..1.0_f64) {
            let interval = Duration::from_secs(seconds);
            let share = f64::from(jitter) / 100.0;
            let next = period(interval, jitter, random).as_secs_f64();
            prop_assert!(next >= interval.as_secs_f64() * (1.0 - share) - 1e-6);
            prop_assert!(next <= interval.as_secs_f64() * (1.0 + share) + 1e-6);
        }
    }
}
