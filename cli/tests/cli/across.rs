//! `check` holds what is around a configuration against it: the shipped files fit together, and each misfit is found.

use crate::run::{Outcome, run};
use std::path::{Path, PathBuf};
use testbed::paths::workspace_root;

fn shipped(name: &str) -> PathBuf {
    workspace_root().join("envoy").join(name)
}

fn check(path: &Path) -> Outcome {
    run(&["check", "--json", path.to_str().expect("text")])
}

#[test]
fn shipped_files_pass_alone_and_by_directory() {
    let mut files = Vec::new();
    for directory in ["", "scope", "examples"] {
        for entry in std::fs::read_dir(shipped(directory)).expect("a directory").flatten() {
            let path = entry.path();
            let is_file = path.extension().is_some_and(|extension| extension == "yaml");
            let is_example = directory == "examples" && path.is_dir();
            if is_file && !path.ends_with("docker-compose.yaml") || is_example {
                files.push(path);
            }
        }
    }
    let examples = files
        .iter()
        .filter(|path| path.is_dir())
        .flat_map(|path| std::fs::read_dir(path).expect("files").flatten());
    let examples: Vec<PathBuf> = examples.map(|entry| entry.path()).collect();
    files.extend(examples);
    files.push(shipped("xds"));
    assert!(files.len() > 30, "{files:?}");
    for file in files {
        let outcome = check(&file);
        let json = outcome.json();
        assert_eq!(outcome.code, 0, "{}: {}", file.display(), outcome.stdout);
        assert_eq!(
            json["across"].as_array().map(Vec::len),
            Some(0),
            "{}: {}",
            file.display(),
            json["across"]
        );
    }
    let chart = check(&shipped("chart"));
    assert!(chart.code == 2 && chart.stdout.contains("helm template"), "{}", chart.stdout);
}

/// A shipped file, what is changed in it, and the words of the finding.
#[test]
fn misfits_between_resources_are_found_with_both_places() {
    let istio = "examples/two-regions/enforce.yaml";
    let gateway = "examples/envoy-gateway/enforce.yaml";
    let host = "examples/istio-gateway-api/enforce.yaml";
    for (file, from, to, code, words) in [
        (
            "regions.yaml",
            "address: api.mypurecloud.de",
            "address: api.mypurecloud.ie",
            0,
            "leads to `api.mypurecloud.ie`",
        ),
        (
            "regions.yaml",
            "sni: login.mypurecloud.com",
            "sni: login.mypurecloud.de",
            1,
            "asks TLS for `login.mypurecloud.de`",
        ),
        (
            "regions.yaml",
            "exact: api.mypurecloud.com",
            "exact: api.mypurecloud.de",
            1,
            "asks TLS for `api.mypurecloud.de`",
        ),
        (
            "regions.yaml",
            "genesys_api_{region}",
            "genesys_apis_{region}",
            1,
            "there is no cluster `genesys_apis_us-east-1`",
        ),
        ("regions.yaml", "us-east-1:\n", "us-west-2:\n", 1, "there is no cluster `genesys_api_us-west-2`"),
        (
            "regions.yaml",
            "key: wasm.genesys_mtls.default",
            "key: wasm.genesys_mtls.defaults",
            1,
            "no policy is named `defaults`",
        ),
        ("regions.yaml", "US_CLIENT_SECRET, EU", "US_SECRET, EU", 1, "does not see `US_CLIENT_SECRET`"),
        (
            istio,
            "hosts: [api.mypurecloud.de, login",
            "hosts: [api.mypurecloud.ie, login",
            1,
            "no cluster `outbound|443||api.mypurecloud.de`",
        ),
        (istio, "sni: api.mypurecloud.de", "sni: api.mypurecloud.ie", 1, "asks TLS for `api.mypurecloud.ie`"),
        (
            istio,
            "subjectAltNames: [login.mypurecloud.com]",
            "subjectAltNames: [login.mypurecloud.de]",
            1,
            "asks TLS for `login.mypurecloud.de`",
        ),
        (
            istio,
            "- {name: GENESYS_US_EAST_1_CLIENT_ID, valueFrom",
            "- {name: GENESYS_CLIENT_ID, valueFrom",
            1,
            "does not see `GENESYS_US_EAST_1_CLIENT_ID`",
        ),
        (
            istio,
            "- name: GENESYS_US_EAST_1_CLIENT_ID",
            "- name: GENESYS_CLIENT_ID",
            1,
            "has no variable `GENESYS_US_EAST_1_CLIENT_ID`",
        ),
        (
            istio,
            "(wasm.genesys_mtls.default:PLAIN)",
            "(wasm.genesys_mtls.main:PLAIN)",
            1,
            "no policy is named `main`",
        ),
        (
            gateway,
            "{fqdn: {hostname: api.mypurecloud.com",
            "{fqdn: {hostname: api.mypurecloud.de",
            0,
            "leads to `api.mypurecloud.de`",
        ),
        (
            gateway,
            "validation: {hostname: login.mypurecloud.com",
            "validation: {hostname: login.mypurecloud.de",
            1,
            "asks TLS for `login.mypurecloud.de`",
        ),
        (
            gateway,
            "hostKeys: [\"GENESYS_US_EAST_1_CLIENT_ID\"",
            "hostKeys: [\"GENESYS_CLIENT_ID\"",
            1,
            "does not see",
        ),
        (
            host,
            "hostnames: [\"service.example\"]",
            "hostnames: [\"other.example\"]",
            0,
            "does not serve `other.example`",
        ),
    ] {
        let text = std::fs::read_to_string(shipped(file)).expect("a file");
        let changed = text.replacen(from, to, 1);
        assert_ne!(text, changed, "{file} has no {from}");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("changed.yaml");
        std::fs::write(&path, changed).expect("a file");
        let outcome = check(&path);
        assert_eq!(outcome.code, code, "{file}, {to}: {}{}", outcome.stdout, outcome.stderr);
        let across = outcome.json()["across"].to_string();
        assert!(across.contains(words), "{file}, {to}: {across}");
        assert!(across.contains("changed.yaml:"), "the other place: {across}");
    }
}
