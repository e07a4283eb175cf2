//! What else there is next to the shipped way to the service: other chains, clusters, tunnels.

use super::changes::{at, cluster, clusters, list, manager_of, remove, scope_routes, typed};
use serde_json::{Value, json};
use testbed::World;

/// The others' manager in a file of two listeners or two chains.
pub fn others(bootstrap: &mut Value) -> &mut Value {
    let other = match bootstrap.pointer("/static_resources/listeners/1") {
        Some(_) => "/static_resources/listeners/1/filter_chains/0",
        None => "/static_resources/listeners/0/filter_chains/1",
    };
    manager_of(at(bootstrap, other))
}

/// Sends the others' requests somewhere else.
pub fn reroute_others(bootstrap: &mut Value, action: Value) {
    *at(others(bootstrap), "/route_config/virtual_hosts/0/routes/0/route") = action;
}

/// Another cluster under this name, like the service's but for what is said here.
pub fn another_service(bootstrap: &mut Value, name: &str, fields: Value) {
    let mut another = cluster(bootstrap, "service").clone();
    another["name"] = name.into();
    for (field, value) in fields.as_object().expect("fields") {
        another[field] = value.clone();
    }
    clusters(bootstrap).push(another);
}

/// A cluster that passes requests on to these.
pub fn aggregate(bootstrap: &mut Value, members: &[&str]) {
    let kind = "envoy.extensions.clusters.aggregate.v3.ClusterConfig";
    let config = typed(kind, json!({"clusters": members}));
    clusters(bootstrap).push(json!({
        "name": "aggregate", "connect_timeout": "1s", "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": config},
    }));
}

/// A cluster that takes requests to any host they name.
pub fn forward_proxy(bootstrap: &mut Value) {
    let kind = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig";
    let config = typed(kind, json!({"dns_cache_config": {"name": "cache"}}));
    clusters(bootstrap).push(json!({
        "name": "wherever", "connect_timeout": "1s", "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy", "typed_config": config},
    }));
}

/// The service's cluster, and another that discovers the same endpoints.
pub fn discovered_twice(bootstrap: &mut Value, world: &World) {
    let mut endpoints = remove(cluster(bootstrap, "service"), "load_assignment");
    endpoints["cluster_name"] = "endpoints".into();
    let resource = typed("envoy.config.endpoint.v3.ClusterLoadAssignment", endpoints);
    let file = world.write("endpoints.yaml", json!({"resources": [resource]}).to_string()).expect("a file");
    bootstrap["node"] = json!({"id": "doctor", "cluster": "doctor"});
    let service = cluster(bootstrap, "service");
    service["type"] = "EDS".into();
    service["eds_cluster_config"] = json!({
        "service_name": "endpoints",
        "eds_config": {"path_config_source": {"path": file}, "resource_api_version": "V3"},
    });
    another_service(bootstrap, "another", json!({}));
}

/// A route's action that leaves the cluster to a script.
pub fn by_script(cluster: &str) -> Value {
    let code = format!("function envoy_on_route(h) return '{cluster}' end");
    let lua = json!({"source_code": {"inline_string": code}, "default_cluster": cluster});
    let lua = typed("envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig", lua);
    json!({"inline_cluster_specifier_plugin": {"extension": {"name": "lua", "typed_config": lua}}})
}

/// Another listener that passes bytes on to the service.
pub fn tunnel(bootstrap: &mut Value) {
    tunnel_to(bootstrap, "service");
}

/// The same to another cluster.
pub fn tunnel_to<'v>(bootstrap: &'v mut Value, cluster: &str) -> &'v mut Vec<Value> {
    let proxy = json!({"stat_prefix": "tunnel", "cluster": cluster});
    let proxy = typed("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", proxy);
    let listeners = list(bootstrap, "/static_resources/listeners");
    listeners.push(json!({
        "name": "tunnel",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}],
    }));
    list(listeners.last_mut().expect("the listener"), "/filter_chains/0/filters")
}

/// The same on a chain of others.
pub fn others_scoped_routes(bootstrap: &mut Value, world: &World) {
    bootstrap["node"] = json!({"id": "doctor", "cluster": "doctor"});
    scope_routes(others(bootstrap), world);
}

/// A port of loopback that is free.
pub fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
    socket.local_addr().expect("its address").port()
}

/// Sends the others' requests to the admin interface.
pub fn others_to_admin(bootstrap: &mut Value) {
    let port = free_port();
    bootstrap["admin"]["address"] = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let admin = json!({"socket_address": {"address": "localhost", "port_value": port}});
    let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": admin}}]}]);
    let fields =
        json!({"type": "STRICT_DNS", "load_assignment": {"cluster_name": "admin", "endpoints": endpoints}});
    another_service(bootstrap, "admin", fields);
    reroute_others(bootstrap, json!({"cluster": "admin"}));
}

/// Another listener, in plain text, that leads to ours.
pub fn hop_in_front(bootstrap: &mut Value, mode: &str) {
    let port = free_port();
    at(bootstrap, "/static_resources/listeners/0/address/socket_address")["port_value"] = port.into();
    let own = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": own}}]}]);
    another_service(
        bootstrap,
        "ourselves",
        json!({"load_assignment": {"cluster_name": "ourselves", "endpoints": endpoints}}),
    );
    let mut listener = at(bootstrap, "/static_resources/listeners/0").clone();
    listener["name"] = "front".into();
    listener["address"]["socket_address"]["port_value"] = 0.into();
    remove(at(&mut listener, "/filter_chains/0"), "transport_socket");
    let manager = manager_of(at(&mut listener, "/filter_chains/0"));
    manager["http_filters"] = json!([super::changes::router()]);
    manager["forward_client_cert_details"] = mode.into();
    *at(manager, "/route_config/virtual_hosts/0/routes/0/route") = json!({"cluster": "ourselves"});
    list(bootstrap, "/static_resources/listeners").push(listener);
}
