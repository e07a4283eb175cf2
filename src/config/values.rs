//! Values that the configuration writes as text: durations, percentages, pins.

use crate::x509::fingerprint::Fingerprint;
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};
use std::{fmt, time::Duration};

/// A duration such as `250ms`, `30s`, `5m`, `24h` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// `none`, or a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bound(pub Option<Duration>);

/// A share such as `10%`, from `0%` to `50%`, kept in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u32);

/// One entry of `digicert.pins`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// `api`: whatever the region's certificates API names.
    Api,
    /// `sha256:<hex>`: one certificate, by its fingerprint.
    Sha256(Fingerprint),
}

/// Reads text. Anything else is refused with the words for what is wanted.
fn text<'de, D: Deserializer<'de>>(deserializer: D, wanted: &'static str) -> Result<String, D::Error> {
    struct Text(&'static str);
    impl Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }
    deserializer.deserialize_str(Text(wanted))
}

fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// What to write instead of a text that is no duration.
fn unit_for(text: &str) -> String {
    match text.parse::<u32>() {
        Ok(number) => format!("give it a unit, such as {number}s or {number}m"),
        Err(_) => "write a number with a unit, such as 30s, 5m or 24h".to_owned(),
    }
}

/// As it would be written in a configuration: whole numbers of the largest unit.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        match units.into_iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", millis / unit),
            None if millis == 0 => f.write_str("0s"),
            None => write!(f, "{millis}ms"),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "a duration with its unit, such as 30s, 5m or 24h")?;
        duration(&text)
            .map(Span)
            .ok_or_else(|| de::Error::custom(format!("`{text}` is not a duration; {}", unit_for(&text))))
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "`none`, or a duration such as 72h")?;
        if text == "none" {
            return Ok(Self(None));
        }
        duration(&text).map(|bound| Self(Some(bound))).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is neither `none` nor a duration such as 72h"))
        })
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "a share such as 10%")?;
        let number = text.strip_suffix('%').and_then(|digits| digits.parse().ok());
        number.filter(|&percent| percent <= 50).map(Percent).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is not a share between 0% and 50%; write it like 10%"))
        })
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "`api` or `sha256:<64 hex digits>`")?;
        if text == "api" {
            return Ok(Self::Api);
        }
        let Some(digits) = text.strip_prefix("sha256:") else {
            let is_bare = text.parse::<Fingerprint>().is_ok();
            let fix =
                if is_bare { "write `sha256:` before it" } else { "write `api` or `sha256:<64 hex digits>`" };
            return Err(de::Error::custom(format!("`{text}` is not a pin; {fix}")));
        };
        digits.parse().map(Self::Sha256).map_err(|error| de::Error::custom(format!("`{text}`: {error}")))
    }
}
