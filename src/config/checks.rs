//! Forms of text: durations, names, hosts and headers.

use crate::config::{
    error::{ErrorKind, Form},
    section::Section,
};
use std::time::Duration;

pub const SECOND: Duration = Duration::from_secs(1);
pub const HOUR: Duration = Duration::from_hours(1);
pub const DAY: Duration = Duration::from_hours(24);

/// A duration such as `250ms`, `30s`, `5m`, `24h` or `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        format!("`{text}` is not a duration: write a number with a unit, such as 30s, 5m or 24h")
    })
}

/// The same as text: whole numbers of the largest unit.
pub fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    match units.into_iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// A header the filter reads or writes: a token (RFC 9110, section 5.6.2) that no proxy gives another meaning.
pub fn header(section: &mut Section<'_>, name: &'static str) -> Option<String> {
    const TAKEN: [&str; 7] =
        ["host", "authorization", "cookie", "connection", "content-length", "transfer-encoding", "te"];
    let header = section.text(name)?.to_ascii_lowercase();
    if header.is_empty() || !header.bytes().all(is_label_byte) {
        let message = format!("`{header}` is not a header name: use letters, digits and - only");
        let kind = ErrorKind::Malformed { text: header.clone(), form: Form::HeaderName };
        section.wrong_kind(name, message, kind);
    } else if TAKEN.contains(&header.as_str()) {
        section.wrong(name, format!("`{header}` already has a meaning: choose another header"));
    }
    Some(header)
}

pub fn is_policy_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

pub fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(is_label_byte)
}

pub fn is_host(text: &str) -> bool {
    text.len() <= 253 && text.contains('.') && text.split('.').all(is_label)
}
