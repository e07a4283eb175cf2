//! Envoy's wall clock jumps by a day while its workers serve: no pin is lost, no request is held, and nothing is left behind.

use crate::{
    pace::{PATIENCE, REGION, fast, more, outcomes, run},
    setup::{Running, assert_refused, digicert, with, world},
};
use serde_json::json;
use std::time::Duration as Patience;
use testbed::{
    envoy::WallClock,
    genesys::Status,
    pki::{KeyType, Leaf},
};
use time::Duration;

const DAY: i64 = 24 * 3600;

/// Asks until the verdict is this one: a worker looks at the clock when it ticks.
async fn settles(run: &Running, when: &str, who: &str, leaf: &Leaf, reason: Option<&str>) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let client = run.world.client(run.ingress).identity(leaf).build();
    let mut in_a_row = 0;
    loop {
        let response = client.get("/").await.expect("an answer");
        let as_expected = response.status == if reason.is_some() { 403 } else { 200 };
        in_a_row = if as_expected { in_a_row + 1 } else { 0 };
        if in_a_row < 20 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Patience::from_millis(5)).await;
            continue;
        }
        let what = format!("{when}, {who}");
        match reason {
            Some(reason) => assert_refused(&what, &response, 403, reason),
            None => assert_eq!(response.status, 200, "{what}: {}", response.text()),
        }
        return;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wall_clock_jump_of_a_day_drops_no_pin_and_holds_no_request() {
    let world = world().await;
    let issuers = world.pki.digicert_ca.pem.clone();
    let policy = with(fast(&world), &format!("/regions/{REGION}/digicert/issuers"), json!(issuers));
    let policy = with(policy, "/refresh/max_staleness", json!("10m"));
    let clock = WallClock::new(world.dir()).expect("a clock");
    let leaf = |from: Duration, until: Duration| {
        let leaf = world.pki.digicert_ca.leaf().key(KeyType::P256).key_name("in-time");
        leaf.name(world.pki.us.region.certificate_name).valid_from_now(from, until).issue()
    };
    let usual = world.pki.us.digicert.clone();
    let ending = leaf(Duration::days(-9), Duration::hours(6));
    let begun = leaf(Duration::hours(-6), Duration::days(9));
    let entities = [&usual, &ending, &begun].map(|leaf| digicert(&world, leaf)).to_vec();
    world.genesys.set_entities(REGION, Status::Current, entities);
    let run = run(world, &policy, |_, _| {}, |envoy| envoy.wall_clock(&clock).concurrency(4)).await;
    run.refreshed().await;
    let mut open =
        run.world.client(run.ingress).identity(&usual).build().connect().await.expect("a handshake");

    let cases = [
        ("as it was", 0, None, None),
        ("a day later", DAY, Some("expired"), None),
        ("back again", 0, None, None),
        ("a day earlier", -DAY, None, Some("not_yet_valid")),
        ("in the end", 0, None, None),
    ];
    for (when, shift, for_ending, for_begun) in cases {
        clock.set(shift).expect("the clock is set");
        settles(&run, when, "about to end", &ending, for_ending).await;
        settles(&run, when, "just begun", &begun, for_begun).await;
        settles(&run, when, "valid for weeks", &usual, None).await;
        settles(&run, when, "by its CA", &run.world.pki.us.genesys, None).await;
        assert_eq!(open.get("/").await.expect("an answer").status, 200, "{when}: an open connection");
        // The schedule goes on, and login and API are verified by the same clock.
        more(&run, "ok", 2).await;
        let stat = |what: &str| format!("wasmcustom.genesys_mtls.default.{what}");
        for (what, wanted) in [("pins.named.us-east-1", 3), ("pins.kept.us-east-1", 0), ("held_requests", 0)]
        {
            assert_eq!(run.envoy.stat(&stat(what)).await.expect("statistics"), wanted, "{when}: {what}");
        }
    }
    let outcomes = outcomes(&run).await;
    let failed: Vec<_> = outcomes.iter().filter(|(code, count)| *code != "ok" && **count > 0).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
