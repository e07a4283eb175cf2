//! Bytes to [`Document`]: JSON text or a protobuf `Struct`, with errors that name the field and the nearest valid name.

use super::{ConfigError, Document, words};
use prost::Message as _;
use prost_types::{Struct, Value as ProtobufValue, value::Kind};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

/// The largest configuration read, in bytes: room for 10,000 pins and 100 CAs.
pub const MAX_CONFIGURATION: usize = 4 * 1024 * 1024;

/// Envoy passes `StringValue` and `BytesValue` configurations as their bytes, and a plain YAML one as the serialized
/// `Struct`. That begins with a line feed and a length, so it can pass for JSON until it is looked at as a whole: a
/// first entry of 49 bytes reads as the number 1.
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
    let as_json = match document_from(&mut serde_json::Deserializer::from_slice(bytes)) {
        Ok(document) => return Ok(document),
        Err(Refusal::Shape(error)) if bytes.trim_ascii_start().starts_with(b"{") => return Err(error),
        Err(Refusal::Shape(error) | Refusal::Syntax(error)) => error,
    };
    let read = |value| {
        let document = document_from(&mut ValueSource(value));
        document.map_err(|(Refusal::Shape(error) | Refusal::Syntax(error))| error)
    };
    // A list where a word belongs is called a syntax error by serde_json; read as a value it is one of shape. That is for
    // the words only: of two equal names a value keeps the last, and would be accepted for it.
    if let Ok(value) = serde_json::from_slice(bytes) {
        let message = "a value of the wrong kind, under a name that stands twice".to_owned();
        return Err(read(value).err().unwrap_or(ConfigError { message, ..as_json }));
    }
    // Of two equal names in a `Struct` the last counts, as for Envoy and every other reader of protobuf.
    match Struct::decode(bytes) {
        Ok(fields) if !fields.fields.is_empty() => read(object(fields)),
        _ => Err(as_json),
    }
}

/// Where a document is read from.
trait Source {
    fn read<T: DeserializeOwned>(&mut self) -> Result<T, serde_path_to_error::Error<serde_json::Error>>;
}

struct ValueSource(Value);

impl Source for ValueSource {
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
            path if path == "." || path == "?" => String::new(),
            path => path,
        };
        let inner = error.into_inner();
        let (line, column) = (inner.line(), inner.column());
        let text = inner.to_string();
        let what = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
        let position = (line > 0).then_some((line, column));
        let error = |message: String| ConfigError { position, ..ConfigError::new(path, message) };
        if inner.is_data() {
            Refusal::Shape(error(words::of_shape(what)))
        } else {
            let hint = "to write YAML, make it a google.protobuf.Struct";
            Refusal::Syntax(error(format!("not valid JSON: {what}; {hint}")))
        }
    })
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
fn whole(number: f64) -> Option<i64> {
    let is_exact = number.fract() == 0.0 && number.abs() < 9e15;
    #[allow(clippy::cast_possible_truncation)] // far inside the range of both
    is_exact.then_some(number as i64)
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
