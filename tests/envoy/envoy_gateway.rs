//! The manifests under `envoy/envoy-gateway`, as Envoy gets them from Envoy Gateway.

use crate::{
    setup::{PATIENCE, assert_refused, world},
    stage::assert_guarded,
};
use http::Request;
use serde_json::Value;
use testbed::{
    World, client::AlertDescription, config, envoy::Envoy, envoy_gateway::gateway, upstream::echoed,
};

async fn start(world: &World, change: impl FnOnce(&mut Value)) -> (Envoy, std::net::SocketAddr) {
    let (name, mut bootstrap) = gateway(world);
    change(&mut bootstrap);
    let envoy = world.envoy(bootstrap).concurrency(2).start().await.expect("Envoy starts");
    let addr = envoy.listener_addr(&name);
    (envoy, addr)
}

#[tokio::test(flavor = "multi_thread")]
async fn genesys_gets_in_and_others_learn_why_not() {
    let world = world().await;
    let (envoy, addr) = start(&world, |_| {}).await;
    let ok = "wasmcustom.genesys_mtls.default.refreshes.ok.us-east-1";
    envoy.wait_for_stat(ok, |n| n >= 1, PATIENCE).await.expect("a refresh succeeds");
    let pki = &world.pki;
    let genuine = world.client(addr).identity(&pki.us.digicert).build();
    let forged = Request::get("/").header("x-genesys-cloud-client", "region=us-east-1").body(Vec::new());
    let response = genuine.send(forged.expect("a request")).await.expect("an answer");
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(echoed(&response.json(), "x-genesys-cloud-client"), Vec::<String>::new());
    for (leaf, reason) in [
        (&pki.digicert_lookalike, "not_pinned"),
        (&pki.eu.digicert, "wrong_region"),
        (&pki.email, "wrong_name"),
    ] {
        let response = world.client(addr).identity(leaf).build().get("/").await.expect("an answer");
        assert_refused(reason, &response, 403, reason);
    }
    let nobody = world.client(addr).build().get("/").await.expect("an answer");
    assert_refused("nobody", &nobody, 403, "no_client_certificate");
    let stranger = world.client(addr).identity(&pki.stranger).build().get("/").await;
    let alert = stranger.expect_err("TLS verifies what a client shows").alert();
    assert_eq!(alert, Some(AlertDescription::UnknownCA));
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_refuses_on_a_route_that_the_filter_is_not_for() {
    let world = world().await;
    let not_enabled = |bootstrap: &mut Value| {
        config::walk(bootstrap, &mut |map| drop(map.remove("typed_per_filter_config")));
    };
    let (_envoy, addr) = start(&world, not_enabled).await;
    let client = world.client(addr).identity(&world.pki.us.digicert).build();
    assert_guarded("Genesys Cloud", &client.get("/").await.expect("an answer"));
    assert_eq!(world.upstream.count(), 0);
}
