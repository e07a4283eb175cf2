//! Bytes to [`Document`]: JSON text or a protobuf `Struct`, with errors that name the field and the nearest valid name.

use super::{ConfigError, Document};
use prost::Message as _;
use prost_types::{Struct, Value as ProtobufValue, value::Kind};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

/// The largest configuration read, in bytes: room for 10,000 pins and 100 CAs.
pub const MAX_CONFIGURATION: usize = 4 * 1024 * 1024;

/// Envoy passes `StringValue` and `BytesValue` configurations as their bytes, and a plain YAML one as the serialized
/// `Struct`. That begins with a line feed and the length of an entry, which may well be a digit's code: as JSON such a
/// one reads as a number. Only an object is taken for JSON, since after its brace no `Struct` goes on as JSON does.
pub fn document(bytes: &[u8]) -> Result<Document, ConfigError> {
    if bytes.is_empty() {
        return Err(ConfigError::new(
            "",
            "it is empty; `regions` is required, see the README for an example",
        ));
    }
    if bytes.len() > MAX_CONFIGURATION {
        return Err(ConfigError::new("", format!("larger than {MAX_CONFIGURATION} bytes")));
    }
    let json = document_from(&mut serde_json::Deserializer::from_slice(bytes));
    let is_object = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    match json {
        Ok(document) => Ok(document),
        Err(Refusal::Shape(error)) if is_object => Err(error),
        Err(Refusal::Shape(error) | Refusal::Syntax(error)) => match Struct::decode(bytes) {
            Ok(fields) if !fields.fields.is_empty() => document_from(&mut StructSource(object(fields)))
                .map_err(|refusal| match refusal {
                    Refusal::Shape(error) | Refusal::Syntax(error) => error,
                }),
            _ => Err(error),
        },
    }
}

/// Where a document is read from.
trait Source {
    fn read<T: DeserializeOwned>(&mut self) -> Result<T, serde_path_to_error::Error<serde_json::Error>>;
}

struct StructSource(Value);

impl Source for StructSource {
    fn read<T: DeserializeOwned>(&mut self) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
        serde_path_to_error::deserialize(self.0.take())
    }
}

impl Source for serde_json::Deserializer<serde_json::de::SliceRead<'_>> {
    fn read<T: DeserializeOwned>(&mut self) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
        let value = serde_path_to_error::deserialize(&mut *self)?;
        let end = self.end();
        end.map(|()| value).map_err(|error| {
            let nowhere = serde_path_to_error::Track::new();
            serde_path_to_error::Error::new(nowhere.path(), error)
        })
    }
}

enum Refusal {
    /// Not JSON at all.
    Syntax(ConfigError),
    /// JSON of the wrong shape.
    Shape(ConfigError),
}

fn document_from(source: &mut impl Source) -> Result<Document, Refusal> {
    source.read().map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        let inner = error.into_inner();
        let is_shape = inner.is_data();
        let message = with_nearest_name(&inner.to_string());
        if is_shape {
            Refusal::Shape(ConfigError::new(path, message))
        } else {
            Refusal::Syntax(ConfigError::new(path, format!("not valid JSON: {message}")))
        }
    })
}

/// Adds "did you mean" to serde's "unknown field `x`, expected one of `a`, `b`" and "unknown variant" messages.
fn with_nearest_name(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let nearest = message.starts_with("unknown ").then(|| {
        let unknown = quoted.next()?;
        let (distance, name) = quoted.map(|name| (strsim::damerau_levenshtein(unknown, name), name)).min()?;
        (distance <= 3.max(name.len() / 3)).then_some(name)
    });
    match nearest.flatten() {
        Some(name) => format!("{message}; did you mean `{name}`?"),
        None => message.to_owned(),
    }
}

fn object(fields: Struct) -> Value {
    let members = fields.fields.into_iter().map(|(name, field)| (name, value(field)));
    Value::Object(members.collect::<Map<_, _>>())
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
fn whole(number: f64) -> Option<u32> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked on the next line
    let candidate = number as u32;
    (f64::from(candidate).to_bits() == number.to_bits()).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn a_struct_is_read_whatever_the_length_of_its_first_entry() {
        let mut lengths = Vec::new();
        for extra in 0..260 {
            let header = format!("x-{}", "a".repeat(extra));
            let regions = nested([("us-east-1", nested([]))]);
            let fields = message([("identity", nested([("header", text(&header))])), ("regions", regions)]);
            let bytes = fields.encode_to_vec();
            assert_eq!(bytes[0], b'\n');
            lengths.push(bytes[1]);
            let read = document(&bytes)
                .unwrap_or_else(|error| panic!("{} ({:?}): {error}", bytes[1], bytes[1] as char));
            assert_eq!(read.identity.map(|identity| identity.header), Some(header));
        }
        // Those that could be taken for the beginning of JSON.
        for code in b"0123456789-[{\"tfn \r\t".iter().filter(|code| **code > b' ') {
            assert!(lengths.contains(code), "not tried: {:?}", *code as char);
        }
    }

    #[test]
    fn text_that_is_neither_an_object_nor_a_struct_is_refused_as_json() {
        for (bytes, message) in
            [("7", "invalid type: integer"), ("\n2", "invalid type: integer"), ("{", "not valid JSON")]
        {
            let error = document(bytes.as_bytes()).expect_err(bytes).to_string();
            assert!(error.contains(message), "{bytes:?}: {error}");
        }
    }
}
