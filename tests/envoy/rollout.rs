//! From shadow mode to enforcing, by the states A to D of the roll-out.

use crate::{
    recipes::snippets,
    setup::{PATIENCE, assert_refused, with, world},
    stage::{Door, Doors, Stage, assert_guarded, by_ca},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testbed::{
    World,
    client::{Connection, Response},
    config,
    pki::Leaf,
    stand_in::{Fate, replace},
};

/// The guard in shadow, as the book has it.
fn watching_guard() -> Value {
    snippets("start/rollout", "The guard in shadow", "recipe").remove(0)[0]["typed_config"].clone()
}

fn watching(policy: &Value) -> Value {
    with(policy.clone(), "/mode", json!("shadow"))
}

#[test]
fn the_guard_in_shadow_has_the_rules_of_the_guard() {
    let mut file = config::load_yaml(&testbed::paths::workspace_root().join("envoy/envoy.yaml"));
    let hcm = &mut file["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    let guard = &hcm["http_filters"][1]["typed_config"];
    let shadow = watching_guard();
    assert_eq!(shadow["shadow_rules"], guard["rules"]);
    assert_eq!(shadow["shadow_rules_stat_prefix"], guard["rules_stat_prefix"]);
    assert_eq!(shadow["rules"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_skipped_workers_fare_as_documented_per_state() {
    let world = world().await;
    let enforcing = by_ca(&world);
    let shadow = watching(&enforcing);
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    for (door, policy, guard_watches) in
        [("A", &shadow, true), ("B", &enforcing, true), ("C", &shadow, false), ("D", &enforcing, false)]
    {
        for skipped in [false, true] {
            let name = if skipped { format!("{door}_skipped") } else { door.to_owned() };
            doors.add(&name, policy, |door| {
                let shows = json!({"header": {"key": "x-verdict", "value": "%FILTER_STATE(wasm.genesys_mtls.default:PLAIN)%"}});
                door.virtual_host()["response_headers_to_add"] = json!([shows]);
                if guard_watches {
                    *door.guard() = watching_guard();
                }
                if skipped {
                    replace(&world, door.plugin(), &name, Fate::RefusedByWorkers);
                }
            });
        }
    }
    let stage = doors.open(world).await;
    let pki = &stage.world.pki;
    let callers = [
        ("Genesys", &pki.us.genesys, "allow;us-east-1;genesys"),
        ("a stranger", &pki.stranger, "deny;wrong_name"),
        ("an impostor", &pki.impostor_leaf, "deny;bad_signature"),
        ("another region", &pki.eu.genesys, "deny;wrong_region"),
    ];
    for (who, leaf, verdict) in callers {
        // The second time the verdict is cached.
        for round in 1..=2 {
            let what = |state: &str| format!("state {state}, {who}, round {round}");
            for state in ["A", "B", "C", "D"] {
                let response = stage.get_as(state, leaf).await;
                match (verdict.strip_prefix("deny;"), state) {
                    (None, _) | (_, "A") => {
                        let got = (response.status, response.header("x-verdict"));
                        assert_eq!(got, (200, Some(verdict)), "{}", what(state));
                    }
                    (Some(_), "C") => assert_guarded(&what(state), &response),
                    (Some(reason), _) => assert_refused(&what(state), &response, 403, reason),
                }
                let skipped = stage.get_as(&format!("{state}_skipped"), leaf).await;
                match state {
                    "A" | "B" => assert_eq!(skipped.status, 200, "{}, skipped", what(state)),
                    _ => assert_guarded(&what(state), &skipped),
                }
            }
        }
    }
    let nobody = stage.client("A").build().get("/").await.expect("an answer");
    assert_eq!((nobody.status, nobody.header("x-verdict")), (200, Some("deny;no_client_certificate")));

    let stats = stage.envoy.stats().await.expect("statistics");
    let counted = |door: &str, kinds: [&str; 2]| {
        kinds.map(|kind| stats.get(&format!("http.{door}.rbac.genesys_guard_.{kind}")).copied().unwrap_or(0))
    };
    let (shadow, real) = (["shadow_denied", "shadow_allowed"], ["denied", "allowed"]);
    for (door, kinds, expected) in [
        ("A", shadow, [7, 2]),
        ("B", shadow, [0, 2]),
        ("C", real, [6, 2]),
        ("D", real, [0, 2]),
        ("A_skipped", shadow, [8, 0]),
        ("B_skipped", shadow, [8, 0]),
        ("C_skipped", real, [8, 0]),
        ("D_skipped", real, [8, 0]),
    ] {
        assert_eq!(counted(door, kinds), expected, "{door}: {kinds:?}");
    }
    assert_eq!((counted("A", real), counted("B", real)), ([0, 0], [0, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_modes_decide_alike() {
    let world = world().await;
    let pki = world.pki.clone();
    // One region's pins are there, the other's API never answers.
    let digicert = json!({"pins": [pki.us.digicert.pin()], "issuers": pki.digicert_ca.pem});
    let policy = with(by_ca(&world), "/regions/us-east-1/digicert", digicert);
    let eu = pki.eu.region.id;
    let mut policy = with(policy, &format!("/regions/{eu}"), world.region_policy(&pki.eu));
    policy["refresh"] = json!({"on_unknown_certificate": {"hold": "0s"},
        "oauth": {"client_id_env": "ABSENT", "client_secret_env": "ABSENT_TOO"}});
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    let keep_id = |door: &mut Door| door.hcm()["preserve_external_request_id"] = true.into();
    doors.add("enforce", &policy, keep_id);
    doors.add("shadow", &watching(&policy), |door| {
        keep_id(door);
        *door.guard() = watching_guard();
    });
    let stage = doors.open(world).await;
    let malformed = pki.us.root.leaf().key_name("genesys").name(pki.us.region.certificate_name);
    let malformed = malformed.extension(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0], true).issue();
    let leaf = || pki.us.root.leaf().key_name("genesys").name(pki.us.region.certificate_name);
    let callers: Vec<(&str, Option<Leaf>)> = vec![
        ("by CA", Some(pki.us.genesys.clone())),
        ("pinned", Some(pki.us.digicert.clone())),
        ("not pinned", Some(pki.us.digicert_upcoming.clone())),
        ("a lookalike", Some(pki.digicert_lookalike.clone())),
        ("another region by CA", Some(pki.eu.genesys.clone())),
        ("another region, no pins loaded", Some(pki.eu.digicert.clone())),
        ("expired", Some(pki.us.genesys_expired.clone())),
        ("not yet valid", Some(leaf().not_yet_valid().issue())),
        ("an impostor", Some(pki.impostor_leaf.clone())),
        ("a stranger", Some(pki.stranger.clone())),
        ("an e-mail certificate", Some(pki.email.clone())),
        ("a CA", Some(leaf().is_ca(true).issue())),
        ("malformed", Some(malformed)),
        ("no certificate", None),
    ];
    let mut seen = BTreeMap::new();
    for (who, leaf) in &callers {
        for round in 1..=2 {
            let mut verdicts = Vec::new();
            for door in ["enforce", "shadow"] {
                let id = format!("{door}-{round}-{}", who.replace([' ', ','], "_"));
                let client = stage.client(door);
                let client = leaf.as_ref().map_or(client.clone(), |leaf| client.identity(leaf)).build();
                let request = http::Request::get("/").header("x-request-id", &id).body(Vec::new());
                let response = client.send(request.expect("a request")).await.expect("an answer");
                if door == "shadow" {
                    assert_eq!(response.status, 200, "{who}: shadow mode answers no request");
                }
                verdicts.push(verdict_of(&stage, &id).await);
            }
            assert_eq!(verdicts[0], verdicts[1], "{who}, round {round}");
            seen.insert(verdicts.remove(0), *who);
        }
    }
    let kinds: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert!(seen.len() >= 11, "the callers cover many verdicts: {kinds:?}");
    assert!(seen.contains_key("deny;trust_not_loaded"), "{kinds:?}");
}

/// The verdict in the access log's line of a request.
async fn verdict_of(stage: &Stage, request_id: &str) -> String {
    let id = format!("\"request_id\":\"{request_id}\"");
    let line = stage.envoy.wait_for_log(&id, PATIENCE).await.expect("an access log");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    line["verdict"].as_str().unwrap_or("none").to_owned()
}

/// The filter and its guard, each from a file that Envoy watches, so that each changes by itself and without new connections.
struct Rollout {
    stage: Stage,
    policy: Value,
    filter: Value,
    guard: Value,
    version: u64,
    genuine: Connection,
    stranger: Connection,
}

const FILTER: &str = "envoy.filters.http.wasm";
const GUARD: &str = "envoy.filters.http.rbac";

impl Rollout {
    async fn begin(world: World) -> Self {
        let policy = by_ca(&world);
        let mut doors = Doors::of(&world, "envoy/envoy.yaml");
        let mut guard = Value::Null;
        doors.add("ingress", &watching(&policy), |door| {
            guard = std::mem::replace(door.guard(), watching_guard());
        });
        let bootstrap = doors.bootstrap();
        let filter = config::filter_from_file(bootstrap, FILTER, &world.path("filter.json")).expect("moved");
        config::filter_from_file(bootstrap, GUARD, &world.path("guard.json")).expect("moved");
        let stage = doors.open(world).await;
        let connect =
            async |leaf| stage.client("ingress").identity(leaf).build().connect().await.expect("TLS");
        let genuine = connect(&stage.world.pki.us.genesys).await;
        let stranger = connect(&stage.world.pki.stranger).await;
        Self { stage, policy, filter, guard, version: 1, genuine, stranger }
    }

    async fn write(&mut self, filter: &str, file: &str, typed: &Value) {
        let stat = format!("extension_config_discovery.http_filter.{filter}.config_reload");
        let before = self.stage.envoy.stat(&stat).await.expect("statistics");
        self.version += 1;
        config::write_filter(&self.stage.world.path(file), self.version, filter, typed).expect("written");
        self.stage.envoy.wait_for_stat(&stat, |n| n > before, PATIENCE).await.expect("Envoy reads the file");
    }

    async fn mode(&mut self, mode: &str) {
        let policy = with(self.policy.clone(), "/mode", json!(mode));
        self.filter["config"]["configuration"] = config::plugin_struct(&policy);
        let typed = self.filter.clone();
        self.write(FILTER, "filter.json", &typed).await;
        let enforcing = "wasmcustom.genesys_mtls.default.enforcing";
        let wanted = u64::from(mode == "enforce");
        self.stage
            .envoy
            .wait_for_stat(enforcing, |n| n == wanted, PATIENCE)
            .await
            .expect("the gauge follows");
    }

    async fn guard(&mut self, refuses: bool) {
        let typed = if refuses { self.guard.clone() } else { watching_guard() };
        self.write(GUARD, "guard.json", &typed).await;
    }

    /// One request of the genuine client, which always passes, and one of a stranger.
    async fn ask(&mut self, state: &str) -> Response {
        let genuine = self.genuine.get("/").await.expect("an answer");
        assert_eq!(genuine.status, 200, "state {state}: {}", genuine.text());
        self.stranger.get("/").await.expect("an answer")
    }

    async fn counted(&self, stat: &str) -> u64 {
        let stats = self.stage.envoy.stats().await.expect("statistics");
        // Below 1.39 what is delivered apart from its listener counts under another prefix than `http.ingress`.
        let name = format!(".rbac.genesys_guard_.{stat}");
        stats.iter().filter(|(stat, _)| stat.ends_with(&name)).map(|(_, count)| count).sum()
    }

    /// The sum of `decisions.deny.*`, once it has reached this.
    async fn denials(&self, at_least: u64) -> u64 {
        let sum = |stats: &BTreeMap<String, u64>| {
            let denials = stats.iter().filter(|(name, _)| name.contains(".decisions.deny."));
            Some(denials.map(|(_, n)| n).sum()).filter(|sum| *sum >= at_least)
        };
        self.stage.envoy.wait_for_stats("denials", sum, PATIENCE).await.expect("all are counted")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollout_and_rollback_lose_no_request_of_genesys_cloud() {
    let mut rollout = Rollout::begin(world().await).await;
    for _ in 0..3 {
        assert_eq!(rollout.ask("A").await.status, 200);
    }
    // What is to be watched in state A: the guard would refuse what the filter would, and nothing else.
    assert_eq!(rollout.counted("shadow_denied").await, 3);
    assert_eq!(rollout.denials(3).await, 3);

    rollout.mode("enforce").await;
    for _ in 0..3 {
        assert_refused("B", &rollout.ask("B").await, 403, "wrong_name");
    }
    assert_eq!(rollout.counted("shadow_denied").await, 3, "in state B it stands still");

    rollout.guard(true).await;
    for _ in 0..3 {
        assert_refused("D", &rollout.ask("D").await, 403, "wrong_name");
    }
    assert_eq!(rollout.counted("denied").await, 0, "what the alert counts");

    // Back the same way; and once through C, where the guard alone refuses.
    rollout.guard(false).await;
    assert_refused("B", &rollout.ask("back in B").await, 403, "wrong_name");
    rollout.mode("shadow").await;
    assert_eq!(rollout.ask("back in A").await.status, 200);
    rollout.guard(true).await;
    assert_guarded("C", &rollout.ask("C").await);
    assert_eq!(rollout.counted("denied").await, 1);
    assert_eq!(rollout.denials(12).await, 12, "no reload loses a count");
}
