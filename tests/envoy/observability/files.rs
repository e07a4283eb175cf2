//! `envoy/observability` and the book's tables, against the one table of metrics, and by Prometheus' own tool.

use super::table::{ENVOYS, MESHES, METRICS};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use testbed::{config, paths};

const FOLDER: &str = "envoy/observability";
const REFERENCE: &str = "docs/src/reference/metrics.md";

pub fn read(file: &str) -> String {
    fs::read_to_string(paths::workspace_root().join(file)).expect(file)
}

/// The rows of the first table after a heading, cell by cell, without code marks.
pub fn table_after(text: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, after) = text.split_once(&format!("{heading}\n")).expect(heading);
    let lines =
        after.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells = line.split('|').skip(1);
        cells.map(|cell| cell.trim().replace('`', "")).collect::<Vec<String>>()
    };
    lines.skip(2).map(cells).collect()
}

#[test]
fn reference_lists_the_metrics_that_there_are() {
    let listed: Vec<[String; 3]> = table_after(&read(REFERENCE), "# Metrics")
        .into_iter()
        .map(|row| [row[0].clone(), row[1].clone(), row[2].clone()])
        .collect();
    let there = METRICS.iter().map(|metric| {
        let kind = if metric.gauge { "gauge" } else { "counter" };
        [metric.name.to_owned(), kind.to_owned(), metric.labels.join(", ")]
    });
    assert_eq!(listed, there.collect::<Vec<_>>());
}

/// What the reference has as alerts: names of shipped rules, and expressions.
fn examples() -> Vec<(String, String)> {
    let rows = table_after(&read(REFERENCE), "# Metrics").into_iter();
    rows.map(|row| (row[0].clone(), row[4].clone())).collect()
}

#[test]
fn each_metric_of_the_reference_has_an_alert() {
    let alerts = alerts();
    for ((name, alert), metric) in examples().iter().zip(METRICS) {
        let shipped = alerts.iter().find(|rule| rule["alert"] == **alert);
        let expression = shipped.map_or(alert.as_str(), |rule| rule["expr"].as_str().expect("an expression"));
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        assert!(words.into_iter().any(|word| word == metric.prometheus()), "{name}: {expression}");
    }
}

pub fn alerts() -> Vec<Value> {
    let rules = config::load_yaml(&paths::workspace_root().join(FOLDER).join("alerts.yaml"));
    let groups = rules["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read(&format!("{FOLDER}/dashboard.json"))).expect("JSON")
}

/// The dashboard's queries as Prometheus gets them.
fn queries() -> Vec<String> {
    let board = dashboard();
    let targets =
        board["panels"].as_array().expect("panels").iter().filter_map(|panel| panel["targets"].as_array());
    let text = |target: &Value| target["expr"].as_str().expect("a query").to_owned();
    targets
        .flatten()
        .map(text)
        .map(|query| query.replace("$__rate_interval", "5m").replace("$policy", ".*"))
        .collect()
}

fn expressions() -> Vec<String> {
    let alerts = alerts();
    let of_alerts = alerts.iter().map(|alert| alert["expr"].as_str().expect("an expression").to_owned());
    of_alerts.chain(queries()).collect()
}

#[test]
fn alerts_and_dashboard_use_exactly_the_exported_metrics() {
    let metrics: BTreeSet<String> = METRICS.iter().map(super::table::Metric::prometheus).collect();
    let labels: BTreeSet<String> = METRICS.iter().flat_map(super::table::Metric::prometheus_labels).collect();
    let mut shown = BTreeSet::new();
    for expression in expressions() {
        // Text in quotes is a value.
        let bare: String = expression.split('"').step_by(2).collect();
        let words = bare.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("genesys_") || word.starts_with("envoy_")) {
            let known = metrics.contains(word)
                || labels.contains(word)
                || ENVOYS.contains(&word)
                || MESHES.contains(&word)
                || word == "envoy_rbac_http_prefix";
            assert!(known, "{word} in {expression}");
            shown.insert(word.to_owned());
        }
    }
    let missing: Vec<_> = metrics.difference(&shown).collect();
    assert!(missing.is_empty(), "no alert and no panel shows {missing:?}");
}

