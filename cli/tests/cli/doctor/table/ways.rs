//! Ways around filter and guard.

use super::row::{Row, explain, of};
use crate::doctor::{
    changes::{
        RBAC, WASM, at, buffer, clusters, disable, filters, guard, host, list, lua, manager, manager_of,
        matcher_for_all, noting_guard, other_host, rbac_per_route, remove, route, router, routes_by_matcher,
        routes_from_file, scoped_routes, scoped_to_the_host, second_chain, second_policy,
        second_policy_and_service, somebody_else, typed, writer,
    },
    elsewhere::{
        aggregate, another_service, by_script, discovered_twice, forward_proxy, others, others_scoped_routes,
        others_to_admin, reroute_others, tunnel, tunnel_to,
    },
};
use serde_json::json;

pub(super) const ROWS: &[Row] = &[
    Row {
        rule: "unguarded_way_in",
        bad: &[
            explain("another chain with the same routes", |b, _| {
                second_chain(b, &[router()]);
            }),
            explain("the same where the guard is the host's", |b, _| {
                scoped_to_the_host(b);
                second_chain(b, &[router()]);
            }),
            explain("a TCP proxy", |b, _| tunnel(b)),
            of("scope/listener.yaml", "a copy of each request of a host", |b, _| {
                let host = at(others(b), "/route_config/virtual_hosts/0");
                host["request_mirror_policies"] = json!([{"cluster": "service"}]);
            }),
            of("scope/listener.yaml", "a cluster that passes requests on", |b, _| {
                aggregate(b, &["others", "service"]);
                reroute_others(b, json!({"cluster": "aggregate"}));
            }),
            of("scope/listener.yaml", "another cluster with the same endpoint", |b, _| {
                another_service(b, "another", json!({}));
                reroute_others(b, json!({"cluster": "another"}));
            }),
            of("scope/listener.yaml", "another cluster that discovers the same endpoints", |b, world| {
                discovered_twice(b, world);
                reroute_others(b, json!({"cluster": "another"}));
            }),
            of("scope/listener.yaml", "a subset of a mesh's service", |b, _| {
                let no_endpoints = json!({"load_assignment": {"cluster_name": "none"}});
                another_service(b, "outbound|80||service.svc", no_endpoints.clone());
                another_service(b, "outbound|80|v1|service.svc", no_endpoints);
                route(b)["route"]["cluster"] = "outbound|80||service.svc".into();
                reroute_others(b, json!({"cluster": "outbound|80|v1|service.svc"}));
            }),
            explain("filters of its own", |b, _| {
                manager(b)["upgrade_configs"] = json!([{"upgrade_type": "websocket", "filters": [router()]}]);
            }),
            of("scope/host.yaml", "on the others' chain, which has the same routes", |b, _| {
                others(b)["upgrade_configs"] = json!([{"upgrade_type": "websocket", "filters": [router()]}]);
            }),
            explain("a route enables what the manager disables", |b, _| {
                manager(b)["upgrade_configs"] =
                    json!([{"upgrade_type": "websocket", "enabled": false, "filters": [router()]}]);
                route(b)["route"]["upgrade_configs"] = json!([{"upgrade_type": "WebSocket"}]);
            }),
            explain("a service by the guard of its chain alone, beside a host with a rule", |b, _| {
                let rules = guard(b)["rules"].clone();
                let (other, elsewhere) =
                    (other_host(b), json!([{"match": {"prefix": "/"}, "route": {"cluster": "service"}}]));
                rbac_per_route(other, json!({"rbac": {"rules": rules}}));
                let chain = second_chain(b, &[router()]);
                manager_of(chain)["route_config"]["virtual_hosts"] =
                    json!([{"name": "open", "domains": ["*"], "routes": elsewhere}]);
            }),
        ],
        good: &[
            explain("the chain's filters", |b, _| {
                manager(b)["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
            }),
            of("scope/host.yaml", "on the others' chain, with the guard for the host's rule", |b, _| {
                let filters = others(b)["http_filters"].clone();
                others(b)["upgrade_configs"] = json!([{"upgrade_type": "websocket", "filters": filters}]);
            }),
            explain("nowhere enabled", |b, _| {
                manager(b)["upgrade_configs"] =
                    json!([{"upgrade_type": "websocket", "enabled": false, "filters": [router()]}]);
            }),
            explain("disabled on our route", |b, _| {
                manager(b)["upgrade_configs"] = json!([{"upgrade_type": "websocket", "filters": [router()]}]);
                route(b)["route"]["upgrade_configs"] =
                    json!([{"upgrade_type": "websocket", "enabled": false}]);
            }),
            explain("filter and guard repeated", |b, _| {
                let filters = filters(b).clone();
                manager(b)["upgrade_configs"] = json!([{"upgrade_type": "websocket", "filters": filters}]);
            }),
            explain("another chain to another service", |b, _| {
                let elsewhere = somebody_else(b);
                let other = second_chain(b, &[router()]);
                manager_of(other)["route_config"]["virtual_hosts"][0]["routes"] = json!([elsewhere]);
            }),
            of("scope/listener.yaml", "clusters that pass requests on to others", |b, _| {
                aggregate(b, &["others"]);
                let copies = json!([{"cluster": "others"}]);
                reroute_others(b, json!({"cluster": "aggregate", "request_mirror_policies": copies}));
            }),
            of(
                "scope/listener.yaml",
                "a service that gets copies of our requests, and others' requests",
                |b, _| {
                    route(b)["route"]["request_mirror_policies"] = json!([{"cluster": "others"}]);
                },
            ),
            explain("another chain, with the guard alone", |b, _| {
                let guard = filters(b)[1].clone();
                second_chain(b, &[guard, router()]);
            }),
        ],
    },
    Row {
        rule: "destination_unknown",
        bad: &[
            of("scope/listener.yaml", "a header that names the cluster", |b, _| {
                reroute_others(b, json!({"cluster_header": "x-cluster"}));
            }),
            of("scope/listener.yaml", "the same for a part of the requests", |b, _| {
                let part = |target: &str| json!({target: "others", "weight": 1});
                reroute_others(
                    b,
                    json!({"weighted_clusters": {"clusters": [part("name"), part("cluster_header")]}}),
                );
            }),
            of("scope/listener.yaml", "a script", |b, _| reroute_others(b, by_script("others"))),
            explain("a script where all is guarded", |b, _| route(b)["route"] = by_script("service")),
            of("scope/listener.yaml", "the host that a request names", |b, _| {
                forward_proxy(b);
                reroute_others(b, json!({"cluster": "wherever"}));
            }),
            of("scope/listener.yaml", "the address that a request names", |b, _| {
                clusters(b).push(json!({
                    "name": "wherever", "connect_timeout": "1s", "type": "ORIGINAL_DST",
                    "lb_policy": "CLUSTER_PROVIDED", "original_dst_lb_config": {"use_http_header": true},
                }));
                reroute_others(b, json!({"cluster": "wherever"}));
            }),
            of("scope/listener.yaml", "the address that a connection was for", |b, _| {
                clusters(b).push(json!({
                    "name": "passthrough", "connect_timeout": "1s", "type": "ORIGINAL_DST",
                    "lb_policy": "CLUSTER_PROVIDED",
                }));
                reroute_others(b, json!({"cluster": "passthrough"}));
            }),
            of("scope/listener.yaml", "a script on our own route, beside others", |b, _| {
                route(b)["route"] = by_script("service");
            }),
        ],
        good: &[explain("a cluster that is known", |_, _| {})],
    },
    Row {
        rule: "not_examined",
        bad: &[
            explain("the server name of a TCP connection", |b, _| {
                somebody_else(b);
                let sni = typed("envoy.extensions.filters.network.sni_cluster.v3.SniCluster", json!({}));
                let filters = tunnel_to(b, "somebody_else");
                filters.insert(0, json!({"name": "sni", "typed_config": sni}));
            }),
            explain("a script before the filter", |b, _| filters(b).insert(0, lua())),
            explain("a script behind the guard", |b, _| filters(b).insert(2, lua())),
            of("scope/listener.yaml", "a script on a chain of others", |b, _| {
                list(others(b), "/http_filters").insert(0, lua());
            }),
            explain("a filter that makes Envoy choose the route again", |b, _| {
                let kind = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
                let service = json!({"envoy_grpc": {"cluster_name": "genesys_api"}});
                let config = typed(kind, json!({"grpc_service": service, "clear_route_cache": true}));
                filters(b).insert(2, json!({"name": "authz", "typed_config": config}));
            }),
        ],
        good: &[explain("filters that are known", |b, _| filters(b).insert(2, buffer()))],
    },
    Row {
        rule: "discovery_unresolved",
        bad: &[
            explain("scoped routes", scoped_routes),
            explain("a matcher tree", |b, _| routes_by_matcher(b)),
            of("scope/listener.yaml", "scoped routes of others", others_scoped_routes),
        ],
        good: &[explain("RDS", routes_from_file)],
    },
    Row {
        rule: "name_twice",
        bad: &[of("scope/listener.yaml", "one route table from two files", |b, world| {
            routes_from_file(b, world);
            let name = at(manager(b), "/rds/route_config_name").clone();
            let source = json!({"path_config_source": {"path": world.path("other-routes.yaml")}, "resource_api_version": "V3"});
            let mut table = remove(others(b), "route_config");
            table["name"] = name.clone();
            let resource = typed("envoy.config.route.v3.RouteConfiguration", table);
            world.write("other-routes.yaml", json!({"resources": [resource]}).to_string()).expect("a file");
            others(b)["rds"] = json!({"route_config_name": name, "config_source": source});
        })],
        good: &[explain("one file", routes_from_file)],
    },
    Row {
        rule: "verdict_written",
        bad: &[explain("by another filter", |b, _| {
            filters(b).insert(0, writer("wasm.genesys_mtls.default"))
        })],
        good: &[explain("another key", |b, _| filters(b).insert(0, writer("my.key")))],
    },
    Row {
        rule: "route_filter_unknown",
        bad: &[explain("a guard that is misspelt", |b, _| {
            let rules = guard(b)["rules"].clone();
            rbac_per_route(host(b), json!({"rbac": {"rules": rules}}));
            let configs = &mut host(b)["typed_per_filter_config"];
            let config = remove(configs, RBAC);
            configs["envoy.filters.http.rbacs"] = config;
        })],
        good: &[explain("one that is not", |b, _| scoped_to_the_host(b))],
    },
    Row {
        rule: "admin_exposed",
        bad: &[explain("on every address", |b, _| {
            b["admin"]["address"]["socket_address"] = json!({"address": "0.0.0.0", "port_value": 0});
        })],
        good: &[explain("on another of loopback", |b, _| {
            b["admin"]["address"]["socket_address"] = json!({"address": "127.0.0.2", "port_value": 0});
        })],
    },
    Row {
        rule: "admin_reachable",
        bad: &[of("scope/listener.yaml", "all of it", |b, _| {
            others_to_admin(b);
        })],
        good: &[of("scope/listener.yaml", "to be scraped", |b, _| {
            others_to_admin(b);
            *at(others(b), "/route_config/virtual_hosts/0/routes/0/match") =
                json!({"path": "/stats/prometheus"});
        })],
    },
    Row {
        rule: "two_policies",
        bad: &[explain("as different regions' callers have", |b, _| {
            second_policy(b);
        })],
        good: &[
            explain("each with a service of its own", |b, _| second_policy_and_service(b)),
            explain("one policy on two chains", |b, _| {
                let filters = filters(b).clone();
                second_chain(b, &filters);
            }),
        ],
    },
    Row {
        rule: "route_bypasses_guard",
        bad: &[
            explain("a route disables it", |b, _| disable(route(b), RBAC)),
            explain("a host with an RBACPerRoute that is empty", |b, _| rbac_per_route(host(b), json!({}))),
            explain("a route with other rules", |b, _| {
                let any = json!({"permissions": [{"any": true}], "principals": [{"any": true}]});
                rbac_per_route(route(b), json!({"rbac": {"rules": {"policies": {"all": any}}}}));
            }),
            explain("the whole table without it", |b, _| {
                disable(at(manager(b), "/route_config"), RBAC);
            }),
            explain("a part of the requests without it", |b, _| {
                let mut parts = [1, 2].map(|weight| json!({"name": "service", "weight": weight}));
                disable(&mut parts[1], RBAC);
                route(b)["route"] = json!({"weighted_clusters": {"clusters": parts}});
            }),
            explain("a route with a matcher beside the rules", |b, _| {
                let rules = guard(b)["rules"].clone();
                rbac_per_route(route(b), json!({"rbac": {"rules": rules, "matcher": matcher_for_all()}}));
            }),
            explain("a route whose cluster a plugin chooses", |b, _| {
                disable(route(b), RBAC);
                route(b)["route"] = by_script("service");
            }),
            explain("a route without the filter that demands the note", |b, _| {
                noting_guard(b);
                disable(route(b), "another.rbac");
            }),
        ],
        good: &[explain("a health check that Envoy answers", |b, _| {
            let mut check = json!({"match": {"path": "/healthz"}, "direct_response": {"status": 200}});
            disable(&mut check, RBAC);
            list(host(b), "/routes").insert(0, check);
        })],
    },
    Row {
        rule: "route_bypasses_filter",
        bad: &[explain("a route disables both", |b, _| {
            disable(route(b), RBAC);
            disable(route(b), WASM);
        })],
        good: &[explain("another host does not want it, ours has the guard", |b, _| {
            scoped_to_the_host(b);
            disable(other_host(b), WASM);
        })],
    },
    Row {
        rule: "filter_disabled_on_route",
        bad: &[explain("a route disables it", |b, _| disable(route(b), WASM))],
        good: &[explain("where Envoy answers", |b, _| {
            let mut check = json!({"match": {"path": "/healthz"}, "direct_response": {"status": 200}});
            disable(&mut check, WASM);
            list(host(b), "/routes").insert(0, check);
        })],
    },
];
