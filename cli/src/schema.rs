//! `genesys-mtls schema`: the JSON Schema of the configuration, for editors and pipelines.

use crate::output::Report;
use genesys_mtls_filter::config::Document;

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
    let json = schemars::schema_for!(Document).to_value();
    Report { text: format!("{json:#}\n"), json, good: true }
}
