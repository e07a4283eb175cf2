//! The JSON Schema: the committed one is the current one, and the examples of the documents keep to it.

use crate::{
    errors::{CATALOGUE, expanded},
    markdown::{Block, blocks, repository},
    run::{assert_golden, directory, run, run_with},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _};
use testbed::config::{load_yaml, parse_yaml};

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&run(&["schema"]).json()).expect("a schema")
}

/// Every plugin configuration inside a file: of a `PluginConfig`, a `WasmPlugin`, or of JSON text.
fn configurations(value: &Value, found: &mut Vec<Value>) {
    if let Some(plugin) = value.get("pluginConfig") {
        found.push(plugin.clone());
    }
    // An overlay of the Istio manifests replaces the regions.
    let patch = value.get("patch").and_then(Value::as_str).map(|patch| parse_yaml(patch).expect("YAML"));
    for operation in patch.iter().filter_map(Value::as_array).flatten() {
        if operation["path"] == "/spec/pluginConfig/regions" {
            found.push(json!({"regions": operation["value"]}));
        }
    }
    if let Some(inner) = value.get("configuration").and_then(|any| any.get("value")) {
        let text = inner.as_str().map(|text| serde_json::from_str(text).expect("JSON text"));
        let ours = text.unwrap_or_else(|| inner.clone());
        if ours.get("regions").is_some() {
            found.push(ours);
        }
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| configurations(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| configurations(field, found)),
        _ => {}
    }
}

fn assert_sound(validator: &jsonschema::Validator, place: &str, configuration: &Value) {
    let wrong: Vec<String> = validator
        .iter_errors(configuration)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{place}: {wrong:#?}");
    let outcome = run_with(&["check", "-"], &configuration.to_string(), &[]);
    assert_eq!(outcome.code, 0, "{place}: {}{}", outcome.stdout, outcome.stderr);
}

#[test]
fn the_shipped_files_keep_to_the_schema_and_load() {
    let validator = validator();
    let mut directories = vec![repository("envoy")];
    let mut examined = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.ends_with("chart") {
                // Templates; what they render to is among the examples.
            } else if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&path).expect("text");
                let mut found = Vec::new();
                for document in text.split("\n---\n") {
                    configurations(&parse_yaml(document).expect("YAML"), &mut found);
                }
                for configuration in &found {
                    assert_sound(&validator, &path.display().to_string(), configuration);
                }
                examined += found.len();
            }
        }
    }
    assert!(examined >= 20, "only {examined} configurations found");
}

/// Fragments are completed, and `...` becomes a certificate.
fn completed(example: &Block) -> Option<Value> {
    const OPTIONS: [&str; 6] =
        ["regions", "refresh", "peer_certificate", "revocation", "identity", "clock_skew"];
    let digest = "ab".repeat(32);
    let text = example.text.replace("<current>", &digest).replace("<next>", &digest);
    let mut value = parse_yaml(&text).ok()?;
    let fields = value.as_object_mut()?;
    if !fields.keys().any(|key| OPTIONS.contains(&key.as_str())) {
        return None;
    }
    let region =
        json!({"genesys": {"ca_certificates": "..."}, "digicert": {"pins": ["api"], "issuers": "..."}});
    fields.entry("regions").or_insert_with(|| json!({"us-east-1": region}));
    let root = std::fs::read_to_string(directory("fixtures").join("genesys-root.pem")).expect("a fixture");
    testbed::config::walk(&mut value, &mut |map| {
        for field in ["ca_certificates", "issuers"] {
            if map.get(field).and_then(Value::as_str).is_some_and(|text| text.contains("...")) {
                map.insert(field.to_owned(), root.clone().into());
            }
        }
    });
    Some(value)
}

/// The pages of the book, as paths in the repository.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    for chapter in std::fs::read_dir(repository("docs/src")).expect("the book").flatten() {
        for page in std::fs::read_dir(chapter.path()).into_iter().flatten().flatten() {
            let chapter = chapter.file_name();
            pages.push(format!("docs/src/{}/{}", chapter.display(), page.file_name().display()));
        }
    }
    pages
}

