//! One Envoy with many listeners, each a shipped file's changed in its own way: many cases for one start.

use crate::setup::assert_refused;
use serde_json::{Value, json};
use std::net::SocketAddr;
use testbed::{
    World,
    client::{ClientBuilder, Response},
    config,
    envoy::{Envoy, EnvoyBuilder},
    pki::Leaf,
};

/// The listeners to be.
pub struct Doors {
    bootstrap: Value,
    template: Door,
}

impl Doors {
    /// Listeners after the one of this file.
    pub fn of(world: &World, file: &str) -> Self {
        let mut bootstrap = world.bootstrap(file);
        let template = Door(listeners(&mut bootstrap).remove(0));
        Self { bootstrap, template }
    }

    /// A listener with this policy.
    pub fn add(&mut self, name: &str, policy: &Value, change: impl FnOnce(&mut Door)) {
        let mut door = self.template.clone();
        door.0["name"] = name.into();
        door.hcm()["stat_prefix"] = name.into();
        door.set_policy(policy);
        change(&mut door);
        listeners(&mut self.bootstrap).push(door.0);
    }

    /// A listener that is none of the file's.
    pub fn push(&mut self, listener: Value) {
        listeners(&mut self.bootstrap).push(listener);
    }

    /// The bootstrap, for changes that concern no listener.
    pub fn bootstrap(&mut self) -> &mut Value {
        &mut self.bootstrap
    }

    /// The bootstrap's clusters.
    pub fn clusters(&mut self) -> &mut Vec<Value> {
        self.bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters")
    }

    /// Starts Envoy with them.
    pub async fn open(self, world: World) -> Stage {
        self.open_with(world, |envoy| envoy).await
    }

    /// The same, with a last change to how it is started.
    pub async fn open_with(self, world: World, start: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Stage {
        let envoy = start(world.envoy(self.bootstrap)).start().await.expect("Envoy starts");
        Stage { world, envoy }
    }

    /// The same, with the world left to the caller.
    pub async fn launch(self, world: &World) -> Envoy {
        world.envoy(self.bootstrap).start().await.expect("Envoy starts")
    }
}

fn listeners(bootstrap: &mut Value) -> &mut Vec<Value> {
    bootstrap["static_resources"]["listeners"].as_array_mut().expect("static listeners")
}

/// One listener's configuration.
#[derive(Clone)]
pub struct Door(Value);

impl Door {
    /// The HTTP connection manager.
    pub fn hcm(&mut self) -> &mut Value {
        &mut self.0["filter_chains"][0]["filters"][0]["typed_config"]
    }

    /// The HTTP filters: ours, the guard, the router.
    pub fn filters(&mut self) -> &mut Vec<Value> {
        self.hcm()["http_filters"].as_array_mut().expect("HTTP filters")
    }

    /// The plugin: name, VM, configuration.
    pub fn plugin(&mut self) -> &mut Value {
        &mut self.filters()[0]["typed_config"]["config"]
    }

    /// The guard's RBAC configuration.
    pub fn guard(&mut self) -> &mut Value {
        &mut self.filters()[1]["typed_config"]
    }

    /// The TLS context.
    pub fn tls(&mut self) -> &mut Value {
        &mut self.0["filter_chains"][0]["transport_socket"]["typed_config"]
    }

    /// The filter chains.
    pub fn chains(&mut self) -> &mut Vec<Value> {
        self.0["filter_chains"].as_array_mut().expect("filter chains")
    }

    /// Makes the listener look at the server name before it chooses a chain.
    pub fn inspect_sni(&mut self) {
        self.0["listener_filters"] = json!([{
            "name": "envoy.filters.listener.tls_inspector",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"},
        }]);
    }

    /// The routes of the one virtual host.
    pub fn routes(&mut self) -> &mut Vec<Value> {
        self.virtual_host()["routes"].as_array_mut().expect("routes")
    }

    /// The one virtual host.
    pub fn virtual_host(&mut self) -> &mut Value {
        &mut self.hcm()["route_config"]["virtual_hosts"][0]
    }

    /// Sets the policy, and the guard to the key that follows from its name.
    pub fn set_policy(&mut self, policy: &Value) {
        self.plugin()["configuration"] = config::plugin_struct(policy);
        let name = policy["name"].as_str().unwrap_or("default");
        *self.guard() = guard_of(self.guard().clone(), name);
    }

    /// How Envoy treats `x-forwarded-client-cert`, and what it writes into it itself.
    pub fn forward(&mut self, mode: &str, details: Value) {
        self.hcm()["forward_client_cert_details"] = mode.into();
        self.hcm()["set_current_client_cert_details"] = details;
    }

    /// Puts a filter before ours that keeps the peer's certificate in filter state.
    pub fn keep_certificate_under(&mut self, key: &str) {
        let filter = json!({
            "name": "envoy.filters.http.set_filter_state",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
                "on_request_headers": [{
                    "object_key": key,
                    "factory_key": "envoy.string",
                    "format_string": {"text_format_source": {"inline_string": "%DOWNSTREAM_PEER_CERT%"}},
                }],
            },
        });
        self.filters().insert(0, filter);
    }
}

/// A guard that reads the verdict of the policy with this name.
pub fn guard_of(mut guard: Value, name: &str) -> Value {
    let mut keys = 0;
    config::walk(&mut guard, &mut |map| {
        if let Some(state) = map.get_mut("filter_state") {
            state["key"] = format!("wasm.genesys_mtls.{name}").into();
            keys += 1;
        }
    });
    assert_eq!(keys, 1, "a guard reads one verdict: {guard}");
    guard
}

/// The world and an Envoy with these listeners.
pub struct Stage {
    pub world: World,
    pub envoy: Envoy,
}

impl Stage {
    pub fn addr(&self, door: &str) -> SocketAddr {
        self.envoy.listener_addr(door)
    }

    /// A client of a listener, without a certificate so far.
    pub fn client(&self, door: &str) -> ClientBuilder {
        self.world.client(self.addr(door))
    }

    /// One request on a new connection.
    pub async fn get_as(&self, door: &str, leaf: &Leaf) -> Response {
        let client = self.client(door).identity(leaf).build();
        client.get("/").await.unwrap_or_else(|error| panic!("{door}: {error}"))
    }

    pub async fn assert_in(&self, door: &str, who: &str, leaf: &Leaf) {
        let response = self.get_as(door, leaf).await;
        assert_eq!(response.status, 200, "{door}, {who}: {}", response.text());
    }

    /// Asserts that a client is refused by the filter with this reason.
    pub async fn assert_out(&self, door: &str, who: &str, leaf: &Leaf, reason: &str) {
        let response = self.get_as(door, leaf).await;
        assert_refused(&format!("{door}, {who}"), &response, 403, reason);
    }
}

/// Policy for us-east-1 by its Genesys CA alone: nothing to fetch.
pub fn by_ca(world: &World) -> Value {
    let us = &world.pki.us;
    json!({"regions": {us.region.id: {"genesys": {"ca_certificates": us.root.pem}}}})
}

/// Asserts that RBAC, not the filter, refused.
pub fn assert_guarded(who: &str, response: &Response) {
    assert_eq!((response.status, response.text().as_str()), (403, "RBAC: access denied"), "{who}");
}
