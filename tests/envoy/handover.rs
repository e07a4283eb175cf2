//! The knowledge of one worker survives its death, an update of its listener, and other modules that use its shared data.

use crate::{
    pace::{PATIENCE, REGION, fast, run, seen, unhurried},
    setup::{asked, digicert, with, world},
    stage::{Doors, Stage},
};
use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    config::load,
    http::HttpResponse,
    pins::{Client, Refresher},
    shared::{MemoryStore, Secret},
    time::{Monotonic, Now},
    x509::fingerprint::Fingerprint,
};
use http::Request;
use serde_json::{Value, json};
use std::{fs, rc::Rc, time::Duration};
use testbed::{
    World, config,
    genesys::{Credentials, Endpoint, Fault, Gate, Status},
    paths,
    pki::{EU_CENTRAL_1, Leaf},
    stand_in::{crashing_once, vandal},
};
use tokio::time::Instant;

/// How long the lease of a worker lasts that no longer renews it: the timeout of a call in `fast`, and 5 s more.
const TERM: Duration = Duration::from_secs(7);

fn fetches(world: &World) -> [usize; 3] {
    [Endpoint::Token, Endpoint::Current, Endpoint::Upcoming].map(|endpoint| asked(world, endpoint))
}

fn stat(policy: &str, what: &str) -> String {
    format!("wasmcustom.genesys_mtls.{policy}.{what}.{REGION}")
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_that_dies_in_a_fetch_is_replaced_after_its_lease() {
    let world = world().await;
    let policy = with(fast(&world), "/refresh/interval", json!("1h"));
    let module =
        crashing_once(&fs::read(paths::wasm_module()).expect("the module"), "proxy_on_http_call_response");
    let file = world.write("crashing.wasm", module).expect("a module is written");
    let change = |_: &World, bootstrap: &mut Value| {
        config::set_module(bootstrap, &file);
    };
    let run = run(world, &policy, change, |envoy| envoy.concurrency(4)).await;
    // The first worker that gets a token crashes. It would have asked for the certificates.
    run.envoy.wait_for_log("proxy_on_http_call_response", PATIENCE).await.expect("a crash");
    run.refreshed().await;
    let tokens = seen(&run.world, Endpoint::Token);
    assert_eq!(fetches(&run.world), [2, 1, 1]);
    let after = tokens[1].at - tokens[0].at;
    assert!(after + Duration::from_secs(1) > TERM, "after {after:?}, while the lease might have been alive");
    assert!(after < TERM + Duration::from_secs(10), "after {after:?}");

    // All workers serve, the one that died as soon as its VM is started again, with the pins that another fetched.
    let client = run.world.client(run.ingress).identity(&run.world.pki.us.digicert).build();
    let deadline = Instant::now() + PATIENCE;
    let mut in_a_row = 0;
    while in_a_row < 100 {
        let response = client.get("/").await.expect("an answer");
        in_a_row = if response.status == 200 { in_a_row + 1 } else { 0 };
        assert!(Instant::now() < deadline, "{}", response.text());
    }
    assert_eq!(fetches(&run.world), [2, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn listener_update_keeps_pins_and_their_age_without_a_fetch() {
    let world = world().await;
    let policy = with(fast(&world), "/refresh/interval", json!("1h"));
    let file = world.path("listeners.json");
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &policy, |_| {});
    let mut listeners =
        config::listeners_from_file(doors.bootstrap(), &file).expect("the listeners are moved");
    let mut stage = doors.open_with(world, |envoy| envoy.concurrency(4)).await;
    let loaded = stage.envoy.wait_for_stat(&stat("default", "refreshes.ok"), |n| n == 1, PATIENCE).await;
    loaded.expect("a refresh succeeds");
    let since = Instant::now();
    let age = stat("default", "trust_age_seconds");
    let grown = |n: u64| n + 2 >= since.elapsed().as_secs() && n >= 2;
    stage.envoy.wait_for_stat(&age, grown, PATIENCE).await.expect("trust grows older");
    let us = stage.world.pki.us.clone();
    let client = stage.client("ingress").identity(&us.digicert).build();
    let mut open = client.connect().await.expect("a handshake");
    assert_eq!(open.get("/").await.expect("an answer").status, 200);

    // From here on no worker could ask.
    stage.world.genesys.stop().await;
    for n in 1..=3 {
        let policy = with(policy.clone(), "/clock_skew", json!(format!("{n}s")));
        for listener in &mut listeners {
            config::set_plugin_configuration(listener, &policy);
        }
        config::write_listeners(&file, n + 1, &listeners).expect("the file is written");
        let modified = "listener_manager.listener_modified";
        stage.envoy.wait_for_stat(modified, |seen| seen == n, PATIENCE).await.expect("Envoy reads the file");
        let warm = "listener_manager.total_listeners_warming";
        stage.envoy.wait_for_stat(warm, |n| n == 0, PATIENCE).await.expect("the listener is in use");
        stage.envoy.refresh_listeners().await.expect("listeners");
        for _ in 0..20 {
            stage.assert_in("ingress", &format!("update {n}, a new connection"), &us.digicert).await;
        }
        stage.assert_out("ingress", &format!("update {n}"), &stage.world.pki.stranger, "wrong_name").await;
        let response = open.get("/").await.expect("an answer");
        assert_eq!(response.status, 200, "update {n}, an open connection");
        // The connection is not closed, but Envoy may ask the client to close it.
        if response.headers.get("connection").is_some_and(|value| value == "close") {
            open =
                stage.client("ingress").identity(&us.digicert).build().connect().await.expect("a handshake");
        }
    }
    let older = since.elapsed().as_secs() + 2;
    let grown = |n: u64| n + 2 >= since.elapsed().as_secs() && n >= older;
    stage.envoy.wait_for_stat(&age, grown, PATIENCE).await.expect("the age goes on");
    assert_eq!(fetches(&stage.world), [1, 1, 1]);
    let failed: Vec<_> = stage.envoy.stats().await.expect("statistics").into_iter().collect();
    let failed = failed
        .iter()
        .filter(|(name, n)| name.contains("default.refreshes.") && !name.contains(".ok.") && *n > 0);
    assert_eq!(failed.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_held_outlive_an_update_of_their_listener() {
    let world = world().await;
    let policy = unhurried(&world, &json!({"hold": "20s"}));
    let file = world.path("listeners.json");
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &policy, |_| {});
    let mut listeners =
        config::listeners_from_file(doors.bootstrap(), &file).expect("the listeners are moved");
    let mut stage = doors.open_with(world, |envoy| envoy.concurrency(4)).await;
    let loaded = stage.envoy.wait_for_stat(&stat("default", "refreshes.ok"), |n| n == 1, PATIENCE).await;
    loaded.expect("a refresh succeeds");
    let new = stage.world.pki.us.digicert_upcoming.clone();
    stage.world.genesys.set_entities(REGION, Status::Current, vec![digicert(&stage.world, &new)]);
    let gate = Gate::new();
    stage.world.genesys.fault(None, Some(Endpoint::Current), Fault::Gate(gate.clone()));
    let client = stage.client("ingress").identity(&new).timeout(PATIENCE).build();
    let mut waiting = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..8 {
        let mut connection = client.connect().await.expect("a handshake");
        let request = Request::post("/").body(vec![b'x'; 100_000]).expect("a request");
        waiting.push(tokio::spawn(connection.start(request).await.expect("a request")));
        connections.push(connection);
    }
    let held = "wasmcustom.genesys_mtls.default.held_requests";
    stage.envoy.wait_for_stat(held, |n| n == 8, PATIENCE).await.expect("all are held");

    for n in 1..=2 {
        let policy = with(policy.clone(), "/clock_skew", json!(format!("{n}s")));
        for listener in &mut listeners {
            config::set_plugin_configuration(listener, &policy);
        }
        config::write_listeners(&file, n + 1, &listeners).expect("the file is written");
        let modified = "listener_manager.listener_modified";
        stage.envoy.wait_for_stat(modified, |seen| seen == n, PATIENCE).await.expect("Envoy reads the file");
        let warm = "listener_manager.total_listeners_warming";
        stage.envoy.wait_for_stat(warm, |n| n == 0, PATIENCE).await.expect("the listener is in use");
    }
    stage.envoy.refresh_listeners().await.expect("listeners");
    gate.open();
    for answer in waiting {
        let response = answer.await.expect("an answer").expect("an answer");
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["body"].as_str().map(str::len), Some(100_000));
    }
    stage.assert_in("ingress", "by the new policy", &new).await;
}

/// What our code writes with this OAuth client when the API names this certificate.
fn written(policy: &Value, client: &Credentials, leaf: &Leaf) -> MemoryStore {
    let policy = Rc::new(load(policy.to_string().as_bytes()).expect("a policy"));
    let secret = Secret::new(client.client_secret.clone());
    let client = Client::Own { id: client.client_id.clone(), secret };
    let mut worker = Refresher::new(policy.clone(), &policy.regions[0], client, 7).expect("a key");
    let mut shared = MemoryStore::default();
    // Later than all that a running proxy has written, so that its sequence number is higher.
    let mono = Monotonic::ZERO + Duration::from_hours(1_000_000);
    let now = Now { mono, wall: time::OffsetDateTime::now_utc().unix_timestamp(), random: 0.5 };
    worker.request_early(Fingerprint::of(&leaf.der), &mut shared, now);
    let mut call = worker.tick(&AwsLcVerifier, &mut shared, now).call;
    let entity = json!({"signingAuthority": "DigiCert", "certificate": leaf.chain_pem});
    while let Some(made) = call {
        let is_login = made.headers.iter().any(|(_, value)| value == "/oauth/token");
        let body = if is_login {
            json!({"access_token": "x", "expires_in": 300})
        } else {
            json!({"entities": [entity]})
        };
        let body = Some(body.to_string().into_bytes());
        let response = HttpResponse { status: 200, body, retry_after: None };
        call = worker.on_response(Ok(response), &AwsLcVerifier, &mut shared, now).call;
    }
    assert!(worker.trust().pins.len() == 1, "the forged answer is a good one");
    shared
}

fn key(shared: &MemoryStore, ending: &str) -> String {
    shared.key(ending).expect("a key")
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_module_and_policies_change_only_their_own_data() {
    let world = world().await;
    let pki = world.pki.clone();
    // One early refresh in all, so that nothing but damage can cause another.
    let unknown = json!({"min_interval": "1d", "hold": "0s"});
    let slow = with(fast(&world), "/refresh/on_unknown_certificate", unknown);
    let slow = with(slow, "/refresh/interval", json!("1h"));
    let slow = with(slow, "/name", json!("slow"));
    let quick = with(with(fast(&world), "/name", json!("quick")), "/refresh/keep_removed", json!("0s"));
    let eu = EU_CENTRAL_1.id;
    let abroad =
        json!({"name": "abroad", "regions": {eu: {"genesys": {"ca_certificates": pki.eu.root.pem}}}});

    let client = world.genesys.credentials(REGION);
    let ours = written(&slow, &client, &pki.us.digicert);
    let stranger = Credentials { client_secret: "another".to_owned(), ..client };
    let forged = written(&slow, &stranger, &pki.digicert_lookalike);
    let endings = ["/lease", "/record", "/early"];
    let write = |value: &dyn Fn(&str) -> Vec<u8>| -> Vec<(String, Vec<u8>)> {
        endings.iter().map(|ending| (key(&ours, ending), value(ending))).collect()
    };
    let damages = [
        ("noise", write(&|_| vec![0xff; 500])),
        ("nothing", write(&|_| Vec::new())),
        ("sealed_with_another_secret", write(&|ending| forged.values[&key(&forged, ending)].0.clone())),
        (
            "moved",
            write(&|ending| {
                forged.values[&key(&forged, if ending == "/lease" { "/record" } else { "/lease" })].0.clone()
            }),
        ),
    ];

    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    for (name, policy) in [("slow", &slow), ("quick", &quick), ("abroad", &abroad)] {
        doors.add(name, policy, |door| assert!(door.plugin()["vm_config"]["vm_id"].is_null()));
    }
    for (name, writes) in &damages {
        let file = world.write(&format!("{name}.wasm"), vandal(writes)).expect("a module is written");
        doors.add(name, &abroad, |door| {
            door.plugin()["vm_config"]["code"] = json!({"local": {"filename": file}});
            door.filters().remove(1);
        });
    }
    let gate = Gate::new();
    world.genesys.fault(None, Some(Endpoint::Token), Fault::Gate(gate.clone()));
    let stage = doors.open_with(world, |envoy| envoy.concurrency(4)).await;
    gate.open();
    for policy in ["slow", "quick"] {
        let ok = stat(policy, "refreshes.ok");
        stage.envoy.wait_for_stat(&ok, |n| n >= 1, PATIENCE).await.expect("a refresh succeeds");
    }

    // The API stops naming a certificate. One policy drops it at once; the other has not asked, and keeps its own pins.
    let new = vec![digicert(&stage.world, &pki.us.digicert_upcoming)];
    stage.world.genesys.set_entities(REGION, Status::Current, new);
    let kept = stat("quick", "refreshes.ok");
    let before = stage.envoy.stat(&kept).await.expect("statistics");
    stage.envoy.wait_for_stat(&kept, |n| n >= before + 2, PATIENCE).await.expect("refreshes succeed");
    assert_ne!(stage.get_as("quick", &pki.us.digicert).await.status, 200);
    stage.assert_in("quick", "named now", &pki.us.digicert_upcoming).await;
    stage.assert_in("slow", "named when it was asked", &pki.us.digicert).await;
    stage.assert_in("abroad", "by its CA", &pki.eu.genesys).await;
    assert_eq!(refreshes(&stage).await, 1, "two policies, two schedules");

    // The one early refresh, which also brings the API's new answer.
    assert_ne!(stage.get_as("slow", &pki.digicert_lookalike).await.status, 200);
    stage
        .envoy
        .wait_for_stat(&stat("slow", "refreshes.ok"), |n| n == 2, PATIENCE)
        .await
        .expect("an early refresh");
    // Enough connections for every worker to have met the certificate, and so to have looked for news.
    for _ in 0..60 {
        stage.assert_in("slow", "named now", &pki.us.digicert_upcoming).await;
    }
    for (nth, (damage, _)) in (1..).zip(&damages) {
        // Several times, and between the ticks of all workers.
        for _ in 0..5 {
            assert_eq!(
                stage.get_as(damage, &pki.us.digicert).await.status,
                200,
                "{damage}: it writes, and lets pass"
            );
            for _ in 0..20 {
                stage.assert_in("slow", damage, &pki.us.digicert).await;
                stage.assert_in("slow", damage, &pki.us.digicert_upcoming).await;
            }
            for _ in 0..5 {
                assert_ne!(stage.get_as("slow", &pki.digicert_lookalike).await.status, 200, "{damage}");
            }
        }
        let more = refreshes(&stage).await - 2;
        assert!(more <= 5 * nth, "{damage}: {more} refetches");
    }
    stage.assert_in("abroad", "by its CA", &pki.eu.genesys).await;
}

async fn refreshes(stage: &Stage) -> u64 {
    stage.envoy.stat(&stat("slow", "refreshes.ok")).await.expect("statistics")
}
