//! A revocation counts on connections and TLS sessions that are older than it, and survives outages and reloads.

use super::{crl_cluster, leaves, listed, serve};
use crate::{
    setup::{PATIENCE, assert_refused, with, world},
    stage::{Doors, by_ca},
};
use serde_json::{Value, json};
use testbed::{
    World,
    client::{Connection, TlsVersions},
    config,
    pki::serial_of,
};

const FETCHED: &str = "wasmcustom.genesys_mtls.default.crl_fetches.ok.genesys.us-east-1";

fn policy(world: &World, mode: &str) -> Value {
    with(by_ca(world), "/revocation", listed(mode))
}

fn doors(world: &World) -> Doors {
    let mut doors = Doors::of(world, "envoy/envoy.yaml");
    let cluster = crl_cluster(world);
    doors.clusters().push(cluster);
    doors
}

async fn until_refused(connection: &mut Connection) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while connection.get("/").await.expect("an answer").status == 200 {
        assert!(tokio::time::Instant::now() < deadline, "the list never takes effect");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_certificate_is_denied_on_open_and_resumed_sessions() {
    let world = world().await;
    let [leaf, _] = leaves(&world);
    serve(&world, world.pki.us.root.crl().number(1));
    let policy = policy(&world, "soft");
    let mut doors = doors(&world);
    doors.add("ingress", &policy, |_| {});
    let stage = doors.open(world).await;
    stage.envoy.wait_for_stat(FETCHED, |n| n > 0, PATIENCE).await.expect("a list");
    let client = |versions| stage.client("ingress").identity(&leaf).versions(versions).resumption().build();
    let clients = [client(TlsVersions::Tls12), client(TlsVersions::Tls13)];
    let mut connections = Vec::new();
    for client in &clients {
        let mut connection = client.connect().await.expect("a handshake");
        assert_eq!(connection.get("/").await.expect("an answer").status, 200, "before its revocation");
        connections.push(connection);
    }
    // One session each, to be resumed while the certificate is still good: resumption works here.
    for client in &clients {
        let mut connection = client.connect().await.expect("a handshake");
        assert!(connection.tls().expect("TLS").resumed);
        assert_eq!(connection.get("/").await.expect("an answer").status, 200, "resumed, before");
    }
    serve(&stage.world, stage.world.pki.us.root.crl().number(2).revoke(&serial_of(&leaf.der)));
    until_refused(&mut connections[0]).await;
    for connection in &mut connections {
        assert_refused("an open connection", &connection.get("/").await.expect("an answer"), 403, "revoked");
    }
    for client in &clients {
        let mut connection = client.connect().await.expect("a handshake");
        let tls = connection.tls().expect("TLS").clone();
        assert!(tls.resumed, "{tls:?}");
        assert_refused(&format!("{tls:?}"), &connection.get("/").await.expect("an answer"), 403, "revoked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_survive_an_outage_and_a_reload_in_it() {
    // By list and by discovery, with a secret to seal what is shared and without.
    let [soft, hard] = ["soft", "hard"]
        .map(|mode| json!({"mode": mode, "interval": "1s", "discover": {"crl.example": "crl"}}));
    let rows =
        [(listed("hard"), false), (listed("hard"), true), (hard, false), (soft.clone(), false), (soft, true)];
    for (revocation, secret) in rows {
        let world = world().await;
        let [revoked, good] = leaves(&world);
        serve(&world, world.pki.us.root.crl().revoke(&serial_of(&revoked.der)));
        let policy = if secret {
            let policy = with(world.policy(), "/revocation", revocation);
            with(policy, "/regions/us-east-1/digicert/issuers", json!(world.pki.digicert_ca.pem))
        } else {
            with(by_ca(&world), "/revocation", revocation)
        };
        let filter = "envoy.filters.http.wasm";
        let mut doors = doors(&world);
        doors.add("ingress", &policy, |_| {});
        let file = world.path("filter.json");
        let mut typed =
            config::filter_from_file(doors.bootstrap(), filter, &file).expect("the filter is moved");
        let stage = doors.open(world).await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for (leaf, status) in [(&revoked, 403), (&good, 200)] {
            while stage.get_as("ingress", leaf).await.status != status {
                assert!(tokio::time::Instant::now() < deadline, "the list never takes effect");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        let mut connection =
            stage.client("ingress").identity(&revoked).build().connect().await.expect("a handshake");
        stage.world.genesys.stop().await;
        stage.assert_out("ingress", "in the outage", &revoked, "revoked").await;
        for (version, skew) in [(2, "50s"), (3, "40s")] {
            typed["config"]["configuration"] =
                config::plugin_struct(&with(policy.clone(), "/clock_skew", json!(skew)));
            let reloads = "extension_config_discovery.http_filter.envoy.filters.http.wasm.config_reload";
            let before = stage.envoy.stat(reloads).await.expect("statistics");
            config::write_filter(&file, version, filter, &typed).expect("the file is written");
            stage.envoy.wait_for_stat(reloads, |n| n > before, PATIENCE).await.expect("a reload");
            let response = connection.get("/").await.expect("an answer");
            assert_refused("on its open connection", &response, 403, "revoked");
            stage.assert_out("ingress", "after the reload", &revoked, "revoked").await;
            stage.assert_in("ingress", "good, after the reload", &good).await;
        }
    }
}
