//! `config.schema.json` says what the filter's code says: the same names, types, words, bounds and defaults.

use crate::run::directory;
use genesys_mtls_filter::config::{ConfigError, ErrorKind, load};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SCHEMA: &str = include_str!("../../../config.schema.json");

/// Sound configurations that have every option between them.
fn documents() -> [Value; 3] {
    let pem = |file: &str| std::fs::read_to_string(directory("fixtures").join(file)).expect("a fixture");
    let (root, issuer) = (pem("genesys-root.pem"), pem("digicert-ca.pem"));
    let access = json!({
        "clusters": {"api": "{host}", "login": "{host}"},
        "oauth": {"client_id_env": "ID", "client_secret_env": "SECRET"},
    });
    let mut refresh = access.clone();
    for (name, value) in [
        ("interval", json!("30m")),
        ("timeout", json!("2s")),
        ("jitter", json!("20%")),
        ("retry", json!({"base": "2s", "max": "10m"})),
        ("keep_removed", json!("2d")),
        ("max_staleness", json!("72h")),
        ("on_unknown_certificate", json!({"min_interval": "1m", "hold": "1s", "max_held": 7})),
    ] {
        refresh[name] = value;
    }
    let region = json!({
        "certificate_name": "client.example",
        "domain": "example.com",
        "genesys": {"ca_certificates": root, "danger_public_ca": true},
        "digicert": {"pins": ["api"], "issuers": issuer},
        "refresh": access,
    });
    let list = json!({"region": "us-east-1", "authority": "genesys", "url": "http://crl.example/", "cluster": "crl"});
    let all = json!({
        "name": "edge_1",
        "regions": {"us-east-1": region},
        "refresh": refresh,
        "peer_certificate": {"source": "filter_state", "filter_state_key": "peer"},
        "names": "san",
        "clock_skew": "5s",
        "revocation": {
            "mode": "soft", "lists": [list], "discover": {"crl.example": "crl"}, "interval": "2h", "timeout": "10s",
            "max_size": 4096,
        },
        "mode": "shadow",
        "identity": {"header": "x-genesys"},
    });
    let hop = |peer: Value| {
        let hop = json!({"header": "x-cert", "encoding": "base64_der", "peer": peer});
        json!({"regions": {"us-east-1": region}, "peer_certificate": {"danger_trusted_hop": hop}})
    };
    [all, hop(json!({"sha256": ["ab".repeat(32)]})), hop(json!({"dns_san": "edge.example.com"}))]
}

/// One place in a document, and the schema of what is there.
struct Place<'a> {
    document: &'a Value,
    pointer: String,
    path: String,
}

impl Place<'_> {
    fn changed(&self, change: impl FnOnce(&mut Value)) -> Result<String, Vec<ConfigError>> {
        let mut document = self.document.clone();
        change(document.pointer_mut(&self.pointer).expect("a value"));
        policy(&document)
    }

    fn with(&self, value: Value) -> Result<String, Vec<ConfigError>> {
        self.changed(|there| *there = value)
    }
}

/// The policy as text, without the configuration's own digest.
fn policy(document: &Value) -> Result<String, Vec<ConfigError>> {
    let policy = load(document.to_string())?;
    Ok(format!("{policy:?}").replace(&policy.digest.to_string(), ""))
}

/// The schemas that a value may have, references followed.
fn alternatives<'a>(node: &'a Value, schema: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(node);
    let target = node["$ref"].as_str().and_then(|name| schema.pointer(name.trim_start_matches('#')));
    let parts = ["anyOf", "oneOf"].iter().filter_map(|kind| node[*kind].as_array()).flatten();
    for part in parts.chain(target) {
        alternatives(part, schema, found);
    }
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// The kind of the one error at this path, if it is there.
fn kind(result: Result<String, Vec<ConfigError>>, path: &str) -> Option<ErrorKind> {
    let errors = result.err()?;
    errors.into_iter().find(|error| error.path == path).map(|error| error.kind)
}

