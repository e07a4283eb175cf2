//! Pins as text, configuration, ConfigMap and JSON.

use super::arguments::{Arguments, Format};
use crate::{output::Report, times};
use genesys_mtls_filter::{pins::Selection, policy::Source};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _};

pub fn render(source: &Source, selection: &Selection, arguments: &Arguments) -> Report {
    let json = to_json(source, selection);
    let text = match arguments.format {
        Format::Text => lines(selection),
        Format::Yaml => yaml(source, selection),
        Format::Configmap => configmap(&json, source, selection, arguments),
        Format::Json => format!("{json:#}\n"),
    };
    Report { text, json, good: true }
}

/// What of the answer was passed over, and how often: `other_authority x2`.
pub fn skipped(selection: &Selection) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for skipped in &selection.skipped {
        *counts.entry(skipped.code()).or_default() += 1;
    }
    counts.into_iter().map(|(code, count)| format!("{code} x{count}")).collect()
}

fn lines(selection: &Selection) -> String {
    let mut text = String::new();
    for (fingerprint, pin) in &selection.pins {
        let (from, until) = (times::rfc3339(pin.not_before), times::rfc3339(pin.not_after));
        let _ = writeln!(text, "sha256:{fingerprint}  {from} to {until}");
    }
    text
}

fn yaml(source: &Source, selection: &Selection) -> String {
    let mut text = format!("regions:\n  {}:\n    digicert:\n      pins:\n        - api\n", source.region);
    for (fingerprint, pin) in &selection.pins {
        let until = times::rfc3339(pin.not_after);
        let _ = writeln!(text, "        - sha256:{fingerprint} # until {until}");
    }
    text
}

fn configmap(json: &Value, source: &Source, selection: &Selection, arguments: &Arguments) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {}\n",
        Value::from(arguments.name.as_str())
    );
    if let Some(namespace) = &arguments.namespace {
        let _ = writeln!(text, "  namespace: {}", Value::from(namespace.as_str()));
    }
    let _ = writeln!(text, "  labels:\n    app.kubernetes.io/managed-by: genesys-mtls\ndata:");
    let _ = writeln!(text, "  region: {}", Value::from(source.region.as_str()));
    text.push_str("  pins: |\n");
    for fingerprint in selection.pins.keys() {
        let _ = writeln!(text, "    sha256:{fingerprint}");
    }
    text.push_str("  pins.json: |\n");
    for line in format!("{json:#}").lines() {
        let _ = writeln!(text, "    {line}");
    }
    text
}

fn to_json(source: &Source, selection: &Selection) -> Value {
    let pins: Vec<Value> = selection
        .pins
        .iter()
        .map(|(fingerprint, pin)| {
            json!({
                "pin": format!("sha256:{fingerprint}"),
                "not_before": times::rfc3339(pin.not_before),
                "not_after": times::rfc3339(pin.not_after),
            })
        })
        .collect();
    json!({
        "region": source.region,
        "certificate_name": source.certificate_name,
        "pins": pins,
        "skipped": skipped(selection),
    })
}
