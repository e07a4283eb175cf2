//! Every shipped configuration, on the filter's real module.

use super::{dump, examine, findings, set_others, world};
use serde_json::Value;
use testbed::{World, istio, manifests::example, shipped};

/// Starts Envoy with a configuration, and asserts that nothing is found.
async fn assert_clean(world: &World, name: &str, bootstrap: Value) {
    let envoy = world.envoy(bootstrap).start().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let outcome = examine(&dump(&envoy).await);
    assert_eq!(findings(&outcome), [""; 0], "{name}: {}{}", outcome.stdout, outcome.stderr);
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
        let manifests = example(name);
        let bootstrap = istio::gateway(&manifests, &world);
        // The list of the handshake holds what the example trusts.
        let mut roots = std::fs::read_to_string(world.path("ca.crt")).expect("the client CAs");
        for manifest in &manifests {
            add_roots(manifest, &mut roots);
        }
        world.write("ca.crt", roots).expect("a file");
        assert_clean(&world, name, bootstrap).await;
    }
}

fn add_roots(value: &Value, roots: &mut String) {
    match value {
        Value::String(text) if text.starts_with("-----BEGIN CERTIFICATE") => roots.push_str(text),
        Value::Array(items) => items.iter().for_each(|item| add_roots(item, roots)),
        Value::Object(fields) => fields.values().for_each(|value| add_roots(value, roots)),
        _ => {}
    }
}
