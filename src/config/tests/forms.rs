//! The two forms in which a configuration arrives mean the same: JSON text, and a serialized `google.protobuf.Struct`.

use super::*;
use crate::x509::fingerprint::Fingerprint;
use proptest::{collection, option, prelude::*, sample};
use prost::Message as _;
use prost_types::{ListValue, Struct, value::Kind};
use testbed_pki::{KeyType, key_pem};

/// What Envoy makes of plain YAML.
pub fn as_struct(document: &Value) -> Vec<u8> {
    fields(document).encode_to_vec()
}

fn fields(document: &Value) -> Struct {
    let members = document.as_object().expect("an object");
    Struct { fields: members.iter().map(|(name, value)| (name.clone(), protobuf(value))).collect() }
}

fn protobuf(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(protobuf).collect() }),
        Value::Object(_) => Kind::StructValue(fields(value)),
    };
    prost_types::Value { kind: Some(kind) }
}

/// What a configuration comes to, without what has to differ: the digest, and how serde words an error.
fn comparable(result: Result<Policy, Vec<ConfigError>>) -> Result<String, Vec<String>> {
    let mut policy =
        result.map_err(|errors| errors.into_iter().map(|error| error.path).collect::<Vec<_>>())?;
    policy.digest = Fingerprint::of(b"");
    // Sets print in no particular order.
    let pins: Vec<Vec<Fingerprint>> = policy
        .regions
        .iter_mut()
        .filter_map(|region| region.digicert.as_mut())
        .map(|digicert| {
            let mut pins: Vec<Fingerprint> = digicert.pins.drain().collect();
            pins.sort();
            pins
        })
        .collect();
    Ok(format!("{policy:?} {pins:?}"))
}

fn assert_same(document: &Value) {
    let (json, protobuf) = (load(document), crate::config::load(as_struct(document)));
    assert_eq!(comparable(json), comparable(protobuf), "{document:#}");
}

#[test]
fn both_forms_of_everything_are_one_policy() {
    assert!(crate::config::load(as_struct(&everything())).is_ok());
    assert_same(&everything());
    assert_same(&us_only(&genesys()));
}

/// A `Struct` begins with a line feed and a length. As JSON that is white space and, by the length, a digit, a bracket,
/// a quote or a minus: none of them may decide.
#[test]
fn struct_is_distinguished_from_json_by_any_first_entry() {
    let mut first = Vec::new();
    for length in 1..150 {
        let document = merged(&us_only(&genesys()), &json!({"identity": {"header": "x".repeat(length)}}));
        first.push(as_struct(&document)[1]);
        assert!(crate::config::load(as_struct(&document)).is_ok(), "a header of {length} letters");
        assert_same(&document);
    }
    for byte in *b"\"-0123456789[]fnt{}" {
        assert!(first.contains(&byte) || byte == b'"', "no entry measures {byte}");
    }
}

/// A protobuf map on the wire is a list of entries. An author who can write one twice can write the whole configuration, and canary
/// and workers get the same bytes.
#[test]
fn last_of_two_equal_names_in_a_struct_counts() {
    let first = as_struct(&merged(&us_only(&genesys()), &json!({"mode": 0})));
    let twice = [first, as_struct(&json!({"mode": "shadow"}))].concat();
    assert_eq!(crate::config::load(&twice).map(|policy| policy.mode), Ok(Mode::Shadow));
    // Entries replace each other whole: nothing of the first remains.
    let twice = [as_struct(&everything()), as_struct(&json!({"regions": {}}))].concat();
    assert!(crate::config::load(&twice).is_err());
}

#[test]
fn numbers_of_a_struct_are_whole_where_they_were_written_so() {
    let held = |number: Value| {
        let document = merged(
            &us_only(&genesys()),
            &json!({"refresh": {"on_unknown_certificate": {"max_held": number}}}),
        );
        crate::config::load(as_struct(&document))
            .map(|policy| policy.refresh.on_unknown_certificate.max_held)
            .map_err(|errors| errors[0].message.clone())
    };
    assert_eq!(held(json!(0)), Ok(0));
    assert_eq!(held(json!(10_000)), Ok(10_000));
    assert_eq!(held(json!(10_001)), Err("10001 is outside 0 to 10000".to_owned()));
    let expected = "expected a whole number, 0 or above, without quotes";
    assert_eq!(held(json!(-1)), Err(format!("invalid type: number `-1`, {expected}")));
    assert_eq!(held(json!(1.5)), Err(format!("invalid type: number `1.5`, {expected}")));
    assert_eq!(held(json!(1e15)), Err("1000000000000000 is outside 0 to 10000".to_owned()));
    assert_eq!(held(json!(1e300)), Err(format!("invalid type: number `1e+300`, {expected}")));
}

#[test]
fn bytes_that_are_neither_form_say_so() {
    let first = |bytes: &[u8]| crate::config::load(bytes).unwrap_err()[0].to_string();
    let empty = "configuration: it is empty: `regions` is required, see the documentation for an example";
    assert_eq!(first(b""), empty);
    for (bytes, expected, place) in [
        (b"x".as_slice(), "expected value", "line 1, column 1"),
        (b" ", "EOF while parsing a value", "line 1, column 1"),
        (b"regions:\n  us-east-1: {}\n", "expected value", "line 1, column 1"),
        (b"{\"regions\":{}", "EOF while parsing an object", "line 1, column 13"),
        (
            b"{\"regions\":{\"us-east-1\":{\"digicert\":{\"pins\":[\"api\"]}}}} x",
            "trailing characters",
            "line 1, column 57",
        ),
        (b"\xff\xfe", "expected value", "line 1, column 1"),
        (b"\x0a\x7f\x00", "expected value", "line 2, column 1"),
    ] {
        let hint = "to write YAML, make it a google.protobuf.Struct";
        assert_eq!(first(bytes), format!("configuration: not valid JSON: {expected}; {hint} ({place})"));
    }
    // An empty `Struct` is no bytes at all; one with unknown fields only is none of ours.
    assert_eq!(first(&Struct::default().encode_to_vec()), empty);
    assert!(first(&[0x12, 0]).starts_with("configuration: not valid JSON"));
}

