//! The rows of Envoy Gateway on a Kubernetes API: admission, the policies' statuses, and policies of others on the same targets.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testbed::manifests;

use crate::{
    calls::settle,
    common::{Failure, tool},
    kubernetes::Kubernetes,
    network::HOSTS,
    report::Report,
    shell::{run, start},
};

const NAMESPACE: &str = "default";
const SYSTEM: &str = "envoy-gateway-system";
const KINDS: &str =
    "envoyextensionpolicies,securitypolicies,clienttrafficpolicies,backendtlspolicies,httproutes,gateways";

/// What `values` render, with what exists before it.
pub async fn run_rows(
    report: &mut Report,
    directory: &Path,
    values: &Value,
    before: &[Value],
    system_cas: &Path,
) -> Result<(), Failure> {
    report.title("on a Kubernetes API");
    let kubernetes = Kubernetes::start(directory)?;
    let crds = tool("envoy-gateway-crds/charts/gateway-helm/charts/crds/crds");
    for file in ["gatewayapi-crds.yaml", "generated"] {
        kubernetes.kubectl(&format!("apply --server-side -f {}", crds.join(file).display()))?;
    }
    kubernetes.kubectl("wait --for=condition=Established crd --all --timeout=60s")?;
    kubernetes.apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})])?;
    kubernetes.apply(before)?;
    let mut gateway = start_gateway(&kubernetes, system_cas)?;
    let ran = rows(report, &kubernetes, values).await;
    let _ = gateway.kill();
    let _ = gateway.wait();
    ran
}

fn start_gateway(kubernetes: &Kubernetes, system_cas: &Path) -> Result<Child, Failure> {
    let at = |name: &str| kubernetes.directory.join(name);
    let envoy_gateway = |arguments: &[&str]| {
        let mut command = Command::new(tool("envoy-gateway"));
        command.args(arguments).env("ENVOY_GATEWAY_NAMESPACE", SYSTEM).env("KUBECONFIG", kubernetes.config());
        command
    };
    run(&mut envoy_gateway(&["certgen", "--disable-topology-injector"]), "")?;
    fs::create_dir_all(at("certs"))?;
    fs::create_dir_all(at("state"))?;
    let secret = kubernetes.get(&format!("secret envoy-gateway -n {SYSTEM}"))?;
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        let bytes = STANDARD.decode(secret["data"][file].as_str().ok_or("no certificate")?)?;
        fs::write(at("certs").join(file), bytes)?;
    }
    let settings = json!({"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyGateway",
        "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
        "provider": {"type": "Kubernetes", "kubernetes": {"leaderElection": {"disable": true}}},
        "extensionApis": {"enableBackend": true}});
    fs::write(at("eg.yaml"), settings.to_string())?;
    let hosts: Vec<String> = HOSTS.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
    fs::write(at("hosts"), format!("127.0.0.1 localhost\n{}", hosts.concat()))?;
    for directory in ["/certs", "/var/lib/eg"] {
        fs::create_dir_all(directory)?;
    }
    let script = [
        format!("mount --bind {} /etc/hosts", at("hosts").display()),
        format!("mount --bind {} /certs", at("certs").display()),
        format!("mount --bind {} /var/lib/eg", at("state").display()),
        format!("exec {} server --config-path {}", tool("envoy-gateway").display(), at("eg.yaml").display()),
    ];
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", &script.join("\n")]);
    command.env("ENVOY_GATEWAY_NAMESPACE", SYSTEM).env("KUBECONFIG", kubernetes.config());
    command.env("SSL_CERT_FILE", system_cas).env("HOME", &kubernetes.directory);
    start(&mut command, &at("envoy-gateway.log"))
}

async fn rows(report: &mut Report, kubernetes: &Kubernetes, values: &Value) -> Result<(), Failure> {
    let mut rendered = manifests::render(&tool("helm"), NAMESPACE, values)?;
    rendered.retain(|manifest| manifest["kind"] != "Pod");
    let admitted = kubernetes.apply(&rendered).map_err(|error| error.to_string());
    report.row("the chart's manifests are admitted", &admitted, &Ok(()));
    let ours = |status: BTreeSet<String>| -> BTreeSet<String> {
        status.into_iter().filter(|line| !line.contains("Programmed") && !line.contains("rival")).collect()
    };
    let wrong = settle(BTreeSet::new(), async || ours(conditions(kubernetes))).await;
    report.row("policies and routes that are not accepted", &wrong, &BTreeSet::new());

    // Younger policies of another team, on the route that ours name.
    let target =
        json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "genesys-ingress"});
    let rival = |kind: &str, target: &Value, mut spec: Value| {
        spec["targetRefs"] = json!([target]);
        json!({"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": kind, "metadata": {"name": "rival", "namespace": NAMESPACE}, "spec": spec})
    };
    let allow = json!({"authorization": {"defaultAction": "Allow"}});
    let lua = json!({"lua": [{"type": "Inline", "inline": "function envoy_on_request(h) end"}]});
    for (what, section, expected) in
        [("the route", None, "Conflicted"), ("a rule by name", Some("all"), "TargetNotFound")]
    {
        let mut target = target.clone();
        if let Some(section) = section {
            target["sectionName"] = section.into();
        }
        kubernetes.apply(&[
            rival("SecurityPolicy", &target, allow.clone()),
            rival("EnvoyExtensionPolicy", &target, lua.clone()),
        ])?;
        let expected: BTreeSet<String> = ["EnvoyExtensionPolicy", "SecurityPolicy"]
            .map(|kind| format!("{kind}/rival Accepted=False {expected}"))
            .into();
        let got = settle(expected.clone(), async || {
            conditions(kubernetes).into_iter().filter(|line| line.contains("rival")).collect()
        });
        let got = got.await;
        report.row(format!("others' policies on {what}"), &got, &expected);
        let wrong = ours(conditions(kubernetes));
        report.row("... ours that are not accepted", &wrong, &BTreeSet::new());
        kubernetes.kubectl(&format!("delete securitypolicy,envoyextensionpolicy rival -n {NAMESPACE}"))?;
    }
    Ok(())
}

/// What is not as it should be, or has no status yet.
fn conditions(kubernetes: &Kubernetes) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    let Ok(all) = kubernetes.get(&format!("{KINDS} -n {NAMESPACE}")) else {
        return ["no answer".into()].into();
    };
    for object in all["items"].as_array().into_iter().flatten() {
        let name = format!(
            "{}/{}",
            object["kind"].as_str().unwrap_or_default(),
            object["metadata"]["name"].as_str().unwrap_or_default()
        );
        let status = &object["status"];
        let lists =
            ["ancestors", "parents"].iter().flat_map(|key| status[*key].as_array().into_iter().flatten());
        let conditions: Vec<&Value> = lists
            .map(|one| &one["conditions"])
            .chain([&status["conditions"]])
            .flat_map(|conditions| conditions.as_array().into_iter().flatten())
            .collect();
        if !conditions.iter().any(|condition| condition["type"] == "Accepted") {
            wrong.insert(format!("{name} without a status"));
        }
        for condition in conditions.iter().filter(|condition| condition["status"] == "False") {
            let text = |key: &str| condition[key].as_str().unwrap_or_default();
            if ["Accepted", "Programmed", "ResolvedRefs"].contains(&text("type")) {
                wrong.insert(format!("{name} {}=False {}", text("type"), text("reason")));
            }
        }
    }
    wrong
}
