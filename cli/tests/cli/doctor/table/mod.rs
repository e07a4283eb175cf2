//! One row for each rule: what breaks it, and what looks like that and does not.

use super::{
    changes::{
        RBAC, WASM, another_environment, at, buffer, callout_ca_from_file, callout_names, callout_tls,
        callout_validation, capabilities, certificate_in_xfcc, chain, client_cas_from_file, cluster,
        clusters, disable, enable, filters, guard, host, list, manager, manager_of, noting_guard, other_host,
        plugin, policy, principals, rbac, rbac_per_route, remove, revocation, route, router,
        routes_by_matcher, routes_from_file, scoped_routes, scoped_to_the_host, second_chain, shadow_guard,
        shadow_policy, skippable, somebody_else, tls, tunnel, typed,
    },
    dump, examine, findings, start, world,
};
use crate::run::run;
use serde_json::{Value, json};
use testbed::{World, envoy};

type Change = fn(&mut Value, &World);

/// A change to a shipped file, and the version that the dump is to be of.
struct Example {
    what: &'static str,
    file: &'static str,
    before_1_39: bool,
    change: Change,
}

struct Row {
    rule: &'static str,
    bad: &'static [Example],
    good: &'static [Example],
}

const fn of(file: &'static str, what: &'static str, change: Change) -> Example {
    Example { what, file, before_1_39: false, change }
}

const fn explain(what: &'static str, change: Change) -> Example {
    of("envoy.yaml", what, change)
}

const fn before_1_39(what: &'static str, change: Change) -> Example {
    Example { what, file: "envoy.yaml", before_1_39: true, change }
}

