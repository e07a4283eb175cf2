//! Every shipped configuration, on the filter's real module.

use super::{dump, examine, findings, set_others, world};
use serde_json::Value;
use testbed::{World, istio, manifests::example, shipped};

/// What the doctor has to say of shipped configurations, and rightly: see the file.
const REMARKS: [(&str, &str); 1] = [
    // On our port the others' host is behind the guard as well; theirs serves it to everybody, as it should.
    ("scope/port.yaml", "note[partly_guarded]"),
];

/// Starts Envoy with a configuration, and asserts that nothing is found but what is remarked.
async fn assert_clean(world: &World, name: &str, bootstrap: Value) {
    let envoy = world.envoy(bootstrap).start().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let outcome = examine(&dump(&envoy).await);
    let remarks = REMARKS.iter().filter(|(of, _)| *of == name).map(|(_, remark)| *remark);
    assert_eq!(
        findings(&outcome),
        remarks.collect::<Vec<_>>(),
        "{name}: {}{}",
        outcome.stdout,
        outcome.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_envoy_file_is_clean() {
    let world = world().await;
    for name in shipped::BOOTSTRAPS {
        let mut bootstrap = shipped::bootstrap(&world, name);
        set_others(&mut bootstrap);
        assert_clean(&world, name, bootstrap).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_that_istio_builds_is_clean() {
    for name in
        ["istio/enforce", "istio-strict/enforce", "istio-authorization-policy/enforce", "two-regions/enforce"]
    {
        let world = world().await;
        let bootstrap = istio::gateway(&example(name), &world);
        assert_clean(&world, name, bootstrap).await;
    }
}
