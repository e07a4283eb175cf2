//! The shipped capability list (`envoy/xds/genesys_mtls.yaml`) with each of its entries left out in turn: nothing passes
//! that should not, and what breaks is in `capabilities.txt`.

use crate::{
    setup::{assert_refused, digicert, with, world},
    stage::{Doors, Stage},
};
use serde_json::{Map, Value, json};
use std::{fmt::Write as _, fs, time::Duration};
use testbed::{
    client::Response,
    config,
    envoy::{self, WallClock},
    genesys::Status,
    paths,
    pki::{KeyType, Leaf},
    upstream::echoed,
};
use tokio::time::Instant;

/// Far longer than a refresh takes. A row without a refresh waits for all of it.
const FOR_A_REFRESH: Duration = Duration::from_secs(15);

/// What Envoy answers in place of a VM.
const CRASHED: &str = "503 by Envoy";

/// The capabilities that the shipped file allows.
fn shipped() -> Vec<String> {
    let mut file = config::load_yaml(&paths::workspace_root().join("envoy/xds/genesys_mtls.yaml"));
    let mut found = Vec::new();
    config::each_plugin(&mut file, |plugin| {
        let allowed = &plugin["capability_restriction_config"]["allowed_capabilities"];
        found.extend(allowed.as_object().expect("a list").keys().cloned());
    });
    found
}

/// The outcome of a request, in a few words.
fn in_short(response: &Response) -> String {
    if response.status == 200 {
        let named = echoed(&response.json(), "x-genesys-cloud-client").len() == 1;
        return if named { "200".into() } else { "200, no identity header".into() };
    }
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    match body["code"].as_str() {
        Some(code) => format!("{} `{code}`", response.status),
        None if response.text() == "RBAC: access denied" => "403 by the guard".into(),
        None => format!("{} by Envoy", response.status),
    }
}

/// One row: the capability left out, and what was seen.
struct Row {
    left_out: String,
    seen: [String; 5],
}

async fn ask(stage: &Stage, door: &str, leaf: Option<&Leaf>) -> String {
    let client = stage.client(door).timeout(Duration::from_mins(1));
    let client = leaf.map_or(client.clone(), |leaf| client.identity(leaf)).build();
    client
        .get(&format!("/{door}"))
        .await
        .map_or_else(|error| error.to_string(), |response| in_short(&response))
}

