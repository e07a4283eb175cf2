//! The shipped files that Envoy watches work, and change the policy without a restart.

use crate::setup::{PATIENCE, assert_refused, world};
use serde_json::{Value, json};
use testbed::{
    World, config,
    shipped::{bootstrap, directory, part},
};

fn replace(world: &World, file: &str, content: &Value) {
    world.write(file, content.to_string()).expect("a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_envoy_watches_serve_and_change_without_a_restart() {
    let world = world().await;
    let bootstrap = bootstrap(&world, "xds/bootstrap.yaml");
    let mut filter = config::load_yaml(&world.path("genesys_mtls.yaml"));
    let envoy = world.envoy(bootstrap).concurrency(2).start().await.expect("Envoy starts");
    let ok = "wasmcustom.genesys_mtls.default.refreshes.ok.us-east-1";
    envoy.wait_for_stat(ok, |n| n >= 1, PATIENCE).await.expect("a refresh succeeds");
    let addr = envoy.listener_addr("ingress");
    let pki = &world.pki;
    let client = world.client(addr).identity(&pki.us.digicert).build();
    let mut connection = client.connect().await.expect("a handshake");
    assert_eq!(connection.get("/").await.expect("an answer").status, 200);
    let stranger = world.client(addr).identity(&pki.stranger).build();
    assert_refused("a stranger", &stranger.get("/").await.expect("an answer"), 403, "wrong_name");
    let nobody = world.client(addr).build();
    assert_refused("none", &nobody.get("/").await.expect("an answer"), 403, "no_client_certificate");

    // Another policy, for open connections too.
    config::each_plugin(&mut filter, |plugin| {
        let regions = json!({"eu-central-1": {"digicert": {"pins": [pki.eu.digicert.pin()]}}});
        plugin["configuration"]["value"]["regions"] = regions;
    });
    replace(&world, "genesys_mtls.yaml", &filter);
    let reloads = "extension_config_discovery.http_filter.genesys_mtls.config_reload";
    envoy
        .wait_for_stats(
            "the second policy",
            |stats| stats.iter().find(|(name, n)| name.ends_with(reloads) && **n >= 2).map(drop),
            PATIENCE,
        )
        .await
        .expect("Envoy reads the file");
    let response = connection.get("/").await.expect("an answer");
    assert_refused("an open connection", &response, 403, "wrong_region");
    let client = world.client(addr).identity(&pki.eu.digicert).build();
    assert_eq!(client.get("/").await.expect("an answer").status, 200);

    // Another server certificate, for new connections.
    let server = pki.server(&["renewed.example"]);
    let (chain, key) =
        (world.write("renewed.crt", &server.chain_pem), world.write("renewed.key", &server.key_pem));
    let mut secret = part(&world, "server-certificate.yaml");
    secret["resources"][0]["tls_certificate"] = json!({
        "certificate_chain": {"filename": chain.expect("a file")}, "private_key": {"filename": key.expect("a file")},
    });
    replace(&world, "server-certificate.yaml", &secret);
    let client = world.client(addr).verify_name("renewed.example").identity(&pki.eu.digicert).build();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while client.connect().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the certificate is not renewed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[test]
fn the_watched_files_say_what_the_profile_says() {
    let load = |file: &str| config::load_yaml(&directory().join(file));
    let (profile, clusters) = (load("envoy.yaml"), load("xds/cds.yaml"));
    let mut expected = profile["static_resources"]["clusters"].clone();
    for cluster in expected.as_array_mut().expect("clusters") {
        cluster["@type"] = "type.googleapis.com/envoy.config.cluster.v3.Cluster".into();
    }
    assert_eq!(clusters["resources"], expected);
    let guard = |config: &Value| {
        let manager = config.pointer("/filter_chains/0/filters/0/typed_config").expect("a manager").clone();
        assert_eq!(manager["stream_idle_timeout"], "60s");
        assert!(manager["early_header_mutation_extensions"].is_array());
        manager["http_filters"][1].clone()
    };
    assert_eq!(
        guard(&load("xds/lds.yaml")["resources"][0]),
        guard(&profile["static_resources"]["listeners"][0])
    );
}
