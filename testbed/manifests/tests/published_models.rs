//! The examples under `envoy/examples`, compared with published models.

use manifests::problems;
use serde_json::{Value, json};
use std::fs;
use testbed::manifests::{example, examples};

/// What the models do not know yet: they are older than the fields' first release.
const NEWER: [&str; 2] = [
    // Istio 1.31.
    "spec.servers.?.0.tls.?.insecureSkipVerify is unknown",
    // Gateway API 1.5.
    "spec.tls is unknown",
];

#[test]
fn every_example_is_as_its_project_publishes_it() {
    let mut compared = 0;
    for directory in
        fs::read_dir(examples()).expect("a directory").map(|entry| entry.expect("an entry").path())
    {
        for state in ["shadow", "enforce"] {
            if !directory.join(format!("{state}.yaml")).is_file() {
                continue;
            }
            let name = format!("{}/{state}", directory.file_name().expect("a name").to_string_lossy());
            let manifests = example(&name);
            assert!(manifests.len() >= 6, "{name}");
            // No model of Envoy Gateway's kinds is published.
            let ours = |m: &&Value| {
                m["apiVersion"] != "gateway.envoyproxy.io/v1alpha1" && m["kind"] != "BackendTLSPolicy"
            };
            for manifest in manifests.iter().filter(ours) {
                let mut problems = problems(manifest);
                problems.retain(|problem| !NEWER.contains(&problem.as_str()));
                assert_eq!(
                    problems,
                    Vec::<String>::new(),
                    "{name}: {} {}",
                    manifest["kind"],
                    manifest["metadata"]["name"]
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn a_typing_error_in_a_manifest_is_found() {
    let plugin =
        || example("istio/enforce").into_iter().find(|m| m["kind"] == "WasmPlugin").expect("the plugin");
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