/// The same, repeated until it is allowed or time is up.
async fn ask_until_in(stage: &Stage, door: &str, leaf: &Leaf) -> String {
    let deadline = Instant::now() + FOR_A_REFRESH;
    loop {
        let seen = ask(stage, door, Some(leaf)).await;
        if seen.starts_with("200") || Instant::now() > deadline {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_one_capability_nothing_passes_that_should_not() {
    let world = world().await;
    let pki = world.pki.clone();
    let name = pki.us.region.certificate_name;
    let announced = pki.digicert_ca.leaf().key(KeyType::P256).key_name("announced").name(name).issue();
    let policy = with(world.policy(), "/regions/us-east-1/digicert/issuers", json!(pki.digicert_ca.pem));
    let policy = with(policy, "/refresh/interval", json!("1h"));
    let policy =
        with(policy, "/refresh/on_unknown_certificate", json!({"min_interval": "1s", "hold": "10s"}));
    let policy = with(policy, "/identity", json!({}));
    let capabilities = shipped();
    let rows: Vec<Option<&String>> = std::iter::once(None).chain(capabilities.iter().map(Some)).collect();
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    for (number, left_out) in rows.iter().enumerate() {
        let name = format!("door{number}");
        doors.add(&name, &with(policy.clone(), "/name", json!(name)), |door| {
            let allowed: Map<String, Value> = capabilities
                .iter()
                .filter(|capability| Some(*capability) != *left_out)
                .map(|capability| (capability.clone(), json!({})))
                .collect();
            door.plugin()["capability_restriction_config"] = json!({"allowed_capabilities": allowed});
            // Each has its own VM, and a name for its statistics.
            door.plugin()["name"] = name.as_str().into();
            door.plugin()["vm_config"]["vm_id"] = name.as_str().into();
            // Longer than requests are held; the shipped bound takes a minute to show.
            door.hcm()["stream_idle_timeout"] = "15s".into();
        });
    }
    // One by one: Envoy refuses a listener whose filter cannot be configured, and takes the others.
    let file = world.path("listeners.json");
    config::listeners_from_file(doors.bootstrap(), &file).expect("the listeners are moved");
    let stage = doors.open_with(world, |envoy| envoy.ready_within(Duration::from_mins(3))).await;

    let mut table = Vec::new();
    let mut waiting = Vec::new();
    let names: Vec<String> = (0..rows.len()).map(|number| format!("door{number}")).collect();
    let open: Vec<bool> = names.iter().map(|name| stage.envoy.has_listener(name)).collect();
    let stage = std::sync::Arc::new(stage);
    for (name, open) in names.iter().zip(&open) {
        let (stage, name, open, pki) = (stage.clone(), name.clone(), *open, pki.clone());
        waiting.push(tokio::spawn(async move {
            if !open {
                return None;
            }
            let pinned = ask_until_in(&stage, &name, &pki.us.digicert).await;
            let by_ca = ask(&stage, &name, Some(&pki.us.genesys)).await;
            let stranger = ask(&stage, &name, Some(&pki.stranger)).await;
            let nobody = ask(&stage, &name, None).await;
            for refused in [&stranger, &nobody] {
                assert!(!refused.starts_with("200"), "{name}: {refused}");
            }
            Some([by_ca, pinned, stranger, nobody])
        }));
    }
    let mut first = Vec::new();
    for answers in waiting {
        first.push(answers.await.expect("what must not pass does not"));
    }
    // Now the API names another one, and its first request waits for that news.
    stage.world.genesys.set_entities("us-east-1", Status::Current, vec![digicert(&stage.world, &announced)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut waiting = Vec::new();
    for (name, open) in names.iter().zip(&open) {
        let (stage, name, open, leaf) = (stage.clone(), name.clone(), *open, announced.clone());
        waiting.push(tokio::spawn(async move {
            if open { Some(ask(&stage, &name, Some(&leaf)).await) } else { None }
        }));
    }
    let mut answers = Vec::new();
    for held in waiting {
        answers.push(held.await.expect("an answer"));
    }
    // A VM that crashed is started again with the next request, which counts it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut crashed = Vec::new();
    for (name, open) in names.iter().zip(&open) {
        let last = if *open { ask(&stage, name, None).await } else { String::new() };
        crashed.push(last == CRASHED);
    }
    let stats = stage.envoy.stats().await.expect("statistics");
    for (number, held) in answers.into_iter().enumerate() {
        let reloads = format!("wasm.{}.vm_reload", names[number]);
        crashed[number] |= stats.iter().any(|(name, count)| name.starts_with(&reloads) && *count > 0);
        let left_out = rows[number].map_or_else(|| "nothing".to_owned(), |name| format!("`{name}`"));
        let seen = match (first[number].clone(), held) {
            (Some([by_ca, pinned, stranger, nobody]), Some(held)) => {
                let seen = [by_ca, pinned, held, stranger, nobody];
                // Which requests are served until the crash, and which after it, is random.
                if crashed[number] || seen.iter().any(|seen| seen == CRASHED) {
                    std::array::from_fn(|_| "VM crashes".to_owned())
                } else {
                    seen
                }
            }
            _ => std::array::from_fn(|_| "refused by Envoy: no listener".to_owned()),
        };
        table.push(Row { left_out, seen });
    }
    let whole = &table[0].seen;
    assert_eq!(whole[..3], ["200", "200", "200"].map(str::to_owned), "nothing left out");
    assert_eq!(whole[3..], ["403 `wrong_name`", "403 `no_client_certificate`"].map(str::to_owned));
    // The document describes the newest Envoy. Others may crash elsewhere, and allow no request either.
    if envoy::version() >= (1, 40) {
        compare(&document(&stage, &table));
    }
}

/// Whether Envoy's log names the capability that the module asked for and was not given.
fn log_says(stage: &Stage, left_out: &str) -> bool {
    let name = left_out.trim_matches('`');
    stage.envoy.log().lines().any(|line| line.ends_with(&format!("capability: {name}")))
}

fn document(stage: &Stage, table: &[Row]) -> String {
    let mut text = String::from(
        "The list is that of `envoy/xds/genesys_mtls.yaml`, the guard is behind the filter as shipped, and a request that waits ends after 15 s
(`stream_idle_timeout`). `UPDATE_GOLDEN=1 cargo test -p tests --test envoy without_any_one_capability` writes the table again.

**With any of them left out, no caller is allowed that must not be.** What breaks, for which caller:

| left out | by the Genesys CA | DigiCert, pinned by a refresh | DigiCert, waits for news | a stranger | no certificate | log names it |
|---|---|---|---|---|---|---|
",
    );
    for Row { left_out, seen } in table {
        let said = if log_says(stage, left_out) { "yes" } else { "no" };
        let said = if left_out == "nothing" { "–" } else { said };
        let _ = writeln!(text, "| {left_out} | {} | {said} |", seen.join(" | "));
    }
    text += "
*VM crashes*: the SDK panics when the host refuses a call. Envoy answers 503 until it has started the VM again; requests between two
crashes get what the filter decides. *By Envoy*: its bound on streams ended a request that waited without end. The log names a capability as
`Attempted call to restricted ... capability`; a callback that is left out is not called, and nothing logs it. Without `proxy_on_delete` all
answers are right, but the module never frees a request, and a fetch that a reload interrupts is repeated only when its lease has ended.
";
    text
}

fn compare(text: &str) {
    let file = paths::workspace_root().join("tests/envoy/capabilities.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, text).expect("the document is written");
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        golden == text,
        "tests/envoy/capabilities.txt is out of date: UPDATE_GOLDEN=1 writes it again\n{text}"
    );
}

/// Without ticks a worker has to read the clock by itself.
#[tokio::test(flavor = "multi_thread")]
async fn expiry_without_ticks_is_noticed_within_1024_requests() {
    let world = world().await;
    let clock = WallClock::new(world.dir()).expect("a clock");
    let allowed: Map<String, Value> = shipped()
        .into_iter()
        .filter(|capability| capability != "proxy_on_tick")
        .map(|capability| (capability, json!({})))
        .collect();
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    let policy = json!({"regions": {"us-east-1": {"genesys": {"ca_certificates": world.pki.us.root.pem}}}});
    doors.add("tickless", &policy, |door| {
        door.plugin()["capability_restriction_config"] = json!({"allowed_capabilities": allowed});
        door.plugin()["vm_config"]["vm_id"] = "tickless".into();
    });
    let stage = doors.open_with(world, |envoy| envoy.wall_clock(&clock).concurrency(2)).await;
    let leaf = stage.world.pki.us.genesys.clone();
    let client = stage.client("tickless").identity(&leaf).build();
    let mut connection = client.connect().await.expect("a handshake");
    for nth in 0..10 {
        assert_eq!(connection.get("/tickless").await.expect("an answer").status, 200, "request {nth}");
    }
    clock.set(10 * 365 * 24 * 3600).expect("the clock is set");
    let mut let_in = 0;
    loop {
        let response = connection.get("/tickless").await.expect("an answer");
        if response.status == 200 && let_in < 1024 {
            let_in += 1;
            continue;
        }
        return assert_refused("ten years later", &response, 403, "expired");
    }
}
