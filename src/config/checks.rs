//! Forms of text: durations, names, hosts and headers.

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

/// Headers that clients, proxies or servers give a meaning, hop-by-hop ones included; then beginnings of such.
const TAKEN: &str = " host authorization cookie connection transfer-encoding te trailer trailers upgrade keep-alive expect \
    range date via forwarded origin referer user-agent from cache-control pragma max-forwards early-data priority traceparent \
    tracestate baggage x-request-id x-real-ip x-http-method-override ";
const TAKEN_BEGINNINGS: &str =
    "content- accept proxy- if- sec- grpc- access-control- http2- x-envoy- x-b3- x-genesys-mtls";

pub fn has_meaning(header: &str) -> bool {
    TAKEN.contains(&format!(" {header} "))
        || TAKEN_BEGINNINGS.split(' ').any(|start| header.starts_with(start))
}

/// The part of RFC 9110's tokens (section 5.6.2) that every proxy passes on.
pub fn is_header(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_label_byte)
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
