//! What the README tells an operator to do with `kubectl`, as far as that takes no cluster.
//!
//! Without a `kubectl` on PATH these tests say that they are skipped. What `testbed::kustomize` makes of the manifests is tested anyway.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use testbed::{config, kustomize, paths};

/// `None`, with a word about it, if there is no `kubectl`.
fn kubectl(arguments: &[&str]) -> Option<Output> {
    match Command::new("kubectl").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!(
                "SKIPPED: no kubectl on PATH ({error}): `kubectl {}` was not tried",
                arguments.join(" ")
            );
            None
        }
    }
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn istio() -> std::path::PathBuf {
    paths::workspace_root().join("envoy/istio")
}

/// Directories with a kustomization, relative to `envoy/istio`.
fn kustomizations(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            kustomizations(&path, found);
        } else if path.ends_with("kustomization.yaml") {
            found.push(directory.strip_prefix(istio()).expect("below").to_str().expect("UTF-8").to_owned());
        }
    }
}

/// By kind and name: kustomize sorts them in its own way.
fn by_name(manifests: Vec<Value>) -> BTreeMap<String, Value> {
    let count = manifests.len();
    let named: BTreeMap<_, _> =
        manifests.into_iter().map(|m| (format!("{} {}", m["kind"], m["metadata"]["name"]), m)).collect();
    assert_eq!(named.len(), count, "two manifests of one name");
    named
}

#[test]
fn kubectl_makes_the_same_of_each_directory_as_the_tests() {
    let mut directories = Vec::new();
    kustomizations(&istio(), &mut directories);
    assert!(directories.len() > 20, "{directories:?}");
    for directory in directories {
        let path = istio().join(&directory);
        let Some(output) = kubectl(&["kustomize", path.to_str().expect("UTF-8")]) else { return };
        let text = said(&output);
        let theirs = text.split("\n---\n").map(|document| config::parse_yaml(document).expect("YAML"));
        assert_eq!(by_name(theirs.collect()), by_name(kustomize::render(&directory)), "{directory}");
    }
}

#[test]
fn the_gateways_patch_adds_the_credentials_and_leaves_the_rest() {
    let container = json!({"name": "istio-proxy", "image": "auto", "env": [{"name": "OTHER", "value": "x"}]});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "genesys-ingressgateway"},
        "spec": {
            "selector": {"matchLabels": {"istio": "genesys-ingressgateway"}},
            "template": {
                "metadata": {"labels": {"istio": "genesys-ingressgateway"}},
                "spec": {"containers": [{"name": "sidecar", "image": "x"}, container]},
            },
        },
    });
    let scratch = tempfile::tempdir().expect("a directory");
    let file = scratch.path().join("deployment.json");
    fs::write(&file, deployment.to_string()).expect("a file");
    let (file, patch) = (file.to_str().expect("UTF-8"), istio().join("gateway-env.yaml"));
    let patch = patch.to_str().expect("UTF-8");
    let Some(output) =
        kubectl(&["patch", "--local", "--filename", file, "--patch-file", patch, "--output", "json"])
    else {
        return;
    };
    let patched: Value = serde_json::from_str(&said(&output)).expect("JSON");
    let mut expected = deployment;
    let secret = |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "genesys-oauth", "key": key}}});
    let containers = expected.pointer_mut("/spec/template/spec/containers").expect("containers");
    containers[1]["env"] = json!([
        secret("GENESYS_CLIENT_ID", "client-id"),
        secret("GENESYS_CLIENT_SECRET", "client-secret"),
        {"name": "OTHER", "value": "x"},
    ]);
    let containers = patched.pointer("/spec/template/spec/containers");
    assert_eq!(containers, expected.pointer("/spec/template/spec/containers"));
}

#[test]
fn the_command_in_the_patchs_comment_makes_the_secret_that_it_refers_to() {
    for file in ["istio/gateway-env.yaml", "envoy-gateway/proxy.yaml"] {
        let text = fs::read_to_string(paths::workspace_root().join("envoy").join(file)).expect(file);
        let command =
            text.lines().find_map(|line| line.trim_start_matches(['#', ' ']).strip_prefix("kubectl "));
        let command = command.filter(|command| command.contains("create secret")).expect("the command");
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.extend(["--dry-run=client", "--output=json"]);
        let Some(output) = kubectl(&arguments) else { return };
        let secret: Value = serde_json::from_str(&said(&output)).expect("JSON");
        let name = secret["metadata"]["name"].as_str().expect("a name");
        let keys: Vec<&String> = secret["data"].as_object().expect("data").keys().collect();
        assert!(!keys.is_empty());
        for key in keys {
            let reference = format!("{{secretKeyRef: {{name: {name}, key: {key}}}}}");
            assert!(text.contains(&reference), "{file}: {reference}");
        }
    }
}
