//! Each alert has its page, each page its alert or symptom, and each page its four parts.

use crate::{documents, read};
use std::collections::BTreeSet;
use testbed::{config, paths};

/// Where the runbooks are published, until the operator says otherwise.
const RUNBOOKS: &str = "https://runbooks.example/genesys-mtls";

const PARTS: [&str; 4] = ["## Meaning", "## Check", "## Action", "## Confirm"];

fn alerts() -> Vec<serde_json::Value> {
    let rules = config::load_yaml(&paths::workspace_root().join("envoy/observability/alerts.yaml"));
    let groups = rules["groups"].as_array().expect("groups").clone();
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

/// `GenesysMtlsTrustExpiresIn30Days` as `genesys-mtls-trust-expires-in-30-days`.
fn kebab(name: &str) -> String {
    let mut text = String::new();
    let mut last = ' ';
    for c in name.chars() {
        let begins = c.is_ascii_uppercase() || c.is_ascii_digit() && !last.is_ascii_digit();
        if begins && !text.is_empty() {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
        last = c;
    }
    text
}

#[test]
fn each_alert_has_its_page_and_links_to_it() {
    let index = read("docs/src/runbook/README.md");
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name");
        let severity = alert["labels"]["severity"].as_str().expect("a severity");
        let page = kebab(name);
        let text = read(&format!("docs/src/runbook/{page}.md"));
        assert!(
            text.starts_with(&format!("# {name}\n\nSeverity: {severity}.\n")),
            "{page}: name or severity"
        );
        assert!(
            index.contains(&format!("| [{name}]({page}.md) | {severity} |")),
            "{name} is not in the index"
        );
        assert_eq!(alert["annotations"]["runbook_url"], format!("{RUNBOOKS}/{page}"), "{name}");
    }
}

#[test]
fn chart_replaces_the_place_of_the_runbooks() {
    let values = config::load_yaml(&paths::workspace_root().join("envoy/chart/values.yaml"));
    assert_eq!(values["alerts"]["runbooks"], RUNBOOKS);
}

#[test]
fn each_page_of_an_alert_has_its_alert() {
    let there: BTreeSet<String> =
        alerts().iter().filter_map(|alert| alert["alert"].as_str()).map(kebab).collect();
    for (file, text) in documents() {
        let Some(page) = file.strip_prefix("docs/src/runbook/").filter(|page| *page != "README.md") else {
            continue;
        };
        let page = page.trim_end_matches(".md");
        assert_eq!(
            text.contains("\nSeverity: "),
            there.contains(page),
            "{page}: no such alert, or no severity"
        );
        let parts: Vec<&str> = text.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(parts, PARTS, "{page}");
    }
}

#[test]
fn name_in_kebab_case_sets_numbers_apart() {
    assert_eq!(kebab("GenesysMtlsTrustExpiresIn30Days"), "genesys-mtls-trust-expires-in-30-days");
    assert_eq!(kebab("GenesysMtlsRefreshFailing24h"), "genesys-mtls-refresh-failing-24h");
}
