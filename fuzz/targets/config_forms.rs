//! A document comes to the same as JSON text and as protobuf `Struct`: the same policy, or errors in the same places.
#![no_main]

use genesys_mtls_filter::{
    config::{ConfigError, load},
    policy::Policy,
    x509::fingerprint::Fingerprint,
};
use genesys_mtls_fuzz::text;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Number, Value};

fuzz_target!(|data: &[u8]| {
    let Ok(Value::Object(document)) = serde_json::from_slice(data) else { return };
    let Some(document) = object(document, 0) else { return };
    let protobuf = text::protobuf(&document);
    // An empty message is no message.
    if protobuf.is_empty() {
        return;
    }
    let json = Value::Object(document).to_string();
    assert_eq!(comparable(load(json.as_bytes())), comparable(load(&protobuf)), "{json}");
});

/// The document with numbers that both forms can hold; none if it is nested deeper than any real configuration.
fn object(members: Map<String, Value>, depth: usize) -> Option<Map<String, Value>> {
    members.into_iter().map(|(name, member)| Some((name, value(member, depth + 1)?))).collect()
}

fn value(value: Value, depth: usize) -> Option<Value> {
    Some(match value {
        _ if depth > 16 => return None,
        Value::Object(members) => Value::Object(object(members, depth)?),
        Value::Array(values) => Value::Array(
            values.into_iter().map(|member| self::value(member, depth + 1)).collect::<Option<_>>()?,
        ),
        Value::Number(number) => {
            let number = number.as_f64()?.clamp(-1e12, 1e12);
            let whole = number.trunc();
            #[allow(clippy::cast_possible_truncation)]
            if (number - whole).abs() < 0.25 {
                Value::from(whole as i64)
            } else {
                Value::Number(Number::from_f64(whole + 0.5)?)
            }
        }
        other => other,
    })
}

fn comparable(result: Result<Policy, Vec<ConfigError>>) -> Result<String, Vec<String>> {
    let mut policy =
        result.map_err(|errors| errors.into_iter().map(|error| error.path).collect::<Vec<_>>())?;
    policy.digest = Fingerprint::of(b"");
    // Sets print in no particular order.
    let digicert = policy.regions.iter_mut().filter_map(|region| region.digicert.as_mut());
    let mut pins: Vec<Fingerprint> = digicert.flat_map(|digicert| digicert.pins.drain()).collect();
    pins.sort();
    Ok(format!("{policy:?} {pins:?}"))
}
