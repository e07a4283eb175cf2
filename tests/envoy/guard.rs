//! No request reaches the service that the filter did not allow: not if Envoy skips the filter, and not if it crashes.

use crate::{
    setup::{PATIENCE, assert_refused, with, world},
    stage::{Door, Doors, Stage, assert_guarded, by_ca, guard_of},
};
use serde_json::{Value, json};
use testbed::{
    client::Response,
    pki::Leaf,
    stand_in::{Fate, replace},
};

async fn genuine(stage: &Stage, door: &str) -> Response {
    stage.get_as(door, &stage.world.pki.us.genesys).await
}

/// How often the guard of a listener has refused.
async fn guarded(stage: &Stage, door: &str, at_least: u64) -> u64 {
    let stat = format!("http.{door}.rbac.genesys_guard_.denied");
    stage.envoy.wait_for_stat(&stat, |n| n >= at_least, PATIENCE).await.expect("the guard counts")
}

#[tokio::test(flavor = "multi_thread")]
async fn request_is_denied_where_envoy_skips_the_filter() {
    let world = world().await;
    let policy = by_ca(&world);
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    for fate in [Fate::RefusedByWorkers, Fate::CrashesInWorkers] {
        let door = format!("{fate:?}");
        let unguarded = format!("{door}_unguarded");
        doors.add(&door, &policy, |listener| replace(&world, listener.plugin(), &door, fate));
        doors.add(&unguarded, &policy, |listener| {
            replace(&world, listener.plugin(), &unguarded, fate);
            listener.filters().remove(1);
        });
    }
    doors.add("absent", &policy, |door| drop(door.filters().remove(0)));
    doors.add("working", &policy, |_| {});
    let stage = doors.open(world).await;
    let world = &stage.world;

    for door in ["RefusedByWorkers", "CrashesInWorkers", "absent"] {
        for (who, leaf) in [("Genesys", &world.pki.us.genesys), ("a stranger", &world.pki.stranger)] {
            assert_guarded(&format!("{door}: {who}"), &stage.get_as(door, leaf).await);
        }
        let nobody = stage.client(door).build().get("/").await.expect("an answer");
        assert_guarded(&format!("{door}: no certificate"), &nobody);
        assert_eq!(guarded(&stage, door, 3).await, 3, "{door}: what the alert counts");
    }
    assert_eq!(world.upstream.count(), 0);
    // The alert is silent where the filter works: its own denials never get to the guard.
    assert_eq!(genuine(&stage, "working").await.status, 200);
    stage.assert_out("working", "a stranger", &world.pki.stranger, "wrong_name").await;
    assert_eq!(guarded(&stage, "working", 0).await, 0);
    assert_eq!(world.upstream.count(), 1);
    // Why there is a guard: in spite of `FAIL_RELOAD`, Envoy lets every request through.
    for door in ["RefusedByWorkers_unguarded", "CrashesInWorkers_unguarded"] {
        assert_eq!(stage.get_as(door, &world.pki.stranger).await.status, 200, "{door}: no longer skipped?");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crashed_filter_denies_until_it_is_restarted() {
    let world = world().await;
    let policy = by_ca(&world);
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    for fate in [Fate::CrashesAtRequests, Fate::CrashesOnce, Fate::CrashesWhileHolding] {
        doors.add(&format!("{fate:?}"), &policy, |door| {
            replace(&world, door.plugin(), &format!("{fate:?}"), fate);
            // The shipped bound takes a minute to show.
            assert!(door.hcm()["stream_idle_timeout"].is_string());
            door.hcm()["stream_idle_timeout"] = "1s".into();
        });
    }
    let stage = doors.open(world).await;
    for _ in 0..4 {
        assert_eq!(genuine(&stage, "CrashesAtRequests").await.status, 503);
    }
    // No VM owns the request that waits when its VM dies: the bound on streams ends it.
    let held = genuine(&stage, "CrashesWhileHolding").await;
    assert!([408, 503, 504].contains(&held.status), "{}: {}", held.status, held.text());
    assert_eq!(stage.world.upstream.count(), 0);

    assert_eq!(genuine(&stage, "CrashesOnce").await.status, 503);
    assert_eq!(stage.world.upstream.count(), 0);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let response = genuine(&stage, "CrashesOnce").await;
        if response.status == 200 {
            break;
        }
        // Until the VM is started again nothing passes.
        assert_eq!(response.status, 503, "{}", response.text());
        assert!(tokio::time::Instant::now() < deadline, "the VM is not started again");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// A second policy with its guard, behind the first one's or between.
fn chain(door: &mut Door, second: &Value, order: [usize; 4]) {
    let name = second["name"].as_str().expect("a name").to_owned();
    let mut other = door.clone();
    other.set_policy(second);
    let mut filters = door.filters().split_off(0);
    let router = filters.pop().expect("a router");
    filters.extend(other.filters().drain(..2));
    for (position, filter) in filters.iter_mut().enumerate() {
        filter["name"] = format!("{name}{position}").into();
    }
    door.filters().extend(order.map(|position| filters[position].clone()));
    door.filters().push(router);
}

/// The filters of [`chain`]: first policy, its guard, second policy, its guard.
const ORDERS: [[usize; 4]; 3] = [[0, 1, 2, 3], [0, 2, 1, 3], [2, 3, 0, 1]];

#[tokio::test(flavor = "multi_thread")]
async fn policies_in_a_row_must_all_allow() {
    let world = world().await;
    let eu = &world.pki.eu;
    let named = |policy: Value, name: &str| with(policy, "/name", json!(name));
    let one = named(by_ca(&world), "one");
    let same = named(by_ca(&world), "two");
    let other =
        json!({"name": "two", "regions": {eu.region.id: {"genesys": {"ca_certificates": eu.root.pem}}}});
    let both =
        with(same.clone(), &format!("/regions/{}", eu.region.id), other["regions"][eu.region.id].clone());
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    let skipped = |door: &mut Door, position: usize, vm: &str| {
        replace(&world, &mut door.filters()[position]["typed_config"]["config"], vm, Fate::RefusedByWorkers);
    };
    for (n, order) in ORDERS.into_iter().enumerate() {
        let place = |wanted: usize| order.iter().position(|at| *at == wanted).expect("in the chain");
        doors.add(&format!("same{n}"), &one, |door| chain(door, &same, order));
        doors.add(&format!("disjoint{n}"), &one, |door| chain(door, &other, order));
        doors.add(&format!("wider{n}"), &one, |door| chain(door, &both, order));
        doors.add(&format!("first_skipped{n}"), &one, |door| {
            chain(door, &same, order);
            skipped(door, place(0), &format!("first{n}"));
        });
        doors.add(&format!("second_skipped{n}"), &one, |door| {
            chain(door, &same, order);
            skipped(door, place(2), &format!("second{n}"));
        });
        doors.add(&format!("one_key{n}"), &one, |door| {
            chain(door, &same, order);
            skipped(door, place(2), &format!("one_key{n}"));
            let guard = &mut door.filters()[place(3)]["typed_config"];
            *guard = guard_of(guard.clone(), "one");
        });
    }
    let stage = doors.open(world).await;
    let pki = &stage.world.pki;
    let get = async |door: &str, leaf: &Leaf| stage.get_as(door, leaf).await;
    for n in 0..ORDERS.len() {
        for door in [format!("same{n}"), format!("wider{n}")] {
            assert_eq!(get(&door, &pki.us.genesys).await.status, 200, "{door}");
        }
        assert_refused(
            "one allows, the other denies",
            &get(&format!("disjoint{n}"), &pki.us.genesys).await,
            403,
            "wrong_region",
        );
        assert_refused(
            "one allows, the other denies",
            &get(&format!("disjoint{n}"), &pki.eu.genesys).await,
            403,
            "wrong_region",
        );
        assert_refused(
            "one allows, the other denies",
            &get(&format!("wider{n}"), &pki.eu.genesys).await,
            403,
            "wrong_region",
        );
        let served = stage.world.upstream.count();
        for door in [format!("first_skipped{n}"), format!("second_skipped{n}")] {
            assert_guarded(&door, &get(&door, &pki.us.genesys).await);
        }
        assert_eq!(stage.world.upstream.count(), served);
    }
    // Why each policy has its own key: with one key, the verdict of the working policy opens the guard of the skipped one.
    for n in 0..2 {
        assert_eq!(get(&format!("one_key{n}"), &pki.us.genesys).await.status, 200, "one_key{n}");
    }
    assert_guarded("the guard comes first", &get("one_key2", &pki.us.genesys).await);
}
