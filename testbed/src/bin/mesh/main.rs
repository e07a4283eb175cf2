//! `make test-istio`, `make test-envoy-gateway`: the chart on a real control plane, with traffic.
//!
//! Istio: istiod with its admission and injection, on a real Kubernetes API; gateways run by a small kubelet, with the Envoy of the tests. Envoy
//! Gateway: with traffic without Kubernetes, and its statuses on the same API. All of it lives in namespaces (network, mounts, processes) that end with this process.

mod alerts;
mod calls;
mod common;
mod control_plane;
mod delivery;
mod envoy_gateway;
mod istio;
mod kubelet;
mod kubernetes;
mod load;
mod network;
mod policies;
mod prometheus;
mod registry;
mod report;
mod shared;
mod shell;

use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use common::tool;

/// Where a test cannot run, it says so and ends with this.
const SKIPPED: u8 = 77;
const INSIDE: &str = "GENESYS_MTLS_MESH_INSIDE";

fn main() -> ExitCode {
    let (name, tools): (String, &[&str]) = match env::args().nth(1) {
        Some(name) if name == "istio" => {
            (name, &["helm", "kube-apiserver", "kubectl", "pilot-agent", "pilot-discovery"])
        }
        Some(name) if name == "envoy-gateway" => {
            (name, &["envoy-gateway", "helm", "kube-apiserver", "kubectl"])
        }
        _ => {
            eprintln!("mesh: usage: mesh istio|envoy-gateway");
            return ExitCode::from(2);
        }
    };
    if let Some(why) = missing(&name, tools) {
        eprintln!("==> SKIPPED: {why}");
        return ExitCode::from(SKIPPED);
    }
    if env::var_os(INSIDE).is_none() {
        let error = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(env::current_exe().expect("this program"))
            .args(env::args().skip(1))
            .env(INSIDE, "1")
            .exec();
        eprintln!("==> SKIPPED: unshare: {error}");
        return ExitCode::from(SKIPPED);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let ran = runtime.block_on(async {
        if name == "istio" { istio::run_rows().await } else { envoy_gateway::run_rows().await }
    });
    match ran {
        Ok(report) => report.end(),
        Err(error) => {
            eprintln!("==> error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What keeps it from running here.
fn missing(name: &str, tools: &[&str]) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    if !root {
        return Some("network namespaces need root".into());
    }
    if let Some(absent) = tools.iter().find(|name| !tool(name).is_file()) {
        return Some(format!("no {absent}: run scripts/mesh.sh {name}"));
    }
    let mut commands = vec!["unshare", "ip", "curl", "tar", "etcd", "openssl"];
    if name == "istio" {
        commands.push("prometheus");
    }
    commands.into_iter().find(|name| !shell::is_on_path(name)).map(|name| format!("no {name} on PATH"))
}
