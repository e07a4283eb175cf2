//! The book's "Added to the Envoy you have", followed on an Envoy that knows nothing of Genesys Cloud yet.

use crate::{
    recipes::snippets,
    setup::{PATIENCE, assert_refused},
    stage::assert_guarded,
};
use serde_json::Value;
use testbed::{Upstream, World, client::Response, config, envoy::Envoy, pki::Leaf};

const PAGE: &str = "start/existing";
const SHARED: &str = "start/virtual-host";

/// What a reader has: a listener with TLS, one chain, two hosts.
const EXISTING: &str = r#"
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
    - name: ingress
      address: {socket_address: {address: 0.0.0.0, port_value: 443}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: ingress
                access_log:
                  - name: envoy.access_loggers.stdout
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
                      log_format: {json_format: {status: "%RESPONSE_CODE%"}}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
                route_config:
                  virtual_hosts:
                    - {name: service, domains: [service.example], routes: [{match: {prefix: /}, route: {cluster: service}}]}
                    - {name: others, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: others}}]}
          transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                tls_certificates:
                  - certificate_chain: {filename: server.pem}
                    private_key: {filename: server.key}
  clusters:
    - name: service
      load_assignment:
        cluster_name: service
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8080}}}}]}]
    - name: others
      load_assignment:
        cluster_name: others
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8080}}}}]}]
"#;

/// Puts what a snippet has into an object of the configuration.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// The one snippet of a step.
fn step(page: &str, heading: &str, check: &str) -> Value {
    let [snippet] = snippets(page, heading, check).try_into().expect("one snippet");
    snippet
}

/// Follows the page, step by step, with what `filter` and `guard` make of the third and fourth.
fn follow(filter: impl FnOnce(&mut Value), guard: impl FnOnce(&mut Value)) -> Value {
    let mut bootstrap = config::parse_yaml(EXISTING).expect("YAML");
    let resources = &mut bootstrap["static_resources"];
    let chain = &mut resources["listeners"][0]["filter_chains"][0];
    let tls = step(PAGE, "1. Ask for the client certificate", "existing");
    merge(&mut chain["transport_socket"]["typed_config"], tls);
    let manager = &mut chain["filters"][0]["typed_config"];
    merge(manager, step(PAGE, "2. Bound each request, and remove forged headers", "existing"));
    let mut added =
        [step(PAGE, "3. The filter", "existing")[0].take(), step(PAGE, "4. The guard", "existing")[0].take()];
    let [first, second] = &mut added;
    filter(first);
    guard(second);
    manager["http_filters"].as_array_mut().expect("filters").splice(0..0, added);
    let log = &mut manager["access_log"][0]["typed_config"]["log_format"]["json_format"];
    merge(log, step(PAGE, "6. The verdict in the access log", "existing"));
    let clusters = step(PAGE, "5. The two callout clusters", "existing");
    let all = resources["clusters"].as_array_mut().expect("clusters");
    all.extend(clusters.as_array().expect("two clusters").iter().cloned());
    bootstrap
}

struct Site {
    world: World,
    others: Upstream,
    envoy: Envoy,
}

impl Site {
    /// Starts what a reader has written, with this world's addresses, certificates and CA.
    async fn open(mut bootstrap: Value, mode: &str) -> Self {
        let world = World::start().await.expect("the testbed starts");
        let others = Upstream::start().await.expect("another service");
        world.localize(&mut bootstrap);
        config::set_endpoint(&mut bootstrap, "others", others.addr());
        config::each_plugin(&mut bootstrap, |plugin| {
            let policy = &mut plugin["configuration"]["value"];
            assert_eq!(policy["mode"], "shadow", "the page begins in shadow mode");
            policy["mode"] = mode.into();
            policy["regions"]["us-east-1"]["genesys"]["ca_certificates"] =
                world.pki.us.root.pem.clone().into();
        });
        let envoy = world.envoy(bootstrap).start().await.expect("Envoy starts");
        let ok = "wasmcustom.genesys_mtls.default.refreshes.ok.us-east-1";
        envoy.wait_for_stat(ok, |n| n >= 1, PATIENCE).await.expect("a refresh succeeds");
        Self { world, others, envoy }
    }

