//! What a scalar means: to Envoy (yaml-cpp), to Kubernetes (sigs.k8s.io/yaml), and in JSON. The parser says where it is and how it
//! was written; the loaders differ in what they make of it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Number, Value};

/// Whose loader reads the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Envoy,
    Kubernetes,
    /// A file of JSON: a number with `.0` is a whole one, as in any protobuf `Struct`.
    Json,
    /// JSON that the filter itself gets to read.
    JsonText,
}

/// A scalar as it was written.
#[derive(Debug)]
pub struct Scalar<'t> {
    pub text: &'t str,
    pub is_plain: bool,
    /// The whole tag, such as `tag:yaml.org,2002:int`; `!` alone is the one that says "as it is".
    pub tag: Option<&'t str>,
}

const CORE: &str = "tag:yaml.org,2002:";

impl Scalar<'_> {
    /// An error says what the loader cannot read.
    pub fn value(&self, dialect: Dialect) -> Result<Value, String> {
        match dialect {
            Dialect::Envoy => Ok(self.envoy()),
            Dialect::Kubernetes => self.kubernetes(),
            Dialect::Json | Dialect::JsonText if self.is_plain => {
                let value = serde_json::from_str(self.text).unwrap_or_else(|_| self.text.into());
                Ok(if dialect == Dialect::Json { whole(value) } else { value })
            }
            Dialect::Json | Dialect::JsonText => Ok(self.text.into()),
        }
    }

    /// The name that this scalar makes as a key.
    pub fn key(&self, dialect: Dialect) -> Result<String, String> {
        match dialect {
            Dialect::Envoy if self.is_plain && self.tag.is_none() && is_null(self.text) => {
                Ok("null".to_owned())
            }
            Dialect::Envoy | Dialect::Json | Dialect::JsonText => Ok(self.text.to_owned()),
            Dialect::Kubernetes => match self.kubernetes() {
                Ok(Value::String(text)) => Ok(text),
                Ok(Value::Null) => Err("Kubernetes takes no null as a key".to_owned()),
                Ok(Value::Number(number)) if number.as_i64().is_none() && number.is_u64() => {
                    Err("Kubernetes takes no number as large as this as a key".to_owned())
                }
                Ok(other) => Ok(other.to_string()),
                // An infinity is no value, but a key.
                Err(_) if self.tag.is_none() => Ok(self.text.to_owned()),
                Err(error) => Err(error),
            },
        }
    }

    /// Numbers are integers of 32 bits; all others stay text. Any tag but `!` counts for nothing, on a quoted text as well.
    fn envoy(&self) -> Value {
        match (self.tag, self.is_plain) {
            (Some("!"), _) | (None, false) => return self.text.into(),
            (None, true) if is_null(self.text) => return Value::Null,
            _ => {}
        }
        if let Some(truth) = truth(self.text) {
            return truth.into();
        }
        match c_integer(self.text) {
            Some(number) if i32::try_from(number).is_ok() => number.into(),
            Some(number) => number.to_string().into(),
            None => self.text.into(),
        }
    }

    fn kubernetes(&self) -> Result<Value, String> {
        let text = || Value::from(self.text);
        let tag = match (self.tag, self.is_plain) {
            (Some(tag), _) => tag,
            (None, true) => return finite(yaml_1_1(self.text)),
            (None, false) => return Ok(text()),
        };
        let fits = |value: &Value| match tag.strip_prefix(CORE) {
            Some("int") => value.is_i64() || value.is_u64(),
            Some("float") => value.is_number(),
            Some("bool") => value.is_boolean(),
            _ => value.is_null(),
        };
        match tag.strip_prefix(CORE) {
            Some("int" | "float" | "bool" | "null") => {
                let value = finite(yaml_1_1(self.text))?;
                if fits(&value) { Ok(value) } else { Err(format!("`{}` is no {tag}", self.text)) }
            }
            Some("binary") => STANDARD
                .decode(self.text.replace(['\n', '\r'], ""))
                .map(|bytes| String::from_utf8_lossy(&bytes).into())
                .map_err(|_| "!!binary without base64".to_owned()),
            _ => Ok(text()),
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// YAML 1.1's booleans, which both loaders know: in small letters, in capitals, or with a capital first.
fn truth(text: &str) -> Option<bool> {
    let rest = text.get(1..).unwrap_or_default();
    let flexible = rest.bytes().all(|b| b.is_ascii_lowercase())
        || text.starts_with(|c: char| c.is_ascii_uppercase()) && rest.bytes().all(|b| b.is_ascii_uppercase());
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "true" | "on" if flexible => Some(true),
        "n" | "no" | "false" | "off" if flexible => Some(false),
        _ => None,
    }
}

/// An integer as C writes it: `010` is 8, `0x40` is 64.
fn c_integer(text: &str) -> Option<i64> {
    let text = text.trim_end_matches(|c: char| c.is_ascii_whitespace());
    integer(text, |digits| match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, 2),
        [b'0', _, ..] => (8, 1),
        _ => (10, 0),
    })
    .and_then(|number| i64::try_from(number).ok())
}

