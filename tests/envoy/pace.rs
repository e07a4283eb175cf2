//! Policies that refresh in seconds, and what shows of it from outside.

use crate::setup::{Running, with};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use testbed::{
    World,
    envoy::EnvoyBuilder,
    genesys::{Endpoint, Seen},
};

/// Longer than anything takes while several Envoys start at once on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub const REGION: &str = "us-east-1";
pub const API: &str = "api.mypurecloud.com";
pub const LOGIN: &str = "login.mypurecloud.com";

/// The world's policy, asking every second, and after a failure again and again.
pub fn fast(world: &World) -> Value {
    let refresh = json!({
        "interval": "1s", "jitter": "0%", "timeout": "2s", "retry": {"base": "100ms", "max": "300ms"},
    });
    with(world.policy(), "/refresh", refresh)
}

/// The world's policy with DigiCert's issuer, refreshing every hour only, and these settings for unknown certificates.
/// The API may take its time, so that a test can make it answer when it wants to.
pub fn unhurried(world: &World, on_unknown_certificate: &Value) -> Value {
    let refresh = json!({"timeout": "1m", "on_unknown_certificate": on_unknown_certificate});
    let policy = with(world.policy(), "/refresh", refresh);
    with(policy, &format!("/regions/{REGION}/digicert/issuers"), json!(world.pki.digicert_ca.pem))
}

/// An Envoy with the shipped *explain* profile, this policy, and a last change to how it is started.
pub async fn run(
    world: World,
    policy: &Value,
    change: impl FnOnce(&World, &mut Value),
    start: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder,
) -> Running {
    let mut bootstrap = world.bootstrap("envoy/envoy.yaml");
    testbed::config::set_plugin_configuration(&mut bootstrap, policy);
    change(&world, &mut bootstrap);
    let envoy = start(world.envoy(bootstrap).ready_within(PATIENCE)).start().await.expect("Envoy starts");
    let ingress = envoy.listener_addr("ingress");
    Running { world, envoy, ingress }
}

/// How often refreshes of us-east-1 ended in each way.
pub async fn outcomes(run: &Running) -> BTreeMap<String, u64> {
    let stats = run.envoy.stats().await.expect("statistics");
    let prefix = "wasmcustom.genesys_mtls.default.refreshes.";
    let suffix = format!(".{REGION}");
    let outcome = |(name, value): (&String, &u64)| {
        Some((name.strip_prefix(prefix)?.strip_suffix(&suffix)?.to_owned(), *value))
    };
    stats.iter().filter_map(outcome).collect()
}

/// How often refreshes of us-east-1 ended with this code.
pub async fn outcome(run: &Running, code: &str) -> u64 {
    outcomes(run).await.get(code).copied().unwrap_or_default()
}

/// Waits until refreshes have ended with this code `more` times more than now.
pub async fn more(run: &Running, code: &str, more: u64) {
    let until = outcome(run, code).await + more;
    reaches(run, code, until).await;
}

/// Waits until refreshes have ended with this code `count` times.
pub async fn reaches(run: &Running, code: &str, count: u64) {
    let stat = format!("wasmcustom.genesys_mtls.default.refreshes.{code}.{REGION}");
    if let Err(error) = run.envoy.wait_for_stat(&stat, |n| n >= count, PATIENCE).await {
        panic!("{count} refreshes with the outcome {code}; there were {:?}\n{error}", outcomes(run).await);
    }
}

/// The stand-in's requests of one kind, in order.
pub fn seen(world: &World, endpoint: Endpoint) -> Vec<Seen> {
    world.genesys.requests().into_iter().filter(|seen| seen.endpoint == endpoint).collect()
}

/// Time between consecutive requests.
pub fn gaps(requests: &[Seen]) -> Vec<Duration> {
    requests.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

/// Waits until so many lines of the log hold a text; more of them are an error.
pub async fn logged(run: &Running, text: &str, count: usize, what: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while run.envoy.count_in_log(text) < count && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let lines = run.envoy.count_in_log(text);
    assert_eq!(lines, count, "{what}: lines with {text:?}\n{}", run.envoy.log_tail(30));
}
