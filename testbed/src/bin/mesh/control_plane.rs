//! Istio's control plane: its own charts on the API, istiod as its service account.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command},
    time::Duration,
};

use serde_json::{Value, json};
use testbed::manifests;

use crate::{
    common::{Failure, tool},
    kubernetes::Kubernetes,
    network::HERE,
    shell::{run, sh, start, until},
};

fn chart(name: &str) -> PathBuf {
    tool("istio/manifests/charts").join(name)
}

/// What a plain Envoy lacks is switched off: metadata exchange, Istio's ALPN filter and metrics.
fn values() -> Value {
    json!({
        "env": {
            "PILOT_ENABLE_METADATA_EXCHANGE": "false",
            "PILOT_ENABLE_ALPN_FILTER": "false",
            // Drops each cluster that nothing names: the chart has to name its callouts' clusters.
            "PILOT_FILTER_GATEWAY_CLUSTER_CONFIG": "true",
        },
        "telemetry": {"enabled": false},
        "meshConfig": {
            "accessLogFile": "",
            "defaultProviders": {"metrics": [], "tracing": [], "accessLogging": []},
            "defaultConfig": {"binaryPath": testbed::envoy::binary().expect("an Envoy")},
        },
    })
}

pub fn template(release: &str, name: &str, values: &Value) -> Result<Vec<Value>, Failure> {
    let mut helm = Command::new(tool("helm"));
    helm.args(["template", release]).arg(chart(name)).args(["-n", "istio-system", "-f", "-"]);
    Ok(manifests::parse(&run(&mut helm, &values.to_string())?)?)
}

/// A Service without a selector, and where it leads: no controller fills endpoints.
pub fn endpoints(namespace: &str, service: &str, ports: &[(&str, u16)]) -> Value {
    let ports: Vec<Value> =
        ports.iter().map(|(name, port)| json!({"name": name, "port": port, "protocol": "TCP"})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": service, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
        "endpoints": [{"addresses": [HERE], "conditions": {"ready": true}}],
        "ports": ports,
    })
}

pub fn start_istiod(kubernetes: &Kubernetes) -> Result<Child, Failure> {
    for namespace in ["istio-system", "istio-ingress"] {
        kubernetes
            .apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})])?;
    }
    let crds = chart("base/files/crd-all.gen.yaml");
    kubernetes.kubectl(&format!("apply --server-side -f {}", crds.display()))?;
    kubernetes.kubectl(&format!("apply --server-side -k {}", tool("gateway-api/config/crd").display()))?;
    kubernetes.apply(&template("istio-base", "base", &json!({}))?)?;
    let manifests = template("istiod", "istio-control/istio-discovery", &values())?;
    kubernetes.apply(&manifests)?;
    let ports =
        [("grpc-xds", 15010), ("https-dns", 15012), ("https-webhook", 15017), ("http-monitoring", 15014)];
    kubernetes.apply(&[endpoints("istio-system", "istiod", &ports)])?;

    let token = kubernetes.kubectl("create token istiod -n istio-system --duration 24h")?;
    let config = kubernetes.write_config("istiod.kubeconfig", token.trim())?;
    let directory = kubernetes.directory.join("istiod");
    fs::create_dir_all(&directory)?;
    let deployment = manifests.iter().find(|m| m["kind"] == "Deployment").ok_or("no Deployment of istiod")?;
    let mut istiod = Command::new(tool("pilot-discovery"));
    istiod.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", &directory);
    for variable in
        deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().into_iter().flatten()
    {
        if let (Some(name), Some(value)) = (variable["name"].as_str(), variable["value"].as_str()) {
            istiod.env(name, value);
        }
    }
    istiod
        .env("POD_NAME", "istiod-0")
        .env("POD_NAMESPACE", "istio-system")
        .env("SERVICE_ACCOUNT", "istiod")
        .env("KUBECONFIG", &config)
        .args([
            "discovery",
            "--monitoringAddr=:15014",
            "--httpAddr=127.0.0.1:18080",
            "--ctrlz_port=19876",
            "--kubeconfig",
        ])
        .arg(&config)
        .current_dir(&directory);
    let istiod = start(&mut istiod, &kubernetes.directory.join("istiod.log"))?;
    until("istiod", Duration::from_mins(1), || sh("curl", "-sf http://127.0.0.1:18080/ready").is_ok())?;
    // It writes its CA into the webhooks; until then nothing is admitted.
    until("admission", Duration::from_secs(30), || {
        let webhooks = kubernetes.get("validatingwebhookconfigurations").unwrap_or_default();
        webhooks["items"]
            .as_array()
            .is_some_and(|all| all.iter().any(|w| w["webhooks"][0]["failurePolicy"] == "Fail"))
    })?;
    Ok(istiod)
}
