//! Workers share a large CRL within their memory, and another module cannot undo a revocation.

use super::{PATH, crl_cluster, leaves, listed, policy, serve};
use crate::{
    setup::{PATIENCE, assert_refused, with, world},
    stage::{Doors, Stage, by_ca},
};
use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    config,
    crl::{CrlFetcher, FetchRecord},
    http::HttpResponse,
    shared::{MemoryStore, SealedRecord, Secret, SharedStore as _},
    time::{Monotonic, Now},
    x509::ca::CaCertificate,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _, rc::Rc, time::Duration};
use testbed::{
    World,
    pki::{Leaf, serial_of},
};

/// Shared data is sealed for this proxy: a forger that assumes another proxy does not find it.
const NODE: &str = "proxy-7";

const MIB: u64 = 1024 * 1024;

/// The policy whose workers have an OAuth secret in common, and the one whose workers have none.
fn policies(world: &World, revocation: Value) -> [(&'static str, Value); 2] {
    let sealed = policy(world, revocation.clone());
    let open = with(by_ca(world), "/revocation", revocation);
    [("sealed", sealed), ("open", open)]
}

/// A listener per policy, each with its own VM.
fn doors(world: &World, revocation: &Value) -> Doors {
    let mut doors = Doors::of(world, "envoy/envoy.yaml");
    let cluster = crl_cluster(world);
    doors.clusters().push(cluster);
    for (name, policy) in policies(world, revocation.clone()) {
        doors.add(name, &with(policy, "/name", json!(name)), |door| {
            door.plugin()["vm_config"]["vm_id"] = name.into();
        });
    }
    doors
}

fn stat(door: &str, name: &str) -> String {
    format!("wasmcustom.genesys_mtls.{door}.{name}")
}

async fn fetches(stage: &Stage, door: &str, more_than: u64) -> u64 {
    let stat = stat(door, "crl_fetches.ok.genesys.us-east-1");
    stage.envoy.wait_for_stat(&stat, |n| n > more_than, PATIENCE * 2).await.expect("a fetch")
}

async fn becomes(stage: &Stage, door: &str, leaf: &Leaf, expected: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let response = stage.get_as(door, leaf).await;
        let code = if response.status == 200 { "in".into() } else { response.json()["code"].clone() };
        if code == expected {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{door}: still {code}, not {expected}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crl_of_200_000_entries_fits_the_memory_of_every_worker() {
    let world = world().await;
    let [revoked, good] = leaves(&world);
    let large = |number, entries| {
        let crl = world.pki.us.root.crl().number(number).padding(entries);
        crl.revoke(&serial_of(&revoked.der)).der()
    };
    // Then a second one, in addition to the first.
    let lists = [large(1, 200_000), large(2, 199_999)];
    world.genesys.set_crl(PATH, 200, lists[0].clone());
    let revocation = with(listed("hard"), "/max_size", json!(16 * MIB));
    let doors = doors(&world, &revocation);
    let stage = doors.open(world).await;
    for (n, list) in lists.iter().enumerate() {
        stage.world.genesys.set_crl(PATH, 200, list.clone());
        for door in ["sealed", "open"] {
            let entries = 200_001 - n as u64;
            let gauge = |stats: &BTreeMap<String, u64>| {
                let prefix = stat(door, "crl_entries.");
                stats.iter().any(|(name, value)| name.starts_with(&prefix) && *value == entries)
            };
            let found =
                stage.envoy.wait_for_stats(door, |stats| gauge(stats).then_some(()), PATIENCE * 3).await;
            found.expect("the gauge shows its entries");
            for _ in 0..8 {
                becomes(&stage, door, &good, "in").await;
                becomes(&stage, door, &revoked, "revoked").await;
            }
        }
    }
    for door in ["sealed", "open"] {
        let stats = stage.envoy.stats().await.expect("statistics");
        let peak = |role: &str| stats[&stat(door, &format!("vm_memory_peak_bytes.{role}"))];
        // Each worker reads the whole CRL to verify it: its bytes, the verifier's argument, and a copy while it is fetched. The index of an
        // earlier CRL may leave a hole that is too small for any of them, so there may be a fourth place.
        let limit = 4 * MIB + 4 * lists[0].len() as u64;
        for role in ["serving", "fetching"] {
            assert!(peak(role) <= limit, "{door}: {} bytes in a {role} VM, of {limit}", peak(role));
        }
    }
}

/// The clock that all VMs share, where it can be read from outside.
fn monotonic() -> Duration {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split(' ').next().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(0.0))
}

/// What a forger writes: under the CA's key a CRL of another one, and a record that says that nothing was ever fetched.
fn forgery(world: &World, name: &str, at: Duration) -> BTreeMap<String, Vec<u8>> {
    let policy = policies(world, listed("soft")).into_iter().find(|(policy, _)| *policy == name);
    let policy = with(policy.expect("a policy").1, "/name", json!(name));
    let policy = Rc::new(config::load(policy.to_string().as_bytes()).expect("a policy"));
    let secret = Secret::new(world.genesys.credentials("us-east-1").client_secret).on(NODE.to_owned());
    let secret = Some(&secret).filter(|_| name == "sealed");
    // A worker of its kind writes to each key.
    let mut worker =
        CrlFetcher::new(&policy, policy.revocation.crls[0].clone(), secret, 7).expect("a worker");
    let wall = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    let now = Now { mono: Monotonic::ZERO + at, wall: i64::try_from(wall).unwrap_or(0), random: 0.5 };
    let mut store = MemoryStore::default();
    assert!(worker.tick(&AwsLcVerifier, &mut store, now).0.is_some());
    let body = Some(world.pki.us.root.crl().der());
    let response = HttpResponse { status: 200, body, retry_after: None };
    worker.on_response(Ok(response), &AwsLcVerifier, &mut store, now);
    let ca = CaCertificate::parse(&world.pki.us.root.der).expect("a CA").ca;
    let der = store.key(&format!("/{ca}")).expect("a CRL");
    store.set(&der, &world.pki.impostor.crl().number(1000).der(), None);
    let record = store.key("/record").expect("a record");
    SealedRecord::<FetchRecord>::new(record, None).expect("a record").write(&mut store, now.mono);
    store.values.into_iter().map(|(key, (value, _))| (key, value)).collect()
}

/// A module that writes these into shared data at each request, and lets it pass.
fn forger(values: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut data = Vec::new();
    let mut calls = String::new();
    for (key, value) in values {
        let (key_at, value_at) = (data.len(), data.len() + key.len());
        data.extend_from_slice(key.as_bytes());
        data.extend_from_slice(value);
        let _ = writeln!(
            calls,
            "(drop (call $share (i32.const {key_at}) (i32.const {}) (i32.const {value_at}) (i32.const {}) (i32.const 0)))",
            key.len(),
            value.len()
        );
    }
    let bytes = data.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:02x}");
        text
    });
    let pages = data.len() / 65536 + 2;
    let text = format!(
        r#"(module
            (import "env" "proxy_set_shared_data" (func $share (param i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") {pages})
            (data (i32.const 0) "{bytes}")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const {}))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
            (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                {calls} (i32.const 0))
            (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
            (func (export "proxy_on_delete") (param i32)))"#,
        (pages - 1) * 65536
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_module_in_shared_data_undoes_no_revocation() {
    let world = world().await;
    let [revoked, good] = leaves(&world);
    // First seen after the forger's writes, so that no cached verdict exists.
    let [late, _] = leaves(&world);
    let list = |number| {
        let crl = world.pki.us.root.crl().number(number);
        crl.revoke(&serial_of(&revoked.der)).revoke(&serial_of(&late.der))
    };
    serve(&world, list(1));
    let mut doors = doors(&world, &with(listed("soft"), "/interval", json!("3s")));
    // Later than a worker's own write, so that it would win. A record from the future is ignored.
    doors.bootstrap()["node"] = json!({"id": NODE, "cluster": "fleet"});
    let forged_at = monotonic() + Duration::from_secs(5);
    for name in ["sealed", "open"] {
        let file = world
            .write(&format!("{name}.wasm"), forger(&forgery(&world, name, forged_at)))
            .expect("a module");
        doors.add(&format!("forger_{name}"), &by_ca(&world), |door| {
            door.plugin()["vm_config"]["code"] = json!({"local": {"filename": file}});
            door.plugin()["vm_config"]["vm_id"] = name.into();
            door.filters().remove(1);
        });
    }
    let stage = doors.open(world).await;
    for door in ["sealed", "open"] {
        let before = fetches(&stage, door, 0).await;
        becomes(&stage, door, &revoked, "revoked").await;
        stage.assert_in(door, "not revoked", &good).await;
        while monotonic() < forged_at {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let forge = stage.get_as(&format!("forger_{door}"), &good).await;
        assert_eq!(forge.status, 200, "{door}: {}", forge.text());
        // Each worker keeps what it verified, before the next fetch and after it.
        for _ in 0..2 {
            for leaf in [&late, &revoked] {
                assert_refused(door, &stage.get_as(door, leaf).await, 403, "revoked");
            }
            fetches(&stage, door, before).await;
        }
        becomes(&stage, door, &good, "in").await;
    }
}
