//! A running Envoy with a shipped file, and what can be observed of it.

use std::time::Duration;

use serde_json::Value;
use testbed::{
    World,
    client::{Error as ClientError, Response},
    config,
    envoy::{Envoy, Error},
    pki::Leaf,
};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An Envoy and its way in.
#[derive(Debug)]
pub struct Stage {
    pub envoy: Envoy,
    /// The listener that callers come to.
    pub listener: &'static str,
}

/// Who knocks: a certificate or none, and headers.
#[derive(Debug)]
pub struct Caller<'a> {
    pub name: &'a str,
    pub leaf: Option<&'a Leaf>,
    pub headers: Vec<(&'static str, String)>,
}

impl<'a> Caller<'a> {
    pub fn new(name: &'a str, leaf: impl Into<Option<&'a Leaf>>) -> Self {
        Self { name, leaf: leaf.into(), headers: Vec::new() }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// What became of a request.
#[derive(Debug)]
pub struct Seen {
    /// In short: `200`, `403 wrong_name`, `alert UnknownCA`.
    pub got: String,
    /// The verdict in the access log, nothing where there is no verdict or no request.
    pub verdict: String,
    /// Whether the service behind Envoy saw it.
    pub reached: bool,
    /// The whole answer.
    pub response: Option<Response>,
    /// Its entry in the access log.
    pub entry: Value,
}

impl Stage {
    /// Starts an Envoy with a shipped file, this policy and one last change.
    pub async fn start(
        world: &World,
        file: &str,
        policy: &Value,
        lifetime: Duration,
        change: impl FnOnce(&mut Value),
    ) -> Result<Self, Error> {
        let mut bootstrap = world.bootstrap(file);
        config::set_plugin_configuration(&mut bootstrap, policy);
        change(&mut bootstrap);
        let envoy = world.envoy(bootstrap).concurrency(2).lifetime(lifetime).start().await?;
        Ok(Self { envoy, listener: "ingress" })
    }

    /// One request on a new connection.
    pub async fn knock(&self, world: &World, caller: &Caller<'_>, path: &str) -> Result<Seen, Error> {
        let before = world.upstream.count();
        let mut client = world.client(self.envoy.listener_addr(self.listener));
        if let Some(leaf) = caller.leaf {
            client = client.identity(leaf);
        }
        let request = caller.headers.iter().fold(http::Request::get(path), |r, (n, v)| r.header(*n, v));
        let answer = client.build().send(request.body(Vec::new()).expect("a request")).await;
        let reached = world.upstream.count() > before;
        let (got, response, entry) = match answer {
            Ok(response) => {
                let entry = self.access_log(path).await?;
                (in_short(&response, &entry), Some(response), entry)
            }
            Err(ClientError::Alert(alert)) => (format!("alert {alert:?}"), None, Value::Null),
            Err(other) => (other.to_string(), None, Value::Null),
        };
        let verdict =
            entry["verdict"].as_str().filter(|verdict| *verdict != "-").unwrap_or_default().to_owned();
        Ok(Seen { got, verdict, reached, response, entry })
    }

    /// The access log's entry of a path that was asked for once.
    async fn access_log(&self, path: &str) -> Result<Value, Error> {
        let line = self.envoy.wait_for_log(&format!("\"GET {path} HTTP"), PATIENCE).await?;
        Ok(serde_json::from_str(&line).unwrap_or_default())
    }

    /// The filter's own words from the first line of the log that holds a text.
    pub async fn log_line(&self, text: &str) -> Result<String, Error> {
        let line = self.envoy.wait_for_log(text, PATIENCE).await?;
        Ok(line.rfind("genesys_mtls: ").map_or(line.clone(), |at| line[at..].to_owned()))
    }

    /// Waits until one of the filter's metrics of us-east-1 is as it should be.
    pub async fn metric(&self, name: &str, done: impl Fn(u64) -> bool) -> Result<u64, Error> {
        let stat = format!("wasmcustom.genesys_mtls.default.{name}.us-east-1");
        self.envoy.wait_for_stat(&stat, done, PATIENCE).await
    }
}

fn in_short(response: &Response, entry: &Value) -> String {
    let status = response.status;
    if response.header("x-upstream").is_some() {
        return status.to_string();
    }
    let problem = response.header("content-type") == Some("application/problem+json");
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    if let (true, Some(code)) = (problem, body["code"].as_str()) {
        return format!("{status} {code}");
    }
    if entry["details"].as_str().is_some_and(|details| details.starts_with("rbac_access_denied")) {
        return format!("{status} by the guard");
    }
    format!("{status} {}", response.text().chars().take(40).collect::<String>().escape_debug())
}
