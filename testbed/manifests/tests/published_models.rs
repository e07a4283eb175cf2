//! The manifests under `envoy`, compared with published models.

use manifests::problems;
use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Command};
use testbed::{
    kustomize::{documents, render},
    paths,
};

/// Every directory that `kubectl kustomize` can be pointed at.
fn kustomizations() -> Vec<String> {
    let root = paths::workspace_root().join("envoy/istio");
    let mut found = Vec::new();
    let mut pending = vec![root.clone()];
    while let Some(directory) = pending.pop() {
        let entries =
            fs::read_dir(&directory).expect("a directory").map(|entry| entry.expect("an entry").path());
        let entries: Vec<PathBuf> = entries.collect();
        pending.extend(entries.iter().filter(|path| path.is_dir()).cloned());
        if directory.join("kustomization.yaml").is_file() {
            found.push(directory.strip_prefix(&root).expect("below").to_str().expect("UTF-8").to_owned());
        }
    }
    found
}

#[test]
fn every_manifest_is_as_its_project_publishes_it() {
    let directories = kustomizations();
    assert!(directories.len() > 18, "a directory for each region, and more: {directories:?}");
    for directory in directories {
        let manifests = render(&directory);
        assert!(manifests.len() >= 8, "{directory}");
        for manifest in manifests {
            let what = format!("{directory}: {} {}", manifest["kind"], manifest["metadata"]["name"]);
            assert_eq!(problems(&manifest), Vec::<String>::new(), "{what}");
        }
    }
    for file in ["crl-host.yaml", "stats.yaml"] {
        for manifest in documents(&paths::workspace_root().join("envoy/istio").join(file)) {
            assert_eq!(problems(&manifest), Vec::<String>::new(), "{file}");
        }
    }
}

#[test]
fn what_envoy_gateway_shares_with_others_is_as_the_gateway_api_publishes_it() {
    for manifest in documents(&paths::workspace_root().join("envoy/envoy-gateway/gateway.yaml")) {
        assert_eq!(problems(&manifest), Vec::<String>::new(), "{}", manifest["kind"]);
    }
}

#[test]
fn a_typing_error_in_a_manifest_is_found() {
    let plugin = || render("base").into_iter().find(|m| m["kind"] == "WasmPlugin").expect("the plugin");
    for (pointer, key, value, found) in [
        ("/spec", "failstrategy", json!("FAIL_RELOAD"), "spec.failstrategy is unknown"),
        ("/spec", "failStrategy", json!("FAIL_RELAOD"), "FAIL_RELAOD"),
        ("/spec", "phase", json!("BEFORE"), "BEFORE"),
        ("/spec", "priority", json!("10"), "expected i32"),
        ("/spec/vmConfig/env/0", "valuefrom", json!("HOST"), "valuefrom is unknown"),
        ("", "specs", json!({}), "specs is unknown"),
        ("/metadata", "lables", json!({}), "metadata.lables is unknown"),
        ("", "apiVersion", json!("extensions.istio.io/v1"), "no model"),
    ] {
        let mut manifest: Value = plugin();
        manifest.pointer_mut(pointer).expect("a place")[key] = value;
        let problems = problems(&manifest);
        assert!(problems.iter().any(|problem| problem.contains(found)), "{key}: {problems:?}");
    }
}

#[test]
fn the_regions_overlays_are_up_to_date() {
    let script = paths::workspace_root().join("scripts/istio-regions.sh");
    let output = Command::new("bash").arg(script).arg("--check").output().expect("bash runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
