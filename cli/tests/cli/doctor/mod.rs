//! `doctor` on config dumps of a real Envoy: the shipped files come out clean, and with one thing changed they do not.

use crate::{
    readme::assert_shown,
    run::{Outcome, run, run_with},
};
use serde_json::{Value, json};
use testbed::{Envoy, World, config};

const EXPLAIN: &str = "envoy/envoy.yaml";
const STRICT: &str = "envoy/strict.yaml";
const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

type Change = fn(&mut Value);

/// The smallest module that Envoy loads as a plugin: an ABI version, a memory and `malloc`. What Envoy reports of its
/// configuration does not depend on the module, and this one is compiled in no time.
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x09\x02\x60\0\0\x60\x01\x7f\x01\x7f\
    \x03\x03\x02\0\x01\
    \x05\x03\x01\0\x01\
    \x07\x2d\x03\x06memory\x02\0\x17proxy_abi_version_0_2_1\0\0\x06malloc\0\x01\
    \x0a\x0a\x02\x02\0\x0b\x05\0\x41\x80\x08\x0b";

/// Starts Envoy with a shipped file and one change; what it says is in force.
async fn dump(world: &World, file: &str, change: impl FnOnce(&mut Value)) -> Value {
    start(world, file, change).await.config_dump().await.expect("a config dump")
}

async fn start(world: &World, file: &str, change: impl FnOnce(&mut Value)) -> Envoy {
    let mut bootstrap = world.bootstrap(file);
    config::set_plugin_configuration(&mut bootstrap, &world.policy());
    // What the shipped files say to do before 1.39, done always: it is no finding in any version.
    let manager = at(&mut bootstrap, MANAGER);
    manager["forward_client_cert_details"] = "SANITIZE_SET".into();
    manager["set_current_client_cert_details"] = json!({"cert": true});
    let module = world.write("empty.wasm", EMPTY_MODULE).expect("a file");
    config::set_module(&mut bootstrap, &module);
    change(&mut bootstrap);
    world.envoy(bootstrap).start().await.expect("Envoy starts")
}

fn examine(dump: &Value) -> Outcome {
    run_with(&["doctor", "--config-dump", "-", "--json"], &dump.to_string(), &[])
}

fn rules(outcome: &Outcome) -> Vec<String> {
    let json = outcome.json();
    let findings = json["findings"].as_array().expect("findings").iter();
    findings
        .map(|finding| {
            format!("{}[{}]", finding["severity"].as_str().unwrap(), finding["rule"].as_str().unwrap())
        })
        .collect()
}

fn at<'v>(value: &'v mut Value, pointer: &str) -> &'v mut Value {
    value.pointer_mut(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"))
}

fn manager(bootstrap: &mut Value) -> &mut Value {
    at(bootstrap, MANAGER)
}

fn filters(bootstrap: &mut Value) -> &mut Vec<Value> {
    manager(bootstrap)["http_filters"].as_array_mut().expect("filters")
}

fn guard(bootstrap: &mut Value) -> &mut Value {
    &mut filters(bootstrap)[1]["typed_config"]
}

fn plugin(bootstrap: &mut Value) -> &mut Value {
    &mut filters(bootstrap)[0]["typed_config"]["config"]
}

fn principal(bootstrap: &mut Value) -> &mut Value {
    at(guard(bootstrap), "/rules/policies/genesys_mtls_allowed/principals/0")
}

fn route(bootstrap: &mut Value) -> &mut Value {
    at(manager(bootstrap), "/route_config/virtual_hosts/0/routes/0")
}

fn tls(bootstrap: &mut Value) -> &mut Value {
    at(bootstrap, "/static_resources/listeners/0/filter_chains/0/transport_socket/typed_config")
}

fn cluster<'v>(bootstrap: &'v mut Value, name: &str) -> &'v mut Value {
    let clusters = at(bootstrap, "/static_resources/clusters").as_array_mut().expect("clusters");
    clusters.iter_mut().find(|cluster| cluster["name"] == name).expect("the cluster")
}

fn upstream_validation(bootstrap: &mut Value) -> &mut Value {
    at(
        cluster(bootstrap, "genesys_api"),
        "/transport_socket/typed_config/common_tls_context/validation_context",
    )
}

