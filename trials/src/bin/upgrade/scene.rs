//! One Envoy with three doors, each with another kind of trust for DigiCert's certificate, and the callers of each.

use serde_json::{Map, Value, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use testbed::{World, config, envoy::Envoy, genesys::Endpoint, paths};
use tokio::task::JoinSet;
use trials::{
    Failure,
    cast::{Caller, Identity, leaf, unsettled},
    outcome::Outcome,
    stage::{FILE, PATIENCE, REGION},
    traffic::Traffic,
};

/// How long the whole trial may take.
pub const AT_MOST: Duration = Duration::from_mins(8);

/// The doors: an explicit pin, `issuers` with `pins: [api]`, and `pins: [api]` alone. The Genesys CA is trusted at each.
pub const DOORS: [&str; 3] = ["pinned", "issuers", "api"];
/// Where DigiCert's certificate depends on the API alone.
pub const API: &str = "api";
pub const BY_CA: [&str; 3] = [
    "by the Genesys CA",
    "by the Genesys CA, a new connection each",
    "by the Genesys CA, a new certificate for each connection",
];
pub const BY_DIGICERT: [&str; 2] = ["by DigiCert", "by DigiCert, a new connection each"];

/// The capability that the host's signature check needs.
const FUNCTION: &str = "proxy_call_foreign_function";
const WORKERS: u32 = 2;
/// Of each door. Half of them speak HTTP/2, and half resume TLS sessions.
const LANES: usize = 4;
const PAUSE: Duration = Duration::from_millis(4);
const FILTER: &str = "envoy.filters.http.wasm";

/// The bytes of the old module and of the new one.
#[derive(Debug)]
pub struct Modules {
    pub old: Vec<u8>,
    pub new: Vec<u8>,
}

/// How a new configuration gets to Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Lds,
    Ecds,
    Restart,
}

/// What the plugin of each door runs, and may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    pub new_module: bool,
    /// Whether the capability list has the foreign functions.
    pub new_list: bool,
    pub other_vm_id: bool,
}

pub const OLD: Setup = Setup { new_module: false, new_list: false, other_vm_id: false };
pub const NEW: Setup = Setup { new_module: true, new_list: true, other_vm_id: false };

pub struct Scene {
    pub way: Way,
    pub envoy: Envoy,
    pub world: Arc<World>,
    /// One for each door, so that what is held at one delays no other.
    pub traffic: Vec<Arc<Traffic>>,
    lanes: Vec<JoinSet<()>>,
    setup: Setup,
    version: u64,
    /// By LDS the listeners, by ECDS the filter of each door.
    parts: Vec<Value>,
}

impl Scene {
    /// Starts Envoy with the old module, and the traffic.
    pub async fn start(way: Way, modules: &Modules) -> Result<Self, Failure> {
        let world = Arc::new(World::start().await?);
        world.write(module_file(OLD), &modules.old)?;
        world.write(module_file(NEW), &modules.new)?;
        let mut bootstrap = bootstrap(&world)?;
        let mut parts = Vec::new();
        match way {
            Way::Lds => parts = config::listeners_from_file(&mut bootstrap, &world.path("listeners.json"))?,
            Way::Ecds => {
                for door in DOORS {
                    let filter = format!("genesys_{door}");
                    parts.push(config::filter_from_file(
                        &mut bootstrap,
                        &filter,
                        &filter_file(&world, door),
                    )?);
                }
            }
            Way::Restart => {}
        }
        let mut builder = world.envoy(bootstrap).concurrency(WORKERS).lifetime(AT_MOST);
        builder = match way {
            // Ten minutes unless set. The time that the main thread compiles the module counts.
            Way::Lds => builder.arg("--drain-time-s").arg("30"),
            Way::Ecds => builder,
            // Ports that stay the same.
            Way::Restart => builder.hot_restart(),
        };
        let envoy = builder.start().await?;
        let addr = |door: &'static str| (door, envoy.listener_addr(door));
        let traffic: Vec<_> = DOORS
            .into_iter()
            .map(|door| {
                let doors = [addr(door)].into();
                Traffic::new(world.clone(), doors, callers(&world, door), LANES, PAUSE)
            })
            .collect();
        let lanes = traffic.iter().map(Traffic::start).collect();
        Ok(Self { way, envoy, world, traffic, lanes, setup: OLD, version: 1, parts })
    }

