//! The table of holes.

use crate::doctor::{
    changes::{
        RBAC, at, clusters, filters, guard, host, list, lua_code, manager, manager_of, noting_guard,
        rbac_per_route, remove, route, router, scope_routes, second_chain, typed, writer,
    },
    elsewhere::{another_service, others, reroute_others, tunnel_to},
};
use serde_json::{Value, json};
use testbed::World;

pub struct Case {
    pub what: &'static str,
    pub file: &'static str,
    pub change: fn(&mut Value, &World),
    /// By which listener the stranger comes, and what is asked for.
    pub listener: &'static str,
    pub tls: bool,
    pub host: &'static str,
    pub headers: &'static [(&'static str, &'static str)],
    /// What has to be found, and where.
    pub rule: &'static str,
    pub place: &'static str,
}

const OTHER: &str = "other.example";
const NO_HEADERS: &[(&str, &str)] = &[];

/// By the listener of others.
const fn others_way(
    what: &'static str,
    rule: &'static str,
    place: &'static str,
    change: fn(&mut Value, &World),
) -> Case {
    Case {
        what,
        file: "scope/listener.yaml",
        change,
        listener: "others",
        tls: true,
        host: OTHER,
        headers: NO_HEADERS,
        rule,
        place,
    }
}

/// By a TCP listener that is added.
const fn tcp(
    what: &'static str,
    rule: &'static str,
    place: &'static str,
    change: fn(&mut Value, &World),
) -> Case {
    Case {
        what,
        file: "scope/listener.yaml",
        change,
        listener: "tunnel",
        tls: false,
        host: OTHER,
        headers: NO_HEADERS,
        rule,
        place,
    }
}

/// By our own listener, which has filter and guard.
const fn own(
    what: &'static str,
    rule: &'static str,
    place: &'static str,
    change: fn(&mut Value, &World),
) -> Case {
    Case {
        what,
        file: "envoy.yaml",
        change,
        listener: "ingress",
        tls: true,
        host: "service.example",
        headers: NO_HEADERS,
        rule,
        place,
    }
}

/// The service's port.
fn port(bootstrap: &mut Value) -> u16 {
    let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
    let port = at(crate::doctor::changes::cluster(bootstrap, "service"), endpoint).as_u64().expect("a port");
    u16::try_from(port).expect("a port")
}

