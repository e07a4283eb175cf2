//! The world, and an Envoy with the shipped profile on it, fitted for a trial: refreshes in a hurry, revocation on, the
//! filter's configuration in a file that Envoy watches.

use crate::Failure;
use genesys_mtls_filter::shared::Secret;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use testbed::{
    World, config,
    envoy::{Envoy, WallClock},
    genesys::{Entity, Status},
    paths,
    pki::{Leaf, serial_of},
};

pub const REGION: &str = "us-east-1";
pub const FILE: &str = "envoy/envoy.yaml";
pub const CRL_URL: &str = "http://crl.example/us-east-1.crl";
const CRL_PATH: &str = "/us-east-1.crl";
const FILTER: &str = "envoy.filters.http.wasm";
/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How a stage differs from one trial to the next.
#[derive(Debug)]
pub struct Plan {
    pub workers: u32,
    pub lifetime: Duration,
    pub hot_restart: bool,
    /// Listeners without filter and guard that run another module: what it is called, and the module.
    pub others: Vec<(&'static str, Vec<u8>)>,
}

/// A running Envoy with the doors `ingress` and `hard`.
#[derive(Debug)]
pub struct Stage {
    pub world: Arc<World>,
    pub envoy: Envoy,
    file: PathBuf,
    typed: Value,
    version: u64,
    /// Envoy's wall clock.
    pub clock: WallClock,
    crl_number: u64,
}

/// The policy at the door `ingress`: both authorities, and revocation that is lenient.
pub fn policy(world: &World) -> Value {
    let mut policy = world.policy();
    policy["regions"][REGION]["digicert"]["issuers"] = world.pki.digicert_ca.pem.clone().into();
    policy["revocation"] = revocation("soft");
    policy["refresh"] = json!({
        "interval": "3s",
        "retry": {"base": "300ms", "max": "1s"},
        "keep_removed": "6s",
        // Generous, so that a busy machine has time to ask the API.
        "on_unknown_certificate": {"min_interval": "1s", "hold": "5s"},
    });
    policy
}

/// The policy at the door `hard`: the Genesys CA only, so that there is no secret to seal with, and strict revocation.
pub fn hard_policy(world: &World) -> Value {
    let genesys = json!({"ca_certificates": world.pki.us.root.pem});
    json!({"name": "hard", "regions": {REGION: {"genesys": genesys}}, "revocation": revocation("hard")})
}

fn revocation(mode: &str) -> Value {
    let list = json!({"region": REGION, "authority": "genesys", "url": CRL_URL, "cluster": "crl"});
    json!({"mode": mode, "interval": "2s", "lists": [list]})
}

pub(crate) fn secret_of(world: &World) -> Secret {
    Secret::new(world.genesys.credentials(REGION).client_secret).on(config::NODE.to_owned())
}

fn bootstrap(world: &World, others: &[(&'static str, Vec<u8>)]) -> Result<Value, Failure> {
    let mut bootstrap = world.bootstrap(FILE);
    config::set_plugin_configuration(&mut bootstrap, &policy(world));
    // Millions of lines that say what is counted here anyway.
    config::each_type(&mut bootstrap, "HttpConnectionManager", |manager| {
        drop(manager.remove("access_log"));
        // Longer than any request is held; the shipped bound takes a minute to show.
        manager.insert("stream_idle_timeout".into(), "8s".into());
    });
    let addr = world.genesys.crl_addr();
    let endpoint =
        json!({"address": {"socket_address": {"address": addr.ip().to_string(), "port_value": addr.port()}}});
    let crl = json!({"name": "crl", "type": "STATIC", "load_assignment": {
        "cluster_name": "crl", "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
    }});
    let resources = &mut bootstrap["static_resources"];
    resources["clusters"].as_array_mut().ok_or("no clusters")?.push(crl);
    let listeners = resources["listeners"].as_array_mut().ok_or("no listeners")?;
    let shipped = listeners[0].clone();
    let named = |name: &str| {
        let mut listener = shipped.clone();
        listener["name"] = name.into();
        config::each_type(&mut listener, "HttpConnectionManager", |manager| {
            manager.insert("stat_prefix".into(), name.into());
        });
        listener
    };
    let mut hard = named("hard");
    config::set_plugin_configuration(&mut hard, &hard_policy(world));
    config::walk(&mut hard, &mut |map| {
        if let Some(state) = map.get_mut("filter_state") {
            state["key"] = "wasm.genesys_mtls.hard".into();
        }
    });
    listeners.push(hard);
    for (name, module) in others {
        let file = world.write(&format!("{name}.wasm"), module)?;
        let mut other = named(name);
        config::set_module(&mut other, &file);
        config::walk(&mut other, &mut |map| {
            if let Some(filters) = map.get_mut("http_filters").and_then(Value::as_array_mut) {
                filters.retain(|filter| filter["name"] != "envoy.filters.http.rbac");
            }
            if let Some(routes) = map.get_mut("routes") {
                *routes = json!([{"match": {"prefix": "/"}, "direct_response": {"status": 204}}]);
            }
        });
        listeners.push(other);
    }
    Ok(bootstrap)
}

impl Stage {
    pub async fn start(plan: Plan) -> Result<Self, Failure> {
        let world = Arc::new(World::start().await?);
        let mut bootstrap = bootstrap(&world, &plan.others)?;
        let file = world.path("filter.json");
        let typed = config::filter_from_file(&mut bootstrap, FILTER, &file)?;
        let clock = WallClock::new(world.dir())?;
        let mut builder =
            world.envoy(bootstrap).concurrency(plan.workers).lifetime(plan.lifetime).wall_clock(&clock);
        if plan.hot_restart {
            builder = builder.hot_restart();
        }
        serve_list(&world, 1, &[]);
        let envoy = builder.start().await?;
        let stage = Self { world, envoy, file, typed, version: 1, clock, crl_number: 1 };
        stage.metric("refreshes.ok.us-east-1", |n| n > 0).await?;
        stage.metric("crl_fetches.ok.genesys.us-east-1", |n| n > 0).await?;
        stage
            .envoy
            .wait_for_stat(
                "wasmcustom.genesys_mtls.hard.crl_fetches.ok.genesys.us-east-1",
                |n| n > 0,
                PATIENCE,
            )
            .await?;
        Ok(stage)
    }

    /// Where each of these doors is.
    pub fn doors(&self, names: &[&'static str]) -> BTreeMap<&'static str, SocketAddr> {
        names.iter().map(|name| (*name, self.envoy.listener_addr(name))).collect()
    }

    /// Waits until a metric of the policy at `ingress` is as it should be.
    pub async fn metric(&self, name: &str, done: impl Fn(u64) -> bool) -> Result<u64, Failure> {
        Ok(self
            .envoy
            .wait_for_stat(&format!("wasmcustom.genesys_mtls.default.{name}"), done, PATIENCE)
            .await?)
    }

    /// Waits until a counter of that policy has risen by this much.
    pub async fn rises(&self, name: &str, by: u64) -> Result<(), Failure> {
        let before = self.envoy.stat(&format!("wasmcustom.genesys_mtls.default.{name}")).await?;
        self.metric(name, |n| n >= before + by).await?;
        Ok(())
    }

    /// Another policy, or another module, at `ingress`; returns when Envoy has taken it.
    pub async fn reload(&mut self, policy: &Value, module: Option<&Path>) -> Result<(), Failure> {
        let stat = "extension_config_discovery.http_filter.envoy.filters.http.wasm.config_reload";
        let before = self.envoy.stat(stat).await?;
        self.version += 1;
        let plugin = &mut self.typed["config"];
        plugin["configuration"] = config::plugin_struct(policy);
        let module = module.map_or_else(paths::find_wasm_module, |path| Ok(path.to_owned()))?;
        plugin["vm_config"]["code"] = json!({"local": {"filename": module}});
        config::write_filter(&self.file, self.version, FILTER, &self.typed)?;
        self.envoy.wait_for_stat(stat, |n| n > before, PATIENCE).await?;
        Ok(())
    }

    /// A newer revocation list with these certificates on it.
    pub fn revoke(&mut self, leaves: &[&Leaf]) {
        self.crl_number += 1;
        serve_list(&self.world, self.crl_number, leaves);
    }

    /// Makes the API name these DigiCert certificates in addition to the Genesys one.
    pub fn api_names(&self, current: &[&Leaf], upcoming: &[&Leaf]) {
        let pki = &self.world.pki;
        let digicert = |leaf: &&Leaf| Entity::digicert(leaf, &pki.digicert_root.der);
        let mut entities: Vec<Entity> = current.iter().map(digicert).collect();
        entities.push(Entity::genesys(&pki.us.genesys));
        self.world.genesys.set_entities(REGION, Status::Current, entities);
        self.world.genesys.set_entities(REGION, Status::Upcoming, upcoming.iter().map(digicert).collect());
    }

    /// One request to the door of another module.
    pub async fn poke(&self, door: &str) -> Result<(), Failure> {
        let client =
            self.world.client(self.envoy.listener_addr(door)).identity(&self.world.pki.us.genesys).build();
        let response = client.get("/").await?;
        if response.status == 204 {
            Ok(())
        } else {
            Err(format!("{door} answers {}", response.status).into())
        }
    }
}

fn serve_list(world: &World, number: u64, leaves: &[&Leaf]) {
    let days = time::Duration::days;
    // Current a day earlier and a day later, too.
    let list = world.pki.us.root.crl().number(number).valid_from_now(days(-3), days(5));
    let list = leaves.iter().fold(list, |list, leaf| list.revoke(&serial_of(&leaf.der)));
    world.genesys.set_crl(CRL_PATH, 200, list.der());
}