#[test]
fn a_configuration_has_at_most_4_mib() {
    let mut text = us_only(&genesys()).to_string().into_bytes();
    text.resize(MAX_CONFIGURATION, b' ');
    assert!(crate::config::load(&text).is_ok());
    text.push(b' ');
    let error = crate::config::load(&text).unwrap_err();
    assert_eq!(error, [ConfigError::document("larger than 4194304 bytes")]);
}

/// The places of all texts in a document.
fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| texts(value, &format!("{at}/{name}"), found));
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(n, value)| texts(value, &format!("{at}/{n}"), found));
        }
        Value::String(_) => found.push(at.to_owned()),
        _ => {}
    }
}

#[test]
fn a_private_key_is_never_shown_wherever_it_was_pasted() {
    let pem = key_pem("unit-pasted", KeyType::P256);
    let secrets: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let mut places = Vec::new();
    texts(&everything(), "", &mut places);
    // And where an object or a list belongs.
    places.extend(
        ["", "/us-east-1", "/us-east-1/genesys", "/us-east-1/digicert", "/us-east-1/digicert/pins"]
            .map(|place| format!("/regions{place}")),
    );
    places.extend(["/refresh", "/refresh/retry", "/refresh/clusters", "/identity"].map(str::to_owned));
    assert!(places.len() > 35, "{places:?}");
    let bundle = cast().us_ca.pem.clone() + &pem;
    for place in places {
        for pasted in [
            pem.to_string(),
            pem.replace('\n', " "),
            pem.replace('\n', ""),
            pem.to_lowercase(),
            bundle.clone(),
        ] {
            let mut document = everything();
            *document.pointer_mut(&place).unwrap() = json!(pasted);
            for result in [load(&document), crate::config::load(as_struct(&document))] {
                // Cluster names and such are free text: what is not refused is not shown either.
                let Err(errors) = result else { continue };
                let shown = format!("{errors:?}").to_lowercase();
                let is_shown = secrets.iter().any(|secret| shown.contains(&secret.to_lowercase()[..16]));
                assert!(!is_shown, "{place}: {shown}");
            }
        }
    }
    let document = us_only(&json!({"genesys": {"ca_certificates": bundle}}));
    let errors = load(&document).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].path, "regions.us-east-1.genesys.ca_certificates");
    assert!(
        errors[0].message.starts_with("holds a private key, which this filter never needs"),
        "{errors:?}"
    );
}

/// Names are quoted, too, and may hold what ends a quote.
#[test]
fn invalid_name_is_not_shown_and_does_not_break_the_line() {
    let pem = key_pem("unit-pasted", KeyType::P256);
    let secret = &pem.lines().nth(1).unwrap()[..16];
    for name in [pem.to_string(), pem.replace('\n', " "), format!("a`{}", *pem), format!("a`b`{}", *pem)] {
        let regions = json!({"us-east-1": {"genesys": genesys()}});
        for document in [
            json!({"regions": regions, name.as_str(): 1}),
            json!({"regions": regions, "refresh": {name.as_str(): 1}}),
            json!({"regions": {name.as_str(): {"genesys": genesys()}}}),
            json!({"regions": {name.as_str(): 7}}),
            json!({"regions": regions, "mode": name}),
        ] {
            for result in [load(&document), crate::config::load(as_struct(&document))] {
                for error in result.expect_err("a name that is none") {
                    let shown = error.to_string();
                    assert!(!shown.contains(secret) && !shown.contains(char::is_control), "{shown}");
                }
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<i16>().prop_map(|n| json!(f64::from(n) + 0.5)),
        sample::select(vec![
            "",
            "api",
            "injected",
            "30s",
            "none",
            "10%",
            "shadow",
            "xfcc",
            "us-east-1",
            "é\u{1}"
        ])
        .prop_map(Value::from),
        "[ -~]{0,60}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            collection::btree_map("[a-z_]{1,8}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

/// A document in which up to three things were replaced, removed or added.
fn any_document() -> impl Strategy<Value = Value> {
    let change = (any::<sample::Index>(), option::of(any_json()));
    (any::<bool>(), collection::vec(change, 0..3)).prop_map(|(large, changes)| {
        let mut document = if large { everything() } else { us_only(&genesys()) };
        for (place, change) in changes {
            let mut places = Vec::new();
            texts(&document, "", &mut places);
            // Whole branches, too.
            let branches: Vec<String> = places
                .iter()
                .filter_map(|place| place.rsplit_once('/'))
                .map(|(up, _)| up.to_owned())
                .collect();
            places.extend(branches);
            places.retain(|place| !place.is_empty());
            if places.is_empty() {
                continue;
            }
            let place = &places[place.index(places.len())];
            if let Some(value) = change {
                *document.pointer_mut(place).unwrap() = value;
                continue;
            }
            let (up, name) = place.rsplit_once('/').unwrap();
            if let Some(members) = document.pointer_mut(up).and_then(Value::as_object_mut) {
                members.remove(name);
            }
        }
        document
    })
}

proptest! {
    #[test]
    fn both_forms_of_any_document_come_to_the_same(document in any_document()) {
        let (json, protobuf) = (load(&document), crate::config::load(as_struct(&document)));
        prop_assert_eq!(comparable(json), comparable(protobuf));
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(crate::config::load(&bytes).is_err());
    }
}
