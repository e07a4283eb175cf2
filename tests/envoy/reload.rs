//! A new configuration counts from the next request on, also on connections and TLS sessions that are older.

use crate::{
    setup::{PATIENCE, asked, assert_refused, with, without, world},
    stage::{Doors, Stage, by_ca},
};
use serde_json::{Value, json};
use testbed::{
    client::{Connection, Response, TlsVersions},
    config,
    envoy::EnvoyBuilder,
    genesys::Endpoint,
    pki::Leaf,
};

const FILTER: &str = "envoy.filters.http.wasm";
const STATS: &str = "extension_config_discovery.http_filter.envoy.filters.http.wasm";

/// A stage whose one listener, `ingress`, has its filter from a file.
pub struct Reloading {
    pub stage: Stage,
    typed: Value,
    version: u64,
}

impl Reloading {
    pub async fn start(world: testbed::World, policy: &Value) -> Self {
        Self::start_with(world, policy, |envoy| envoy).await
    }

    pub async fn start_with(
        world: testbed::World,
        policy: &Value,
        start: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder,
    ) -> Self {
        Self::start_of(world, policy, |_| {}, start).await
    }

    /// The same, with a last change to the bootstrap.
    async fn start_of(
        world: testbed::World,
        policy: &Value,
        change: impl FnOnce(&mut Value),
        start: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder,
    ) -> Self {
        let mut doors = Doors::of(&world, "envoy/envoy.yaml");
        doors.add("ingress", policy, |_| {});
        change(doors.bootstrap());
        let file = world.path("filter.json");
        let typed = config::filter_from_file(doors.bootstrap(), FILTER, &file).expect("the filter is moved");
        Self { stage: doors.open_with(world, start).await, typed, version: 1 }
    }

    async fn stat(&self, name: &str) -> u64 {
        self.stage.envoy.stat(&format!("{STATS}.{name}")).await.expect("statistics")
    }

    /// Writes a policy and waits until Envoy has taken it, or refused it.
    async fn write(&mut self, policy: &Value, outcome: &str) {
        let before = self.stat(outcome).await;
        self.version += 1;
        self.typed["config"]["configuration"] = config::plugin_struct(policy);
        let file = self.stage.world.path("filter.json");
        config::write_filter(&file, self.version, FILTER, &self.typed).expect("the file is written");
        let stat = format!("{STATS}.{outcome}");
        self.stage.envoy.wait_for_stat(&stat, |n| n > before, PATIENCE).await.expect("Envoy reads the file");
    }

    pub async fn reload(&mut self, policy: &Value) {
        self.write(policy, "config_reload").await;
    }

    async fn connect(&self, leaf: &Leaf) -> Connection {
        self.stage.client("ingress").identity(leaf).build().connect().await.expect("a handshake")
    }
}

