//! `genesys-mtls schema`: the JSON Schema of the configuration, for editors and pipelines.

use crate::output::Report;

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
    let text = genesys_mtls_filter::CONFIG_SCHEMA;
    let json = serde_json::from_str(text).unwrap_or_default();
    Report { text: text.to_owned(), json, good: true }
}
