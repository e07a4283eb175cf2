//! How long an answer of the API counts: for pins that it stopped naming, pins for later and stale pins. Explicit pins stay.

use crate::{
    pace::{PATIENCE, REGION, fast},
    setup::{asked, assert_refused, digicert, with, world},
    stage::{Doors, Stage},
};
use serde_json::{Value, json};
use testbed::{
    genesys::{Endpoint, Fault, Gate, Status},
    pki::{KeyType, Leaf},
};
use time::Duration;

async fn gauge(stage: &Stage, policy: &str, name: &str, wanted: impl Fn(u64) -> bool) {
    let stat = format!("wasmcustom.genesys_mtls.{policy}.{name}.{REGION}");
    stage.envoy.wait_for_stat(&stat, wanted, PATIENCE).await.expect("a gauge");
}

async fn refreshed(stage: &Stage, policy: &str, times: u64) {
    let stat = format!("wasmcustom.genesys_mtls.{policy}.refreshes.ok.{REGION}");
    let before = stage.envoy.stat(&stat).await.expect("statistics");
    stage.envoy.wait_for_stat(&stat, |n| n >= before + times, PATIENCE).await.expect("refreshes succeed");
}

async fn assert_stale(stage: &Stage, door: &str, leaf: &Leaf) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let response = stage.get_as(door, leaf).await;
        if response.status != 200 || tokio::time::Instant::now() > deadline {
            return assert_refused(door, &response, 503, "trust_stale");
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn api_answer_counts_within_bounds_and_keeps_explicit_pins() {
    let world = world().await;
    let us = world.pki.us.clone();
    let (old, new) = (us.digicert.clone(), us.digicert_upcoming.clone());
    let base = with(fast(&world), "/clock_skew", json!("0s"));
    let unknown = json!({"min_interval": "1d", "hold": "0s"});
    let base = with(base, "/refresh/on_unknown_certificate", unknown);
    let pins = |policy: Value, pins: Value| with(policy, &format!("/regions/{REGION}/digicert/pins"), pins);
    let keeps = with(base.clone(), "/refresh/keep_removed", json!("1h"));
    let drops = with(base.clone(), "/refresh/keep_removed", json!("5s"));
    let explicit = with(base.clone(), "/refresh/keep_removed", json!("0s"));
    let explicit = with(pins(explicit, json!(["api", old.pin()])), "/refresh/max_staleness", json!("8s"));
    let once = with(base.clone(), "/refresh/interval", json!("1h"));
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    for (name, policy) in [("keeps", keeps), ("drops", drops), ("explicit", explicit), ("once", once)] {
        doors.add(name, &with(policy, "/name", json!(name)), |_| {});
    }
    let gate = Gate::new();
    world.genesys.fault(None, Some(Endpoint::Token), Fault::Gate(gate.clone()));
    let stage = doors.open(world).await;
    // One that the API names as upcoming while its validity lies ahead, and one that is about to expire.
    let leaf = |from: i64, until: i64| {
        let leaf = stage.world.pki.digicert_ca.leaf().key(KeyType::P256).key_name("in-time");
        leaf.name(us.region.certificate_name)
            .valid_from_now(Duration::seconds(from), Duration::seconds(until))
            .issue()
    };
    let (ahead, ending) = (leaf(12, 3600), leaf(-60, 12));
    let name = |status, leaves: &[&Leaf]| {
        let entities = leaves.iter().map(|leaf| digicert(&stage.world, leaf)).collect();
        stage.world.genesys.set_entities(REGION, status, entities);
    };
    name(Status::Current, &[&old, &ending]);
    name(Status::Upcoming, &[&ahead]);
    gate.open();
    for door in ["keeps", "drops", "explicit", "once"] {
        gauge(&stage, door, "pins.named", |n| n == 3).await;
        stage.assert_in(door, "pinned", &old).await;
        stage.assert_in(door, "pinned, in its last seconds", &ending).await;
        stage.assert_out(door, "ahead of its time", &ahead, "not_yet_valid").await;
    }

    // The same content in another order, or under the other status, is no change.
    let changes = stage.envoy.count_in_log("changed=true");
    assert_eq!(changes, 4);
    name(Status::Current, &[&ahead, &ending]);
    name(Status::Upcoming, &[&old]);
    refreshed(&stage, "drops", 2).await;
    assert_eq!(stage.envoy.count_in_log("changed=true"), changes);

    // A pin that the API stops naming goes when `keep_removed` is over, unless the configuration names it.
    name(Status::Current, &[&new]);
    name(Status::Upcoming, &[&ahead]);
    for door in ["keeps", "drops", "explicit"] {
        gauge(&stage, door, "pins.named", |n| n == 2).await;
        stage.assert_in(door, "named now", &new).await;
    }
    gauge(&stage, "drops", "pins.kept", |n| n > 0).await;
    stage.assert_in("drops", "kept for a while", &old).await;
    stage
        .envoy
        .wait_for_log("pin lapsed, the API stopped naming it policy=drops", PATIENCE)
        .await
        .expect("a line");
    // Any worker has noticed by its next tick.
    gauge(&stage, "drops", "pins.kept", |n| n == 0).await;
    let response = stage.get_as("drops", &old).await;
    assert!([403, 503].contains(&response.status), "kept for long enough: {}", response.text());
    gauge(&stage, "explicit", "pins.kept", |n| n == 0).await;
    stage.assert_in("explicit", "pinned by the configuration", &old).await;
    stage.assert_in("keeps", "kept for long", &old).await;

    // No pin outlives its certificate, and the future one is valid by now, without another fetch.
    let pinned_once = ["once", "keeps", "drops", "explicit"];
    for door in pinned_once {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while stage.get_as(door, &ahead).await.status != 200 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        stage.assert_in(door, "its time has come", &ahead).await;
    }
    for door in pinned_once {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while stage.get_as(door, &ending).await.status == 200 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        stage.assert_out(door, "its time is over", &ending, "expired").await;
    }
    let once = stage.envoy.stat(&format!("wasmcustom.genesys_mtls.once.refreshes.ok.{REGION}")).await;
    assert_eq!(once.expect("statistics"), 1);

    // An outage: with `max_staleness` the API's pins become stale, and explicit pins do not.
    stage.world.genesys.stop().await;
    assert_stale(&stage, "explicit", &new).await;
    stage.assert_in("explicit", "pinned by the configuration", &old).await;
    for door in ["keeps", "drops"] {
        stage.assert_in(door, "the last known good", &new).await;
    }
    let before = asked(&stage.world, Endpoint::Current);
    stage.world.genesys.resume().await.expect("the stand-in listens again");
    refreshed(&stage, "explicit", 1).await;
    // A worker serves what it remembers until its next tick.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while stage.get_as("explicit", &new).await.status != 200 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    stage.assert_in("explicit", "fresh again", &new).await;
    assert!(asked(&stage.world, Endpoint::Current) > before);
}
