//! The two clocks, and for how long an answer that depended on the time stays true.

use serde::{Deserialize, Serialize};
use std::{
    ops::{Add, AddAssign},
    time::Duration,
};

/// Wall-clock time in seconds since 1970 (X.509 knows nothing finer).
pub type UnixSeconds = i64;

/// Monotonic time in milliseconds since an origin that all VMs of one proxy share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Monotonic(u64);

impl Monotonic {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(u64::MAX);

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Monotonic {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Monotonic {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

/// The two clocks, read once per callback, and a random number in `0.0..1.0`.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub mono: Monotonic,
    pub wall: UnixSeconds,
    pub random: f64,
}

/// A clock that remembers between which moments every comparison made so far would come out the same: a verdict read off it
/// may be reused at any `time` with `window.contains(time)`.
#[derive(Clone, Debug)]
pub struct Clock {
    now: UnixSeconds,
    window: Window,
}

/// A span of wall-clock time, `from <= t < until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: UnixSeconds,
    pub until: UnixSeconds,
}

impl Clock {
    pub fn at(now: UnixSeconds) -> Self {
        Self { now, window: Window { from: UnixSeconds::MIN, until: UnixSeconds::MAX } }
    }

    /// Whether `moment` still lies ahead.
    pub fn is_before(&mut self, moment: UnixSeconds) -> bool {
        let ahead = self.now < moment;
        if ahead {
            self.window.until = self.window.until.min(moment);
        } else {
            self.window.from = self.window.from.max(moment);
        }
        ahead
    }

    /// Whether `moment` has passed. A certificate is still good in its last second (RFC 5280, section 4.1.2.5).
    pub fn is_after(&mut self, moment: UnixSeconds) -> bool {
        !self.is_before(moment.saturating_add(1))
    }

    /// The span around now in which every answer given so far stays the same.
    pub fn window(&self) -> Window {
        self.window
    }
}

impl Window {
    /// The second that begins at `now`, as far as it is in it. A clock that is put back leaves it, as one that goes on does.
    #[must_use]
    pub fn this_second(self, now: UnixSeconds) -> Self {
        Self { from: self.from.max(now), until: self.until.min(now.saturating_add(1)) }
    }

    pub fn contains(&self, moment: UnixSeconds) -> bool {
        self.from <= moment && moment < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn monotonic_sums_and_differences_saturate() {
        let at = Monotonic::from_millis(1500);
        assert_eq!((at + Duration::from_millis(500)).millis(), 2000);
        assert_eq!(at.since(Monotonic::from_millis(1000)), Duration::from_millis(500));
        assert_eq!(at.since(Monotonic::MAX), Duration::ZERO);
        assert_eq!(at + Duration::MAX, Monotonic::MAX);
        assert_eq!(Monotonic::MAX.millis(), u64::MAX);
    }

    #[test]
    fn the_window_is_what_the_comparisons_left_open() {
        let mut clock = Clock::at(100);
        assert_eq!(clock.window(), Window { from: i64::MIN, until: i64::MAX });
        assert!(!clock.is_before(100));
        assert!(clock.is_before(200));
        assert!(clock.is_before(150));
        assert!(!clock.is_after(120));
        assert_eq!(clock.window(), Window { from: 100, until: 121 });
        assert_eq!(clock.window().this_second(110), Window { from: 110, until: 111 });
        assert_eq!(clock.window().this_second(120), Window { from: 120, until: 121 });
        assert_eq!(Clock::at(i64::MAX).window().this_second(i64::MAX).until, i64::MAX);
    }

    proptest! {
        #[test]
        fn anywhere_inside_the_window_every_comparison_answers_the_same(
            now in -50_i64..50, other in -50_i64..50,
            moments in proptest::collection::vec((any::<bool>(), -50_i64..50), 0..8),
        ) {
            let ask = |time| {
                let mut clock = Clock::at(time);
                let answers: Vec<bool> = moments.iter().map(|&(before, moment)| {
                    if before { clock.is_before(moment) } else { clock.is_after(moment) }
                }).collect();
                (answers, clock.window())
            };
            let (answers, window) = ask(now);
            prop_assert!(window.contains(now));
            prop_assert_eq!(window.contains(other), ask(other).0 == answers);
        }
    }
}
