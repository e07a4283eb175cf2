//! Revocation lists, fetched by Envoy from a plain-HTTP host, and what each mode makes of them.

use crate::setup::{PATIENCE, Running, start_with, with, world};
use serde_json::{Value, json};
use std::time::Duration;
use testbed::{
    World,
    client::Connection,
    genesys::{Endpoint, Fault},
    pki::{CrlBuilder, Leaf, serial_of},
};
use time::Duration as Span;

const PATH: &str = "/genesys/us-east-1.crl";
const URL: &str = "http://crl.example/genesys/us-east-1.crl";

/// A world with a second certificate by the Genesys CA, so that one can be revoked and one not.
struct Scene {
    run: Running,
    revoked: Leaf,
    good: Leaf,
}

/// A policy for us-east-1 with this `revocation`, refreshing quickly.
fn policy(world: &World, revocation: Value) -> Value {
    let policy = with(world.policy(), "/revocation", revocation);
    let policy = with(policy, "/refresh/retry", json!({"base": "100ms", "max": "300ms"}));
    with(policy, "/regions/us-east-1/digicert/issuers", json!(world.pki.digicert_ca.pem))
}

fn listed(mode: &str) -> Value {
    let list = json!({"region": "us-east-1", "authority": "genesys", "url": URL, "cluster": "crl"});
    json!({"mode": mode, "interval": "1s", "lists": [list]})
}

