//! Times as people write and read them.

use genesys_mtls_filter::time::UnixSeconds;
use std::time::{SystemTime, UNIX_EPOCH};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const DAY: UnixSeconds = 24 * 3600;

pub fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds::try_from(since.as_secs()).unwrap_or(UnixSeconds::MAX)
}

/// Parses `2026-01-31T12:00:00Z`, with any offset, or a date alone (its first second, UTC).
pub fn parse(text: &str) -> Result<UnixSeconds, String> {
    let full = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    OffsetDateTime::parse(&full, &Rfc3339)
        .map(OffsetDateTime::unix_timestamp)
        .map_err(|_| "write a time like 2026-01-31T12:00:00Z, or a date like 2026-01-31".to_owned())
}

/// RFC 3339 in UTC; the ends of time, which certificates may name, in words.
pub fn rfc3339(seconds: UnixSeconds) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| if seconds < 0 { "before all time".to_owned() } else { "for ever".to_owned() })
}

/// How far away a time is: `in 60 days`, `3 hours ago`.
pub fn away(seconds: UnixSeconds, now: UnixSeconds) -> String {
    let distance = seconds.abs_diff(now);
    let unit = |n: u64, unit: &str| format!("{n} {unit}{}", if n == 1 { "" } else { "s" });
    let text = match distance {
        172_800.. => unit(distance / 86_400, "day"),
        7200.. => unit(distance / 3600, "hour"),
        120.. => unit(distance / 60, "minute"),
        _ => unit(distance, "second"),
    };
    if seconds < now { format!("{text} ago") } else { format!("in {text}") }
}

/// Whole days until then; negative once it has passed.
pub fn days_until(seconds: UnixSeconds, now: UnixSeconds) -> i64 {
    seconds.saturating_sub(now).div_euclid(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_any_offset_and_dates_begin_at_midnight_utc() {
        let cases = [
            ("1970-01-01", Some(0)),
            ("2026-01-31T12:00:00Z", Some(1_769_860_800)),
            ("2026-01-31T13:00:00+01:00", Some(1_769_860_800)),
            ("yesterday", None),
            ("2026-13-01", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
        assert_eq!(rfc3339(1_769_860_800), "2026-01-31T12:00:00Z");
        assert_eq!(rfc3339(i64::MAX), "for ever");
        assert_eq!(rfc3339(i64::MIN), "before all time");
    }

    #[test]
    fn distances_name_the_largest_sensible_unit() {
        let cases =
            [(1, "in 1 second"), (-90, "90 seconds ago"), (7200, "in 2 hours"), (86_400 * 60, "in 60 days")];
        for (seconds, expected) in cases {
            assert_eq!(away(1_000_000 + seconds, 1_000_000), expected);
        }
        assert_eq!((days_until(-1, 0), days_until(86_400, 0)), (-1, 1));
    }
}
