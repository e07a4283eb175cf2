//! The main rule, caller by caller, with the shipped *explain* profile: Genesys Cloud is allowed, and all others are denied.

use crate::setup::{PATIENCE, assert_refused, start, with, world};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn genesys_clients_are_allowed_and_others_learn_why_not() {
    let world = world().await;
    let policy = world.policy();
    let run = start(world, "envoy/envoy.yaml", &policy, 2).await;
    run.refreshed().await;
    let pki = &run.world.pki;
    run.assert_in("by the Genesys CA", &pki.us.genesys).await;
    run.assert_in("by DigiCert, pinned by the API", &pki.us.digicert).await;
    run.assert_out("a stranger", &pki.stranger, 403, "wrong_name").await;
    run.assert_out("an e-mail certificate", &pki.email, 403, "wrong_name").await;
    run.assert_out("the same with our name", &pki.digicert_lookalike, 403, "not_pinned").await;
    run.assert_out("another region", &pki.eu.genesys, 403, "wrong_region").await;
    run.assert_out("another region's DigiCert", &pki.eu.digicert, 403, "wrong_region").await;
    run.assert_out("expired", &pki.us.genesys_expired, 403, "expired").await;
    run.assert_out("a false root", &pki.impostor_leaf, 403, "bad_signature").await;
    let nobody = run.world.client(run.ingress).build().get("/").await.unwrap();
    assert_refused("no certificate", &nobody, 403, "no_client_certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_pin_is_allowed_at_a_cold_start_without_the_api() {
    let world = world().await;
    world.genesys.stop().await;
    let us = world.pki.us.clone();
    let pins = json!(["api", us.digicert.pin()]);
    let policy = with(world.policy(), "/regions/us-east-1/digicert/pins", pins);
    let run = start(world, "envoy/envoy.yaml", &policy, 2).await;
    for round in ["the first request ever", "a later one"] {
        run.assert_in(&format!("pinned, {round}"), &us.digicert).await;
    }
    run.assert_in("by the Genesys CA", &us.genesys).await;
    run.assert_out("a stranger", &run.world.pki.stranger, 403, "wrong_name").await;
    // Only the API can tell whether this one is Genesys Cloud's as well.
    run.assert_out("the certificate that is to come", &us.digicert_upcoming, 503, "trust_not_loaded").await;
    let failed = "wasmcustom.genesys_mtls.default.refreshes.login_unavailable.us-east-1";
    run.envoy.wait_for_stat(failed, |n| n >= 1, PATIENCE).await.expect("the API is down");
}
