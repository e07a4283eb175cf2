//! What `check` warns of though the filter loads it.

use crate::run::run_with;
use testbed::shipped::directory;

fn warnings(configuration: &str) -> String {
    let outcome = run_with(&["check", "-"], configuration, &[]);
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
    outcome.stdout
}

#[test]
fn root_of_the_examples_is_named_as_such() {
    let shipped = std::fs::read_to_string(directory().join("envoy.yaml")).expect("a file");
    assert!(warnings(&shipped).contains("is the root of the examples, which signs no certificate"));
}

#[test]
fn identity_header_not_stripped_in_every_spelling_is_named() {
    let shipped = std::fs::read_to_string(directory().join("scope/port.yaml")).expect("a file");
    let regions = "                            regions:\n";
    let with = |header: &str| {
        let identity = format!("                            identity: {{header: {header}}}\n{regions}");
        shipped.replacen(regions, &identity, 1)
    };
    let says = "is not stripped in every spelling";
    assert!(!warnings(&with("x-genesys-cloud-client")).contains(says));
    let told = warnings(&with("x-caller"));
    assert!(told.contains(says) && told.contains("regex: \"x[^a-z0-9]caller\""), "{told}");
    // By its one spelling, as earlier releases did.
    let exact = with("x-genesys-cloud-client").replace("[^a-z0-9]", "-");
    assert!(warnings(&exact).contains(says));
    // Where the proxy's configuration is elsewhere there is nothing to say.
    let policy = "{identity: {}, regions: {us-east-1: {digicert: {pins: [api]}}}}";
    assert!(!warnings(policy).contains(says));
}
