//! Answers of the API that are odd but usable: each refresh succeeds, and pins the certificates that it can.

use crate::{
    pace::{REGION, fast, more, outcomes, run},
    setup::{digicert, world},
};
use serde_json::{Value, json};
use testbed::{
    World,
    genesys::{Entity, Status},
    pki::{Ca, KeyType},
};

enum Oddity {
    /// `expires_in` of tokens.
    Lifetime(Option<Value>),
    /// What the API names as current, in pages.
    Pages(Vec<Vec<Entity>>),
    /// A last page that leads on.
    NextUri(&'static str),
}

use Oddity::{Lifetime, NextUri, Pages};

/// What is odd, and whether the new certificate is named.
fn rows(world: &World) -> Vec<(&'static str, Oddity, bool)> {
    let pki = &world.pki;
    let usual = || digicert(world, &pki.us.digicert);
    let new = || digicert(world, &pki.us.digicert_upcoming);
    let ca = Ca::builder("crowd").key(KeyType::P256).self_signed();
    let leaf =
        || ca.leaf().key(KeyType::P256).key_name("crowd-leaf").name(pki.us.region.certificate_name).issue();
    let crowd = (1..1000).map(|_| Entity::new("Digicert", &leaf().cert_pem)).chain([new()]);
    let list = "/api/v2/integrations/actions/certificates?status=Current";
    vec![
        ("a token without a lifetime", Lifetime(None), false),
        ("a lifetime of ages", Lifetime(Some(json!(1e300))), false),
        ("a lifetime below zero", Lifetime(Some(json!(-5))), false),
        ("no lifetime to speak of", Lifetime(Some(json!(0.5))), false),
        ("1,000 entities", Pages(vec![crowd.collect()]), true),
        (
            "unknown values next to a good one",
            Pages(vec![vec![usual().with("type", "Server").with("signingAuthority", "Acme"), new()]]),
            true,
        ),
        (
            "missing fields next to a good one",
            Pages(vec![vec![usual().without("certificate"), new().without("type").without("status")]]),
            true,
        ),
        ("unknown fields", Pages(vec![vec![new().with("validUntil", json!({"year": 2031}))]]), true),
        (
            "the good one on the second page",
            Pages(vec![vec![Entity::genesys(&pki.us.genesys)], vec![new()]]),
            true,
        ),
        ("a last page that leads to itself", NextUri(list), false),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_answers_are_read_for_what_they_hold() {
    let world = world().await;
    let mut policy = fast(&world);
    policy["refresh"]["keep_removed"] = json!("0s");
    world.genesys.set_expires_in(REGION, Some(json!(60)));
    let run = run(world, &policy, |_, _| {}, |envoy| envoy).await;
    run.refreshed().await;
    let genesys = &run.world.genesys;
    let us = &run.world.pki.us;
    for (name, oddity, renewed) in rows(&run.world) {
        let before = outcomes(&run).await;
        match oddity {
            Lifetime(lifetime) => genesys.set_expires_in(REGION, lifetime),
            Pages(pages) => genesys.set_pages(REGION, Status::Current, pages),
            NextUri(uri) => genesys.set_next_uri(REGION, Status::Current, Some(uri)),
        }
        more(&run, "ok", 2).await;
        run.assert_in(name, if renewed { &us.digicert_upcoming } else { &us.digicert }).await;
        let mut after = outcomes(&run).await;
        after.insert("ok".to_owned(), before["ok"]);
        assert_eq!(before, after, "{name}: nothing failed");
        // The token of a row that it lasts for ages is not to serve the next one.
        genesys.set_expires_in(REGION, Some(json!(60)));
        genesys.revoke_tokens(REGION);
        genesys.set_entities(REGION, Status::Current, vec![digicert(&run.world, &us.digicert)]);
        more(&run, "ok", 2).await;
    }
    // A thousand pins that come and go are not logged one by one.
    assert!(run.envoy.count_in_log("more pins changed") >= 1);
    assert!(run.envoy.count_in_log("sha256=") < 100);
}
