//! The main rule, caller by caller, with the shipped *explain* profile.

use crate::setup::{assert_refused, start, world};

#[tokio::test(flavor = "multi_thread")]
async fn genesys_clients_get_in_and_everybody_else_learns_why_not() {
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