fn assignment(cluster: &str, addresses: &[(&str, u16)]) -> Value {
    let endpoint = |(address, port): &(&str, u16)| json!({"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}});
    let endpoints: Vec<Value> = addresses.iter().map(endpoint).collect();
    json!({"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]})
}

/// Others' requests go to a cluster with this address and the service's port.
fn others_to(bootstrap: &mut Value, address: &str, kind: &str) {
    let port = port(bootstrap);
    another_service(
        bootstrap,
        "another",
        json!({"type": kind, "dns_lookup_family": "V4_ONLY", "load_assignment": assignment("another", &[(address, port)])}),
    );
    reroute_others(bootstrap, json!({"cluster": "another"}));
}

fn network(kind: &str, fields: Value) -> Value {
    json!({"name": "my.filter", "typed_config": typed(&format!("envoy.extensions.filters.network.{kind}"), fields)})
}

/// The filters of the added TCP listener, which leads to the others.
fn tunnel_filters(bootstrap: &mut Value) -> &mut Vec<Value> {
    tunnel_to(bootstrap, "others")
}

fn node(bootstrap: &mut Value) {
    bootstrap["node"] = json!({"id": "doctor", "cluster": "doctor"});
}

/// A filter by discovery from a file.
fn discovered(bootstrap: &mut Value, world: &World, filter: &Value) -> Value {
    node(bootstrap);
    let resource = typed("envoy.config.core.v3.TypedExtensionConfig", filter.clone());
    let file = world.write("filter.json", json!({"resources": [resource]}).to_string()).expect("a file");
    let source = json!({"path_config_source": {"path": file}, "resource_api_version": "V3"});
    let url =
        filter["typed_config"]["@type"].as_str().expect("a type").trim_start_matches("type.googleapis.com/");
    json!({"name": filter["name"], "config_discovery": {"config_source": source, "type_urls": [url]}})
}

/// A manager without filter and guard that leads to the service.
fn open_manager(cluster: &str) -> Value {
    let hosts = json!([{"name": "open", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}]);
    network(
        "http_connection_manager.v3.HttpConnectionManager",
        json!({"stat_prefix": "open", "http_filters": [router()], "route_config": {"name": "open", "virtual_hosts": hosts}}),
    )
}

/// An internal listener that passes bytes on to the service.
fn internal(bootstrap: &mut Value) {
    let kind = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener";
    bootstrap["bootstrap_extensions"] = json!([{"name": "internal", "typed_config": typed(kind, json!({}))}]);
    let proxy = network("tcp_proxy.v3.TcpProxy", json!({"stat_prefix": "inner", "cluster": "service"}));
    list(bootstrap, "/static_resources/listeners")
        .push(json!({"name": "inner", "internal_listener": {}, "filter_chains": [{"filters": [proxy]}]}));
    for name in ["inner_a", "inner_b"] {
        let address = json!({"envoy_internal_address": {"server_listener_name": "inner"}});
        let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": address}}]}]);
        another_service(
            bootstrap,
            name,
            json!({"load_assignment": {"cluster_name": name, "endpoints": endpoints}}),
        );
    }
}

fn header_to_metadata(namespace: &str, key: &str) -> Value {
    let kind = "envoy.extensions.filters.http.header_to_metadata.v3.Config";
    let rule = json!({"header": "x-to", "on_header_present": {"metadata_namespace": namespace, "key": key, "type": "STRING"}});
    json!({"name": "my.metadata", "typed_config": typed(kind, json!({"request_rules": [rule]}))})
}

/// The chain's guard lets requests for other hosts pass, and our host is not among those that it names as it should.
fn host_guard(bootstrap: &mut Value, regex: &str) {
    let header = json!({"header": {"name": ":authority", "string_match": {"safe_regex": {"regex": regex}}}});
    let open = json!({"permissions": [{"any": true}], "principals": [{"not_id": header}]});
    at(guard(bootstrap), "/rules/policies")["other_hosts"] = open;
    host(bootstrap)["domains"] = json!(["service.example"]);
    at(manager(bootstrap), "/route_config")["ignore_port_in_host_matching"] = true.into();
}

pub(super) const CASES: &[Case] = &[
    tcp("a TCP proxy whose cluster comes from filter state", "not_examined", "listener tunnel", |b, _| {
        let value = json!({"object_key": "envoy.tcp_proxy.cluster", "format_string": {"text_format_source": {"inline_string": "service"}}});
        let writer = network("set_filter_state.v3.Config", json!({"on_new_connection": [value]}));
        tunnel_filters(b).insert(0, writer);
    }),
    tcp("a TCP proxy by discovery", "unguarded_way_in", "listener tunnel", |b, world| {
        let proxy = network("tcp_proxy.v3.TcpProxy", json!({"stat_prefix": "t", "cluster": "service"}));
        let found = discovered(b, world, &proxy);
        *tunnel_filters(b) = vec![found];
    }),
    tcp("a whole manager by discovery", "unguarded_way_in", "listener tunnel", |b, world| {
        let found = discovered(b, world, &open_manager("service"));
        *tunnel_filters(b) = vec![found];
    }),
    tcp("a generic proxy", "not_examined", "listener tunnel", |b, _| {
        let prefix = "envoy.extensions.filters.network.generic_proxy";
        let action = typed(&format!("{prefix}.action.v3.RouteAction"), json!({"cluster": "service"}));
        let routes = json!({"on_no_match": {"action": {"name": "route", "typed_config": action}}});
        let codec = typed(&format!("{prefix}.codecs.http1.v3.Http1CodecConfig"), json!({}));
        let router = typed(&format!("{prefix}.router.v3.Router"), json!({}));
        *tunnel_filters(b) = vec![network(
            "generic_proxy.v3.GenericProxy",
            json!({
                "stat_prefix": "g", "codec_config": {"name": "http1", "typed_config": codec},
                "filters": [{"name": "router", "typed_config": router}],
                "route_config": {"name": "r", "virtual_hosts": [{"name": "all", "hosts": ["*"], "routes": routes}]},
            }),
        )];
    }),
    others_way("an internal listener by two clusters", "unguarded_way_in", "listener others", |b, _| {
        internal(b);
        route(b)["route"]["cluster"] = "inner_a".into();
        reroute_others(b, json!({"cluster": "inner_b"}));
    }),
    others_way(
        "an internal listener that leads to the service",
        "unguarded_way_in",
        "listener others",
        |b, _| {
            internal(b);
            reroute_others(b, json!({"cluster": "inner_b"}));
        },
    ),
    Case {
        headers: &[("x-envoy-original-dst-host", "")],
        ..others_way(
            "an address that a script writes into metadata",
            "not_examined",
            "listener others",
            |b, _| {
                let to = format!("127.0.0.1:{}", port(b));
                let code = format!(
                    "function envoy_on_request(h) h:streamInfo():dynamicMetadata():set('my', 'to', '{to}') end"
                );
                list(others(b), "/http_filters").insert(0, lua_code(&code));
                let lb = json!({"metadata_key": {"key": "my", "path": [{"key": "to"}]}});
                clusters(b).push(json!({
                "name": "anywhere", "connect_timeout": "1s", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
                "original_dst_lb_config": lb,
            }));
                reroute_others(b, json!({"cluster": "anywhere"}));
            },
        )
    },
    others_way("the name of loopback for its address", "unguarded_way_in", "listener others", |b, _| {
        others_to(b, "localhost", "STRICT_DNS")
    }),
    others_way("a wildcard for loopback", "unguarded_way_in", "listener others", |b, _| {
        others_to(b, "0.0.0.0", "STATIC")
    }),
    others_way("a mapped address", "unguarded_way_in", "listener others", |b, _| {
        others_to(b, "::ffff:127.0.0.1", "STATIC");
        let address = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
        at(crate::doctor::changes::cluster(b, "another"), address)["ipv4_compat"] = true.into();
    }),
    others_way("an additional address", "unguarded_way_in", "listener others", |b, _| {
        let socket = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
        let endpoint = json!({"address": socket(9), "additional_addresses": [{"address": socket(port(b))}]});
        let assignment =
            json!({"cluster_name": "another", "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]});
        another_service(b, "another", json!({"load_assignment": assignment}));
        reroute_others(b, json!({"cluster": "another"}));
    }),
    others_way(
        "a discovered endpoint that is the service's",
        "unguarded_way_in",
        "listener others",
        |b, world| {
            node(b);
            let port = port(b);
            let resource = typed(
                "envoy.config.endpoint.v3.ClusterLoadAssignment",
                assignment("found", &[("127.0.0.1", port)]),
            );
            let file =
                world.write("endpoints.json", json!({"resources": [resource]}).to_string()).expect("a file");
            let source = json!({"path_config_source": {"path": file}, "resource_api_version": "V3"});
            clusters(b).push(json!({
                "name": "another", "connect_timeout": "1s", "type": "EDS",
                "eds_cluster_config": {"service_name": "found", "eds_config": source},
            }));
            reroute_others(b, json!({"cluster": "another"}));
        },
    ),
    others_way(
        "a forward proxy to a host that it writes itself",
        "destination_unknown",
        "listener others",
        |b, _| {
            let to = format!("localhost:{}", port(b));
            let cache = json!({"name": "cache", "dns_lookup_family": "V4_ONLY"});
            let kind = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig";
            clusters(b).push(json!({
            "name": "wherever", "connect_timeout": "1s", "lb_policy": "CLUSTER_PROVIDED",
            "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy", "typed_config": typed(kind, json!({"dns_cache_config": cache}))},
        }));
            let kind = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig";
            let filter =
                json!({"name": "dfp", "typed_config": typed(kind, json!({"dns_cache_config": cache}))});
            list(others(b), "/http_filters").insert(0, filter);
            reroute_others(b, json!({"cluster": "wherever"}));
            let kind = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig";
            at(others(b), "/route_config/virtual_hosts/0")["typed_per_filter_config"] =
                json!({"dfp": typed(kind, json!({"host_rewrite_literal": to}))});
        },
    ),
    others_way("an aggregate of others and the service", "unguarded_way_in", "listener others", |b, _| {
        crate::doctor::elsewhere::aggregate(b, &["service", "others"]);
        reroute_others(b, json!({"cluster": "aggregate"}));
    }),
    others_way("a composite cluster", "unguarded_way_in", "listener others", |b, _| {
        let kind = "envoy.extensions.clusters.composite.v3.ClusterConfig";
        let config = typed(kind, json!({"clusters": [{"name": "service"}]}));
        clusters(b).push(json!({
            "name": "composite", "connect_timeout": "1s", "lb_policy": "CLUSTER_PROVIDED",
            "cluster_type": {"name": "envoy.clusters.composite", "typed_config": config},
        }));
        reroute_others(b, json!({"cluster": "composite"}));
    }),
    others_way("a script that calls the service", "not_examined", "listener others", |b, _| {
        let code = "function envoy_on_request(h) h:httpCall('service', {[':method'] = 'GET', [':path'] = h:headers():get(':path'), \
                    [':authority'] = 'service'}, '', 1000) end";
        list(others(b), "/http_filters").insert(0, lua_code(code));
    }),
    others_way(
        "an authorization service that is the service",
        "unguarded_way_in",
        "listener others",
        |b, _| {
            let uri = json!({"uri": "http://service", "cluster": "service", "timeout": "1s"});
            let kind = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
            let config = typed(kind, json!({"http_service": {"server_uri": uri}}));
            list(others(b), "/http_filters").insert(0, json!({"name": "authz", "typed_config": config}));
        },
    ),
    others_way("a copy of each request", "unguarded_way_in", "listener others", |b, _| {
        reroute_others(b, json!({"cluster": "others", "request_mirror_policies": [{"cluster": "service"}]}));
    }),
    Case {
        listener: "ingress",
        ..others_way(
            "a script behind the guard that asks for our host",
            "not_examined",
            "listener ingress",
            |b, _| {
                let ours = json!({"name": "ours", "domains": ["service.example"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "service"}}]});
                let rules = remove(guard(b), "rules");
                remove(guard(b), "rules_stat_prefix");
                at(manager(b), "/route_config")["virtual_hosts"] = json!([ours,
                {"name": "others", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "others"}}]}]);
                rbac_per_route(host(b), json!({"rbac": {"rules": rules}}));
                let code = "function envoy_on_request(h) h:headers():replace(':authority', 'service.example') h:clearRouteCache() end";
                filters(b).insert(2, lua_code(code));
            },
        )
    },
    own("another writer of the verdict", "verdict_written", "filter my.writer", |b, _| {
        filters(b).insert(0, writer("wasm.genesys_mtls.default"));
    }),
    own(
        "a writer of the verdict among the network filters",
        "verdict_written",
        "filter my.filter",
        |b, _| {
            let format = json!({"text_format_source": {"inline_string": "allow;x"}});
            let value = json!({"object_key": "wasm.genesys_mtls.default", "factory_key": "envoy.string", "format_string": format,
                           "shared_with_upstream": "NONE"});
            let filter = network("set_filter_state.v3.Config", json!({"on_new_connection": [value]}));
            list(crate::doctor::changes::chain(b), "/filters").insert(0, filter);
        },
    ),
    own("a writer of the verdict that a route brings", "verdict_written", "virtual host service", |b, _| {
        let config = writer("wasm.genesys_mtls.default")["typed_config"].clone();
        let mut idle = writer("my.key");
        idle["typed_config"]["on_request_headers"] = json!([]);
        filters(b).insert(0, idle);
        host(b)["typed_per_filter_config"]["my.writer"] = config;
    }),
    Case {
        headers: &[("x-to", "allowed")],
        ..own("a note of the guard that a header writes", "not_examined", "filter my.metadata", |b, _| {
            noting_guard(b);
            filters(b).insert(2, header_to_metadata(RBAC, "genesys_shadow_engine_result"));
        })
    },
    others_way("one route table from two sources", "name_twice", "route table shared", |b, world| {
        node(b);
        for (index, cluster) in ["service", "service"].iter().enumerate() {
            let route = json!({"match": {"prefix": "/"}, "route": {"cluster": cluster}});
            let table = json!({"name": "shared", "virtual_hosts": [{"name": format!("h{index}"), "domains": ["*"], "routes": [route]}]});
            let resource = typed("envoy.config.route.v3.RouteConfiguration", table);
            let file = world
                .write(&format!("routes-{index}.json"), json!({"resources": [resource]}).to_string())
                .expect("a file");
            let manager = if index == 0 { manager(b) } else { others(b) };
            remove(manager, "route_config");
            manager["rds"] = json!({"route_config_name": "shared",
                "config_source": {"path_config_source": {"path": file}, "resource_api_version": "V3"}});
        }
    }),
    Case {
        headers: &[("x-scope", "k=v")],
        ..others_way("scoped routes", "discovery_unresolved", "listener others", |b, world| {
            node(b);
            reroute_others(b, json!({"cluster": "service"}));
            scope_routes(others(b), world);
        })
    },
    Case {
        headers: &[("x-cluster", "service")],
        ..others_way("a header that names the cluster", "destination_unknown", "listener others", |b, _| {
            reroute_others(b, json!({"cluster_header": "x-cluster"}));
        })
    },
    own(
        "the guard at the virtual host is misspelt",
        "route_filter_unknown",
        "virtual host service",
        |b, _| {
            let rules = remove(guard(b), "rules");
            remove(guard(b), "rules_stat_prefix");
            rbac_per_route(host(b), json!({"rbac": {"rules": rules}}));
            let configs = &mut host(b)["typed_per_filter_config"];
            let config = remove(configs, RBAC);
            configs["envoy.filters.http.rbca"] = config;
        },
    ),
    Case {
        host: "service.example:x",
        ..own(
            "a host of the guard without its other spellings",
            "guard_too_weak",
            "listener ingress",
            |b, _| {
                host_guard(b, r"(?i)(service\.example)(:[0-9]+)?");
            },
        )
    },
    Case {
        host: "second.wild.example",
        ..own(
            "a host of ours that the guard does not name",
            "unguarded_way_in",
            "virtual host second",
            |b, _| {
                host_guard(b, r"(?i)(service\.example)\.?(:.*)?");
                let mut second = host(b).clone();
                second["name"] = "second".into();
                second["domains"] = json!(["second.wild.example"]);
                list(manager(b), "/route_config/virtual_hosts").push(second);
            },
        )
    },
    own("the guard's host is a wildcard of the routes", "guard_missing", "listener ingress", |b, _| {
        host_guard(b, r"(?i)(other\.example)\.?(:.*)?");
        host(b)["domains"] = json!(["*"]);
    }),
    Case {
        host: "other.example",
        ..own(
            "a service by its chain's guard alone, beside a host with a rule",
            "unguarded_way_in",
            "filter chain other",
            |b, _| {
                let rules = guard(b)["rules"].clone();
                let second = json!({"name": "ruled", "domains": ["ruled.example"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "service"}}]});
                list(manager(b), "/route_config/virtual_hosts").push(second);
                rbac_per_route(
                    at(manager(b), "/route_config/virtual_hosts/1"),
                    json!({"rbac": {"rules": rules}}),
                );
                let chain = manager_of(second_chain(b, &[router()]));
                list(chain, "/route_config/virtual_hosts").pop();
            },
        )
    },
    Case {
        host: "other.example",
        ..own(
            "a second chain with an ALLOW guard of ints",
            "unguarded_way_in",
            "filter chain other",
            |b, _| {
                let mut open = filters(b)[1].clone();
                open["typed_config"]["rules"]["action"] = 2.into();
                second_chain(b, &[open, router()]);
            },
        )
    },
];
