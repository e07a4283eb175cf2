//! The part of kustomize that the shipped kustomizations use: resources and JSON patches.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{config, paths};

const ROOT: &str = "envoy/istio";

/// The manifests of a directory under `envoy/istio`, as `kubectl kustomize` prints them.
pub fn render(directory: &str) -> Vec<Value> {
    of_directory(&paths::workspace_root().join(ROOT).join(directory))
}

fn of_directory(directory: &Path) -> Vec<Value> {
    let kustomization = config::load_yaml(&directory.join("kustomization.yaml"));
    for key in kustomization.as_object().expect("a kustomization").keys() {
        let known = ["apiVersion", "kind", "namespace", "resources", "patches"];
        assert!(known.contains(&key.as_str()), "{}: {key} is not understood here", directory.display());
    }
    let mut manifests: Vec<Value> =
        strings(&kustomization["resources"]).flat_map(|entry| resource(&directory.join(entry))).collect();
    for patch in kustomization["patches"].as_array().into_iter().flatten() {
        apply(patch, &mut manifests, directory);
    }
    if let Some(namespace) = kustomization["namespace"].as_str() {
        for manifest in &mut manifests {
            manifest["metadata"]["namespace"] = namespace.into();
        }
    }
    manifests
}

fn resource(path: &Path) -> Vec<Value> {
    if path.is_dir() { of_directory(path) } else { documents(path) }
}

/// The documents of a YAML file.
pub fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let parse = |text| config::parse_yaml(text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.split("\n---\n").map(parse).collect()
}

fn apply(patch: &Value, manifests: &mut [Value], directory: &Path) {
    let (target, place) = (&patch["target"], directory.display());
    let matches = |m: &&mut Value| m["kind"] == target["kind"] && m["metadata"]["name"] == target["name"];
    let found: Vec<&mut Value> = manifests.iter_mut().filter(matches).collect();
    assert_eq!(found.len(), 1, "{place}: {target} matches not exactly one manifest");
    let operations = config::parse_yaml(patch["patch"].as_str().expect("a patch")).expect("YAML");
    for manifest in found {
        for operation in operations.as_array().expect("operations") {
            let pointer = operation["path"].as_str().expect("a path");
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            let parent = manifest.pointer_mut(parent).unwrap_or_else(|| panic!("{place}: no {parent}"));
            match operation["op"].as_str() {
                // In JSON Patch only what is there can be replaced.
                Some("replace") => {
                    let old = parent.pointer_mut(&format!("/{key}"));
                    *old.unwrap_or_else(|| panic!("{place}: no {pointer}")) = operation["value"].clone();
                }
                Some("add") => parent[key] = operation["value"].clone(),
                other => panic!("{place}: operation {other:?} is not understood here"),
            }
        }
    }
}

/// The strings of a list.
pub fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}