const ROWS: &[Row] = &[
    Row {
        rule: "invalid_configuration",
        bad: &[explain("a word that is none", |b, _| policy(b)["mode"] = "shadwo".into())],
        good: &[explain("JSON text", |b, _| {
            let text = policy(b).to_string();
            plugin(b)["configuration"] = testbed::config::plugin_text(&text);
        })],
    },
    Row {
        rule: "guard_missing",
        bad: &[
            explain("no guard", |b, _| drop(filters(b).remove(1))),
            explain("an RBAC filter about something else", |b, _| {
                *principals(b) = vec![json!({"any": true})]
            }),
        ],
        good: &[
            explain("the rule at the virtual host", |b, _| scoped_to_the_host(b)),
            of("scope/host.yaml", "as shipped", |_, _| {}),
        ],
    },
    Row {
        rule: "guard_before_filter",
        bad: &[explain("filter and guard the wrong way round", |b, _| filters(b).swap(0, 1))],
        good: &[explain("somebody else's RBAC filter in front", |b, _| {
            let rules =
                json!({"policies": {"p": {"permissions": [{"any": true}], "principals": [{"any": true}]}}});
            filters(b).insert(0, rbac(json!({"rules": rules})));
        })],
    },
    Row {
        rule: "guard_not_directly_behind",
        bad: &[
            explain("a filter between", |b, _| filters(b).insert(1, buffer())),
            explain("a filter before the guard that takes note", |b, _| {
                noting_guard(b);
                filters(b).insert(1, buffer());
            }),
        ],
        good: &[
            explain("a filter behind", |b, _| filters(b).insert(2, buffer())),
            explain("a filter of Istio's that routes nothing", |b, _| {
                let cors = typed("envoy.extensions.filters.http.cors.v3.Cors", json!({}));
                filters(b).insert(1, json!({"name": "envoy.filters.http.cors", "typed_config": cors}));
            }),
        ],
    },
    Row {
        rule: "guard_disabled",
        bad: &[
            explain("disabled", |b, _| filters(b)[1]["disabled"] = true.into()),
            explain("a header skips it", |b, _| skippable(&mut filters(b)[1])),
        ],
        good: &[explain("something else is disabled", |b, _| {
            let mut other = buffer();
            other["disabled"] = true.into();
            filters(b).insert(2, other);
        })],
    },
    Row {
        rule: "guard_wrong_key",
        bad: &[
            explain("another policy's key", |b, _| {
                principals(b)[0]["filter_state"]["key"] = "wasm.genesys_mtls.other".into();
            }),
            explain("another policy's name", |b, _| policy(b)["name"] = "other".into()),
        ],
        good: &[explain("both renamed", |b, _| {
            policy(b)["name"] = "other".into();
            principals(b)[0]["filter_state"]["key"] = "wasm.genesys_mtls.other".into();
        })],
    },
    Row {
        rule: "guard_too_weak",
        bad: &[
            explain("a value that denials have too", |b, _| {
                principals(b)[0]["filter_state"]["string_match"] = json!({"contains": ";"});
            }),
            explain("a way out beside the verdict", |b, _| {
                principals(b).push(json!({"header": {"name": "x-let-me-in", "present_match": true}}));
            }),
            explain("it logs", |b, _| guard(b)["rules"]["action"] = "LOG".into()),
            explain("it denies what has no verdict, on some paths", |b, _| {
                guard(b)["rules"]["action"] = "DENY".into();
                let without = json!({"not_id": principals(b)[0]});
                *principals(b) = vec![without];
                at(guard(b), "/rules/policies/genesys_mtls_allowed")["permissions"] =
                    json!([{"url_path": {"path": {"prefix": "/private"}}}]);
            }),
        ],
        good: &[
            explain("it denies what has no verdict", |b, _| {
                guard(b)["rules"]["action"] = "DENY".into();
                let without = json!({"not_id": principals(b)[0]});
                *principals(b) = vec![without];
            }),
            explain("it asks for a region, and for more", |b, _| {
                principals(b)[0]["filter_state"]["string_match"] = json!({"prefix": "allow;us-east-1;"});
                let more = json!({"header": {"name": "x-api-key", "present_match": true}});
                *principals(b) = vec![json!({"and_ids": {"ids": [principals(b)[0], more]}})];
            }),
        ],
    },
    Row {
        rule: "guard_only_shadow",
        bad: &[
            explain("it counts", |b, _| shadow_guard(b)),
            explain("its note is demanded on some paths only", |b, _| {
                noting_guard(b);
                at(&mut filters(b)[2], "/typed_config/rules/policies")["hole"] = json!(
                    {"permissions": [{"url_path": {"path": {"prefix": "/x"}}}], "principals": [{"any": true}]});
            }),
        ],
        good: &[explain("its note is demanded by Istio's own filter", |b, _| noting_guard(b))],
    },
    Row {
        rule: "half_switched",
        bad: &[explain("the policy only watches", |b, _| shadow_policy(b))],
        good: &[explain("both only watch", |b, _| {
            shadow_policy(b);
            shadow_guard(b);
        })],
    },
    Row {
        rule: "filter_disabled",
        bad: &[explain("on the chain", |b, _| filters(b)[0]["disabled"] = true.into())],
        good: &[explain("on the chain, and enabled by each route", |b, _| {
            filters(b)[0]["disabled"] = true.into();
            enable(route(b), WASM);
        })],
    },
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
        ],
        good: &[
            explain("another chain to another service", |b, _| {
                let elsewhere = somebody_else(b);
                let other = second_chain(b, &[router()]);
                manager_of(other)["route_config"]["virtual_hosts"][0]["routes"] = json!([elsewhere]);
            }),
            explain("another chain, with the guard alone", |b, _| {
                let guard = filters(b)[1].clone();
                second_chain(b, &[guard, router()]);
            }),
            explain("another chain, with a policy of its own", |b, _| {
                let mut filters = filters(b).clone();
                at(&mut filters[0], "/typed_config/config/configuration/value")["name"] = "other".into();
                let principal = "/typed_config/rules/policies/genesys_mtls_allowed/principals/0";
                at(&mut filters[1], principal)["filter_state"]["key"] = "wasm.genesys_mtls.other".into();
                second_chain(b, &filters);
            }),
        ],
    },
    Row {
        rule: "partly_guarded",
        bad: &[of("scope/port.yaml", "as shipped", |_, _| {})],
        good: &[of("scope/port.yaml", "the others are served by their own port alone", |b, _| {
            drop(list(manager(b), "/route_config/virtual_hosts").pop());
        })],
    },
    Row {
        rule: "upgrade_bypass",
        bad: &[explain("filters of its own", |b, _| {
            manager(b)["upgrade_configs"] = json!([{"upgrade_type": "websocket", "filters": [router()]}]);
        })],
        good: &[
            explain("the chain's filters", |b, _| {
                manager(b)["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
            }),
            explain("filter and guard repeated", |b, _| {
                let filters = filters(b).clone();
                manager(b)["upgrade_configs"] = json!([{"upgrade_type": "websocket", "filters": filters}]);
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
            explain("a route whose cluster a plugin chooses", |b, _| {
                disable(route(b), RBAC);
                let lua = json!({"source_code": {"inline_string": "function envoy_on_route(h) return 'service' end"},
                                 "default_cluster": "service"});
                let lua = typed("envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig", lua);
                route(b)["route"] = json!({"inline_cluster_specifier_plugin": {"extension": {"name": "lua", "typed_config": lua}}});
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
    Row {
        rule: "routes_unknown",
        bad: &[
            explain("scoped routes", scoped_routes),
            explain("a matcher tree", |b, _| routes_by_matcher(b)),
        ],
        good: &[explain("RDS", routes_from_file)],
    },
    Row {
        rule: "no_tls",
        bad: &[explain("plain text", |b, _| drop(remove(chain(b), "transport_socket")))],
        good: &[of("http3.yaml", "a chain over QUIC", |_, _| {})],
    },
    Row {
        rule: "client_certificate_not_asked",
        bad: &[
            explain("no validation context", |b, _| {
                remove(at(tls(b), "/common_tls_context"), "validation_context");
            }),
            explain("one that names no CA", |b, _| {
                tls(b)["require_client_certificate"] = true.into();
                at(tls(b), "/common_tls_context")["validation_context"] = json!({});
            }),
        ],
        good: &[explain("one from SDS", client_cas_from_file)],
    },
    Row {
        rule: "session_resumption",
        bad: &[
            of("strict.yaml", "by tickets", |b, _| {
                tls(b)["disable_stateless_session_resumption"] = false.into();
            }),
            of("strict.yaml", "by session ids", |b, _| {
                tls(b)["disable_stateful_session_resumption"] = false.into();
            }),
            of("strict.yaml", "by tickets, the CAs from SDS", |b, world| {
                tls(b)["disable_stateless_session_resumption"] = false.into();
                client_cas_from_file(b, world);
            }),
        ],
        good: &[
            of("strict.yaml", "neither", |_, _| {}),
            explain("where TLS verifies nothing", |_, _| {}),
            explain("the same, from SDS", client_cas_from_file),
        ],
    },
    Row {
        rule: "certificate_not_shown",
        bad: &[
            before_1_39("no attribute, no header", |_, _| {}),
            explain("no filter that puts it there", |b, _| {
                policy(b)["peer_certificate"] = json!({"source": "filter_state"});
            }),
            of("filter-state.yaml", "under another key", |b, _| {
                let policy = at(&mut filters(b)[1], "/typed_config/config/configuration/value");
                policy["peer_certificate"]["filter_state_key"] = "another.key".into();
            }),
            explain("XFCC without the certificate", |b, _| {
                policy(b)["peer_certificate"] = json!({"source": "xfcc"});
            }),
        ],
        good: &[
            explain("an attribute", |b, _| policy(b)["peer_certificate"] = json!({"source": "attribute"})),
            of("filter-state.yaml", "as shipped", |_, _| {}),
            before_1_39("XFCC with the certificate", |b, _| certificate_in_xfcc(b)),
        ],
    },
    Row {
        rule: "forgeable_client_cert_header",
        bad: &[explain("the client's own header", |b, _| {
            manager(b)["forward_client_cert_details"] = "ALWAYS_FORWARD_ONLY".into();
        })],
        good: &[
            explain("Envoy's", |b, _| certificate_in_xfcc(b)),
            of("behind-proxy.yaml", "a trusted hop's", |_, _| {}),
        ],
    },
    Row {
        rule: "hop_header_removed",
        bad: &[of("behind-proxy.yaml", "removed", |b, _| {
            manager(b)["forward_client_cert_details"] = "SANITIZE".into();
        })],
        good: &[of("behind-proxy.yaml", "another header", |b, _| {
            manager(b)["forward_client_cert_details"] = "SANITIZE".into();
            *at(policy(b), "/peer_certificate/danger_trusted_hop/header") = "x-client-cert".into();
        })],
    },
    Row {
        rule: "hop_unverified",
        bad: &[of("behind-proxy.yaml", "a name, and TLS verifies nothing", |b, _| {
            at(tls(b), "/common_tls_context/validation_context")["trust_chain_verification"] =
                "ACCEPT_UNTRUSTED".into();
        })],
        good: &[of("behind-proxy.yaml", "its certificate, and TLS verifies nothing", |b, _| {
            at(tls(b), "/common_tls_context/validation_context")["trust_chain_verification"] =
                "ACCEPT_UNTRUSTED".into();
            *at(policy(b), "/peer_certificate/danger_trusted_hop/peer") =
                json!({"sha256": ["ab".repeat(32)]});
        })],
    },
    Row {
        rule: "no_stream_bound",
        bad: &[
            explain("none", |b, _| manager(b)["stream_idle_timeout"] = "0s".into()),
            explain("none on a route", |b, _| route(b)["route"]["idle_timeout"] = "0s".into()),
        ],
        good: &[
            explain("Envoy's own", |b, _| drop(remove(manager(b), "stream_idle_timeout"))),
            explain("on the whole stream", |b, _| {
                manager(b)["stream_idle_timeout"] = "0s".into();
                manager(b)["common_http_protocol_options"]["max_stream_duration"] = "300s".into();
            }),
        ],
    },
    Row {
        rule: "callout_cluster_missing",
        bad: &[
            explain("the API's", |b, _| {
                policy(b)["refresh"] = json!({"clusters": {"api": "nowhere", "login": "genesys_login"}});
            }),
            explain("a revocation list's", |b, _| revocation(b)),
        ],
        good: &[explain("a revocation list's that is there", |b, _| {
            revocation(b);
            clusters(b).push(json!({"name": "crl", "connect_timeout": "1s"}));
        })],
    },
    Row {
        rule: "callout_without_tls",
        bad: &[explain("plain text", |b, _| drop(remove(cluster(b, "genesys_api"), "transport_socket")))],
        good: &[explain("TLS chosen by endpoint", |b, _| {
            let socket = remove(cluster(b, "genesys_api"), "transport_socket");
            cluster(b, "genesys_api")["transport_socket_matches"] =
                json!([{"name": "tls", "match": {}, "transport_socket": socket}]);
        })],
    },
    Row {
        rule: "callout_unverified_chain",
        bad: &[
            explain("sni alone", |b, _| {
                remove(at(callout_tls(b), "/common_tls_context"), "validation_context");
            }),
            explain("any CA", |b, _| {
                callout_validation(b)["trust_chain_verification"] = "ACCEPT_UNTRUSTED".into();
            }),
        ],
        good: &[explain("the CA from SDS, the name from here", callout_ca_from_file)],
    },
    Row {
        rule: "callout_unverified_host",
        bad: &[
            explain("any name", |b, _| {
                remove(callout_validation(b), "match_typed_subject_alt_names");
            }),
            explain("half the world's names", |b, _| callout_names(b, &[json!({"suffix": ".com"})])),
            explain("names that begin so", |b, _| callout_names(b, &[json!({"prefix": "api."})])),
            explain("another name that is broad", |b, _| {
                callout_names(b, &[json!({"exact": "api.mypurecloud.com"}), json!({"contains": "."})]);
            }),
        ],
        good: &[
            explain("a suffix of the domain", |b, _| {
                callout_names(b, &[json!({"suffix": ".mypurecloud.com"})]);
            }),
            explain("an expression", |b, _| {
                let regex = json!({"safe_regex": {"regex": "(api|login)\\.mypurecloud\\.com"}});
                callout_names(b, &[regex]);
            }),
            explain("the name that was asked for", |b, _| {
                remove(callout_validation(b), "match_typed_subject_alt_names");
                callout_tls(b)["auto_sni_san_validation"] = true.into();
            }),
        ],
    },
    Row {
        rule: "callout_wrong_host",
        bad: &[explain("another host's", |b, _| callout_names(b, &[json!({"exact": "api.example"})]))],
        good: &[explain("both hosts'", |b, _| {
            let names = ["login.mypurecloud.com", "api.mypurecloud.com"];
            callout_names(b, &names.map(|name| json!({"exact": name})));
        })],
    },
    Row {
        rule: "fail_open",
        bad: &[
            explain("by its policy", |b, _| plugin(b)["failure_policy"] = "FAIL_OPEN".into()),
            explain("by the older field", |b, _| {
                remove(plugin(b), "failure_policy");
                plugin(b)["fail_open"] = true.into();
            }),
        ],
        good: &[explain("as shipped", |_, _| {})],
    },
    Row {
        rule: "failure_policy",
        bad: &[
            explain("the default", |b, _| drop(remove(plugin(b), "failure_policy"))),
            explain("closed for ever", |b, _| plugin(b)["failure_policy"] = "FAIL_CLOSED".into()),
        ],
        good: &[explain("as shipped", |_, _| {})],
    },
    Row {
        rule: "capability_missing",
        bad: &[
            explain("without a callback", |b, _| {
                plugin(b)["capability_restriction_config"] = capabilities();
                let allowed = at(plugin(b), "/capability_restriction_config/allowed_capabilities");
                remove(allowed, "proxy_on_request_headers");
            }),
            explain("without a call", |b, _| {
                plugin(b)["capability_restriction_config"] = capabilities();
                let allowed = at(plugin(b), "/capability_restriction_config/allowed_capabilities");
                remove(allowed, "proxy_set_property");
            }),
            explain("in the VM's own configuration", |b, _| {
                plugin(b)["vm_config"]["capability_restriction_config"] =
                    json!({"allowed_capabilities": {"proxy_on_configure": {}}});
            }),
        ],
        good: &[
            explain("the shipped list", |b, _| {
                plugin(b)["capability_restriction_config"] = capabilities();
            }),
            explain("the same in the VM's own configuration", |b, _| {
                plugin(b)["vm_config"]["capability_restriction_config"] = capabilities();
            }),
        ],
    },
    Row {
        rule: "credentials_not_passed",
        bad: &[
            explain("none", |b, _| drop(remove(&mut plugin(b)["vm_config"], "environment_variables"))),
            explain("others", |b, _| {
                policy(b)["refresh"] = json!({"oauth": {"client_secret_env": "ANOTHER_SECRET"}});
            }),
        ],
        good: &[
            explain("others that are passed", |b, _| {
                policy(b)["refresh"] = json!({"oauth": {"client_secret_env": "ANOTHER_SECRET"}});
                list(plugin(b), "/vm_config/environment_variables/host_env_keys")
                    .push("ANOTHER_SECRET".into());
            }),
            of("scope/listener.yaml", "a policy that needs none", |_, _| {}),
        ],
    },
    Row {
        rule: "secret_in_configuration",
        bad: &[explain("id and secret", |b, _| {
            plugin(b)["vm_config"]["environment_variables"] =
                json!({"key_values": {"GENESYS_CLIENT_ID": "id", "GENESYS_CLIENT_SECRET": "secret"}});
        })],
        good: &[explain("the id alone", |b, _| {
            plugin(b)["vm_config"]["environment_variables"] = json!({"key_values": {"GENESYS_CLIENT_ID": "id"}, "host_env_keys": ["GENESYS_CLIENT_SECRET"]});
        })],
    },
    Row {
        rule: "shared_environment",
        bad: &[before_1_39("one VM, two environments", |b, _| another_environment(b))],
        good: &[
            explain("the same from 1.39 on", |b, _| another_environment(b)),
            before_1_39("two VMs", |b, _| {
                another_environment(b);
                plugin(b)["vm_config"]["vm_id"] = "one".into();
            }),
        ],
    },
];

/// Examines an Envoy with this example; nothing if it is older than the example. A newer one's dump is said to be of 1.38: but
/// for the version it would be the same.
async fn examined(example: &Example, world: &World) -> Option<(i32, Vec<String>, String)> {
    let is_old = envoy::version() < (1, 39);
    if is_old && !example.before_1_39 {
        // `World::localize` has changed the file: the example is no longer what it says.
        return None;
    }
    let envoy = match start(world, example.file, example.change).await {
        Ok(envoy) => envoy,
        Err(error) => return Some((-1, Vec::new(), error.to_string())),
    };
    let mut dump = dump(&envoy).await;
    if example.before_1_39 && !is_old {
        let sections = dump["configs"].as_array_mut().expect("sections");
        let mut nodes = sections.iter_mut().filter_map(|section| section.pointer_mut("/bootstrap/node"));
        let node = nodes.next().expect("a node");
        node["user_agent_build_version"]["version"] = json!({"major_number": 1, "minor_number": 38});
    }
    let outcome = examine(&dump);
    Some((outcome.code, findings(&outcome), outcome.stdout + &outcome.stderr))
}

/// Severity and code of each rule, as the tool lists them.
fn catalogue() -> Vec<(String, String)> {
    let json = run(&["doctor", "--rules", "--json"]).json();
    let text = |rule: &Value, key: &str| rule[key].as_str().expect("text").to_owned();
    json.as_array().expect("rules").iter().map(|rule| (text(rule, "severity"), text(rule, "rule"))).collect()
}

#[test]
fn every_rule_has_a_bad_example_and_a_good_one() {
    let rules: Vec<String> = catalogue().into_iter().map(|(_, rule)| rule).collect();
    assert_eq!(ROWS.iter().map(|row| row.rule).collect::<Vec<_>>(), rules);
    for row in ROWS {
        assert!(!row.bad.is_empty() && !row.good.is_empty(), "{}", row.rule);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_example_is_found_by_its_own_rule_alone() {
    let (world, catalogue, mut wrong) = (world().await, catalogue(), Vec::new());
    for (row, (severity, rule)) in ROWS.iter().zip(&catalogue) {
        for example in row.bad {
            let Some((code, found, said)) = examined(example, &world).await else { continue };
            let expected = format!("{severity}[{rule}]");
            let alone = !found.is_empty() && found.iter().all(|finding| *finding == expected);
            if code != i32::from(severity != "note") || !alone {
                wrong.push(format!("{rule}, {}: {said}", example.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_good_example_is_clean() {
    let (world, mut wrong) = (world().await, Vec::new());
    for row in ROWS {
        for example in row.good {
            let Some((code, found, said)) = examined(example, &world).await else { continue };
            if code != 0 || !found.is_empty() {
                wrong.push(format!("{}, {}: {said}", row.rule, example.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
