//! What only a running Envoy can say.

use super::{findings, start, world};
use crate::run::{Outcome, run};
use std::time::Duration;
use testbed::{Envoy, World, client::Response, paths};

/// Examined once it says this, or until patience ends.
async fn examined(envoy: &Envoy, expected: &[&str]) -> Outcome {
    let admin = envoy.admin_addr().to_string();
    let mut outcome = tokio::task::block_in_place(|| run(&["doctor", "--admin", &admin, "--json"]));
    for _ in 0..100 {
        if findings(&outcome) == expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        outcome = tokio::task::block_in_place(|| run(&["doctor", "--admin", &admin, "--json"]));
    }
    assert_eq!(findings(&outcome), expected, "{}{}", outcome.stdout, outcome.stderr);
    outcome
}

async fn ask(envoy: &Envoy, world: &World) -> Response {
    world.client(envoy.listener_addr("ingress")).build().get("/").await.expect("an answer")
}

fn with_module(bootstrap: &mut serde_json::Value) {
    testbed::config::set_module(bootstrap, &paths::wasm_module());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_works_is_clean() {
    let world = world().await;
    let envoy = start(&world, "envoy.yaml", |b, _| with_module(b)).await.expect("Envoy starts");
    let outcome = examined(&envoy, &[]).await;
    assert_eq!(outcome.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_fails_is_said() {
    let world = world().await;
    let envoy = world
        .envoy({
            let mut bootstrap = testbed::shipped::bootstrap(&world, "envoy.yaml");
            with_module(&mut bootstrap);
            bootstrap
        })
        .env("GENESYS_CLIENT_SECRET", "wrong")
        .start()
        .await
        .expect("Envoy starts");
    let outcome = examined(&envoy, &["warning[pins_missing]", "warning[refresh_failing]"]).await;
    assert_eq!(outcome.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn module_without_workers_and_refusing_guard_are_found() {
    let world = world().await;
    let envoy = start(&world, "envoy.yaml", |_, _| {}).await.expect("Envoy starts");
    assert_eq!(ask(&envoy, &world).await.status, 403, "the empty module gives no verdict");
    examined(&envoy, &["error[module_not_fetched]", "warning[guard_refuses]"]).await;
}