#[test]
fn policies_in_the_book_keep_to_the_schema_and_load() {
    let validator = validator();
    let mut examined = 0;
    for page in pages() {
        for block in blocks(&page).iter().filter(|block| block.check == "policy") {
            let place = format!("{page}, {}", block.heading);
            let configuration = completed(block).unwrap_or_else(|| panic!("{place}: no configuration"));
            assert_sound(&validator, &place, &configuration);
            examined += 1;
        }
    }
    assert!(examined >= 5, "only {examined} examples found");
}

/// An editor is to underline what the filter refuses for its shape alone.
#[test]
fn wrong_shape_breaks_the_schema() {
    let validator = validator();
    let catalogue = std::fs::read_to_string(repository(CATALOGUE)).expect("the catalogue");
    let shapes =
        catalogue.split("\n## ").find(|part| part.starts_with("Options of the wrong name")).expect("a part");
    for example in shapes.split("```yaml\n").skip(1) {
        let yaml = example.split("```").next().expect("a block");
        let value = parse_yaml(&expanded(yaml)).expect("YAML");
        assert!(!validator.is_valid(&value), "the schema accepts:\n{yaml}");
    }
    let policy = load_yaml(&directory("fixtures").join("policy.yaml"));
    assert!(validator.is_valid(&policy));
}

/// An option: its default, or whether it is required, and its meaning.
struct Described {
    default: String,
    meaning: String,
}

/// Every option of the schema below a node, by its path.
fn options(node: &Value, path: &str, schema: &Value, found: &mut BTreeMap<String, Described>) {
    let target = node["$ref"].as_str().and_then(|name| schema.pointer(name.trim_start_matches('#')));
    let alternatives = ["anyOf", "oneOf"].iter().filter_map(|kind| node[*kind].as_array()).flatten();
    for part in alternatives.chain(target) {
        options(part, path, schema, found);
    }
    let required = node["required"].as_array().map_or(&[][..], Vec::as_slice);
    for (name, option) in node["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let default = match &option["default"] {
            Value::String(text) => format!("`{text}`"),
            default @ (Value::Number(_) | Value::Bool(_)) => format!("`{default}`"),
            _ if required.iter().any(|other| other == name) => "required".to_owned(),
            _ => "none".to_owned(),
        };
        let meaning = option["description"].as_str().unwrap_or_default().replace('\n', " ");
        found.insert(path.clone(), Described { default, meaning });
        options(option, &path, schema, found);
    }
    for (members, key) in [(&node["additionalProperties"], ".<id>"), (&node["items"], "[]")] {
        if members.is_object() {
            options(members, &format!("{path}{key}"), schema, found);
        }
    }
}

/// The table of the reference: what can be written, not what only holds it.
#[test]
fn table_of_options_is_the_schema() {
    // The same as in `refresh`, for one region.
    const WHOLE: [&str; 2] = ["regions.<id>.refresh.clusters", "regions.<id>.refresh.oauth"];
    let schema = run(&["schema"]).json();
    let mut there = BTreeMap::new();
    options(&schema, "", &schema, &mut there);
    assert!(there.len() > 50);
    let mut table = String::from("| option | default | meaning |\n|---|---|---|\n");
    for (path, Described { default, meaning }) in &there {
        let holds = |other: &String| {
            other.starts_with(&format!("{path}.")) || other.starts_with(&format!("{path}[]."))
        };
        let is_object = there.keys().any(holds) && !WHOLE.contains(&path.as_str());
        if is_object || WHOLE.iter().any(|whole| path.starts_with(&format!("{whole}."))) {
            continue;
        }
        assert!(!meaning.is_empty(), "{path} has no description");
        let _ = writeln!(table, "| `{path}` | {default} | {meaning} |");
    }
    assert_golden("../book/options.txt", &table);
}