#[test]
fn reasons_and_failure_codes_in_alerts_exist() {
    let reasons = genesys_mtls_filter::decision::Reason::ALL.map(genesys_mtls_filter::decision::Reason::code);
    for alert in alerts() {
        let expression = alert["expr"].as_str().expect("an expression");
        for (_, after) in expression
            .match_indices("genesys_reason=~\"")
            .map(|(at, found)| expression.split_at(at + found.len()))
        {
            for reason in after.split('"').next().unwrap_or_default().split('|') {
                let prefix = reason.trim_end_matches(".*");
                assert!(reasons.iter().any(|code| code.starts_with(prefix)), "{reason} in {expression}");
            }
        }
    }
}

#[test]
fn chart_has_the_tags_of_the_shipped_files() {
    let root = paths::workspace_root();
    let tags = |file: &str| config::load_yaml(&root.join(file))["stats_config"]["stats_tags"].clone();
    let of_chart = config::load_yaml(&root.join("envoy/chart/files/stats-tags.yaml"))["tags"].clone();
    assert!(of_chart.as_array().is_some_and(|tags| tags.len() >= 8), "{of_chart}");
    for file in ["envoy/envoy.yaml", "envoy/strict.yaml"] {
        assert_eq!(of_chart, tags(file), "{file}");
    }
}

/// Prometheus' own tool, where `scripts/provision.sh` could get it.
fn promtool() -> Option<PathBuf> {
    let own = paths::workspace_root().join(".tools/promtool");
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let found =
        std::iter::once(own).chain(on_path.map(|dir| dir.join("promtool"))).find(|file| file.is_file());
    if found.is_none() {
        // Written directly, since the test harness would hide it.
        let _ = writeln!(
            std::io::stderr(),
            "\nSKIPPED: no promtool (scripts/provision.sh promtool, or put it on PATH)"
        );
    }
    found
}

fn run(arguments: &[&str], folder: &Path, input: &str) -> Option<Output> {
    let mut tool = Command::new(promtool()?);
    tool.args(arguments).current_dir(folder);
    tool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tool.spawn().expect("promtool runs");
    // It may end before it has read everything.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    Some(child.wait_with_output().expect("promtool ends"))
}

fn assert_success(what: &str, output: &Output) {
    let text = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&text));
}

#[test]
fn prometheus_takes_the_rules_and_each_fires_when_it_should() {
    let folder = paths::workspace_root().join(FOLDER);
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]] {
        let Some(output) = run(&arguments, &folder, "") else { return };
        assert_success(&arguments.join(" "), &output);
    }
    let tests = read(&format!("{FOLDER}/alerts_test.yaml"));
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} is never seen firing");
        assert!(tests.contains(&format!("alertname: {name}}}")), "{name} is never seen quiet");
    }
}

#[test]
fn prometheus_takes_the_queries_of_dashboard_and_reference() {
    let examples = examples().into_iter().map(|(_, alert)| alert).filter(|alert| alert.contains(' '));
    let rules: Vec<Value> = queries()
        .into_iter()
        .chain(examples)
        .map(|query| json!({"record": "panel", "expr": query}))
        .collect();
    assert!(rules.len() >= 15, "{rules:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = json!({"groups": [{"name": "panels", "rules": rules}]});
    fs::write(folder.path().join("panels.json"), file.to_string()).expect("written");
    let Some(output) = run(&["check", "rules", "--lint=none", "panels.json"], folder.path(), "") else {
        return;
    };
    assert_success("panels", &output);
}

#[test]
fn prometheus_takes_the_configuration_of_the_book() {
    let text = read("docs/src/guide/monitoring.md");
    let (_, after) = text.split_once("```yaml prometheus\n# prometheus.yml\n").expect("the snippet");
    let folder = tempfile::tempdir().expect("a folder");
    for (file, content) in [
        ("prometheus.yml", after.split("```").next().unwrap_or_default().to_owned()),
        ("alerts.yaml", read(&format!("{FOLDER}/alerts.yaml"))),
    ] {
        fs::write(folder.path().join(file), content).expect("written");
    }
    let Some(output) = run(&["check", "config", "prometheus.yml"], folder.path(), "") else { return };
    assert_success("prometheus.yml", &output);
}

/// Has Prometheus' own parser read metrics. Its advice on names (code 3) does not count.
pub fn check_exposition(text: &str) {
    let Some(output) = run(&["check", "metrics"], &paths::workspace_root(), text) else { return };
    if output.status.code() != Some(3) {
        assert_success("check metrics", &output);
    }
}