/// A second chain for another SNI, without the filter, to the same service.
fn second_chain(bootstrap: &mut Value) {
    let chains = at(bootstrap, "/static_resources/listeners/0/filter_chains").as_array_mut().expect("chains");
    let mut other = chains[0].clone();
    other["filter_chain_match"] = json!({"server_names": ["other.example"]});
    other["name"] = "other".into();
    let filters = at(&mut other, "/filters/0/typed_config/http_filters").as_array_mut().expect("filters");
    *filters = vec![filters.pop().expect("the router")];
    chains.push(other);
    let inspector = json!({
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"},
    });
    at(bootstrap, "/static_resources/listeners/0")["listener_filters"] = json!([inspector]);
}

fn per_route(kind: &str, fields: Value) -> Value {
    let mut config = fields;
    config["@type"] = format!("type.googleapis.com/{kind}").into();
    config
}

const RBAC: &str = "envoy.filters.http.rbac";
const WASM: &str = "envoy.filters.http.wasm";
const RBAC_PER_ROUTE: &str = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";

/// The rule moves from the chain to the virtual host: both chains have an empty RBAC filter.
fn scoped_to_the_host(bootstrap: &mut Value) {
    let rules = guard(bootstrap)["rules"].take();
    guard(bootstrap).as_object_mut().expect("an object").remove("rules");
    guard(bootstrap).as_object_mut().expect("an object").remove("rules_stat_prefix");
    let host = at(manager(bootstrap), "/route_config/virtual_hosts/0");
    host["typed_per_filter_config"] =
        json!({RBAC: per_route(RBAC_PER_ROUTE, json!({"rbac": {"rules": rules}}))});
}