fn compare(place: &Place, node: &Value, schema: &Value, seen: &mut BTreeSet<String>) {
    let mut all = Vec::new();
    alternatives(node, schema, &mut all);
    let path = place.path.as_str();
    let value = place.document.pointer(&place.pointer).expect("a value");
    let below = |step: &str, path: String| Place {
        document: place.document,
        pointer: format!("{}/{}", place.pointer, step.replace('/', "~1")),
        path,
    };
    let objects: Vec<&Value> = all.iter().copied().filter(|node| node["properties"].is_object()).collect();
    if let ([object], true) = (objects.as_slice(), value.is_object()) {
        let properties = object["properties"].as_object().expect("properties");
        let unknown = if path.is_empty() { "zz".to_owned() } else { format!("{path}.zz") };
        match kind(place.changed(|value| value["zz"] = json!(1)), &unknown) {
            Some(ErrorKind::UnknownField { expected, .. }) => {
                assert_eq!(names(expected), names(properties.keys().map(String::as_str)), "{path}");
            }
            other => panic!("{path}: {other:?}"),
        }
        let required = object["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let required = names(required);
        for (name, property) in properties {
            let without = |value: &mut Value| drop(value.as_object_mut().expect("an object").remove(name));
            let is_missing = kind(place.changed(without), path) == Some(ErrorKind::MissingField);
            assert_eq!(is_missing, required.contains(name), "{path}.{name}");
            let default = &property["default"];
            let explicit = place.changed(|value| value[name] = default.clone());
            if let (false, Ok(left_out), Ok(explicit)) = (default.is_null(), place.changed(without), explicit)
            {
                assert_eq!(left_out, explicit, "the default of {path}.{name}");
            }
            if value.get(name).is_some() {
                seen.insert(format!("{}/{name}", std::ptr::from_ref::<Value>(*object) as usize));
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&below(name, path), property, schema, seen);
            }
        }
    }
    for part in &all {
        for (name, _) in
            value.as_object().into_iter().flatten().filter(|_| part["additionalProperties"].is_object())
        {
            compare(&below(name, format!("{path}.{name}")), &part["additionalProperties"], schema, seen);
        }
        for n in 0..value.as_array().map_or(0, Vec::len) {
            compare(&below(&n.to_string(), format!("{path}[{n}]")), &part["items"], schema, seen);
        }
        for (bound, outside) in [("minimum", -1), ("maximum", 1)] {
            let Some(bound) = part[bound].as_i64() else { continue };
            assert!(place.with(json!(bound)).is_ok(), "{path}: {bound}");
            assert!(place.with(json!(bound + outside)).is_err(), "{path}: not {bound}");
        }
    }
    compare_values(place, node, &all, schema);
}

fn compare_values(place: &Place, node: &Value, all: &[&Value], schema: &Value) {
    let path = place.path.as_str();
    if let Some(ErrorKind::UnknownValue { expected, .. }) = kind(place.with(json!("zz")), path) {
        let words = all.iter().flat_map(|node| {
            node["enum"].as_array().into_iter().flatten().chain([&node["const"]]).filter_map(Value::as_str)
        });
        assert_eq!(names(expected), names(words), "{path}");
    }
    let mut of_value = node.clone();
    of_value["$defs"] = schema["$defs"].clone();
    let validator = jsonschema::validator_for(&of_value).expect("a schema");
    for value in [
        json!(null),
        json!(true),
        json!(false),
        json!(2048),
        json!(0.5),
        json!("\u{1}"),
        json!([]),
        json!({}),
    ] {
        let errors = place.with(value.clone()).err().unwrap_or_default();
        let mismatch = errors.iter().any(|error| {
            error.path == path
                && ["invalid type", "has no value"].iter().any(|words| error.message.starts_with(words))
        });
        if mismatch || errors.is_empty() {
            assert_eq!(validator.is_valid(&value), errors.is_empty(), "{path}: {value}, {errors:?}");
        }
    }
}

#[test]
fn schema_and_filter_agree_on_every_option() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let mut seen = BTreeSet::new();
    for document in &documents() {
        policy(document).unwrap_or_else(|errors| panic!("{errors:?}"));
        let root = Place { document, pointer: String::new(), path: String::new() };
        compare(&root, &schema, &schema, &mut seen);
    }
    let defined = schema["$defs"].as_object().expect("definitions").values();
    let options = defined.chain([&schema]).filter_map(|object| object["properties"].as_object());
    assert_eq!(seen.len(), options.map(serde_json::Map::len).sum::<usize>(), "an option was not compared");
}
