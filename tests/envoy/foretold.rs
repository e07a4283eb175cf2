//! What the certificates API announces and the policy would deny, from the announcement to the day of the rotation.

use crate::{
    pace::{PATIENCE, REGION, fast},
    reload::Reloading,
    setup::{assert_refused, digicert, with, world},
};
use serde_json::{Value, json};
use std::time::Duration as Patience;
use testbed::{
    envoy::WallClock,
    genesys::{Entity, Status},
    pki::{Ca, KeyType, Leaf},
};
use time::Duration;

const HOUR: i64 = 3600;

fn stat(name: &str) -> String {
    format!("wasmcustom.genesys_mtls.default.{name}.{REGION}")
}

async fn reaches(run: &Reloading, name: &str, value: u64) {
    let reached = run.stage.envoy.wait_for_stat(&stat(name), |n| n == value, PATIENCE).await;
    reached.unwrap_or_else(|error| panic!("{name} {value}: {error}"));
}

/// Asks until all workers agree: each looks at the clock when it ticks.
async fn settles(run: &Reloading, what: &str, leaf: &Leaf, reason: Option<&str>) {
    let client = run.stage.client("ingress").identity(leaf).build();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut in_a_row = 0;
    while in_a_row < 20 {
        let response = client.get("/").await.expect("an answer");
        let is_it = (response.status == 200) == reason.is_none();
        in_a_row = if is_it { in_a_row + 1 } else { 0 };
        if let (Some(reason), true) = (reason, in_a_row == 20) {
            assert_refused(what, &response, 403, reason);
        }
        assert!(tokio::time::Instant::now() < deadline, "{what}: {}", response.text());
        tokio::time::sleep(Patience::from_millis(5)).await;
    }
}

fn next(ca: &Ca, name: &str) -> Leaf {
    let leaf = ca.leaf().key(KeyType::P256).key_name("next").name(name);
    leaf.valid_from_now(Duration::hours(6), Duration::days(9)).issue()
}

/// A rotation whose next certificate the policy denies until its CA is added at `ca_at`.
async fn announced_to_rotated(
    (authority, reason): (&'static str, &'static str),
    ca: Ca,
    configured: String,
    ca_at: &str,
    entity: impl Fn(&testbed::World, &Leaf) -> Entity,
) {
    let world = world().await;
    let name = world.pki.us.region.certificate_name;
    let policy = with(fast(&world), ca_at, json!(configured));
    let (old, next) = if authority == "digicert" {
        (world.pki.us.digicert.clone(), next(&ca, name))
    } else {
        (world.pki.us.genesys.clone(), next(&ca, name))
    };
    let clock = WallClock::new(world.dir()).expect("a clock");
    let mut run =
        Reloading::start_with(world, &policy, |envoy| envoy.wall_clock(&clock).concurrency(4)).await;
    let ok = run.stage.envoy.wait_for_stat(&stat("refreshes.ok"), |n| n >= 1, PATIENCE).await;
    ok.expect("a refresh succeeds");
    settles(&run, "before", &old, None).await;
    let line = "announced certificate will be denied";
    assert_eq!(run.stage.envoy.count_in_log(line), 0);

    // The announcement.
    let world = &run.stage.world;
    world.genesys.set_entities(REGION, Status::Upcoming, vec![entity(world, &next)]);
    let said = run.stage.envoy.wait_for_log(line, PATIENCE).await.expect("a log line");
    for part in [
        "[warning]",
        &format!("region={REGION} authority={authority} status=upcoming reason={reason} issuer="),
        "CN=Next authority",
        &next.sha256,
        "not_before=",
        "not_after=",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let gauge = format!("announced_but_denied.{reason}.{authority}");
    reaches(&run, &gauge, 1).await;
    let trusted = if authority == "digicert" { "api_pin" } else { "genesys_certificate" };
    let expiry = stat(&format!("seconds_to_first_expiry.{trusted}"));
    let left = run.stage.envoy.wait_for_stat(&expiry, |n| n > 24 * 3600, PATIENCE).await;
    left.expect("that of the certificate in use");
    settles(&run, "announced", &old, None).await;

    // The day of the rotation.
    clock.set(7 * HOUR).expect("the clock is set");
    settles(&run, "rotated", &next, Some(reason)).await;
    settles(&run, "meanwhile", &old, None).await;
    let more = run.stage.envoy.stat(&stat("refreshes.ok")).await.expect("statistics") + 3;
    let ok = run.stage.envoy.wait_for_stat(&stat("refreshes.ok"), |n| n >= more, PATIENCE).await;
    ok.expect("refreshes go on");
    assert_eq!(run.stage.envoy.count_in_log(line), 1, "one line per news, for all refreshes and workers");
    reaches(&run, &gauge, 1).await;

    // The operator adds the CA.
    run.reload(&with(policy, ca_at, json!(configured + &ca.pem))).await;
    settles(&run, "mended", &next, None).await;
    settles(&run, "mended", &old, None).await;
    reaches(&run, &gauge, 0).await;
    assert_eq!(run.stage.envoy.count_in_log(line), 1);
}

fn ca(key_name: &str) -> Ca {
    Ca::builder(key_name).key(KeyType::P256).dn(&[("CN", "Next authority")]).self_signed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_by_another_intermediate_is_foretold() {
    let configured = world().await.pki.digicert_ca.pem.clone();
    let at = format!("/regions/{REGION}/digicert/issuers");
    announced_to_rotated(("digicert", "unknown_issuer"), ca("next-digicert"), configured, &at, digicert)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_by_another_genesys_root_is_foretold() {
    let configured = world().await.pki.us.root.pem.clone();
    let at = format!("/regions/{REGION}/genesys/ca_certificates");
    let entity = |_: &testbed::World, leaf: &Leaf| Entity::genesys(leaf);
    announced_to_rotated(("genesys", "not_pinned"), ca("next-genesys"), configured, &at, entity).await;
}

/// Kinds other than the issuer, all of them at once.
#[tokio::test(flavor = "multi_thread")]
async fn every_announced_kind_of_denial_has_its_gauge() {
    let world = world().await;
    let at = format!("/regions/{REGION}/digicert/issuers");
    let policy = with(fast(&world), &at, Value::from(world.pki.digicert_ca.pem.clone()));
    let leaf = || world.pki.digicert_ca.leaf().key(KeyType::P256).key_name("kinds");
    let unknown_name = leaf().name("dataactions.renamed.example").issue();
    let entities = vec![
        digicert(&world, &world.pki.us.digicert),
        digicert(&world, &unknown_name),
        Entity::new("DigiCert", "-----BEGIN CERTIFICATE-----\nno DER\n-----END CERTIFICATE-----\n"),
        Entity::genesys(&world.pki.impostor_leaf),
    ];
    world.genesys.set_entities(REGION, Status::Current, entities);
    let run = Reloading::start(world, &policy).await;
    for kind in ["wrong_name.digicert", "malformed_certificate.digicert", "bad_signature.genesys"] {
        reaches(&run, &format!("announced_but_denied.{kind}"), 1).await;
    }
    settles(&run, "the usual one", &run.stage.world.pki.us.digicert, None).await;
}
