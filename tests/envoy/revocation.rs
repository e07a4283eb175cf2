//! Envoy fetches CRLs from a plain-HTTP host, and each mode of revocation decides as documented.

mod sessions;
mod sharing;

use crate::{
    pace::run,
    setup::{PATIENCE, Running, assert_refused, start_with, with, world},
};
use serde_json::{Value, json};
use std::time::Duration;
use testbed::{
    World,
    client::Connection,
    envoy::WallClock,
    genesys::{Endpoint, Fault, Gate, Seen},
    pki::{Ca, CrlBuilder, Leaf, serial_of},
};
use time::Duration as Span;

const PATH: &str = "/genesys/us-east-1.crl";
const URL: &str = "http://crl.example/genesys/us-east-1.crl";

/// Two certificates of us-east-1 by the Genesys CA that name the list.
fn leaves(world: &World) -> [Leaf; 2] {
    ["revoked", "good"].map(|name| {
        let builder = world.pki.us.root.leaf().key_name(name).name(world.pki.us.region.certificate_name);
        builder.crl(URL).issue()
    })
}

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
    let [revoked, good] = leaves(&world);
    prepare(&world, &revoked);
    let policy = policy(&world, revocation);
    let cluster = crl_cluster(&world);
    let run = start_with(world, "envoy/envoy.yaml", &policy, workers, |bootstrap| {
        bootstrap["static_resources"]["clusters"].as_array_mut().unwrap().push(cluster);
    })
    .await;
    Scene { run, revoked, good }
}

