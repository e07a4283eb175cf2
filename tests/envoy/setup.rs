//! What most tests start from: a world, and an Envoy with a shipped configuration.

use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use testbed::{
    World,
    client::Response,
    config,
    envoy::Envoy,
    genesys::{Endpoint, Entity},
    pki::{EU_CENTRAL_1, Leaf, RegionPki, US_EAST_1},
};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The world, its Envoy, and the way in.
pub struct Running {
    pub world: World,
    pub envoy: Envoy,
    pub ingress: SocketAddr,
}

/// A shipped file with this policy, on `workers` worker threads.
pub async fn start(world: World, file: &str, policy: &Value, workers: u32) -> Running {
    start_with(world, file, policy, workers, |_| {}).await
}

/// The same, with a last change to the bootstrap.
pub async fn start_with(
    world: World,
    file: &str,
    policy: &Value,
    workers: u32,
    change: impl FnOnce(&mut Value),
) -> Running {
    let mut bootstrap = world.bootstrap(file);
    config::set_plugin_configuration(&mut bootstrap, policy);
    change(&mut bootstrap);
    let envoy = world.envoy(bootstrap).concurrency(workers).start().await.expect("Envoy starts");
    let ingress = envoy.listener_addr("ingress");
    Running { world, envoy, ingress }
}

impl Running {
    /// Waits until the pins of us-east-1 have been fetched.
    pub async fn refreshed(&self) {
        self.refreshes("us-east-1", 1).await;
    }

    /// Waits until `count` refreshes of a region have succeeded.
    pub async fn refreshes(&self, region: &str, count: u64) {
        let stat = format!("wasmcustom.genesys_mtls.default.refreshes.ok.{region}");
        self.envoy.wait_for_stat(&stat, |n| n >= count, PATIENCE).await.expect("a refresh succeeds");
    }

    /// One request on a new connection.
    pub async fn get_as(&self, leaf: &Leaf) -> Response {
        self.world.client(self.ingress).identity(leaf).build().get("/").await.expect("an answer")
    }

    /// Asserts that a client gets through to the service.
    pub async fn assert_in(&self, who: &str, leaf: &Leaf) {
        let response = self.get_as(leaf).await;
        assert_eq!(response.status, 200, "{who}: {}", response.text());
    }

    /// Asserts that a client is refused, with this status and reason.
    pub async fn assert_out(&self, who: &str, leaf: &Leaf, status: u16, reason: &str) {
        let response = self.get_as(leaf).await;
        assert_refused(who, &response, status, reason);
    }
}

/// Asserts the form of a refusal: problem details with the code, and nothing of the service's.
pub fn assert_refused(who: &str, response: &Response, status: u16, reason: &str) {
    let body: Value = serde_json::from_slice(&response.body)
        .unwrap_or_else(|_| panic!("{who}: {} {}", response.status, response.text()));
    assert_eq!((response.status, body["code"].as_str()), (status, Some(reason)), "{who}: {body}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{who}");
    assert_eq!(response.header("retry-after").is_some(), status == 503, "{who}");
}

/// A world whose API names the DigiCert certificate of us-east-1 as current.
pub async fn world() -> World {
    World::start().await.expect("the testbed starts")
}

/// An entity of the API as it comes: leaf, intermediate and root in one text.
pub fn digicert(world: &World, leaf: &Leaf) -> Entity {
    Entity::digicert(leaf, &world.pki.digicert_root.der)
}

/// How often an endpoint of us-east-1 was asked.
pub fn asked(world: &World, endpoint: Endpoint) -> usize {
    world.genesys.count(Some("us-east-1"), endpoint)
}

/// The policy with something changed: `with(policy, "/refresh/interval", json!("1s"))`.
pub fn with(mut policy: Value, pointer: &str, value: Value) -> Value {
    let mut at = &mut policy;
    for key in pointer.split('/').skip(1) {
        if at.is_null() {
            *at = json!({});
        }
        at = &mut at[key];
    }
    *at = value;
    policy
}

/// The same without the value at that place.
pub fn without(mut policy: Value, pointer: &str) -> Value {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = policy.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    parent.remove(field).expect("something stands there");
    policy
}

/// The policy of these regions, the clusters of each named after it: `genesys_api_eu-central-1`.
pub fn policy_of(world: &World, regions: &[&RegionPki]) -> Value {
    let of = |region: &&RegionPki| (region.region.id.to_owned(), world.region_policy(region));
    let regions: serde_json::Map<_, _> = regions.iter().map(of).collect();
    let clusters = json!({"api": "genesys_api_{region}", "login": "genesys_login_{region}"});
    json!({"regions": regions, "refresh": {"clusters": clusters}})
}

/// The clusters of a shipped file once per region, as [`policy_of`] names them.
pub fn with_region_clusters(mut bootstrap: Value) -> Value {
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters");
    let of_genesys =
        |cluster: &Value| cluster["name"].as_str().is_some_and(|name| name.starts_with("genesys_"));
    let shipped: Vec<Value> = clusters.iter().filter(|cluster| of_genesys(cluster)).cloned().collect();
    clusters.retain(|cluster| !of_genesys(cluster));
    for cluster in shipped {
        for region in [US_EAST_1, EU_CENTRAL_1] {
            let text = cluster.to_string().replace(US_EAST_1.domain, region.domain);
            let mut own: Value = serde_json::from_str(&text).expect("JSON");
            own["name"] = format!("{}_{}", cluster["name"].as_str().unwrap_or_default(), region.id).into();
            clusters.push(own);
        }
    }
    bootstrap
}
