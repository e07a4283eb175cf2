//! The workflows of the forge never run here: these tests check that the versions, targets and images they name exist.

use std::{collections::BTreeSet, fs};

use serde_json::Value;
use testbed::{config, paths};

fn workflow(name: &str) -> Value {
    config::load_yaml(&paths::workspace_root().join(".github/workflows").join(name))
}

fn read(file: &str) -> String {
    fs::read_to_string(paths::workspace_root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What a job's steps run, line by line.
fn commands(workflow: &Value) -> Vec<String> {
    let jobs = workflow["jobs"].as_object().expect("jobs");
    // A job that calls another workflow has no steps.
    let jobs = jobs.values().filter(|job| job.get("uses").is_none());
    let steps = jobs.flat_map(|job| job["steps"].as_array().expect("steps"));
    steps
        .filter_map(|step| step["run"].as_str())
        .flat_map(str::lines)
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn every_supported_envoy_has_a_job() {
    let provision = read("scripts/provision.sh");
    let supported = provision
        .lines()
        .find_map(|line| line.strip_prefix("readonly ENVOY_SUPPORTED=\"")?.strip_suffix('"'))
        .expect("the supported versions");
    let ci = workflow("ci.yml");
    let matrix = ci["jobs"]["envoy"]["strategy"]["matrix"]["version"].as_array().expect("versions");
    let matrix: Vec<&str> = matrix.iter().map(|version| version.as_str().expect("a text")).collect();
    assert_eq!(matrix, supported.split(' ').collect::<Vec<_>>());
}

#[test]
fn the_workflows_run_only_targets_that_exist() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| line.contains(" ## "))
        .filter_map(|line| line.split(':').next())
        .collect();
    let mut seen = 0;
    for name in ["ci.yml", "release.yml"] {
        for command in commands(&workflow(name)) {
            let mut words = command.split(' ');
            match words.next() {
                Some("make") => {
                    let target = words.next().expect("a target");
                    assert!(targets.contains(target), "{name}: {command}");
                }
                Some("bash") => drop(read(words.next().expect("a script"))),
                _ => continue,
            }
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} commands were looked at");
}

#[test]
fn release_publishes_the_images_that_it_makes() {
    let (oci, push) = (read("scripts/oci.sh"), read("scripts/push.sh"));
    for tag in ["\"$version\"", "\"$version-artifact\""] {
        assert!(oci.contains(tag) && push.contains(tag), "{tag}");
    }
    assert!(
        read("scripts/dist.sh").contains("$out/$name.oci.tar")
            && push.contains("\"genesys-mtls-filter-$version.oci.tar\"")
    );
    let images = read("scripts/images.sh");
    assert!(
        images.contains("genesys-mtls-$version-$image.oci.tar")
            && push.contains("\"genesys-mtls-$version-$image.oci.tar\"")
    );
    assert!(commands(&workflow("release.yml")).iter().any(|command| command.starts_with("scripts/push.sh ")));
}
