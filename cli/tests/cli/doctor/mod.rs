//! `doctor` on config dumps of a real Envoy: what is shipped comes out clean, and each rule has an example that breaks it and
//! one that only looks like that.

mod admin;
mod changes;
mod elsewhere;
mod forms;
mod holes;
mod public;
mod shipped;
mod size;
mod table;

use crate::{
    run::{Outcome, run, run_with},
    transcripts::assert_shown,
};
use serde_json::{Value, json};
use testbed::{Envoy, World, config, envoy};

/// The smallest module that Envoy loads as a plugin: an ABI version, a memory and `malloc`. What Envoy reports of its
/// configuration does not depend on the module, and this one is compiled in no time.
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x09\x02\x60\0\0\x60\x01\x7f\x01\x7f\
    \x03\x03\x02\0\x01\
    \x05\x03\x01\0\x01\
    \x07\x2d\x03\x06memory\x02\0\x17proxy_abi_version_0_2_1\0\0\x06malloc\0\x01\
    \x0a\x0a\x02\x02\0\x0b\x05\0\x41\x80\x08\x0b";

async fn world() -> World {
    World::start().await.expect("the testbed starts")
}

/// Starts Envoy with a shipped file and one change.
async fn start(
    world: &World,
    file: &str,
    change: impl FnOnce(&mut Value, &World),
) -> Result<Envoy, envoy::Error> {
    let mut bootstrap = testbed::shipped::bootstrap(world, file);
    let module = world.write("empty.wasm", EMPTY_MODULE).expect("a file");
    config::set_module(&mut bootstrap, &module);
    set_others(&mut bootstrap);
    let shipped = bootstrap["admin"].clone();
    change(&mut bootstrap, world);
    let keeps_admin = bootstrap["admin"] != shipped;
    let envoy = world.envoy(bootstrap);
    if keeps_admin { envoy.keep_admin().start().await } else { envoy.start().await }
}

/// The others' service, where the file has one: anywhere but where ours is.
fn set_others(bootstrap: &mut Value) {
    if config::clusters(bootstrap).iter().any(|(cluster, _)| cluster == "others") {
        config::set_endpoint(bootstrap, "others", ([127, 0, 0, 1], 9).into());
    }
}

async fn dump(envoy: &Envoy) -> Value {
    envoy.config_dump().await.expect("a config dump")
}

fn examine(dump: &Value) -> Outcome {
    run_with(&["doctor", "-", "--json"], &dump.to_string(), &[])
}

/// What was found, as `severity[rule]`.
fn findings(outcome: &Outcome) -> Vec<String> {
    let json = outcome.json();
    let findings = json["findings"].as_array().expect("findings").iter();
    findings
        .map(|finding| {
            format!("{}[{}]", finding["severity"].as_str().unwrap(), finding["rule"].as_str().unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_envoy_is_examined_by_its_admin_url() {
    let world = world().await;
    let envoy = start(&world, "envoy.yaml", |b, _| drop(changes::filters(b).remove(1))).await;
    let envoy = envoy.expect("Envoy starts");
    let url = format!("http://{}/config_dump", envoy.admin_addr());
    let outcome = tokio::task::block_in_place(|| run(&["doctor", &url]));
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert_shown("doctor", &outcome);
    drop(envoy);
    let outcome = tokio::task::block_in_place(|| run(&["doctor", &url]));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{}", outcome.stderr);
}

#[test]
fn dump_without_our_filter_cannot_be_examined() {
    let listener = json!({"configs": [{"@type": "x.ListenersConfigDump", "static_listeners": [{"listener": {"name": "l"}}]}]});
    for (input, expected) in [
        ("nonsense: [".to_owned(), "is neither JSON"),
        ("{}".to_owned(), "no Envoy configuration"),
        (listener.to_string(), "none of 0 HTTP filter chain(s) has this filter"),
    ] {
        let outcome = run_with(&["doctor", "-"], &input, &[]);
        assert_eq!(outcome.code, 2, "{input}");
        assert!(outcome.stderr.contains(expected), "{input}: {}", outcome.stderr);
    }
}
