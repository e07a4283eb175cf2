//! `docs/losses.md`, against the reasons and metrics of the code and against the alerts.

use super::{
    files::{alerts, read, table_after},
    table::{ENVOYS, MESHES, METRICS},
};
use genesys_mtls_filter::decision::Reason;
use std::collections::BTreeSet;

const PAGE: &str = "docs/losses.md";
/// Where the runbooks are published, until the operator says otherwise.
const RUNBOOKS: &str = "https://runbooks.example/genesys-mtls/losses";

struct Loss {
    way: String,
    reasons: Vec<String>,
    metrics: Vec<String>,
    alerts: Vec<String>,
}

fn losses() -> Vec<Loss> {
    let words = |cell: &str| cell.split(", ").filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let alerts = |cell: &str| -> Vec<String> {
        let links = cell.split(", ").filter_map(|link| link.strip_prefix('[')?.split_once("](#"));
        let alert = |(name, anchor): (&str, &str)| {
            assert_eq!(anchor, format!("{})", name.to_lowercase()), "{cell}");
            name.to_owned()
        };
        links.map(alert).collect()
    };
    let rows = table_after(&read(PAGE), "## Ways").into_iter();
    let loss = |row: Vec<String>| Loss {
        way: row[0].clone(),
        reasons: words(&row[1]),
        metrics: words(&row[2]),
        alerts: alerts(&row[3]),
    };
    rows.map(loss).collect()
}

fn shipped() -> Vec<(String, String, String)> {
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let rule = |alert: serde_json::Value| {
        (text(&alert["alert"]), text(&alert["expr"]), text(&alert["annotations"]["runbook_url"]))
    };
    alerts().into_iter().map(rule).collect()
}

#[test]
fn every_reason_of_a_denial_is_a_way_to_lose_a_caller() {
    let listed: BTreeSet<String> = losses().into_iter().flat_map(|loss| loss.reasons).collect();
    let there: BTreeSet<String> = Reason::ALL.map(|reason| reason.code().to_owned()).into();
    assert_eq!(listed, there);
}

#[test]
fn every_way_has_a_metric_and_an_alert_on_it() {
    let metrics: BTreeSet<&str> =
        METRICS.iter().map(|metric| metric.name.split('.').next().expect("a name")).collect();
    let shipped = shipped();
    for Loss { way, metrics: named, alerts, .. } in losses() {
        assert!(!named.is_empty() && !alerts.is_empty(), "{way}");
        let prometheus = named.iter().map(|name| {
            let foreign = ENVOYS.contains(&name.as_str()) || MESHES.contains(&name.as_str());
            if foreign || name.starts_with("istio_") {
                return name.clone();
            }
            assert!(metrics.contains(name.as_str()), "{way}: {name}");
            format!("genesys_mtls_{name}")
        });
        let prometheus: Vec<String> = prometheus.collect();
        for alert in alerts {
            let (_, expression, _) =
                shipped.iter().find(|(name, ..)| *name == alert).unwrap_or_else(|| panic!("{way}: {alert}"));
            assert!(prometheus.iter().any(|name| expression.contains(name)), "{way}: {alert}: {expression}");
        }
    }
}

#[test]
fn every_alert_has_a_runbook_and_a_way() {
    let page = read(PAGE);
    let listed: BTreeSet<String> = losses().into_iter().flat_map(|loss| loss.alerts).collect();
    let mut headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    for (name, _, url) in shipped() {
        assert_eq!(url, format!("{RUNBOOKS}#{}", name.to_lowercase()));
        assert!(headings.contains(&name.as_str()), "no runbook of {name}");
        headings.retain(|heading| *heading != name);
        // Shadow mode loses no caller.
        assert!(listed.contains(&name) || name == "GenesysMtlsStillInShadow", "no way leads to {name}");
    }
    assert!(headings.is_empty(), "runbooks without an alert: {headings:?}");
    let values =
        testbed::config::load_yaml(&testbed::paths::workspace_root().join("envoy/chart/values.yaml"));
    assert_eq!(values["alerts"]["runbooks"], RUNBOOKS, "the chart replaces it");
}
