//! Public configurations that have nothing to do with this filter, from modules of the Go registry. Nothing is said of ours there; and
//! next to ours nothing about them makes the doctor stumble.
//!
//! Not run by default, for it downloads: `cargo test -p genesys-mtls --test cli doctor::public -- --ignored --nocapture`.

use crate::run::run;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

const MODULES: [&str; 2] =
    ["github.com/envoyproxy/gateway@v1.9.1", "istio.io/istio@v0.0.0-20260827124520-eed52ebb66ad"];

/// Where the Go registry's client has put a module.
fn directory(module: &str) -> PathBuf {
    let output = Command::new("go")
        .args(["mod", "download", "-json", module])
        .current_dir(std::env::temp_dir())
        .output();
    let output = output.expect("Go is installed");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    PathBuf::from(answer["Dir"].as_str().unwrap_or_else(|| panic!("{module}: {answer}")))
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|end| ["yaml", "json", "golden"].iter().any(|known| end == *known))
        {
            found.push(path);
        }
    }
}

/// The files of each configuration: `<name>.listeners.yaml` and its like together, other files by themselves.
fn configurations() -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for module in MODULES {
        files(&directory(module), &mut found);
    }
    let (mut sets, mut alone) = (BTreeMap::<String, BTreeSet<String>>::new(), Vec::new());
    for path in found {
        let name = path.to_string_lossy().into_owned();
        let mut parts = ["listeners", "clusters", "routes", "endpoints", "secrets"].iter();
        if let Some(stem) = parts.find_map(|part| name.strip_suffix(&format!(".{part}.yaml"))) {
            sets.entry(stem.to_owned()).or_default().insert(name);
        } else if let Ok(text) = std::fs::read_to_string(&path)
            && ["static_resources", "staticResources", "ListenersConfigDump"]
                .iter()
                .any(|word| text.contains(word))
            && !text.contains("apiVersion")
        {
            alone.push(vec![name]);
        }
    }
    sets.into_values().map(|set| set.into_iter().collect()).chain(alone).collect()
}

#[test]
#[ignore = "downloads from the Go registry"]
fn public_configurations_without_the_filter_are_none_of_ours() {
    let (all, mut examined, mut other) = (configurations(), 0, 0);
    let own = testbed::shipped::directory().join("envoy.yaml").to_string_lossy().into_owned();
    for set in &all {
        let arguments = |more: &[String]| {
            let sources = set.iter().chain(more).map(String::as_str);
            run(&["doctor"].into_iter().chain(sources).collect::<Vec<_>>())
        };
        let alone = arguments(&[]);
        assert_eq!((alone.code, alone.stdout.as_str()), (2, ""), "{set:?}: {}", alone.stdout);
        if alone.stderr.contains("HTTP filter chain(s) has this filter") {
            examined += 1;
        } else {
            other += 1;
            continue;
        }
        let beside = arguments(std::slice::from_ref(&own));
        assert!([0, 1].contains(&beside.code), "{set:?}: {}", beside.stderr);
        assert!(beside.stdout.contains("with policy default"), "{set:?}: {}", beside.stdout);
    }
    println!(
        "{examined} of {} configurations: nothing of ours; {other} are templates, or without listeners",
        all.len()
    );
    assert!(examined >= 200, "{examined}");
}
