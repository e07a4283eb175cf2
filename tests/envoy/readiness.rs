//! `envoy/ready.sh`: ready with the pins, and in any case after a minute.

use crate::{
    pace::{PATIENCE, fast, run},
    setup::{Running, world},
};
use std::{fs, process::Command, time::Duration};
use testbed::{genesys::Fault, paths};
use tokio::time::Instant;

fn is_ready(run: &Running, limit: u64) -> bool {
    let script = paths::workspace_root().join("envoy/ready.sh");
    let mut probe = Command::new("bash");
    probe.arg(script).arg(run.envoy.admin_addr().port().to_string()).arg(limit.to_string());
    tokio::task::block_in_place(|| probe.output()).expect("bash runs").status.success()
}

async fn becomes_ready(run: &Running, limit: u64) {
    let deadline = Instant::now() + PATIENCE;
    while !is_ready(run, limit) {
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
    let failing = "wasmcustom.genesys_mtls.default.refresh_failures_in_a_row.us-east-1";
    run.envoy.wait_for_stat(failing, |n| n > 0, PATIENCE).await.expect("the API fails");
    let uptime = run.envoy.stat("server.uptime").await.expect("statistics");
    let limit = uptime + 6;
    assert!(!is_ready(&run, limit), "without pins, before its time");
    becomes_ready(&run, limit).await;
    assert!(run.envoy.stat("server.uptime").await.expect("statistics") >= limit);
    assert!(!is_ready(&run, 3600), "only its time has made it ready");
    run.world.genesys.clear_faults();
    run.refreshed().await;
    becomes_ready(&run, 3600).await;
    run.assert_in("ready", &run.world.pki.us.digicert).await;
}

#[test]
fn the_time_is_a_minute() {
    let script = fs::read_to_string(paths::workspace_root().join("envoy/ready.sh")).expect("the script");
    assert!(script.contains("limit=${2:-60}"));
}