    /// Gives Envoy another configuration. Whether it took it; one that it rejects changes nothing.
    pub async fn apply(&mut self, setup: Setup) -> Result<bool, Failure> {
        let created = "wasm.envoy.wasm.runtime.v8.created";
        let before = self.envoy.stat(created).await?;
        let changes_module = setup.new_module != self.setup.new_module;
        self.setup = setup;
        self.version += 1;
        for (part, door) in self.parts.iter_mut().zip(DOORS) {
            fit(part, &self.world, door, setup);
        }
        let taken = match self.way {
            Way::Lds => self.apply_listeners().await?,
            Way::Ecds => self.apply_filters().await?,
            Way::Restart => {
                let world = self.world.clone();
                let change = |bootstrap: &mut Value| each_listener(bootstrap, &world, setup);
                self.envoy.restart_cold(change).await?;
                return Ok(true);
            }
        };
        if taken && changes_module && self.envoy.stat(created).await? == before {
            return Err("Envoy took the other module and made no VM for it".into());
        }
        Ok(taken)
    }

    async fn apply_listeners(&self) -> Result<bool, Failure> {
        let taken = self
            .decided("listener_manager.lds.update_success", "listener_manager.lds.update_rejected", || {
                config::write_listeners(&self.world.path("listeners.json"), self.version, &self.parts)
            })
            .await?;
        self.envoy.wait_for_stat("listener_manager.total_listeners_warming", |n| n == 0, PATIENCE).await?;
        Ok(taken)
    }

    /// Waits until what was replaced serves no connection any more: by LDS it keeps those that it has for a while.
    pub async fn wait_drained(&self) -> Result<(), Failure> {
        for gauge in ["total_filter_chains_draining", "total_listeners_draining"] {
            let gauge = format!("listener_manager.{gauge}");
            self.envoy.wait_for_stat(&gauge, |n| n == 0, 2 * PATIENCE).await?;
        }
        Ok(())
    }

    async fn apply_filters(&self) -> Result<bool, Failure> {
        let mut taken = Vec::new();
        for (part, door) in self.parts.iter().zip(DOORS) {
            let filter = format!("genesys_{door}");
            let stat = |name: &str| format!("extension_config_discovery.http_filter.{filter}.{name}");
            let write = || config::write_filter(&filter_file(&self.world, door), self.version, &filter, part);
            taken.push(self.decided(&stat("config_reload"), &stat("config_fail"), write).await?);
        }
        if taken.iter().any(|door| *door != taken[0]) {
            return Err(format!("of {DOORS:?} Envoy took {taken:?}").into());
        }
        Ok(taken[0])
    }

    /// Writes a file and waits until Envoy has taken or rejected it.
    async fn decided(
        &self,
        taken: &str,
        rejected: &str,
        write: impl FnOnce() -> std::io::Result<()>,
    ) -> Result<bool, Failure> {
        let count = |stats: &std::collections::BTreeMap<String, u64>, name: &str| {
            stats.get(name).copied().unwrap_or_default()
        };
        let before = self.envoy.stats().await?;
        write()?;
        let decided = |stats: &std::collections::BTreeMap<String, u64>| {
            let rose = |name: &str| count(stats, name) > count(&before, name);
            (rose(taken) || rose(rejected)).then(|| !rose(rejected))
        };
        Ok(self.envoy.wait_for_stats("Envoy reads the file", decided, PATIENCE).await?)
    }

    /// How often the API was asked for its certificates.
    pub fn api_calls(&self) -> usize {
        self.world.genesys.count(Some(REGION), Endpoint::Current)
    }

    /// Stops the traffic. What the service saw without reason.
    pub async fn finish(mut self) -> Result<Vec<String>, Failure> {
        for traffic in &self.traffic {
            traffic.stop();
        }
        for lanes in &mut self.lanes {
            while let Some(lane) = lanes.join_next().await {
                lane?;
            }
        }
        let intruders = self.traffic.iter().flat_map(|traffic| traffic.intruders()).collect();
        self.envoy.quit().await?;
        Ok(intruders)
    }
}

fn module_file(setup: Setup) -> &'static str {
    if setup.new_module { "new.wasm" } else { "old.wasm" }
}

fn filter_file(world: &World, door: &str) -> PathBuf {
    world.path(&format!("{door}.json"))
}

/// Module, capability list and VM id of a door's plugin.
fn fit(part: &mut Value, world: &World, door: &str, setup: Setup) {
    let mut allowed = shipped_capabilities();
    if setup.new_list {
        allowed.insert(FUNCTION.into(), json!({}));
    } else {
        allowed.remove(FUNCTION);
    }
    config::set_module(part, &world.path(module_file(setup)));
    config::each_plugin(part, |plugin| {
        // Each door shares data with itself alone, so that each has to ask the API by itself.
        let again = if setup.other_vm_id { "_again" } else { "" };
        plugin["vm_config"]["vm_id"] = format!("genesys_mtls_{door}{again}").into();
        plugin.insert("capability_restriction_config".into(), json!({"allowed_capabilities": allowed}));
    });
}

