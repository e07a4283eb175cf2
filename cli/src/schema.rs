//! `genesys-mtls schema`: the JSON Schema of the configuration, for editors and pipelines.

use crate::output::Report;
use genesys_mtls_filter::config::Document;
use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Value, json};

/// Print the JSON Schema of the plugin configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The schema of this release is config.schema.json in the repository. Editors with the YAML language server complete and
check a file whose first line is

  # yaml-language-server: $schema=./config.schema.json

It knows names, types and bounds. What the options mean together is for `check` to judge.

Examples:
  genesys-mtls schema > config.schema.json")]
pub struct Arguments {}

pub fn run() -> Report {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(without_null));
    let json = settings.into_generator().into_root_schema_for::<Document>().to_value();
    Report { text: format!("{json:#}\n"), json, good: true }
}

/// A field is there or it is not: what the generator makes of an optional one allows null as well.
fn without_null(schema: &mut Schema) {
    let Some(schema) = schema.as_object_mut() else { return };
    let null = json!({"type": "null"});
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            schema["type"] = one.clone();
        }
    }
    if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
        any.retain(|of| *of != null);
        if let [Value::Object(one)] = any.as_slice() {
            let one = one.clone();
            schema.remove("anyOf");
            schema.extend(one);
        }
    }
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
}
