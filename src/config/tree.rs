//! Bytes to a tree of values: JSON text or a protobuf `Struct`. What is said of the tree does not depend on its form.

use crate::config::error::ConfigError;
use prost::Message as _;
use prost_types::{Struct, Value as ProtobufValue, value::Kind};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value, map::Entry};
use std::fmt;

/// The largest configuration read, in bytes: room for 10,000 pins and 100 CAs.
pub const MAX_CONFIGURATION: usize = 4 * 1024 * 1024;

/// Envoy passes `StringValue` and `BytesValue` configurations as their bytes, and a plain YAML one as the serialized
/// `Struct`. That begins with a line feed and a length, so it can pass for JSON until it is looked at as a whole: a
/// first entry of 49 bytes reads as the number 1.
pub fn tree(bytes: &[u8]) -> Result<Value, Vec<ConfigError>> {
    if bytes.is_empty() {
        let message = "it is empty: `regions` is required, see the documentation for an example";
        return Err(vec![ConfigError::document(message)]);
    }
    if bytes.len() > MAX_CONFIGURATION {
        return Err(vec![ConfigError::document(&format!("larger than {MAX_CONFIGURATION} bytes"))]);
    }
    let as_json = match serde_json::from_slice(bytes) {
        Ok(Json(object @ Value::Object(_))) => return Ok(object),
        // It is JSON, with a name that is written twice.
        Err(error) if error.is_data() => return Err(vec![not_json(&error)]),
        other => other,
    };
    // Of two equal names in a `Struct` the last counts, as for Envoy and every other reader of protobuf.
    match Struct::decode(bytes) {
        Ok(fields) if !fields.fields.is_empty() => Ok(object(fields)),
        _ => as_json.map(|Json(value)| value).map_err(|error| vec![not_json(&error)]),
    }
}

fn not_json(error: &serde_json::Error) -> ConfigError {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let what = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    let message = if error.is_data() {
        what.to_owned()
    } else {
        format!("not valid JSON: {what}; to write YAML, make it a google.protobuf.Struct")
    };
    ConfigError { position: Some((line, column)), ..ConfigError::document(&message) }
}

macro_rules! scalars {
    ($($visit:ident($type:ty))*) => {
        $(fn $visit<E>(self, value: $type) -> Result<Value, E> { Ok(Value::from(value)) })*
    };
}

/// A JSON value in which no name is written twice: of two, [`Value`] would keep the later one, without a word.
struct Json(Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            scalars! { visit_bool(bool) visit_u64(u64) visit_i64(i64) visit_f64(f64) visit_str(&str) }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(Json(value)) = items.next_element()? {
                    values.push(value);
                }
                Ok(Value::Array(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
                let mut fields = Map::new();
                while let Some(name) = members.next_key::<String>()? {
                    let Json(value) = members.next_value()?;
                    match fields.entry(name) {
                        Entry::Vacant(place) => {
                            place.insert(value);
                        }
                        Entry::Occupied(first) => {
                            let name = first.key();
                            return Err(de::Error::custom(format!("`{name}` is written twice")));
                        }
                    }
                }
                Ok(Value::Object(fields))
            }
        }
        deserializer.deserialize_any(Reader).map(Self)
    }
}

fn object(fields: Struct) -> Value {
    let mut members = Map::new();
    members.extend(fields.fields.into_iter().map(|(name, field)| (name, value(field))));
    Value::Object(members)
}

fn value(field: ProtobufValue) -> Value {
    match field.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(truth)) => Value::Bool(truth),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::StructValue(fields)) => object(fields),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(value).collect()),
        Some(Kind::NumberValue(number)) => whole(number)
            .map(Value::from)
            .or_else(|| Number::from_f64(number).map(Value::Number))
            .unwrap_or(Value::Null),
    }
}

/// `Struct` knows only floating-point numbers; whole ones were written as such.
fn whole(number: f64) -> Option<i64> {
    let is_exact = number.fract() == 0.0 && number.abs() < 9e15;
    #[allow(clippy::cast_possible_truncation)] // far inside the range of both
    is_exact.then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use std::collections::BTreeMap;

    fn text(text: &str) -> ProtobufValue {
        ProtobufValue { kind: Some(Kind::StringValue(text.to_owned())) }
    }

    fn message<const N: usize>(fields: [(&str, ProtobufValue); N]) -> Struct {
        Struct { fields: BTreeMap::from(fields.map(|(name, value)| (name.to_owned(), value))) }
    }

    fn nested<const N: usize>(fields: [(&str, ProtobufValue); N]) -> ProtobufValue {
        ProtobufValue { kind: Some(Kind::StructValue(message(fields))) }
    }

    #[test]
    fn struct_is_read_with_a_first_entry_of_any_length() {
        let mut lengths = Vec::new();
        for extra in 0..260 {
            let header = format!("x-{}", "a".repeat(extra));
            let regions = nested([("us-east-1", nested([]))]);
            let fields = message([("identity", nested([("header", text(&header))])), ("regions", regions)]);
            let bytes = fields.encode_to_vec();
            assert_eq!(bytes[0], b'\n');
            lengths.push(bytes[1]);
            let read = tree(&bytes)
                .unwrap_or_else(|error| panic!("{} ({:?}): {error:?}", bytes[1], bytes[1] as char));
            assert_eq!(read["identity"]["header"], header);
        }
        // Those that could be taken for the beginning of JSON.
        for code in b"0123456789-[{\"tfn \r\t".iter().filter(|code| **code > b' ') {
            assert!(lengths.contains(code), "not tried: {:?}", *code as char);
        }
    }

    #[test]
    fn text_that_is_neither_object_nor_struct_is_rejected_as_json() {
        for (bytes, message) in
            [("7", "invalid type: number"), ("\n2", "invalid type: number"), ("{", "not valid JSON")]
        {
            let errors = load(bytes).expect_err(bytes);
            let [error] = errors.as_slice() else { panic!("{bytes:?}: {errors:?}") };
            assert!(error.message.contains(message), "{bytes:?}: {error}");
        }
    }
}