/// The cluster `crl`, without TLS.
fn crl_cluster(world: &World) -> Value {
    let crl = world.genesys.crl_addr();
    let endpoint =
        json!({"address": {"socket_address": {"address": crl.ip().to_string(), "port_value": crl.port()}}});
    json!({
        "name": "crl", "type": "STATIC",
        "load_assignment": {"cluster_name": "crl", "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    })
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
async fn revoked_certificate_is_denied_and_others_are_allowed() {
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
        ("crl_malformed", |world| (200, world.pki.us.root.pem.clone().into_bytes())),
        ("crl_other_issuer", |world| (200, world.pki.eu.root.crl().der())),
        ("crl_bad_signature", |world| (200, world.pki.impostor.crl().der())),
        ("crl_bad_signature", |world| {
            let mut tampered = world.pki.us.root.crl().revoke(&[1, 2, 3, 4]).der();
            let serial = tampered.windows(4).position(|bytes| bytes == [1, 2, 3, 4]).unwrap();
            tampered[serial] ^= 1;
            (200, tampered)
        }),
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
        // One log line per change of state, for any number of attempts.
        for (code, _) in cases {
            assert_eq!(scene.run.envoy.count_in_log(&format!("reason={code} ")), 1, "{mode}: {code}");
        }
        assert_eq!(scene.run.envoy.count_in_log("revocation list fetched"), 1, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crl_url_of_a_certificate_is_fetched_if_host_is_allowed() {
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
async fn a_partition_is_about_the_certificates_that_name_it() {
    let other = "http://crl.example/genesys/other.crl";
    for mode in ["soft", "hard"] {
        let scene = scene(listed(mode), 1, |world, revoked| {
            let list = world.pki.us.root.crl().distribution_point(other, None);
            serve(world, list.revoke(&serial_of(&revoked.der)));
        })
        .await;
        scene.loaded().await;
        for (number, who, leaf) in
            [(1, "revoked elsewhere", &scene.revoked), (2, "not on the list", &scene.good)]
        {
            if mode == "soft" {
                scene.run.assert_in(who, leaf).await;
                let unchecked = "wasmcustom.genesys_mtls.default.crl_unchecked.genesys.us-east-1";
                scene
                    .run
                    .envoy
                    .wait_for_stat(unchecked, |n| n == number, PATIENCE)
                    .await
                    .expect("it is counted");
            } else {
                scene.run.assert_out(who, leaf, 403, "revocation_unknown").await;
            }
        }
        // The right partition replaces it once it is served, and is not replaced by another.
        let root = &scene.run.world.pki.us.root;
        let own = root.crl().number(1).distribution_point(URL, None).revoke(&serial_of(&scene.revoked.der));
        serve(&scene.run.world, own);
        for (who, leaf, status) in [("revoked", &scene.revoked, 403), ("not on the list", &scene.good, 200)] {
            let mut connection = scene.connect(leaf).await;
            scene.becomes(who, &mut connection, status).await;
        }
        serve(&scene.run.world, root.crl().number(2).distribution_point(other, None));
        scene.fetched("crl_other_scope").await;
        scene.run.assert_out("revoked here", &scene.revoked, 403, "revoked").await;
        scene.run.assert_in("not on the list", &scene.good).await;
    }
}

/// As while the region's CA changes its key: the old key signs a CRL as long as its certificates are in use.
#[tokio::test(flavor = "multi_thread")]
async fn two_cas_with_one_crl_url_keep_each_others_revocations() {
    let world = world().await;
    let next = Ca::builder("us-next").dn(&[("O", "Testbed Genesys"), ("CN", "Next")]).self_signed();
    let leaf =
        |ca: &Ca, name| ca.leaf().key_name(name).name(world.pki.us.region.certificate_name).crl(URL).issue();
    let [old, new] = [&world.pki.us.root, &next].map(|ca| ["revoked", "good"].map(|name| leaf(ca, name)));
    let list =
        |ca: &Ca, number, revoked: &Leaf| ca.crl().number(number).revoke(&serial_of(&revoked.der)).der();
    let lists = [list(&world.pki.us.root, 900, &old[0]), list(&next, 1, &new[0])];
    let [revoked, good] = old;
    let both = world.pki.us.root.pem.clone() + &next.pem;
    let policy =
        with(policy(&world, listed("hard")), "/regions/us-east-1/genesys/ca_certificates", json!(both));
    let cluster = crl_cluster(&world);
    let run = start_with(world, "envoy/envoy.yaml", &policy, 2, |bootstrap| {
        bootstrap["static_resources"]["clusters"].as_array_mut().unwrap().push(cluster);
    })
    .await;
    let scene = Scene { run, revoked, good };
    for served in [&lists[0], &lists[1], &lists[0]] {
        scene.run.world.genesys.set_crl(PATH, 200, served.clone());
        scene.fetched("ok").await;
        scene.fetched("ok").await;
    }
    for (revoked, good) in [(&scene.revoked, &scene.good), (&new[0], &new[1])] {
        let mut connection = scene.connect(good).await;
        scene.becomes("on neither list", &mut connection, 200).await;
        scene.run.assert_out("on its CA's list", revoked, 403, "revoked").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_certificate_stays_revoked_after_the_crl_expires() {
    for mode in ["soft", "hard"] {
        let world = world().await;
        let [revoked, good] = leaves(&world);
        let list = world.pki.us.root.crl().valid_from_now(Span::hours(-1), Span::hours(1));
        serve(&world, list.revoke(&serial_of(&revoked.der)));
        let policy = policy(&world, with(listed(mode), "/interval", json!("1d")));
        let clock = WallClock::new(world.dir()).expect("a clock");
        let with_crl = |world: &World, bootstrap: &mut Value| {
            bootstrap["static_resources"]["clusters"].as_array_mut().unwrap().push(crl_cluster(world));
        };
        let run = run(world, &policy, with_crl, |envoy| envoy.wall_clock(&clock)).await;
        let scene = Scene { run, revoked, good };
        scene.loaded().await;
        let mut good = scene.connect(&scene.good).await;
        let mut revoked = scene.connect(&scene.revoked).await;
        scene.becomes("while it is current", &mut revoked, 403).await;
        scene.becomes("while it is current", &mut good, 200).await;
        scene.run.assert_out("while it is current", &scene.revoked, 403, "revoked").await;
        // The clock skew is a minute.
        clock.set(3600 + 61).expect("the clock is set");
        scene.becomes("afterwards", &mut good, if mode == "soft" { 200 } else { 403 }).await;
        if mode == "hard" {
            scene.run.assert_out("it clears no certificate", &scene.good, 403, "revocation_unknown").await;
        }
        scene.run.assert_out("after its end", &scene.revoked, 403, "revoked").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_awaited_makes_no_request_wait() {
    for mode in ["soft", "hard"] {
        let gate = Gate::new();
        let scene = scene(listed(mode), 2, |world, _| {
            serve(world, world.pki.us.root.crl());
            world.genesys.fault(None, Some(Endpoint::Crl), Fault::Gate(gate.clone()));
        })
        .await;
        scene.run.world.genesys.wait_for("the list is asked for", PATIENCE, asked_for_a_list).await.unwrap();
        for _ in 0..4 {
            if mode == "soft" {
                scene.run.assert_in("meanwhile", &scene.good).await;
            } else {
                scene.run.assert_out("meanwhile", &scene.good, 403, "revocation_unknown").await;
            }
        }
        gate.open();
        let mut good = scene.connect(&scene.good).await;
        scene.becomes("with the list", &mut good, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_certificate_is_not_held_while_the_api_is_down() {
    let world = world().await;
    let leaf = |name| {
        let leaf = world.pki.digicert_ca.leaf().key_name(name).name(world.pki.us.region.certificate_name);
        leaf.crl(URL).issue()
    };
    let (revoked, unknown) = (leaf("revoked"), leaf("good"));
    serve(&world, world.pki.digicert_ca.crl().number(1).revoke(&serial_of(&revoked.der)));
    world.genesys.fault(None, Some(Endpoint::Token), Fault::Hang);
    let list = json!({"region": "us-east-1", "authority": "digicert", "url": URL, "cluster": "crl"});
    let policy = policy(&world, json!({"mode": "soft", "interval": "1s", "lists": [list]}));
    let policy = with(policy, "/refresh/on_unknown_certificate", json!({"hold": "1s"}));
    let cluster = crl_cluster(&world);
    let run = start_with(world, "envoy/envoy.yaml", &policy, 2, |bootstrap| {
        bootstrap["static_resources"]["clusters"].as_array_mut().unwrap().push(cluster);
    })
    .await;
    run.envoy.wait_for_log("revocation list fetched", PATIENCE).await.expect("a list");
    let get = async |leaf: &Leaf| {
        run.world.client(run.ingress).identity(leaf).build().get("/").await.expect("an answer")
    };
    assert_refused("lacks its pin", &get(&unknown).await, 503, "trust_not_loaded");
    let held = "wasmcustom.genesys_mtls.default.held_requests";
    let before = run.envoy.stat(held).await.expect("statistics");
    assert_eq!(before, 1);
    // Either worker has the list within a tick.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while get(&revoked).await.status == 503 && tokio::time::Instant::now() < deadline {}
    let held_so_far = run.envoy.stat(held).await.expect("statistics");
    for _ in 0..10 {
        assert_refused("on the list", &get(&revoked).await, 403, "revoked");
    }
    assert_eq!(run.envoy.stat(held).await.expect("statistics"), held_so_far);
}

fn asked_for_a_list(seen: &[Seen]) -> bool {
    seen.iter().any(|request| request.endpoint == Endpoint::Crl)
}

/// Only the very first certificate of a proxy is refused until its list is there: other workers find it fetched.
#[tokio::test(flavor = "multi_thread")]
async fn crl_found_by_one_worker_serves_the_others_at_once() {
    let discover = json!({"mode": "hard", "discover": {"crl.example": "crl"}});
    let scene = scene(discover, 4, |world, _| serve(world, world.pki.us.root.crl())).await;
    let mut first = scene.connect(&scene.good).await;
    scene.becomes("once its list is there", &mut first, 200).await;
    for _ in 0..24 {
        scene.run.assert_in("on any worker", &scene.good).await;
    }
    let lists = scene.run.world.genesys.requests().into_iter().filter(|seen| seen.endpoint == Endpoint::Crl);
    assert_eq!(lists.count(), 1, "one fetch per proxy");
}

/// Though `soft` allows a certificate that names a CRL which no worker has fetched yet.
#[tokio::test(flavor = "multi_thread")]
async fn crl_of_one_worker_denies_on_all_workers_at_first_sight() {
    let discover = json!({"mode": "soft", "discover": {"crl.example": "crl"}});
    let scene = scene(discover, 4, |world, revoked| {
        serve(world, world.pki.us.root.crl().revoke(&serial_of(&revoked.der)));
    })
    .await;
    let mut first = scene.connect(&scene.revoked).await;
    scene.becomes("once its list is there", &mut first, 403).await;
    for _ in 0..24 {
        scene.run.assert_out("on any worker", &scene.revoked, 403, "revoked").await;
    }
}
