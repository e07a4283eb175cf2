//! What a VM costs to start: the CPU time of Envoys with few and many workers, with the filter and without.

use crate::load::cpu_time;
use serde_json::Value;
use std::time::Duration;
use testbed::{World, config};

/// How often each kind is started. The least time counts, since a disturbance only adds time.
const TIMES: usize = 7;
const FEW: u32 = 1;
/// Many, since V8 compiles in the background, and how long that takes differs by more than one VM costs.
const MANY: u32 = 65;
const PATIENCE: Duration = Duration::from_secs(30);

/// CPU time of the first VM, and of each further one.
pub async fn measure() -> (Duration, Duration) {
    let world = World::start().await.expect("the testbed starts");
    let mut bootstrap = world.bootstrap("envoy/envoy.yaml");
    config::set_plugin_configuration(&mut bootstrap, &world.policy());
    let mut bare = bootstrap.clone();
    let filters = &mut bare["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        ["http_filters"];
    filters.as_array_mut().expect("HTTP filters").remove(0);
    let mut least = [[Duration::MAX; 2]; 2];
    for _ in 0..TIMES {
        for (with, config) in [&bare, &bootstrap].into_iter().enumerate() {
            for (many, workers) in [FEW, MANY].into_iter().enumerate() {
                let spent = start(&world, config, workers, with == 1).await;
                least[with][many] = least[with][many].min(spent);
            }
        }
    }
    let [[bare_few, bare_many], [few, many]] = least;
    let further = many.saturating_sub(few).saturating_sub(bare_many.saturating_sub(bare_few)) / (MANY - FEW);
    // The main thread has a VM too, and so has the one worker.
    let first = few.saturating_sub(bare_few).saturating_sub(further);
    (first, further)
}

/// CPU time of an Envoy until all of its VMs run.
async fn start(world: &World, config: &Value, workers: u32, with_filter: bool) -> Duration {
    let envoy = world.envoy(config.clone()).concurrency(workers).start().await.expect("Envoy starts");
    if with_filter {
        let vms = "wasm.envoy.wasm.runtime.v8.active";
        let all = u64::from(workers);
        envoy.wait_for_stat(vms, |active| active > all, PATIENCE).await.expect("a VM on each worker");
    }
    cpu_time(envoy.pid())
}
