//! Early refreshes: which certificates cause one, how many there are, and how the requests that wait for them end.

use crate::{
    pace::{PATIENCE, REGION, run, seen, unhurried},
    reload::Reloading,
    setup::{Running, asked, assert_refused, digicert, with, world},
    stage::{Doors, assert_guarded},
};
use http::Request;
use serde_json::json;
use std::time::Duration;
use testbed::{
    client::Response,
    genesys::{Endpoint, Fault, Gate, Seen, Status},
    pki::{Ca, Eku, KeyType, Leaf},
};
use tokio::{task::JoinSet, time::Instant};

fn stat(policy: &str, what: &str) -> String {
    format!("wasmcustom.genesys_mtls.{policy}.{what}")
}

async fn get(run: &Running, leaf: &Leaf) -> Response {
    let client = run.world.client(run.ingress).identity(leaf).timeout(PATIENCE).build();
    client.get("/").await.expect("an answer")
}

async fn held(run: &Running) -> u64 {
    run.envoy.stat(&stat("default", "held_requests")).await.expect("statistics")
}

/// A certificate with the region's name that this CA issued to an attacker.
fn lookalike(ca: &Ca, name: &str) -> Leaf {
    let both = [Eku::ClientAuth, Eku::EmailProtection];
    ca.leaf().key(KeyType::P256).key_name("lookalike").name(name).ekus(&both).issue()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unnamed_certificate_is_denied_at_once_and_asked_for() {
    let world = world().await;
    let policy = unhurried(&world, &json!({"min_interval": "5s", "hold": "20s"}));
    let run = run(world, &policy, |_, _| {}, |envoy| envoy).await;
    run.refreshed().await;
    let pki = &run.world.pki;
    let unknown = &pki.digicert_lookalike;
    assert_refused("waits for an answer", &get(&run, unknown).await, 403, "not_pinned");
    assert_eq!((held(&run).await, asked(&run.world, Endpoint::Current)), (1, 2));
    for _ in 0..5 {
        assert_refused("the API did not name it", &get(&run, unknown).await, 403, "not_pinned");
    }
    assert_eq!((held(&run).await, asked(&run.world, Endpoint::Current)), (1, 2));
    let line = run.envoy.wait_for_log("; the API is asked again in ", PATIENCE).await.expect("a log line");
    assert!(line.contains("reason=not_pinned") && line.contains(&unknown.sha256), "{line}");

    // Another certificate has a question that is not answered yet, and may wait until the API is asked.
    let both = vec![digicert(&run.world, &pki.us.digicert_upcoming), digicert(&run.world, unknown)];
    run.world.genesys.set_entities(REGION, Status::Current, both);
    run.assert_in("named by now", &pki.us.digicert_upcoming).await;
    assert_eq!(asked(&run.world, Endpoint::Current), 3);
    run.assert_in("named along with it", unknown).await;
    run.assert_in("named before", &pki.us.digicert).await;
    assert_eq!((held(&run).await, asked(&run.world, Endpoint::Current)), (2, 3));
}

/// Calls every 200 ms until it is allowed.
async fn calls_until_allowed(run: &Running, leaf: &Leaf, since: Instant) -> Duration {
    loop {
        let response = get(run, leaf).await;
        if response.status == 200 {
            return since.elapsed();
        }
        assert!([403, 503].contains(&response.status), "{}", response.text());
        assert!(since.elapsed() < PATIENCE * 2, "two minutes after the API named it: {}", response.text());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_met_early_is_allowed_soon_after_it_is_named() {
    for workers in [1, 4] {
        let world = world().await;
        // The regular refresh is an hour away, and no request waits for one.
        let policy = unhurried(&world, &json!({"min_interval": "1s", "hold": "0s"}));
        let run = run(world, &policy, |_, _| {}, |envoy| envoy.concurrency(workers)).await;
        run.refreshed().await;
        let (retired, new) =
            (run.world.pki.digicert_lookalike.clone(), run.world.pki.us.digicert_upcoming.clone());
        let stop = std::sync::atomic::AtomicBool::new(false);
        let (settled, done) = (std::sync::atomic::Ordering::SeqCst, &stop);
        let retired_calls = async {
            while !done.load(settled) {
                assert_ne!(get(&run, &retired).await.status, 200, "{workers} workers: it is never named");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let new_calls = async {
            // The retired one has lengthened the pauses: after 1, 2 and 4 seconds the next is one of 8.
            let four =
                |seen: &[Seen]| seen.iter().filter(|seen| seen.endpoint == Endpoint::Current).count() >= 5;
            run.world.genesys.wait_for("early refreshes", PATIENCE, four).await.expect("it is asked for");
            // Met before the API names it, in every worker.
            for _ in 0..4 * workers {
                assert_ne!(get(&run, &new).await.status, 200, "{workers} workers: not named yet");
            }
            let asked_before = asked(&run.world, Endpoint::Current);
            let names = vec![digicert(&run.world, &new)];
            run.world.genesys.set_entities(REGION, Status::Current, names);
            let took = calls_until_allowed(&run, &new, Instant::now()).await;
            assert!(took < Duration::from_secs(30), "{workers} workers: {took:?}");
            // Every worker knows it, without another question.
            let asked_after = asked(&run.world, Endpoint::Current);
            assert!(asked_after <= asked_before + 3, "{asked_before}, {asked_after}");
            tokio::time::sleep(Duration::from_millis(600)).await;
            for _ in 0..4 * workers {
                assert_eq!(get(&run, &new).await.status, 200, "{workers} workers");
            }
            stop.store(true, settled);
        };
        tokio::join!(retired_calls, new_calls);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn caller_held_in_vain_gets_503_and_is_allowed_later() {
    let world = world().await;
    let policy = unhurried(&world, &json!({"min_interval": "1s", "hold": "1s"}));
    let policy = with(policy, "/refresh/timeout", json!("2s"));
    let policy = with(policy, "/refresh/retry", json!({"base": "100ms", "max": "300ms"}));
    world.genesys.fault(None, Some(Endpoint::Token), Fault::Hang);
    let run = run(world, &policy, |_, _| {}, |envoy| envoy).await;
    let vain = async |what: &str, leaf: &Leaf, reason: &str| {
        let began = Instant::now();
        let response = get(&run, leaf).await;
        let waited = began.elapsed();
        assert_refused(what, &response, 503, reason);
        assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(10), "{what}: {waited:?}");
    };
    let us = &run.world.pki.us;
    vain("nothing is loaded", &us.digicert, "trust_not_loaded").await;
    run.world.genesys.clear_faults();
    run.refreshed().await;
    run.assert_in("loaded", &us.digicert).await;

    run.world.genesys.set_entities(
        REGION,
        Status::Upcoming,
        vec![digicert(&run.world, &us.digicert_upcoming)],
    );
    run.world.genesys.fault(None, Some(Endpoint::Current), Fault::Hang);
    vain("the API is silent", &us.digicert_upcoming, "trust_unrefreshed").await;
    run.assert_in("pinned before", &us.digicert).await;
    run.world.genesys.clear_faults();
    run.refreshes(REGION, 2).await;
    run.assert_in("the API is back", &us.digicert_upcoming).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_self_made_certificates_causes_no_fetch_or_hold() {
    let world = world().await;
    let pki = world.pki.clone();
    let with_issuers = unhurried(&world, &json!({"min_interval": "1s"}));
    // Without `issuers`, the CA that the API sent with the pins distinguishes likely certificates from noise.
    let with_hints = with(with_issuers.clone(), "/regions/us-east-1/digicert", json!({"pins": ["api"]}));
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    for (name, policy) in [("issuers", &with_issuers), ("hints", &with_hints)] {
        doors.add(name, &with(policy.clone(), "/name", json!(name)), |_| {});
    }
    let stage = doors.open(world).await;
    for name in ["issuers", "hints"] {
        let ok = stat(name, "refreshes.ok.us-east-1");
        stage.envoy.wait_for_stat(&ok, |n| n == 1, PATIENCE).await.expect("a refresh succeeds");
    }
    let dn = [("C", "US"), ("O", "Testbed DigiCert Inc"), ("CN", "Testbed Assured ID Client CA G2")];
    let forged = Ca::builder("digicert-impostor").key(KeyType::P256).dn(&dn).self_signed();
    let of_genesys = Ca::builder("genesys-impostor").key(KeyType::P256);
    let of_genesys = of_genesys
        .dn(&[("C", "US"), ("ST", "Indiana"), ("O", "Testbed Genesys"), ("CN", "Genesys Root us-east-1")])
        .self_signed();
    let cas = [
        (&forged, "issuers", "bad_signature"),
        (&pki.stranger_ca, "issuers", "unknown_issuer"),
        (&of_genesys, "issuers", "bad_signature"),
        (&forged, "hints", "not_pinned"),
        (&pki.stranger_ca, "hints", "not_pinned"),
        (&of_genesys, "hints", "bad_signature"),
    ];
    for (ca, door, reason) in cas {
        let mut flood = JoinSet::new();
        for _ in 0..30 {
            let leaf = lookalike(ca, pki.us.region.certificate_name);
            let client = stage.client(door).identity(&leaf).timeout(PATIENCE).build();
            flood.spawn(async move { client.get("/").await.expect("an answer") });
        }
        for response in flood.join_all().await {
            assert_refused(&format!("{door}: a self-made certificate"), &response, 403, reason);
        }
        assert_eq!(stage.envoy.stat(&stat(door, "held_requests")).await.expect("statistics"), 0, "{door}");
    }
    // If one of them caused a fetch, it would have begun before the fetch of this certificate.
    stage.world.genesys.set_entities(
        REGION,
        Status::Current,
        vec![digicert(&stage.world, &pki.us.digicert_upcoming)],
    );
    for door in ["issuers", "hints"] {
        stage.assert_in(door, "newer than the last refresh", &pki.us.digicert_upcoming).await;
        assert_eq!(stage.envoy.stat(&stat(door, "held_requests")).await.expect("statistics"), 1, "{door}");
    }
    assert_eq!(asked(&stage.world, Endpoint::Current), 4, "two at the start, one early for each door");
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_by_the_right_issuer_is_held_and_fetched_in_bounds() {
    let world = world().await;
    let interval = Duration::from_secs(1);
    let settings = json!({"min_interval": "1s", "hold": "20s", "max_held": 5});
    let policy = unhurried(&world, &settings);
    let run = run(world, &policy, |_, _| {}, |envoy| envoy).await;
    run.refreshed().await;
    let client = || {
        let leaf = lookalike(&run.world.pki.digicert_ca, run.world.pki.us.region.certificate_name);
        run.world.client(run.ingress).identity(&leaf).timeout(PATIENCE).build()
    };
    let gate = Gate::new();
    run.world.genesys.fault(None, Some(Endpoint::Current), Fault::Gate(gate.clone()));
    let began = Instant::now();
    let mut flood = JoinSet::new();
    for _ in 0..20 {
        let client = client();
        flood.spawn(async move { client.get("/").await.expect("an answer") });
    }
    // As long as the API keeps silent, all but five are answered.
    for _ in 0..15 {
        let response = flood.join_next().await.expect("another").expect("an answer");
        assert_refused("no room to wait", &response, 503, "trust_unrefreshed");
    }
    let second = |seen: &[Seen]| seen.iter().filter(|seen| seen.endpoint == Endpoint::Current).count() == 2;
    run.world.genesys.wait_for("one early refresh", PATIENCE, second).await.expect("a fetch");
    assert_eq!(held(&run).await, 5);
    gate.open();
    while let Some(response) = flood.join_next().await {
        assert_refused("waited", &response.expect("an answer"), 403, "not_pinned");
    }
    // One after the other, each with its own question, until three more were asked.
    let mut callers = JoinSet::new();
    for _ in 0..3 {
        let clients: Vec<_> = (0..40).map(|_| client()).collect();
        let genesys = run.world.genesys.clone();
        callers.spawn(async move {
            for client in clients {
                let response = client.get("/").await.expect("an answer");
                assert!([403, 503].contains(&response.status), "{}", response.text());
                if genesys.count(None, Endpoint::Current) >= 5 {
                    break;
                }
            }
        });
    }
    callers.join_all().await;
    let early = seen(&run.world, Endpoint::Current).len() - 1;
    assert!(early >= 4, "{early} early refreshes");
    let least = interval * u32::try_from(early - 1).expect("few");
    assert!(began.elapsed() >= least, "{early} early refreshes in {:?}", began.elapsed());
    run.assert_in("Genesys Cloud meanwhile", &run.world.pki.us.digicert).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_requests_survive_cancelled_neighbours_and_a_reload() {
    let world = world().await;
    let policy = unhurried(&world, &json!({"hold": "20s"}));
    let mut run = Reloading::start_with(world, &policy, |envoy| envoy.concurrency(4)).await;
    let ok = stat("default", "refreshes.ok.us-east-1");
    run.stage.envoy.wait_for_stat(&ok, |n| n == 1, PATIENCE).await.expect("a refresh succeeds");
    let new = run.stage.world.pki.us.digicert_upcoming.clone();
    let entities = vec![digicert(&run.stage.world, &new)];
    run.stage.world.genesys.set_entities(REGION, Status::Current, entities);
    let gate = Gate::new();
    run.stage.world.genesys.fault(None, Some(Endpoint::Current), Fault::Gate(gate.clone()));

    let client = run.stage.client("ingress").identity(&new).timeout(PATIENCE);
    let post = |body: Vec<u8>| Request::post("/").body(body).expect("a request");
    let body = vec![b'x'; 300_000];
    let mut over_http2 = client.clone().http2().build().connect().await.expect("a handshake");
    let client = client.build();
    let mut connections = Vec::new();
    let mut waiting = Vec::new();
    for request in [post(Vec::new()), post(body.clone()), post(Vec::new()), post(body.clone())] {
        let mut connection = client.connect().await.expect("a handshake");
        waiting.push(tokio::spawn(connection.start(request).await.expect("a request")));
        connections.push(connection);
    }
    for request in [post(Vec::new()), post(body.clone()), post(Vec::new()), post(body.clone())] {
        waiting.push(tokio::spawn(over_http2.start(request).await.expect("a stream")));
    }
    let held = stat("default", "held_requests");
    run.stage.envoy.wait_for_stat(&held, |n| n == 8, PATIENCE).await.expect("all are held");

    // Two clients close their connections, two give up streams of the connection that goes on.
    connections.truncate(2);
    for gone in [7, 6, 3, 2] {
        waiting.remove(gone).abort();
    }
    run.stage
        .envoy
        .wait_for_stat("http.ingress.downstream_rq_active", |n| n == 4, PATIENCE)
        .await
        .expect("four left");
    // The one worker that fetches may be another than those that hold, and its policy then ends here.
    run.reload(&with(policy.clone(), "/clock_skew", json!("1s"))).await;
    run.reload(&with(policy, "/clock_skew", json!("2s"))).await;
    gate.open();
    for (answer, sent) in waiting.into_iter().zip([0, body.len(), 0, body.len()]) {
        let response = answer.await.expect("an answer").expect("an answer");
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["body"].as_str().map(str::len), Some(sent));
    }
    run.stage.assert_in("ingress", "by the new policy", &new).await;
    run.stage
        .envoy
        .wait_for_stat("http.ingress.downstream_rq_active", |n| n == 0, PATIENCE)
        .await
        .expect("none is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_its_own_body_sends_on_early_ends_at_the_guard() {
    let world = world().await;
    let policy = unhurried(&world, &json!({"hold": "20s"}));
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("early", &policy, |door| door.plugin()["allow_on_headers_stop_iteration"] = true.into());
    let stage = doors.open(world).await;
    let ok = stat("default", "refreshes.ok.us-east-1");
    stage.envoy.wait_for_stat(&ok, |n| n == 1, PATIENCE).await.expect("a refresh succeeds");
    let gate = Gate::new();
    stage.world.genesys.fault(None, Some(Endpoint::Current), Fault::Gate(gate.clone()));
    let unknown = &stage.world.pki.us.digicert_upcoming;
    let request = Request::post("/").body(vec![b'x'; 300_000]).expect("a request");
    let client = stage.client("early").identity(unknown).timeout(PATIENCE).build();
    assert_guarded("it does not wait for a verdict", &client.send(request).await.expect("an answer"));
    assert_eq!(stage.world.upstream.count(), 0);
    gate.open();
}