async fn scene(revocation: Value, workers: u32, prepare: impl FnOnce(&World, &Leaf)) -> Scene {
    let world = world().await;
    let leaf = |name: &str| {
        let builder = world.pki.us.root.leaf().key_name(name).name(world.pki.us.region.certificate_name);
        builder.crl(URL).issue()
    };
    let (revoked, good) = (leaf("revoked"), leaf("good"));
    prepare(&world, &revoked);
    let policy = policy(&world, revocation);
    let crl = world.genesys.crl_addr();
    let run = start_with(world, "envoy/envoy.yaml", &policy, workers, |bootstrap| {
        let endpoint = json!({"address": {"socket_address":
            {"address": crl.ip().to_string(), "port_value": crl.port()}}});
        bootstrap["static_resources"]["clusters"].as_array_mut().unwrap().push(json!({
            "name": "crl", "type": "STATIC",
            "load_assignment": {"cluster_name": "crl", "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        }));
    })
    .await;
    Scene { run, revoked, good }
}

fn serve(world: &World, crl: CrlBuilder<'_>) {
    world.genesys.set_crl(PATH, 200, crl.der());
}

impl Scene {
    /// Waits until fetches with this result have risen by one.
    async fn fetched(&self, code: &str) {
        let stat = format!("wasmcustom.genesys_mtls.default.crl_fetches.{code}.genesys.us-east-1");
        let before = self.run.envoy.stats().await.unwrap().get(&stat).copied().unwrap_or(0);
        self.run.envoy.wait_for_stat(&stat, |n| n > before, PATIENCE).await.expect("a fetch");
    }

    /// Waits until a list has arrived.
    async fn loaded(&self) {
        self.run.envoy.wait_for_log("revocation list fetched", PATIENCE).await.expect("a list");
    }

    /// Asks on one connection until the answer is this one: a verdict follows a list within a tick of every worker.
    async fn becomes(&self, what: &str, connection: &mut Connection, status: u16) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let response = connection.get("/").await.expect("an answer");
            if response.status == status {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{what}: still {} {}",
                response.status,
                response.text()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn connect(&self, leaf: &Leaf) -> Connection {
        self.run.world.client(self.run.ingress).identity(leaf).build().connect().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_denied_on_its_open_connection_and_others_pass() {
    let scene = scene(listed("soft"), 2, |world, _| serve(world, world.pki.us.root.crl().number(1))).await;
    scene.loaded().await;
    let mut revoked = scene.connect(&scene.revoked).await;
    let mut good = scene.connect(&scene.good).await;
    scene.becomes("before its revocation", &mut revoked, 200).await;
    let world = &scene.run.world;
    let list = |number| world.pki.us.root.crl().number(number).revoke(&serial_of(&scene.revoked.der));
    serve(world, list(2));
    scene.becomes("after its revocation", &mut revoked, 403).await;
    scene.becomes("the other one", &mut good, 200).await;
    scene.run.assert_out("on a new connection", &scene.revoked, 403, "revoked").await;

    // Neither an outage nor an older list undoes it.
    world.genesys.fault(None, Some(Endpoint::Crl), Fault::Status(404));
    scene.fetched("crl_unexpected_status").await;
    scene.run.assert_out("during an outage", &scene.revoked, 403, "revoked").await;
    world.genesys.clear_faults();
    serve(world, world.pki.us.root.crl().number(1));
    scene.fetched("crl_rollback").await;
    scene.run.assert_out("after a rollback", &scene.revoked, 403, "revoked").await;
    scene.run.assert_in("not on the list", &scene.good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_prove_nothing_are_refused_and_the_mode_decides() {
    // What is served, and the code under which it is refused.
    type Case = (&'static str, fn(&World) -> (u16, Vec<u8>));
    let cases: &[Case] = &[
        ("crl_unexpected_status", |_| (404, Vec::new())),
        ("crl_unavailable", |_| (500, Vec::new())),
        ("crl_redirected", |_| (302, Vec::new())),
        ("crl_malformed", |world| (200, world.pki.us.root.crl().pem().into_bytes())),
        ("crl_other_issuer", |world| (200, world.pki.eu.root.crl().der())),
        ("crl_bad_signature", |world| (200, world.pki.impostor.crl().der())),
        ("crl_expired", |world| {
            (200, world.pki.us.root.crl().valid_from_now(Span::hours(-2), Span::hours(-1)).der())
        }),
        ("crl_not_yet_valid", |world| {
            (200, world.pki.us.root.crl().valid_from_now(Span::hours(1), Span::hours(2)).der())
        }),
        ("crl_too_large", |_| (200, vec![b'x'; 9 * 1024 * 1024])),
    ];
    for mode in ["soft", "hard"] {
        let scene = scene(listed(mode), 1, |world, _| world.genesys.set_crl(PATH, 404, "")).await;
        for (code, answer) in cases {
            let (status, body) = answer(&scene.run.world);
            scene.run.world.genesys.set_crl(PATH, status, body);
            scene.fetched(code).await;
            if mode == "soft" {
                scene.run.assert_in(code, &scene.good).await;
            } else {
                scene.run.assert_out(code, &scene.good, 403, "revocation_unknown").await;
            }
        }
        serve(&scene.run.world, scene.run.world.pki.us.root.crl());
        scene.loaded().await;
        let mut good = scene.connect(&scene.good).await;
        scene.becomes("with a list", &mut good, 200).await;
        // One log line per change of state, whatever the number of attempts.
        for (code, _) in cases {
            assert_eq!(scene.run.envoy.count_in_log(&format!("reason={code} ")), 1, "{mode}: {code}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_found_through_the_certificate_that_names_it_if_its_host_is_allowed() {
    let discover = json!({"mode": "hard", "interval": "1s", "discover": {"crl.example": "crl"}});
    let scene = scene(discover, 1, |world, revoked| {
        serve(world, world.pki.us.root.crl().distribution_point(URL, None).revoke(&serial_of(&revoked.der)));
    })
    .await;
    let mut good = scene.connect(&scene.good).await;
    scene.becomes("once its list is there", &mut good, 200).await;
    scene.run.assert_out("on that list", &scene.revoked, 403, "revoked").await;
    let other = scene.run.world.pki.us.root.leaf().key_name("other");
    let other = other
        .name("dataactions.prod.us-east-1.mypurecloud.com")
        .crl("http://elsewhere.example/x.crl")
        .issue();
    scene.run.assert_out("a host not allowed", &other, 403, "revocation_unknown").await;
    let seen = scene.run.world.genesys.requests();
    assert!(
        seen.iter().all(|request| !request.target.contains("x.crl")),
        "no request to a host of its choice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_list_serves_every_worker_and_no_request_waits_for_it() {
    // An entry with its reason takes some 50 bytes: 10 MB in all.
    let scene = scene(with(listed("hard"), "/max_size", json!(16 * 1024 * 1024)), 4, |world, revoked| {
        serve(world, world.pki.us.root.crl().padding(200_000).revoke(&serial_of(&revoked.der)));
    })
    .await;
    scene.loaded().await;
    for _ in 0..16 {
        let mut good = scene.connect(&scene.good).await;
        scene.becomes("on every worker", &mut good, 200).await;
        scene.run.assert_out("on every worker", &scene.revoked, 403, "revoked").await;
    }
    scene
        .run
        .envoy
        .wait_for_stat(
            "wasmcustom.genesys_mtls.default.crl_entries.genesys.us-east-1",
            |n| n == 200_001,
            PATIENCE,
        )
        .await
        .expect("the gauge shows its entries");
}
