//! Debian's Prometheus: scrapes the gateways, evaluates the shipped alerts and answers the dashboard's queries.
//!
//! Time is short here: in the alerts a minute is half a second, `for` is a second at most, and the 24 hours after which failing refreshes are
//! reported are ten seconds. Nothing else of them is changed.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use serde_json::{Value, json};
use testbed::{config, paths};

use crate::{
    common::Failure,
    network::PODS,
    shell::{run, start, until},
};

/// Has no cause on an Envoy that runs: the configuration is rejected if the function is missing at the start. `alerts_test.yaml` fires it.
const WITHOUT_CAUSE: (&str, &str) = ("GenesysMtlsSignatureUnavailable", "genesys_mtls_signature_unavailable");

const ADDRESS: &str = "127.0.0.1:9095";

#[derive(Debug)]
pub struct Prometheus {
    process: Child,
    api: String,
    alerts: BTreeSet<String>,
    /// Queries of the dashboard that have not returned a series yet.
    unseen: BTreeSet<String>,
}

impl Prometheus {
    pub fn start(directory: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(directory)?;
        let shipped = paths::workspace_root().join("envoy/observability");
        let mut rules = config::load_yaml(&shipped.join("alerts.yaml"));
        let mut alerts = BTreeSet::new();
        for group in rules["groups"].as_array_mut().ok_or("no groups")? {
            group["interval"] = "1s".into();
            for rule in group["rules"].as_array_mut().ok_or("no rules")? {
                alerts.insert(rule["alert"].as_str().ok_or("no alert")?.to_owned());
                rule["expr"] = shorten(rule["expr"].as_str().ok_or("no expression")?).into();
                if !rule["for"].is_null() {
                    rule["for"] = "1s".into();
                }
            }
        }
        let board: Value = serde_json::from_str(&fs::read_to_string(shipped.join("dashboard.json"))?)?;
        let targets = board["panels"].as_array().into_iter().flatten();
        let targets = targets.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
        let unseen = targets
            .filter_map(|target| target["expr"].as_str())
            .filter(|query| !query.contains(WITHOUT_CAUSE.1))
            .map(|query| query.replace("$__rate_interval", "10s").replace("$policy", ".*"))
            .collect();
        let pods: Vec<Value> = PODS
            .iter()
            .map(|(name, address)| {
                json!({"targets": [format!("{address}:15020")], "labels": {"instance": name}})
            })
            .collect();
        let settings = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [directory.join("alerts.json")],
            "scrape_configs": [{"job_name": "gateways", "metrics_path": "/stats/prometheus", "static_configs": pods}],
        });
        fs::write(directory.join("alerts.json"), rules.to_string())?;
        fs::write(directory.join("prometheus.json"), settings.to_string())?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", directory.join("prometheus.json").display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={ADDRESS}"));
        let process = start(&mut command, &directory.join("prometheus.log"))?;
        let api = format!("http://{ADDRESS}/api/v1/query");
        let started = Self { process, api, alerts, unseen };
        until("Prometheus", Duration::from_secs(30), || started.query("1").is_ok())?;
        Ok(started)
    }

    /// The series that a query returns.
    fn query(&self, query: &str) -> Result<Vec<Value>, Failure> {
        let mut curl = Command::new("curl");
        curl.args(["-sfG", "-m", "10", "--data-urlencode", &format!("query={query}")]);
        let answer: Value = serde_json::from_str(&run(curl.arg(&self.api), "")?)?;
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    /// Alerts that fired at some instant of the last seconds, each with its instance, if it has one.
    pub fn fired(&self, seconds: u64) -> Result<BTreeSet<String>, Failure> {
        let series =
            self.query(&format!(r#"last_over_time(ALERTS{{alertstate="firing"}}[{}s])"#, seconds.max(1)))?;
        Ok(series
            .iter()
            .map(|one| {
                let label = |name: &str| one["metric"][name].as_str().unwrap_or_default();
                [label("alertname"), label("instance")].join(" ").trim().to_owned()
            })
            .collect())
    }

    /// Shipped alerts that have not fired in all this time.
    pub fn silent(&self) -> Result<BTreeSet<String>, Failure> {
        let fired = self.fired(3600)?;
        let names: BTreeSet<&str> = fired.iter().filter_map(|alert| alert.split(' ').next()).collect();
        let is_silent = |alert: &&String| !names.contains(alert.as_str()) && *alert != WITHOUT_CAUSE.0;
        Ok(self.alerts.iter().filter(is_silent).cloned().collect())
    }

    /// Asks the dashboard's queries; those that never returned a series.
    pub fn unseen(&mut self) -> Result<BTreeSet<String>, Failure> {
        for query in self.unseen.clone() {
            if !self.query(&query)?.is_empty() {
                self.unseen.remove(&query);
            }
        }
        Ok(self.unseen.clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A minute becomes half a second; a day of failing refreshes, ten seconds.
fn shorten(expression: &str) -> String {
    let mut short = String::new();
    let mut word = String::new();
    for c in expression.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        let (number, unit) = word.split_at(word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len()));
        let minutes = match unit {
            "m" => Some(1),
            "h" => Some(60),
            "d" => Some(24 * 60),
            _ => None,
        };
        match (minutes, number.parse::<u64>()) {
            (Some(minutes), Ok(number)) => {
                short.extend([(number * minutes * 500).to_string().as_str(), "ms"])
            }
            (None, Ok(86400)) if unit.is_empty() && expression.contains("trust_age_seconds") => {
                short.push_str("10")
            }
            _ => short.push_str(&word),
        }
        short.push(c);
        word.clear();
    }
    short.trim_end().to_owned()
}
