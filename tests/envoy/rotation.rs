//! Certificates that are newer than the last refresh, under load: their callers wait once, for one refresh, and are allowed.

use crate::{
    pace::{PATIENCE, REGION, fast, run, seen, unhurried},
    setup::{Running, asked, assert_refused, digicert, with, world},
};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use testbed::{
    client::{Client, Response, TlsVersions},
    genesys::{Endpoint, Fault, Gate, Status},
};
use tokio::{sync::watch, task::JoinSet, time::Instant};

const CLIENTS: usize = 4;
const HOLD: Duration = Duration::from_secs(20);
const HELD: &str = "wasmcustom.genesys_mtls.default.held_requests";

#[tokio::test(flavor = "multi_thread")]
async fn callers_not_yet_named_wait_for_a_refresh_and_are_allowed() {
    let proxies = [1, 4, 16].map(|workers| {
        tokio::spawn(async move {
            let run = starts_under_load(workers).await;
            rotates_under_load(&run, workers).await;
        })
    });
    for proxy in proxies {
        proxy.await.expect("no caller is denied, and one refresh serves all");
    }
}

/// Callers come before the first answer of the API is there.
async fn starts_under_load(workers: u32) -> Running {
    let world = world().await;
    let policy = unhurried(&world, &json!({"hold": "20s"}));
    let gate = Gate::new();
    world.genesys.fault(None, Some(Endpoint::Token), Fault::Gate(gate.clone()));
    let run = run(world, &policy, |_, _| {}, |envoy| envoy.concurrency(workers)).await;
    let client = run.world.client(run.ingress).identity(&run.world.pki.us.digicert).timeout(PATIENCE).build();
    let mut callers = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = client.clone();
        callers.spawn(async move { timed(&client).await });
    }
    held(&run, CLIENTS).await;
    gate.open();
    while let Some(caller) = callers.join_next().await {
        let (response, waited) = caller.expect("an answer");
        assert_in(&format!("{workers} workers, at the start"), &response, waited);
    }
    assert_eq!(fetches(&run), [1, 1, 1], "{workers} workers, at the start");
    run
}

async fn timed(client: &Client) -> (Response, Duration) {
    let began = Instant::now();
    (client.get("/").await.expect("an answer"), began.elapsed())
}

fn assert_in(who: &str, response: &Response, waited: Duration) {
    assert_eq!(response.status, 200, "{who}: {}", response.text());
    assert!(waited < HOLD, "{who} waited for {waited:?}");
}

async fn held(run: &Running, count: usize) {
    run.envoy
        .wait_for_stat(HELD, |n| usize::try_from(n) == Ok(count), PATIENCE)
        .await
        .expect("requests are held");
}

/// Calls for a token, and for each status.
fn fetches(run: &Running) -> [usize; 3] {
    [Endpoint::Token, Endpoint::Current, Endpoint::Upcoming].map(|endpoint| asked(&run.world, endpoint))
}

/// The API has a new certificate before its usual time, and the callers begin to use it one after the other.
async fn rotates_under_load(run: &Running, workers: u32) {
    let pki = &run.world.pki;
    let (rotated, told) = watch::channel(false);
    let mut callers = JoinSet::new();
    for caller in 0..CLIENTS {
        let client = |leaf| run.world.client(run.ingress).identity(leaf).timeout(PATIENCE).build();
        let (old, new) = (client(&pki.us.digicert), client(&pki.us.digicert_upcoming));
        let who = format!("{workers} workers, caller {caller}");
        callers.spawn(calls(who, old, new, told.clone()));
    }
    let served = run.world.upstream.count();
    while run.world.upstream.count() < served + 10 * CLIENTS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run.world.genesys.set_entities(
        REGION,
        Status::Current,
        vec![digicert(&run.world, &pki.us.digicert_upcoming)],
    );
    rotated.send_replace(true);
    let connections: usize = callers.join_all().await.into_iter().sum();

    assert_eq!(fetches(run), [1, 2, 2], "{workers} workers: one early refresh, with the token there was");
    let refreshes = seen(&run.world, Endpoint::Current);
    assert_eq!(refreshes.iter().map(|seen| seen.answered).collect::<BTreeSet<_>>(), [Some(200)].into());
    // A caller can wait only before its first answer on a connection.
    let held = run.envoy.stat(HELD).await.expect("statistics");
    let most = u64::try_from(CLIENTS + connections).expect("few");
    assert!(held <= most, "{workers} workers: {held} held");
    run.assert_in("the old certificate, which the API stopped naming", &pki.us.digicert).await;
    assert_eq!(fetches(run), [1, 2, 2]);
}

/// Requests on connections that are kept, with the old certificate until the signal, then with the new one on three more.
/// Returns how many connections with the new one there were.
async fn calls(who: String, old: Client, new: Client, told: watch::Receiver<bool>) -> usize {
    let mut connection = old.connect().await.expect("a handshake");
    while !*told.borrow() {
        let response = connection.get("/").await.expect("an answer");
        assert_eq!(response.status, 200, "{who}, before: {}", response.text());
    }
    for nth in 1..=3 {
        let mut connection = new.connect().await.expect("a handshake");
        for request in 1..=10 {
            let began = Instant::now();
            let response = connection.get("/").await.expect("an answer");
            assert_in(&format!("{who}, new connection {nth}, request {request}"), &response, began.elapsed());
            assert_eq!(response.nth_on_connection, request, "{who}: the connection is kept");
        }
    }
    3
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_no_longer_named_is_denied_on_old_sessions() {
    let world = world().await;
    let policy = with(fast(&world), "/refresh/keep_removed", json!("0s"));
    let run = run(world, &policy, |_, _| {}, |envoy| envoy.concurrency(2)).await;
    run.refreshed().await;
    let (old, new) = (&run.world.pki.us.digicert, &run.world.pki.us.digicert_upcoming);
    let client =
        |versions| run.world.client(run.ingress).identity(old).versions(versions).resumption().build();
    let clients = [client(TlsVersions::Tls12), client(TlsVersions::Tls13)];
    let mut connections = Vec::new();
    for client in &clients {
        for resumed in [false, true] {
            let mut connection = client.connect().await.expect("a handshake");
            assert_eq!(connection.tls().expect("TLS").resumed, resumed, "resumption works here");
            assert_eq!(connection.get("/").await.expect("an answer").status, 200);
            connections.push(connection);
        }
    }
    run.world.genesys.set_entities(REGION, Status::Current, vec![digicert(&run.world, new)]);
    let deadline = Instant::now() + PATIENCE;
    for connection in &mut connections {
        loop {
            let response = connection.get("/").await.expect("an answer");
            if response.status != 200 {
                assert_refused("an open connection", &response, 403, "not_pinned");
                break;
            }
            assert!(Instant::now() < deadline, "it stays in");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    for client in &clients {
        let mut connection = client.connect().await.expect("a handshake");
        let tls = connection.tls().expect("TLS").clone();
        assert!(tls.resumed, "{tls:?}");
        let response = connection.get("/").await.expect("an answer");
        assert_refused(&format!("{tls:?}"), &response, 403, "not_pinned");
    }
}