/// Digits behind a sign, in the base that they say.
fn integer(text: &str, base: impl Fn(&str) -> (u32, usize)) -> Option<i128> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (radix, prefix) = base(digits);
    let digits = digits.get(prefix..).filter(|digits| digits.starts_with(|c: char| c.is_digit(radix)))?;
    let number = i128::from_str_radix(digits, radix).ok()?;
    Some(if text.starts_with('-') { -number } else { number })
}

/// What Kubernetes' loader makes of a plain text; a number beyond all bounds is none.
fn yaml_1_1(text: &str) -> Option<Value> {
    if is_null(text) {
        return Some(Value::Null);
    }
    if let Some(truth) = truth(text) {
        return Some(truth.into());
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return None;
    }
    let is_numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if !is_numeric {
        return Some(text.into());
    }
    let digits = text.replace('_', "");
    let whole = integer(&digits, |digits| match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, 2),
        [b'0', b'o' | b'O', ..] => (8, 2),
        [b'0', b'b' | b'B', ..] => (2, 2),
        [b'0', _, ..] => (8, 1),
        _ => (10, 0),
    });
    let whole = whole.and_then(|number| {
        let signed = i64::try_from(number).map(Value::from);
        signed.or_else(|_| u64::try_from(number).map(Value::from)).ok()
    });
    let digits = if text.starts_with('.') { text } else { &digits };
    let is_real = digits.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let real = || digits.parse::<f64>().ok().filter(|real| is_real && real.is_finite());
    let real = || real().and_then(Number::from_f64).map(Value::Number);
    Some(whole.or_else(real).unwrap_or_else(|| text.into()))
}

/// A number with `.0` as the whole one that it is.
fn whole(value: Value) -> Value {
    let real = value.as_f64().filter(|real| value.is_f64() && real.fract() == 0.0 && real.abs() < 1e15);
    #[expect(clippy::cast_possible_truncation, reason = "whole, and below 2^53")]
    real.map_or(value, |real| (real as i64).into())
}

fn finite(value: Option<Value>) -> Result<Value, String> {
    value.map(whole).ok_or_else(|| "Kubernetes takes no infinity and no NaN".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Written, what Envoy reads, what Kubernetes reads.
    #[test]
    fn plain_scalars_mean_what_each_loader_makes_of_them() {
        for (text, envoy, kubernetes) in [
            ("010", json!(8), json!(8)),
            ("0x40", json!(64), json!(64)),
            ("08", json!("08"), json!(8)),
            ("0b11", json!("0b11"), json!(3)),
            ("0o10", json!("0o10"), json!(8)),
            ("1_000", json!("1_000"), json!(1000)),
            ("1.5", json!("1.5"), json!(1.5)),
            ("1e3", json!("1e3"), json!(1000)),
            ("3000000000", json!("3000000000"), json!(3_000_000_000_i64)),
            ("-0x10", json!(-16), json!(-16)),
            ("+5", json!(5), json!(5)),
            ("yes", json!(true), json!(true)),
            ("Off", json!(false), json!(false)),
            ("yEs", json!("yEs"), json!("yEs")),
            ("~", Value::Null, Value::Null),
            ("2001-01-01", json!("2001-01-01"), json!("2001-01-01")),
            ("1s", json!("1s"), json!("1s")),
        ] {
            let scalar = Scalar { text, is_plain: true, tag: None };
            assert_eq!(scalar.value(Dialect::Envoy), Ok(envoy), "{text}");
            assert_eq!(scalar.value(Dialect::Kubernetes), Ok(kubernetes), "{text}");
        }
    }

    #[test]
    fn tags_count_for_kubernetes_and_make_envoy_read_anew() {
        let int = Some("tag:yaml.org,2002:int");
        let string = Some("tag:yaml.org,2002:str");
        for (text, is_plain, tag, envoy, kubernetes) in [
            ("010", true, string, json!(8), Ok(json!("010"))),
            ("yes", false, string, json!(true), Ok(json!("yes"))),
            ("5", false, int, json!(5), Ok(json!(5))),
            ("x", true, int, json!("x"), Err(())),
            ("5", true, Some("!"), json!("5"), Ok(json!("5"))),
            ("5", true, Some("!own"), json!(5), Ok(json!("5"))),
            ("5", false, None, json!("5"), Ok(json!("5"))),
        ] {
            let scalar = Scalar { text, is_plain, tag };
            assert_eq!(scalar.value(Dialect::Envoy), Ok(envoy), "{text} {tag:?}");
            assert_eq!(scalar.value(Dialect::Kubernetes).map_err(|_| ()), kubernetes, "{text} {tag:?}");
        }
    }

    #[test]
    fn keys_are_text_to_envoy_and_read_first_by_kubernetes() {
        for (text, envoy, kubernetes) in [
            ("yes", "yes", Ok("true")),
            ("010", "010", Ok("8")),
            ("08", "08", Ok("8")),
            ("~", "null", Err(())),
        ] {
            let scalar = Scalar { text, is_plain: true, tag: None };
            assert_eq!(scalar.key(Dialect::Envoy).as_deref(), Ok(envoy));
            assert_eq!(scalar.key(Dialect::Kubernetes).map_err(|_| ()).as_deref(), kubernetes.as_deref());
        }
    }
}