const BAD: &[(&str, &str, &str, Change)] = &[
    ("no guard", EXPLAIN, "error[guard_missing]", |b| drop(filters(b).remove(1))),
    ("an unrelated RBAC filter", EXPLAIN, "error[guard_missing]", |b| *principal(b) = json!({"any": true})),
    ("another policy's key", EXPLAIN, "error[guard_wrong_key]", |b| {
        principal(b)["filter_state"]["key"] = "wasm.genesys_mtls.other".into();
    }),
    ("another policy's name", EXPLAIN, "error[guard_wrong_key]", |b| {
        plugin(b)["configuration"]["value"]["name"] = "other".into();
    }),
    ("a value that denials have too", EXPLAIN, "error[guard_too_weak]", |b| {
        principal(b)["filter_state"]["string_match"] = json!({"contains": ";"});
    }),
    ("a way out beside the verdict", EXPLAIN, "error[guard_too_weak]", |b| {
        let principals = at(guard(b), "/rules/policies/genesys_mtls_allowed/principals");
        principals
            .as_array_mut()
            .unwrap()
            .push(json!({"header": {"name": "x-let-me-in", "present_match": true}}));
    }),
    ("a guard that logs", EXPLAIN, "error[guard_too_weak]", |b| guard(b)["rules"]["action"] = "LOG".into()),
    ("a guard that only counts", EXPLAIN, "error[guard_only_shadow]", |b| {
        let rules = guard(b)["rules"].take();
        guard(b).as_object_mut().unwrap().remove("rules");
        guard(b)["shadow_rules"] = rules;
    }),
    ("shadow mode with a guard that refuses", EXPLAIN, "warning[half_switched]", |b| {
        plugin(b)["configuration"]["value"]["mode"] = "shadow".into();
    }),
    ("the guard in front", EXPLAIN, "error[guard_before_filter]", |b| filters(b).swap(0, 1)),
    ("a filter in between", EXPLAIN, "error[guard_not_directly_behind]", |b| {
        let buffer = json!({"name": "in.between", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 1000}});
        filters(b).insert(1, buffer);
    }),
    ("the guard disabled", EXPLAIN, "error[guard_disabled]", |b| filters(b)[1]["disabled"] = true.into()),
    ("the filter disabled", EXPLAIN, "warning[filter_disabled]", |b| filters(b)[0]["disabled"] = true.into()),
    ("another chain to the same service", EXPLAIN, "error[unguarded_way_in]", second_chain),
    ("the same where the guard is the host's", EXPLAIN, "error[unguarded_way_in]", |b| {
        scoped_to_the_host(b);
        second_chain(b);
    }),
    ("an upgrade with filters of its own", EXPLAIN, "error[upgrade_bypass]", |b| {
        let router = filters(b).last().unwrap().clone();
        manager(b)["upgrade_configs"] = json!([{"upgrade_type": "websocket", "filters": [router]}]);
    }),
    ("a route without the guard", EXPLAIN, "error[route_bypasses_guard]", |b| {
        route(b)["typed_per_filter_config"] =
            json!({RBAC: per_route(FILTER_CONFIG, json!({"disabled": true}))});
    }),
    ("a host with an RBACPerRoute that is empty", EXPLAIN, "error[route_bypasses_guard]", |b| {
        at(manager(b), "/route_config/virtual_hosts/0")["typed_per_filter_config"] =
            json!({RBAC: per_route(RBAC_PER_ROUTE, json!({}))});
    }),
    ("a route with other rules", EXPLAIN, "error[route_bypasses_guard]", |b| {
        let any = json!({"rules": {"policies": {"all": {"permissions": [{"any": true}], "principals": [{"any": true}]}}}});
        route(b)["typed_per_filter_config"] = json!({RBAC: per_route(RBAC_PER_ROUTE, json!({"rbac": any}))});
    }),
    ("a route without the filter", EXPLAIN, "warning[filter_disabled_on_route]", |b| {
        route(b)["typed_per_filter_config"] =
            json!({WASM: per_route(FILTER_CONFIG, json!({"disabled": true}))});
    }),
    ("a callout cluster that is missing", EXPLAIN, "error[callout_cluster_missing]", |b| {
        plugin(b)["configuration"]["value"]["refresh"] =
            json!({"clusters": {"api": "nowhere", "login": "genesys_login"}});
    }),
    ("callouts in plain text", EXPLAIN, "error[callout_without_tls]", |b| {
        cluster(b, "genesys_api").as_object_mut().unwrap().remove("transport_socket");
    }),
    ("callouts with sni alone", EXPLAIN, "error[callout_unverified_chain]", |b| {
        let common = at(cluster(b, "genesys_api"), "/transport_socket/typed_config/common_tls_context");
        common.as_object_mut().unwrap().remove("validation_context");
    }),
    ("callouts that accept untrusted chains", EXPLAIN, "error[callout_unverified_chain]", |b| {
        upstream_validation(b)["trust_chain_verification"] = "ACCEPT_UNTRUSTED".into();
    }),
    ("callouts to any name", EXPLAIN, "error[callout_unverified_host]", |b| {
        upstream_validation(b).as_object_mut().unwrap().remove("match_typed_subject_alt_names");
    }),
    ("callouts to a wrong name", EXPLAIN, "error[callout_wrong_host]", |b| {
        upstream_validation(b)["match_typed_subject_alt_names"][0]["matcher"]["exact"] = "api.example".into();
    }),
    ("no stream bound", EXPLAIN, "warning[no_stream_bound]", |b| {
        manager(b)["stream_idle_timeout"] = "0s".into();
    }),
    ("no stream bound on a route", EXPLAIN, "warning[no_stream_bound]", |b| {
        route(b)["route"]["idle_timeout"] = "0s".into();
    }),
    ("resumption", STRICT, "warning[session_resumption]", |b| {
        tls(b)["disable_stateless_session_resumption"] = false.into();
    }),
    ("no validation context", EXPLAIN, "error[client_certificate_not_asked]", |b| {
        tls(b)["common_tls_context"].as_object_mut().unwrap().remove("validation_context");
    }),
    ("no TLS", EXPLAIN, "error[no_tls]", |b| {
        let chain = at(b, "/static_resources/listeners/0/filter_chains/0");
        chain.as_object_mut().unwrap().remove("transport_socket");
    }),
    ("a header that the client writes", EXPLAIN, "warning[forgeable_client_cert_header]", |b| {
        manager(b)["forward_client_cert_details"] = "ALWAYS_FORWARD_ONLY".into();
        plugin(b)["configuration"]["value"]["peer_certificate"] = json!({});
    }),
    ("a source that shows nothing", EXPLAIN, "error[certificate_not_shown]", |b| {
        plugin(b)["configuration"]["value"]["peer_certificate"] = json!({"source": "filter_state"});
    }),
    ("XFCC without the certificate", EXPLAIN, "error[certificate_not_shown]", |b| {
        manager(b)["forward_client_cert_details"] = "SANITIZE".into();
        plugin(b)["configuration"]["value"]["peer_certificate"] = json!({"source": "xfcc"});
    }),
    ("a hop whose header is removed", EXPLAIN, "error[hop_header_removed]", |b| {
        manager(b)["forward_client_cert_details"] = "SANITIZE".into();
        plugin(b)["configuration"]["value"]["peer_certificate"] = json!({
            "danger_trusted_hop": {"header": "x-forwarded-client-cert", "peer": {"dns_san": "hop.example"}}});
    }),
    ("a policy that does not load", EXPLAIN, "error[invalid_configuration]", |b| {
        plugin(b)["configuration"]["value"]["mode"] = "shadwo".into();
    }),
    ("the default failure policy", EXPLAIN, "warning[failure_policy]", |b| {
        plugin(b).as_object_mut().unwrap().remove("failure_policy");
    }),
    ("fail open", EXPLAIN, "error[fail_open]", |b| plugin(b)["failure_policy"] = "FAIL_OPEN".into()),
    ("capabilities without the one callback", EXPLAIN, "error[capability_missing]", |b| {
        plugin(b)["capability_restriction_config"] =
            json!({"allowed_capabilities": {"proxy_on_configure": {}}});
    }),
    ("the same in the VM's own configuration", EXPLAIN, "error[capability_missing]", |b| {
        plugin(b)["vm_config"]["capability_restriction_config"] =
            json!({"allowed_capabilities": {"proxy_on_configure": {}}});
    }),
    ("credentials that the VM is not given", EXPLAIN, "error[credentials_not_passed]", |b| {
        plugin(b)["vm_config"].as_object_mut().unwrap().remove("environment_variables");
    }),
    ("a secret in the configuration", EXPLAIN, "warning[secret_in_configuration]", |b| {
        plugin(b)["vm_config"]["environment_variables"] =
            json!({"key_values": {"GENESYS_CLIENT_ID": "id", "GENESYS_CLIENT_SECRET": "secret"}});
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_files_come_out_clean() {
    let world = World::start().await.expect("the testbed starts");
    for file in [EXPLAIN, STRICT] {
        let outcome = examine(&dump(&world, file, |_| {}).await);
        assert_eq!((rules(&outcome), outcome.code), (Vec::new(), 0), "{file}: {}", outcome.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_envoy_is_examined_by_its_admin_url() {
    let world = World::start().await.expect("the testbed starts");
    let envoy = start(&world, EXPLAIN, |b| drop(filters(b).remove(1))).await;
    let url = format!("http://{}/config_dump", envoy.admin_addr());
    let outcome = tokio::task::block_in_place(|| run(&["doctor", "--config-dump", &url]));
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert_shown("doctor", &outcome);
    drop(envoy);
    let outcome = tokio::task::block_in_place(|| run(&["doctor", "--config-dump", &url]));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{}", outcome.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_is_found_by_its_own_rule_alone() {
    let world = World::start().await.expect("the testbed starts");
    let mut wrong = Vec::new();
    for (what, file, expected, change) in BAD {
        let outcome = examine(&dump(&world, file, change).await);
        let found = rules(&outcome);
        if outcome.code != 1 || found != [*expected] {
            wrong.push(format!(
                "{what}: exit code {}, {found:?} instead of {expected}\n{}",
                outcome.code, outcome.stdout
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sound_ways_to_guard_are_clean() {
    let world = World::start().await.expect("the testbed starts");
    let sound: [(&str, Change); 6] = [
        ("the capability list of envoy/xds/genesys_mtls.yaml", |b| {
            let shipped = testbed::paths::workspace_root().join("envoy/xds/genesys_mtls.yaml");
            let text = std::fs::read_to_string(shipped).expect("the file");
            let mut lists = Vec::new();
            config::walk(&mut config::parse_yaml(&text).expect("YAML"), &mut |map| {
                lists.extend(map.get("capability_restriction_config").cloned());
            });
            let [list] = lists.as_slice() else { panic!("{} lists", lists.len()) };
            plugin(b)["vm_config"]["capability_restriction_config"] = list.clone();
        }),
        ("the rule on the virtual host", scoped_to_the_host),
        ("shadow mode on both sides", |b| {
            plugin(b)["configuration"]["value"]["mode"] = "shadow".into();
            let rules = guard(b)["rules"].take();
            guard(b).as_object_mut().unwrap().remove("rules");
            guard(b)["shadow_rules"] = rules;
        }),
        ("shadow rules that Istio's own RBAC filter demands", |b| {
            let rules = guard(b)["rules"].take();
            let shadow = guard(b).as_object_mut().unwrap();
            shadow.remove("rules");
            shadow.insert("shadow_rules".into(), rules);
            shadow.insert("shadow_rules_stat_prefix".into(), "genesys_".into());
            let metadata = json!({"metadata": {"filter": RBAC, "path": [{"key": "genesys_shadow_engine_result"}],
                "value": {"string_match": {"exact": "allowed"}}}});
            let istio = json!({"name": "istio.rbac", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                "rules": {"policies": {"p": {"permissions": [{"any": true}],
                    "principals": [{"and_ids": {"ids": [metadata]}}]}}}}});
            filters(b).insert(2, istio);
        }),
        ("a health check answered natively", |b| {
            let routes = at(manager(b), "/route_config/virtual_hosts/0/routes").as_array_mut().unwrap();
            routes.insert(
                0,
                json!({"match": {"path": "/healthz"}, "direct_response": {"status": 200},
                "typed_per_filter_config": {RBAC: per_route(FILTER_CONFIG, json!({"disabled": true}))}}),
            );
        }),
        ("the configuration as JSON text", |b| {
            let policy = plugin(b)["configuration"]["value"].to_string();
            plugin(b)["configuration"] = config::plugin_text(&policy);
        }),
    ];
    for (what, change) in sound {
        let outcome = examine(&dump(&world, EXPLAIN, change).await);
        assert_eq!((rules(&outcome), outcome.code), (Vec::new(), 0), "{what}: {}", outcome.stdout);
    }
}

/// Two rules hold before Envoy 1.39 only: the dump says which version it is of.
#[tokio::test(flavor = "multi_thread")]
async fn what_holds_before_1_39_is_only_said_there() {
    let world = World::start().await.expect("the testbed starts");
    let environment: Change = |b| {
        let chains = at(b, "/static_resources/listeners/0/filter_chains").as_array_mut().unwrap();
        let mut other = chains[0].clone();
        other["filter_chain_match"] = json!({"server_names": ["other.example"]});
        let wasm = at(&mut other, "/filters/0/typed_config/http_filters/0/typed_config/config/vm_config");
        wasm["environment_variables"]["key_values"] = json!({"OTHER": "x"});
        chains.push(other);
    };
    let nowhere: Change = |b| manager(b)["forward_client_cert_details"] = "SANITIZE".into();
    for (rule, change) in
        [("error[shared_environment]", environment), ("error[certificate_not_shown]", nowhere)]
    {
        let mut dump = dump(&world, EXPLAIN, change).await;
        for (minor, expected) in [(38, true), (39, false)] {
            let bootstrap = at(&mut dump, "/configs").as_array_mut().unwrap();
            let node =
                bootstrap.iter_mut().find_map(|section| section.pointer_mut("/bootstrap/node")).unwrap();
            node["user_agent_build_version"]["version"] = json!({"major_number": 1, "minor_number": minor});
            let found = rules(&examine(&dump));
            assert_eq!(found.contains(&rule.to_owned()), expected, "1.{minor}: {found:?}");
        }
    }
}

#[test]
fn what_is_no_dump_of_ours_cannot_be_examined() {
    let listener = json!({"configs": [{"@type": "x.ListenersConfigDump", "static_listeners": [{"listener": {"name": "l"}}]}]});
    for (input, expected) in [
        ("nonsense".to_owned(), "is not JSON"),
        ("{}".to_owned(), "no config dump"),
        (listener.to_string(), "none of 0 HTTP filter chain(s) has this filter"),
    ] {
        let outcome = run_with(&["doctor", "--config-dump", "-"], &input, &[]);
        assert_eq!(outcome.code, 2, "{input}");
        assert!(outcome.stderr.contains(expected), "{input}: {}", outcome.stderr);
    }
}
