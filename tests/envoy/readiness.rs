//! `envoy/ready.sh`: ready with the pins, and in any case after a minute.

use crate::{
    pace::{fast, run},
    setup::{Running, world},
};
use std::{fs, process::Command, time::Duration};
use testbed::{genesys::Fault, paths};
use tokio::time::Instant;

async fn is_ready(run: &Running, limit: &str) -> bool {
    let script = paths::workspace_root().join("envoy/ready.sh");
    let mut probe = Command::new("bash");
    probe.arg(script).arg(run.envoy.admin_addr().port().to_string());
    probe.args(Some(limit).filter(|limit| !limit.is_empty()));
    tokio::task::block_in_place(|| probe.output()).expect("bash runs").status.success()
}

async fn becomes_ready(run: &Running, limit: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_ready(run, limit).await {
        assert!(Instant::now() < deadline, "never ready");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_ready_with_its_pins_or_after_its_time() {
    let world = world().await;
    let policy = fast(&world);
    world.genesys.fault(None, None, Fault::Status(503));
    let run = run(world, &policy, |_, _| {}, |envoy| envoy).await;
    let began = Instant::now();
    // The API fails: not ready for as long as it may.
    for _ in 0..5 {
        assert!(!is_ready(&run, "").await, "without pins");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    becomes_ready(&run, "8").await;
    assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_secs(50) || !is_ready(&run, "").await, "the minute is not over");
    run.world.genesys.clear_faults();
    run.refreshed().await;
    becomes_ready(&run, "3600").await;
    run.assert_in("ready", &run.world.pki.us.digicert).await;
}

#[test]
fn the_time_is_a_minute() {
    let script = fs::read_to_string(paths::workspace_root().join("envoy/ready.sh")).expect("the script");
    assert!(script.contains("limit=${2:-60}"));
}
