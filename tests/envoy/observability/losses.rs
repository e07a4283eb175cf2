//! `docs/src/reference/losses.md`, against the reasons and metrics of the code and against the alerts.

use super::{
    files::{alerts, read, table_after},
    table::{ENVOYS, MESHES, METRICS},
};
use genesys_mtls_filter::decision::Reason;
use std::collections::BTreeSet;

const PAGE: &str = "docs/src/reference/losses.md";

struct Loss {
    way: String,
    reasons: Vec<String>,
    metrics: Vec<String>,
    alerts: Vec<String>,
}

fn losses() -> Vec<Loss> {
    let words = |cell: &str| cell.split(", ").filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let alerts = |cell: &str| -> Vec<String> {
        let links = cell.split(", ").filter_map(|link| link.strip_prefix('[')?.split_once("](../runbook/"));
        links.map(|(name, _)| name.to_owned()).collect()
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

fn shipped() -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let rule = |alert: serde_json::Value| (text(&alert["alert"]), text(&alert["expr"]));
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
            let (_, expression) =
                shipped.iter().find(|(name, _)| *name == alert).unwrap_or_else(|| panic!("{way}: {alert}"));
            assert!(prometheus.iter().any(|name| expression.contains(name)), "{way}: {alert}: {expression}");
        }
    }
}

#[test]
fn every_alert_warns_of_a_way() {
    let listed: BTreeSet<String> = losses().into_iter().flat_map(|loss| loss.alerts).collect();
    for (name, _) in shipped() {
        // Shadow mode loses no caller.
        assert!(listed.contains(&name) || name == "GenesysMtlsStillInShadow", "no way leads to {name}");
    }
}