    async fn ask(&self, host: &str, leaf: Option<&Leaf>) -> Response {
        let client = self.world.client(self.envoy.listener_addr("ingress")).host_header(host);
        let client = leaf.map_or(client.clone(), |leaf| client.identity(leaf)).build();
        client.get("/").await.expect("an answer")
    }
}

/// The guard's rule, counting only, as a rule that denies.
fn enforced(guard: &mut Value) {
    guard["rules"] = guard["shadow_rules"].take();
    guard["rules_stat_prefix"] = guard["shadow_rules_stat_prefix"].take();
    let fields = guard.as_object_mut().expect("an object");
    fields.retain(|_, value| !value.is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_envoy_counts_and_answers_as_before_in_shadow() {
    let site = Site::open(follow(|_| {}, |_| {}), "shadow").await;
    let pki = &site.world.pki;
    for leaf in [Some(&pki.us.genesys), Some(&pki.us.digicert), Some(&pki.stranger), None] {
        assert_eq!(site.ask("service.example", leaf).await.status, 200);
    }
    let denied = "http.ingress.rbac.genesys_guard_.shadow_denied";
    site.envoy.wait_for_stat(denied, |n| n == 2, PATIENCE).await.expect("the guard counts");
    let none = "wasmcustom.genesys_mtls.default.decisions.deny.no_client_certificate";
    site.envoy.wait_for_stat(none, |n| n == 1, PATIENCE).await.expect("the filter counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_envoy_allows_genesys_cloud_alone_when_enforcing() {
    let site = Site::open(follow(|_| {}, |guard| enforced(&mut guard["typed_config"])), "enforce").await;
    let pki = &site.world.pki;
    assert_eq!(site.ask("service.example", Some(&pki.us.genesys)).await.status, 200);
    assert_eq!(site.ask("service.example", Some(&pki.us.digicert)).await.status, 200);
    for (leaf, reason) in [
        (Some(&pki.stranger), "wrong_name"),
        (Some(&pki.digicert_lookalike), "not_pinned"),
        (None, "no_client_certificate"),
    ] {
        assert_refused(reason, &site.ask("service.example", leaf).await, 403, reason);
    }
    assert_eq!(site.world.upstream.count(), 2);
}

/// The shared chain: the page's changes to the steps, and its last step at our virtual host.
fn shared(virtual_host: impl FnOnce(&mut Value)) -> Value {
    let mut bootstrap = follow(
        |filter| merge(filter, step(SHARED, "3. The filter, disabled in the chain", "vhost")),
        |guard| *guard = step(SHARED, "4. The guard, empty in the chain", "vhost")[0].take(),
    );
    let mut rules = step(SHARED, "8. Filter and guard at your virtual host", "vhost");
    virtual_host(&mut rules);
    let manager =
        &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    merge(&mut manager["route_config"]["virtual_hosts"][0], rules);
    bootstrap
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_chain_protects_our_virtual_host_alone() {
    let site = Site::open(shared(|_| {}), "enforce").await;
    let pki = &site.world.pki;
    assert_eq!(site.ask("service.example", Some(&pki.us.digicert)).await.status, 200);
    assert_refused("a stranger", &site.ask("service.example", Some(&pki.stranger)).await, 403, "wrong_name");
    assert_refused("none", &site.ask("service.example", None).await, 403, "no_client_certificate");
    let decisions = "wasmcustom.genesys_mtls.default.decisions.deny.no_client_certificate";
    site.envoy.wait_for_stat(decisions, |n| n == 1, PATIENCE).await.expect("the filter counts");
    for leaf in [None, Some(&pki.stranger)] {
        assert_eq!(site.ask("other.example", leaf).await.status, 200);
    }
    let stats = site.envoy.stats().await.expect("statistics");
    assert_eq!(stats[decisions], 1, "other hosts never enter the VM");
    assert_eq!((site.world.upstream.count(), site.others.count()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_chain_denies_where_the_filter_is_not_enabled() {
    let without_filter = |rules: &mut Value| {
        rules["typed_per_filter_config"]
            .as_object_mut()
            .expect("an object")
            .remove("envoy.filters.http.wasm");
    };
    let site = Site::open(shared(without_filter), "enforce").await;
    let genuine = site.world.pki.us.genesys.clone();
    assert_guarded("Genesys Cloud", &site.ask("service.example", Some(&genuine)).await);
    assert_eq!(site.ask("other.example", None).await.status, 200);
    assert_eq!(site.world.upstream.count(), 0);
}
