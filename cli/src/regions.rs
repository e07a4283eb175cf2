//! `genesys-mtls regions`: the catalogue that this release knows.

use crate::output::{Report, STRONG, paint};
use genesys_mtls_filter::regions::REGIONS;
use serde_json::json;
use std::fmt::Write as _;

/// List the Genesys Cloud regions: id, title, domain, and the name in the client certificate
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  genesys-mtls regions
  genesys-mtls regions frankfurt
  genesys-mtls regions --json | jq -r '.[].domain'

JSON: [{id, title, domain, certificate_name}]")]
pub struct Arguments {
    /// Show only regions with this text in one of their columns
    filter: Option<String>,
}

pub fn run(arguments: &Arguments) -> Report {
    let wanted = arguments.filter.as_deref().unwrap_or_default().to_lowercase();
    let shown: Vec<_> = REGIONS
        .iter()
        .filter(|region| {
            let columns =
                [region.id, region.title, region.domain, region.certificate_name.unwrap_or_default()];
            columns.iter().any(|column| column.to_lowercase().contains(&wanted))
        })
        .collect();
    let mut text =
        paint(STRONG, format!("{:<15} {:<32} {:<24} certificate name", "region", "title", "domain"));
    text.push('\n');
    for region in &shown {
        let name = region.certificate_name.unwrap_or("(not published: give certificate_name)");
        let _ = writeln!(text, "{:<15} {:<32} {:<24} {name}", region.id, region.title, region.domain);
    }
    let json = shown
        .iter()
        .map(|region| {
            json!({
                "id": region.id,
                "title": region.title,
                "domain": region.domain,
                "certificate_name": region.certificate_name,
            })
        })
        .collect();
    Report { text, json, good: !shown.is_empty() }
}