fn assert_is(what: &str, response: &Response, expected: &str) {
    if expected == "in" {
        assert_eq!(response.status, 200, "{what}: {}", response.text());
    } else {
        assert_refused(what, response, 403, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_dropped_by_a_reload_is_denied_on_old_sessions() {
    let world = world().await;
    let (us, eu) = (world.pki.us.clone(), world.pki.eu.clone());
    let successor =
        testbed::pki::Ca::builder("genesys-successor").dn(&[("CN", "Another root")]).self_signed();
    let ca = |pem: &str| json!({"ca_certificates": pem});
    let all = json!({"regions": {
        us.region.id: {"genesys": ca(&us.root.pem), "digicert": {"pins": [us.digicert.pin()]}},
        eu.region.id: {"genesys": ca(&eu.root.pem)},
    }});
    let us_part =
        |part: &str, value: Value| with(all.clone(), &format!("/regions/{}/{part}", us.region.id), value);
    let mut without_eu = all.clone();
    without_eu["regions"].as_object_mut().expect("regions").remove(eu.region.id);
    let other_pins = us_part("digicert/pins", json!([us.digicert_upcoming.pin()]));
    let impostor = world.pki.impostor.pem.clone();
    let rollover = us.root.pem.clone() + &successor.pem;
    let without_digicert = without(all.clone(), &format!("/regions/{}/digicert", us.region.id));
    let unfit = with(all.clone(), "/regionz", json!({}));

    let mut run = Reloading::start(world, &all).await;
    let mut by_ca = run.connect(&us.genesys).await;
    let mut abroad = run.connect(&eu.genesys).await;
    let mut pinned = run.connect(&us.digicert).await;
    // Clients with a TLS session each, to be resumed after every reload.
    let resuming =
        |versions| run.stage.client("ingress").identity(&us.digicert).versions(versions).resumption().build();
    let sessions = [resuming(TlsVersions::Tls12), resuming(TlsVersions::Tls13)];
    for client in &sessions {
        assert_eq!(client.get("/").await.expect("an answer").status, 200);
    }

    let steps = [
        ("everything is trusted", None, ["in", "in", "in"]),
        ("a region goes", Some(&without_eu), ["in", "wrong_region", "in"]),
        ("and comes back", Some(&all), ["in", "in", "in"]),
        ("the CA is another", Some(&us_part("genesys", ca(&successor.pem))), ["not_pinned", "in", "in"]),
        ("the CA is an impostor's", Some(&us_part("genesys", ca(&impostor))), ["bad_signature", "in", "in"]),
        ("the CA is rolled over", Some(&us_part("genesys", ca(&rollover))), ["in", "in", "in"]),
        ("the pin is another", Some(&other_pins), ["in", "in", "not_pinned"]),
        ("an authority goes", Some(&without_digicert), ["in", "in", "unknown_issuer"]),
        ("both are trusted again", Some(&all), ["in", "in", "in"]),
    ];
    for (n, (what, policy, expected)) in (1..).zip(steps) {
        if let Some(policy) = policy {
            run.reload(policy).await;
        }
        let connections = [("by CA", &mut by_ca), ("abroad", &mut abroad), ("pinned", &mut pinned)];
        for ((who, connection), expected) in connections.into_iter().zip(expected) {
            // The second time the verdict is cached.
            for request in [2 * n - 1, 2 * n] {
                let response = connection.get("/").await.expect("an answer");
                assert_is(&format!("{what}: {who}"), &response, expected);
                assert_eq!(response.nth_on_connection, request, "{who}: the connection is the first one");
            }
        }
        for client in &sessions {
            let mut connection = client.connect().await.expect("a handshake");
            let tls = connection.tls().expect("TLS").clone();
            assert!(tls.resumed, "{what}: {tls:?}");
            assert_is(
                &format!("{what}: {tls:?}"),
                &connection.get("/").await.expect("an answer"),
                expected[2],
            );
        }
    }

    // A configuration that cannot be loaded changes nothing.
    run.write(&unfit, "config_fail").await;
    let line = run.stage.envoy.wait_for_log("invalid configuration", PATIENCE).await.expect("a log line");
    assert!(line.contains("`regionz`") && line.contains("`regions`"), "{line}");
    for (connection, who) in [(&mut by_ca, "by CA"), (&mut abroad, "abroad"), (&mut pinned, "pinned")] {
        assert_is(who, &connection.get("/").await.expect("an answer"), "in");
    }
    run.stage.assert_out("ingress", "a stranger", &run.stage.world.pki.stranger, "wrong_name").await;
    run.reload(&other_pins).await;
    assert_is("pinned", &pinned.get("/").await.expect("an answer"), "not_pinned");
    assert_eq!(run.stage.envoy.stat("http.ingress.rbac.genesys_guard_.denied").await.expect("statistics"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_the_pins_of_the_api_and_asks_for_nothing() {
    let world = world().await;
    let policy = world.policy();
    let mut run = Reloading::start(world, &policy).await;
    let ok = "wasmcustom.genesys_mtls.default.refreshes.ok.us-east-1";
    run.stage.envoy.wait_for_stat(ok, |n| n == 1, PATIENCE).await.expect("a refresh succeeds");
    let us = run.stage.world.pki.us.clone();
    let endpoints = [Endpoint::Token, Endpoint::Current, Endpoint::Upcoming];
    let counts = |run: &Reloading| endpoints.map(|endpoint| asked(&run.stage.world, endpoint));
    assert_eq!(counts(&run), [1, 1, 1]);

    let mut open = run.connect(&us.digicert).await;
    assert_eq!(open.get("/").await.expect("an answer").status, 200);
    // From here on no worker could ask, and each policy differs from the one before.
    let connections = run.stage.world.genesys.connections();
    run.stage.world.genesys.stop().await;
    for n in 1..=5 {
        run.reload(&with(policy.clone(), "/clock_skew", json!(format!("{n}s")))).await;
        let response = open.get("/").await.expect("an answer");
        assert_eq!(response.status, 200, "reload {n}, an open connection: {}", response.text());
        run.stage.assert_in("ingress", "a new connection", &us.digicert).await;
        run.stage.assert_out("ingress", "a stranger", &run.stage.world.pki.stranger, "wrong_name").await;
    }
    assert_eq!(counts(&run), [1, 1, 1]);
    assert_eq!(run.stage.world.genesys.connections(), connections);
    assert_eq!(run.stage.envoy.stat(ok).await.expect("statistics"), 1);
    let failures = run.stage.envoy.stats().await.expect("statistics");
    let failures: Vec<_> = failures
        .iter()
        .filter(|(name, n)| name.contains("default.refreshes.") && !name.contains(".ok.") && **n > 0)
        .collect();
    assert!(failures.is_empty(), "{failures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn module_change_and_rollback_keep_pins_and_lose_no_request() {
    let world = world().await;
    let policy = world.policy();
    // The same code, but another module to Envoy: an empty custom section, at another path.
    let old = testbed::paths::wasm_module();
    let mut bytes = std::fs::read(&old).expect("the module");
    bytes.extend([0, 5, 4, b'n', b'e', b'x', b't']);
    let new = world.write("next.wasm", bytes).expect("a module is written");
    let mut run = Reloading::start(world, &policy).await;
    let ok = "wasmcustom.genesys_mtls.default.refreshes.ok.us-east-1";
    run.stage.envoy.wait_for_stat(ok, |n| n == 1, PATIENCE).await.expect("a refresh succeeds");
    let us = run.stage.world.pki.us.clone();
    let mut open = run.connect(&us.digicert).await;
    assert_eq!(open.get("/").await.expect("an answer").status, 200);
    // From here on no worker could ask.
    run.stage.world.genesys.stop().await;
    for (what, module) in [("the upgrade", &new), ("the way back", &old), ("once more", &new)] {
        run.typed["config"]["vm_config"]["code"]["local"]["filename"] = json!(module);
        run.reload(&policy).await;
        let response = open.get("/").await.expect("an answer");
        assert_eq!(response.status, 200, "{what}, an open connection: {}", response.text());
        for _ in 0..10 {
            run.stage.assert_in("ingress", what, &us.digicert).await;
        }
        run.stage.assert_out("ingress", what, &run.stage.world.pki.stranger, "wrong_name").await;
    }
    // Counters belong to the module and begin with zero. No worker asked, and none failed to.
    let refreshes = run.stage.envoy.stats().await.expect("statistics");
    let refreshes = refreshes.iter().filter(|(name, n)| name.contains("default.refreshes.") && **n > 0);
    assert_eq!(refreshes.collect::<Vec<_>>(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_in_one_vm_never_see_each_others_verdicts() {
    let world = world().await;
    let (us, eu) = (world.pki.us.clone(), world.pki.eu.clone());
    let only_us = by_ca(&world);
    let only_eu = json!({"regions": {eu.region.id: {"genesys": {"ca_certificates": eu.root.pem}}}});
    let by_pin = json!({"regions": {us.region.id: {"digicert": {"pins": [us.digicert.pin()]}}}});
    let named = |policy: &Value, name: &str| with(policy.clone(), "/name", json!(name));
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    // Same code, VM id and environment: one VM per worker. Same name or another: a verdict is a policy's own.
    let table = [
        ("us", &only_us, "default", ["in", "wrong_region", "unknown_issuer"]),
        ("eu", &only_eu, "default", ["wrong_region", "in", "wrong_region"]),
        ("pin", &by_pin, "default", ["not_pinned", "wrong_region", "in"]),
        ("us_named", &only_us, "us", ["in", "wrong_region", "unknown_issuer"]),
        ("eu_named", &only_eu, "eu", ["wrong_region", "in", "wrong_region"]),
        ("pin_named", &by_pin, "pin", ["not_pinned", "wrong_region", "in"]),
    ];
    for (door, policy, name, _) in &table {
        doors.add(door, &named(policy, name), |_| {});
    }
    let stage = doors.open(world).await;
    let leaves = [&us.genesys, &eu.genesys, &us.digicert];
    for round in 1..=3 {
        for (door, _, _, expected) in &table {
            for (leaf, expected) in leaves.into_iter().zip(expected) {
                assert_is(&format!("{door}, round {round}"), &stage.get_as(door, leaf).await, expected);
            }
        }
    }
    // They do share a VM: one per worker and one of the main thread, for any number of policies.
    let active = stage.envoy.stat("wasm.envoy.wasm.runtime.v8.active").await.expect("statistics");
    assert!(active <= 4, "{active} VMs for {} policies", table.len());
}

/// How often Envoy's worker wakes up in a second.
async fn wake_ups(stage: &Stage) -> u64 {
    const SPAN: u64 = 3;
    let count = async || {
        let text = stage.envoy.prometheus().await.expect("statistics");
        let of_the_worker =
            |line: &&str| line.contains("dispatcher_loop_duration_us_count") && line.contains("worker");
        let lines: Vec<&str> = text.lines().filter(of_the_worker).collect();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a number")
    };
    let before = count().await;
    tokio::time::sleep(std::time::Duration::from_secs(SPAN)).await;
    (count().await - before) / SPAN
}

/// Envoy goes on ticking a configuration that it has deleted, unless the module stops the ticks.
#[tokio::test(flavor = "multi_thread")]
async fn reloads_leave_no_ticks_behind() {
    const RELOADS: u32 = 30;
    let world = world().await;
    let policy = by_ca(&world);
    let change = |bootstrap: &mut Value| {
        bootstrap["enable_dispatcher_stats"] = true.into();
        bootstrap["stats_flush_interval"] = "0.2s".into();
    };
    let mut run = Reloading::start_of(world, &policy, change, |envoy| envoy.concurrency(1)).await;
    let before = wake_ups(&run.stage).await;
    for n in 1..=RELOADS {
        run.reload(&with(policy.clone(), "/clock_skew", json!(format!("{n}s")))).await;
    }
    let after = wake_ups(&run.stage).await;
    // Four a second for each, if they went on.
    assert!(after < before + 2 * u64::from(RELOADS), "{before} wake-ups a second, then {after}");
    run.stage.assert_in("ingress", "by CA", &run.stage.world.pki.us.genesys).await;
}
