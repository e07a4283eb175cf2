//! The OAuth client's secret is changed by an update of the listener, while callers come.

use crate::{
    pace::{PATIENCE, REGION, unhurried},
    setup::{asked, assert_refused, with, world},
    stage::{Doors, Stage},
};
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use testbed::{
    World, config,
    genesys::{Credentials, Endpoint, Fault},
};
use tokio::task::JoinSet;

const SECRET: &str = "rotated-secret";

struct Rotating {
    stage: Stage,
    listeners: Vec<Value>,
    file: PathBuf,
    updates: u64,
}

impl Rotating {
    /// Serves with the first secret, four workers, and the pins of the API.
    async fn start(world: World, policy: &Value) -> Self {
        let file = world.path("listeners.json");
        let mut doors = Doors::of(&world, "envoy/envoy.yaml");
        doors.add("ingress", policy, |_| {});
        let listeners =
            config::listeners_from_file(doors.bootstrap(), &file).expect("the listeners are moved");
        let stage = doors.open_with(world, |envoy| envoy.concurrency(4)).await;
        let ok = format!("wasmcustom.genesys_mtls.default.refreshes.ok.{REGION}");
        stage.envoy.wait_for_stat(&ok, |n| n == 1, PATIENCE).await.expect("a refresh succeeds");
        Self { stage, listeners, file, updates: 0 }
    }

    /// Genesys Cloud takes the new secret only, and the new listener has it.
    async fn change_secret(&mut self) {
        let genesys = &self.stage.world.genesys;
        let client = genesys.credentials(REGION);
        genesys.set_credentials(REGION, Credentials { client_secret: SECRET.to_owned(), ..client });
        genesys.revoke_tokens(REGION);
        for listener in &mut self.listeners {
            config::set_plugin_env(listener, &[("GENESYS_CLIENT_SECRET", SECRET)]);
        }
        self.updates += 1;
        config::write_listeners(&self.file, self.updates + 1, &self.listeners).expect("the file is written");
        let (modified, updates) = ("listener_manager.listener_modified", self.updates);
        let envoy = &mut self.stage.envoy;
        envoy.wait_for_stat(modified, |n| n == updates, PATIENCE).await.expect("Envoy reads the file");
        let warm = "listener_manager.total_listeners_warming";
        envoy.wait_for_stat(warm, |n| n == 0, PATIENCE).await.expect("the listener is in use");
        envoy.refresh_listeners().await.expect("listeners");
    }

    /// Callers on new connections, one after the other, until `stop`. All of them are allowed.
    fn callers(&self, stop: &Arc<AtomicBool>) -> JoinSet<u32> {
        let mut callers = JoinSet::new();
        for _ in 0..4 {
            let leaf = &self.stage.world.pki.us.digicert;
            let client = self.stage.client("ingress").identity(leaf).timeout(PATIENCE).build();
            let stop = stop.clone();
            callers.spawn(async move {
                let mut calls = 0;
                while !stop.load(Ordering::SeqCst) {
                    let response = client.get("/").await.expect("an answer");
                    assert_eq!(response.status, 200, "call {calls}: {}", response.text());
                    calls += 1;
                }
                calls
            });
        }
        callers
    }
}

async fn policy(pins: impl FnOnce(&World) -> Value) -> (World, Value) {
    let world = world().await;
    let policy = unhurried(&world, &json!({"hold": "20s"}));
    let pins = pins(&world);
    let policy = with(policy, &format!("/regions/{REGION}/digicert/pins"), pins);
    (world, policy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_costs_no_caller_while_the_api_answers() {
    let (world, policy) = policy(|_| json!(["api"])).await;
    let mut run = Rotating::start(world, &policy).await;
    let leaf = run.stage.world.pki.us.digicert.clone();
    let mut open = run.stage.client("ingress").identity(&leaf).build().connect().await.expect("a handshake");
    assert_eq!(open.get("/").await.expect("an answer").status, 200);
    let stop = Arc::new(AtomicBool::new(false));
    let callers = run.callers(&stop);
    assert_eq!(asked(&run.stage.world, Endpoint::Token), 1);
    run.change_secret().await;
    // The old configuration keeps its pins as long as connections have it.
    assert_eq!(open.get("/").await.expect("an answer").status, 200, "an open connection");
    // The new one starts without a record, and asks for itself.
    let two = |seen: &[testbed::genesys::Seen]| {
        let answered = |seen: &&testbed::genesys::Seen| {
            seen.endpoint == Endpoint::Upcoming && seen.answered == Some(200)
        };
        seen.iter().filter(answered).count() >= 2
    };
    run.stage
        .world
        .genesys
        .wait_for("the new configuration's refresh", PATIENCE, two)
        .await
        .expect("a refresh");
    for _ in 0..20 {
        run.stage.assert_in("ingress", "by the new configuration", &leaf).await;
    }
    stop.store(true, Ordering::SeqCst);
    let calls: u32 = callers.join_all().await.into_iter().sum();
    assert!(calls > 20, "{calls} calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_and_explicit_pins_need_no_api() {
    let (world, policy) = policy(|world| json!(["api", world.pki.us.digicert.pin()])).await;
    let mut run = Rotating::start(world, &policy).await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers = run.callers(&stop);
    run.stage.world.genesys.fault(None, None, Fault::Hang);
    run.change_secret().await;
    for _ in 0..20 {
        run.stage.assert_in("ingress", "by its explicit pin", &run.stage.world.pki.us.digicert).await;
    }
    stop.store(true, Ordering::SeqCst);
    callers.join_all().await;
}

/// What the two above are about: the new configuration knows nothing of the old one's pins.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_is_a_fresh_start_where_the_api_is_silent() {
    let (world, policy) = policy(|_| json!(["api"])).await;
    let policy = with(policy, "/refresh/on_unknown_certificate/hold", json!("1s"));
    let mut run = Rotating::start(world, &policy).await;
    let leaf = run.stage.world.pki.us.digicert.clone();
    let mut open = run.stage.client("ingress").identity(&leaf).build().connect().await.expect("a handshake");
    assert_eq!(open.get("/").await.expect("an answer").status, 200);
    run.stage.world.genesys.fault(None, None, Fault::Hang);
    run.change_secret().await;
    let response = run.stage.get_as("ingress", &leaf).await;
    assert_refused("the new configuration", &response, 503, "trust_not_loaded");
    assert_eq!(open.get("/").await.expect("an answer").status, 200, "the old configuration keeps its pins");
}