/// The list that is shipped.
fn shipped_capabilities() -> Map<String, Value> {
    let mut file = config::load_yaml(&paths::workspace_root().join("envoy/xds/genesys_mtls.yaml"));
    let mut found = Map::new();
    config::each_plugin(&mut file, |plugin| {
        let allowed = &plugin["capability_restriction_config"]["allowed_capabilities"];
        found = allowed.as_object().cloned().unwrap_or_default();
    });
    found
}

fn each_listener(bootstrap: &mut Value, world: &World, setup: Setup) {
    let listeners = bootstrap["static_resources"]["listeners"].as_array_mut();
    for (listener, door) in listeners.into_iter().flatten().zip(DOORS) {
        fit(listener, world, door, setup);
    }
}

fn bootstrap(world: &World) -> Result<Value, Failure> {
    let mut bootstrap = world.bootstrap(FILE);
    config::each_type(&mut bootstrap, "HttpConnectionManager", |manager| drop(manager.remove("access_log")));
    let listeners = bootstrap["static_resources"]["listeners"].as_array_mut().ok_or("no listeners")?;
    let shipped = listeners.remove(0);
    for door in DOORS {
        let mut listener = shipped.clone();
        listener["name"] = door.into();
        config::set_plugin_configuration(&mut listener, &policy(world, door));
        config::walk(&mut listener, &mut |map| {
            if let Some(state) = map.get_mut("filter_state") {
                state["key"] = format!("wasm.genesys_mtls.{door}").into();
            }
            if map.get("name").is_some_and(|name| name == FILTER) {
                map.insert("name".into(), format!("genesys_{door}").into());
            }
        });
        listeners.push(listener);
    }
    each_listener(&mut bootstrap, world, OLD);
    Ok(bootstrap)
}

fn policy(world: &World, door: &str) -> Value {
    let pki = &world.pki;
    let digicert = match door {
        "pinned" => json!({"pins": [pki.us.digicert.pin()]}),
        "issuers" => json!({"pins": ["api"], "issuers": pki.digicert_ca.pem}),
        _ => json!({"pins": ["api"]}),
    };
    let genesys = json!({"ca_certificates": pki.us.root.pem});
    // Refreshes are the upgrade's own; a generous hold, since a busy machine takes its time.
    json!({
        "name": door,
        "regions": {REGION: {"genesys": genesys, "digicert": digicert}},
        "refresh": {"interval": "1h", "on_unknown_certificate": {"hold": "5s"}},
    })
}

fn callers(world: &Arc<World>, door: &'static str) -> Vec<Caller> {
    let pki = &world.pki;
    let denied = Outcome::denied;
    let genuine = |name, identity| Caller::new(name, door, identity, Outcome::LetIn);
    let stranger = |name, identity, expected| Caller::new(name, door, identity, expected);
    let issuing = world.clone();
    let fresh = move || {
        let us = &issuing.pki.us;
        us.root.leaf().key_name("genesys").name(us.region.certificate_name).issue()
    };
    let nameless = Outcome::denied("no_client_certificate");
    let mut callers = vec![
        genuine(BY_CA[0], leaf(&pki.us.genesys)).share(2),
        genuine(BY_CA[1], leaf(&pki.us.genesys)).unkept(),
        genuine(BY_CA[2], Identity::Fresh(Arc::new(fresh))),
        genuine(BY_DIGICERT[0], leaf(&pki.us.digicert)).share(2),
        genuine(BY_DIGICERT[1], leaf(&pki.us.digicert)).unkept().share(2),
        stranger("no certificate", Identity::Nobody, nameless.clone()),
        stranger("no certificate, a new connection each", Identity::Nobody, nameless).unkept(),
        stranger("a stranger", leaf(&pki.stranger), denied("wrong_name")),
        stranger("a stranger, a new connection each", leaf(&pki.stranger), denied("wrong_name")).unkept(),
        stranger("another region", leaf(&pki.eu.genesys), denied("wrong_region")),
    ];
    // With our name: what only a signature or the API could vouch for may wait for it.
    for (name, leaf_, code) in [
        ("an impostor CA", &pki.impostor_leaf, "bad_signature"),
        ("DigiCert, our name, no pin", &pki.digicert_lookalike, "not_pinned"),
    ] {
        let mut caller = stranger(name, leaf(leaf_), denied(code));
        caller.expected.push(signature_unavailable());
        callers.push(if door == "pinned" { caller } else { caller.or_unsettled() });
    }
    callers
}

/// What is right for DigiCert's certificate while no API has vouched for it.
pub fn not_loaded() -> Outcome {
    let [_, not_loaded] = unsettled();
    not_loaded
}

/// What is right while the host does not verify signatures for the module.
pub fn signature_unavailable() -> Outcome {
    Outcome::unavailable("signature_unavailable")
}

/// Whether a module asks the host to verify signatures.
pub fn asks_host(module: &[u8]) -> bool {
    let name = b"verify_signature";
    module.windows(name.len()).any(|window| window == name)
}

/// The path's bytes, or why not.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}
