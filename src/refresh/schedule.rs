//! When to ask again. Pure functions; `roll` is a random number in `0.0..1.0`, drawn by the caller.

use std::time::Duration;

/// Delay after the `failures`-th failure in a row (1 for the first): doubling from `base`, at most `max`, spread by
/// `jitter` percent to either side but never above `max`, and not before `retry_after` has passed.
///
/// `retry_after` is honoured up to `interval`: no server may switch refreshing off.
pub fn backoff(
    failures: u32,
    (base, max): (Duration, Duration),
    jitter: u32,
    roll: f64,
    retry_after: Option<Duration>,
    interval: Duration,
) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let delay = base.saturating_mul(1 << doublings).min(max);
    let asked = retry_after.unwrap_or_default().min(interval);
    spread(delay, jitter, roll).min(max).max(asked)
}

/// Time until the next refresh after a successful one.
pub fn period(interval: Duration, jitter: u32, roll: f64) -> Duration {
    spread(interval, jitter, roll)
}

/// `delay`, moved by up to `jitter` percent to either side.
fn spread(delay: Duration, jitter: u32, roll: f64) -> Duration {
    let share = f64::from(jitter) / 100.0;
    delay.mul_f64(1.0 - share + 2.0 * share * roll.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn delays_double_up_to_the_maximum() {
        let delays: Vec<u64> = (1..=11).map(|n| backoff(n, BOUNDS, 10, 0.5, None, HOUR).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(backoff(u32::MAX, BOUNDS, 10, 0.5, None, HOUR), BOUNDS.1);
    }

    #[test]
    fn a_server_is_left_alone_as_long_as_it_asks_but_at_most_for_one_interval() {
        let year = Some(Duration::from_secs(31_536_000));
        let minute = Some(Duration::from_secs(60));
        assert_eq!(backoff(1, BOUNDS, 10, 0.5, minute, HOUR), Duration::from_secs(60));
        assert_eq!(backoff(9, BOUNDS, 10, 0.5, minute, HOUR), Duration::from_secs(256));
        assert_eq!(backoff(1, BOUNDS, 10, 0.5, year, HOUR), HOUR);
    }

    proptest! {
        #[test]
        fn backoff_stays_in_its_bounds_and_never_shrinks(
            failures in 1_u32..100, base in 1_u64..5000, factor in 1_u64..500, jitter in 0_u32..=50,
            roll in 0.0..1.0_f64,
        ) {
            let bounds = (Duration::from_millis(base), Duration::from_millis(base * factor));
            let delay = backoff(failures, bounds, jitter, roll, None, HOUR);
            let low = bounds.0.mul_f64(1.0 - f64::from(jitter) / 100.0);
            prop_assert!(delay + Duration::from_nanos(1) >= low && delay <= bounds.1);
            prop_assert!(backoff(failures + 1, bounds, jitter, roll, None, HOUR) >= delay);
        }

        #[test]
        fn a_period_stays_within_its_jitter(seconds in 1_u64..100_000, jitter in 0_u32..=50, roll in 0.0..1.0_f64) {
            let interval = Duration::from_secs(seconds);
            let share = f64::from(jitter) / 100.0;
            let next = period(interval, jitter, roll).as_secs_f64();
            prop_assert!(next >= interval.as_secs_f64() * (1.0 - share) - 1e-6);
            prop_assert!(next <= interval.as_secs_f64() * (1.0 + share) + 1e-6);
        }
    }
}
