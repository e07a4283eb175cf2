//! Pins as text, configuration, ConfigMap and JSON.

use super::arguments::{Arguments, Format};
use crate::{
    output::{self, Report},
    times,
};
use genesys_mtls_filter::{
    decision::Reason,
    pins::{Forecast, Selection},
    policy::Source,
    x509::fingerprint::Fingerprint,
};
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
    let good = selection.forecasts.iter().all(|forecast| forecast.denied.is_none());
    Report { text, json, good }
}

/// The certificates that allow, by fingerprint.
fn pins(selection: &Selection) -> impl Iterator<Item = (Fingerprint, &Forecast)> {
    let pins = selection.forecasts.iter().filter(|forecast| forecast.is_pin());
    pins.filter_map(|forecast| Some((forecast.fingerprint?, forecast)))
}

/// A certificate that would be denied, in a line.
pub fn denied(forecast: &Forecast) -> String {
    let Forecast { authority, status, issuer, not_before, not_after, detail, .. } = forecast;
    let fingerprint = forecast.fingerprint.map(|of| format!(" sha256 {of},")).unwrap_or_default();
    format!(
        "{} certificate of {},{fingerprint} valid {} to {}, issued by `{}`, would be denied: {} ({detail})",
        status.code(),
        authority.code(),
        times::rfc3339(*not_before),
        times::rfc3339(*not_after),
        output::foreign(issuer),
        forecast.denied.map_or("", Reason::code),
    )
}

/// The same of all, for JSON.
pub fn denials(selection: &Selection) -> Vec<Value> {
    let denied = selection.forecasts.iter().filter(|forecast| forecast.denied.is_some());
    let value = |forecast: &Forecast| {
        json!({
            "authority": forecast.authority.code(),
            "status": forecast.status.code(),
            "reason": forecast.denied.map(Reason::code),
            "detail": forecast.detail,
            "issuer": forecast.issuer,
            "sha256": forecast.fingerprint.map(|of| of.to_string()),
            "not_before": times::rfc3339(forecast.not_before),
            "not_after": times::rfc3339(forecast.not_after),
        })
    };
    denied.map(value).collect()
}

/// Entities of the answer that are no certificates of the client, and how often: `other_authority x2`.
pub fn skipped(selection: &Selection) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for skipped in &selection.skipped {
        *counts.entry(skipped.code()).or_default() += 1;
    }
    counts.into_iter().map(|(code, count)| format!("{code} x{count}")).collect()
}

fn lines(selection: &Selection) -> String {
    let mut text = String::new();
    for (fingerprint, pin) in pins(selection) {
        let (from, until) = (times::rfc3339(pin.not_before), times::rfc3339(pin.not_after));
        let _ = writeln!(text, "sha256:{fingerprint}  {from} to {until}");
    }
    text
}

fn yaml(source: &Source, selection: &Selection) -> String {
    let mut text = format!("regions:\n  {}:\n    digicert:\n      pins:\n        - api\n", source.region);
    for (fingerprint, pin) in pins(selection) {
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
    for (fingerprint, _) in pins(selection) {
        let _ = writeln!(text, "    sha256:{fingerprint}");
    }
    text.push_str("  pins.json: |\n");
    for line in format!("{json:#}").lines() {
        let _ = writeln!(text, "    {line}");
    }
    text
}

fn to_json(source: &Source, selection: &Selection) -> Value {
    let pins: Vec<Value> = pins(selection)
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
        "denied": denials(selection),
    })
}
