//! `genesys-mtls schema`: the JSON Schema of the configuration, for editors and pipelines.

use crate::output::Report;
use genesys_mtls_filter::config::Document;

/// Print the JSON Schema of the plugin configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  genesys-mtls schema > config.schema.json
  # first line of a YAML file, for editors with the YAML language server:
  # yaml-language-server: $schema=./config.schema.json")]
pub struct Arguments {}

pub fn run() -> Report {
    let json = schemars::schema_for!(Document).to_value();
    Report { text: format!("{json:#}\n"), json, good: true }
}
