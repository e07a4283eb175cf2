//! `/stats/prometheus` shows exactly the metrics of the table, and keeps their counts over a reload.

use super::table::{ENVOYS, METRICS};
use crate::{
    setup::{PATIENCE, policy_of, with, with_region_clusters, world},
    stage::{Doors, Stage, assert_guarded},
};
use prometheus_parse::{Sample, Scrape, Value as Reading};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testbed::{
    config,
    pki::Leaf,
    stand_in::{Fate, replace},
};

const POLICY: &str = "edge_1";
/// A region that no catalogue knows, and whose id ends in no number.
const OWN: &str = "own-region";
const OWN_NAME: &str = "dataactions.own.example";
const URL: &str = "http://crl.example/genesys/us-east-1.crl";

async fn scrape(stage: &Stage) -> Vec<Sample> {
    let text = stage.envoy.prometheus().await.expect("metrics");
    // Envoy writes empty braces where there is no label; this parser wants none.
    let lines = text.lines().map(|line| Ok(line.replacen("{} ", " ", 1)));
    Scrape::parse(lines).expect("the text format of Prometheus").samples
}

fn labels(sample: &Sample) -> BTreeMap<&str, &str> {
    sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// All that is looked at are whole numbers.
#[allow(clippy::cast_possible_truncation)]
fn number(sample: &Sample) -> i64 {
    match sample.value {
        Reading::Counter(n) | Reading::Gauge(n) | Reading::Untyped(n) => n as i64,
        _ => panic!("{sample:?}"),
    }
}

/// The one sample of this name with these labels, among others.
fn value(samples: &[Sample], name: &str, wanted: &[(&str, &str)]) -> i64 {
    let matching = |sample: &&Sample| {
        let labels = labels(sample);
        sample.metric == name && wanted.iter().all(|(label, value)| labels.get(label) == Some(value))
    };
    let found: Vec<&Sample> = samples.iter().filter(matching).collect();
    assert_eq!(found.len(), 1, "{name} {wanted:?}: {found:?}");
    number(found[0])
}

/// Everything that has a metric: two regions, an API, a pin of our own, and a list.
fn policy(world: &testbed::World) -> Value {
    let pki = &world.pki;
    let policy = policy_of(world, &[&pki.us]);
    let policy = with(policy, "/name", json!(POLICY));
    let digicert = json!({"pins": ["api", pki.us.digicert_upcoming.pin()], "issuers": pki.digicert_ca.pem});
    let policy = with(policy, "/regions/us-east-1/digicert", digicert);
    let own = json!({
        "certificate_name": OWN_NAME,
        "genesys": {"ca_certificates": pki.eu.root.pem},
    });
    let policy = with(policy, &format!("/regions/{OWN}"), own);
    let list = json!({"region": "us-east-1", "authority": "genesys", "url": URL, "cluster": "crl"});
    with(policy, "/revocation", json!({"mode": "soft", "lists": [list]}))
}

async fn stage() -> Stage {
    let world = world().await;
    world.genesys.set_crl("/genesys/us-east-1.crl", 200, world.pki.us.root.crl().number(1).der());
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &policy(&world), |_| {});
    doors.add("skipped", &policy(&world), |door| {
        replace(&world, door.plugin(), "skipped", Fate::RefusedByWorkers);
    });
    doors.add("crashes", &policy(&world), |door| {
        replace(&world, door.plugin(), "crashes", Fate::CrashesOnce);
    });
    let bootstrap = doors.bootstrap();
    *bootstrap = with_region_clusters(bootstrap.take());
    let mut crl = bootstrap["static_resources"]["clusters"][0].clone();
    crl["name"] = "crl".into();
    bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters").push(crl);
    config::set_endpoint(bootstrap, "crl", world.genesys.crl_addr());
    doors.open(world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn exported_metrics_and_labels_are_those_of_the_table() {
    let stage = stage().await;
    let pki = stage.world.pki.clone();
    let all_there = |stats: &BTreeMap<String, u64>| {
        let ok = |name: &str| stats.get(&format!("wasmcustom.genesys_mtls.{POLICY}.{name}")) == Some(&1);
        (ok("refreshes.ok.us-east-1") && ok("crl_fetches.ok.genesys.us-east-1")).then_some(())
    };
    stage.envoy.wait_for_stats("refresh and list", all_there, PATIENCE).await.expect("both are fetched");

    let own = pki.eu.root.leaf().key_name("genesys").name(OWN_NAME).issue();
    let callers: [(&Leaf, u16); 4] =
        [(&pki.us.genesys, 200), (&pki.us.digicert_upcoming, 200), (&own, 200), (&pki.stranger, 403)];
    for (leaf, status) in callers {
        for _ in 0..2 {
            assert_eq!(stage.get_as("ingress", leaf).await.status, status);
        }
    }
    assert_guarded("skipped", &stage.get_as("skipped", &pki.us.genesys).await);
    assert_eq!(stage.get_as("crashes", &pki.us.genesys).await.status, 503);

    // Counters and gauges are handed over on ticks.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let samples = loop {
        let samples = scrape(&stage).await;
        let counted: i64 = samples.iter().filter(|s| s.metric == "genesys_mtls_decisions").map(number).sum();
        let pinned = samples.iter().any(|s| labels(s).get("genesys_trusted") == Some(&"pin"));
        let reloaded = samples.iter().any(|s| s.metric == ENVOYS[2] && number(s) > 0);
        if counted >= 8 && pinned && reloaded {
            break samples;
        }
        assert!(tokio::time::Instant::now() < deadline, "{counted} decisions; {pinned} {reloaded}");
        stage.get_as("crashes", &pki.us.genesys).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };

    super::files::check_exposition(&stage.envoy.prometheus().await.expect("metrics"));

    let ours = samples.iter().filter(|sample| sample.metric.starts_with("genesys_mtls_"));
    let mut seen = vec![0; METRICS.len()];
    for sample in ours {
        let names: Vec<&str> = labels(sample).into_keys().collect();
        let gauge = matches!(sample.value, Reading::Gauge(_));
        let row = METRICS.iter().position(|metric| {
            let decision = labels(sample).get("genesys_decision").is_none_or(|of| metric.name.contains(of));
            metric.prometheus() == sample.metric
                && metric.prometheus_labels() == names
                && metric.gauge == gauge
                && decision
        });
        seen[row.unwrap_or_else(|| panic!("not in the table: {sample:?}"))] += 1;
        assert_eq!(labels(sample)["genesys_policy"], POLICY, "{sample:?}");
        let region = labels(sample).get("genesys_region").copied().unwrap_or(OWN);
        assert!([OWN, "us-east-1"].contains(&region), "{sample:?}");
    }
    for (metric, count) in METRICS.iter().zip(seen) {
        assert!(count > 0, "not exported: {}", metric.name);
    }
    for name in ENVOYS {
        assert!(samples.iter().any(|sample| sample.metric == *name), "not exported: {name}");
    }

    let value =
        |name: &str, wanted: &[(&str, &str)]| value(&samples, &format!("genesys_mtls_{name}"), wanted);
    let (us, own) = (("genesys_region", "us-east-1"), ("genesys_region", OWN));
    for (region, authority, expected) in
        [(us, "genesys", 2), (us, "digicert", 2), (own, "genesys", 2), (own, "digicert", 0)]
    {
        let wanted = [("genesys_decision", "allow"), ("genesys_authority", authority), region];
        assert_eq!(value("decisions", &wanted), expected, "{wanted:?}");
    }
    for (reason, expected) in [("wrong_name", 2), ("expired", 0), ("trust_stale", 0)] {
        assert_eq!(value("decisions", &[("genesys_reason", reason)]), expected, "{reason}");
        assert_eq!(value("turned_away", &[("genesys_reason", reason)]), 0, "{reason}");
    }
    for (status, expected) in [("named", 1), ("kept", 0), ("stale", 0), ("configured", 1)] {
        assert_eq!(value("pins", &[("genesys_status", status), us]), expected, "{status}");
    }
    assert_eq!(value("enforcing", &[]), 1);
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    for (trusted, der) in [
        ("genesys_ca", &pki.us.root.der),
        ("digicert_issuer", &pki.digicert_ca.der),
        ("api_pin", &pki.us.digicert.der),
        ("pin", &pki.us.digicert_upcoming.der),
    ] {
        for gauge in ["seconds_to_first_expiry", "seconds_to_last_expiry"] {
            let left = value(gauge, &[("genesys_trusted", trusted), us]);
            let expected = not_after(der) - now;
            assert!((left - expected).abs() < 60, "{gauge} {trusted}: {left}, not {expected}");
        }
    }
    let guard = [("envoy_rbac_http_prefix", "genesys_guard_"), ("envoy_http_conn_manager_prefix", "skipped")];
    assert_eq!(self::value(&samples, "envoy_http_rbac_denied", &guard), 1, "what the alert counts");
}

fn not_after(der: &[u8]) -> i64 {
    let certificate = genesys_mtls_filter::x509::ca::CaCertificate::parse(der).map(|ca| ca.not_after);
    certificate.unwrap_or_else(|_| {
        genesys_mtls_filter::x509::certificate::ClientCertificate::parse(der)
            .expect("a certificate")
            .not_after
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_from_before_a_reload_are_not_lost() {
    let world = world().await;
    let policy = crate::stage::by_ca(&world);
    let mut run = crate::reload::Reloading::start(world, &policy).await;
    let us = run.stage.world.pki.us.clone();
    let stat = "wasmcustom.genesys_mtls.default.decisions.allow.genesys.us-east-1";
    let rounds = 20;
    // Between two ticks there is time for a request and the reload that follows it.
    for n in 1..=rounds {
        run.stage.assert_in("ingress", "Genesys", &us.genesys).await;
        run.reload(&with(policy.clone(), "/clock_skew", json!(format!("{n}s")))).await;
    }
    let counted = run.stage.envoy.wait_for_stat(stat, |n| n >= rounds, PATIENCE).await;
    assert_eq!(counted.expect("all are counted"), rounds);
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_of_access_is_counted_once_and_not_for_strangers() {
    let world = world().await;
    let us = world.pki.us.clone();
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &with(crate::stage::by_ca(&world), "/clock_skew", json!("0s")), |_| {});
    let stage = doors.open(world).await;
    let leaf = us.root.leaf().key_name("genesys").name(us.region.certificate_name);
    let leaf = leaf.valid_from_now(time::Duration::minutes(-1), time::Duration::seconds(6)).issue();
    let mut connection =
        stage.client("ingress").identity(&leaf).build().connect().await.expect("a handshake");
    assert_eq!(connection.get("/").await.expect("an answer").status, 200);
    stage.assert_out("ingress", "expired all along", &us.genesys_expired, "expired").await;
    stage.assert_out("ingress", "a stranger", &stage.world.pki.stranger, "wrong_name").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while connection.get("/").await.expect("an answer").status == 200 {
        assert!(tokio::time::Instant::now() < deadline, "it never expires");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for _ in 0..3 {
        assert_eq!(connection.get("/").await.expect("an answer").status, 403);
    }
    let stat = |name: &str| format!("wasmcustom.genesys_mtls.default.{name}");
    let denied = stat("decisions.deny.expired");
    stage.envoy.wait_for_stat(&denied, |n| n == 5, PATIENCE).await.expect("all denials are counted");
    assert_eq!(stage.envoy.stat(&stat("turned_away.expired")).await.expect("statistics"), 1);
    assert_eq!(stage.envoy.stat(&stat("turned_away.wrong_name")).await.expect("statistics"), 0);
    let line = stage.envoy.wait_for_log("it was allowed before", PATIENCE).await.expect("a log line");
    assert!(line.contains("reason=expired"), "{line}");
}
