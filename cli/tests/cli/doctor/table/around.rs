//! What stands around filter and guard: TLS, callouts, the VM.

use super::row::{Row, before_1_39, explain, of};
use crate::doctor::changes::{
    another_environment, at, callout_ca_from_file, callout_names, callout_tls, callout_validation,
    capabilities, certificate_in_xfcc, chain, client_cas_from_file, cluster, clusters, filters, forward,
    list, manager, plugin, policy, remove, revocation, route, tls, typed,
};
use crate::doctor::elsewhere::hop_in_front;
use serde_json::json;

pub(super) const ROWS: &[Row] = &[
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
        rule: "client_ca_missing",
        bad: &[explain("the region's root is not in the list", |b, world| {
            testbed::config::set_trusted_ca(b, "DownstreamTlsContext", &world.path("api-ca.crt"));
        })],
        good: &[explain("all are", |_, _| {})],
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
            forward(b, "ALWAYS_FORWARD_ONLY");
        })],
        good: &[
            explain("Envoy's", |b, _| certificate_in_xfcc(b)),
            of("behind-proxy.yaml", "a trusted hop's", |_, _| {}),
        ],
    },
    Row {
        rule: "hop_header_removed",
        bad: &[
            of("behind-proxy.yaml", "removed", |b, _| forward(b, "SANITIZE")),
            of("behind-proxy.yaml", "removed, as nothing is said", |b, _| {
                remove(manager(b), "forward_client_cert_details");
            }),
            of("behind-proxy.yaml", "replaced", |b, _| forward(b, "SANITIZE_SET")),
        ],
        good: &[of("behind-proxy.yaml", "another header", |b, _| {
            forward(b, "SANITIZE");
            *at(policy(b), "/peer_certificate/danger_trusted_hop/header") = "x-client-cert".into();
        })],
    },
    Row {
        rule: "hop_header_appended",
        bad: &[of("behind-proxy.yaml", "appended to", |b, _| forward(b, "APPEND_FORWARD"))],
        good: &[
            of("behind-proxy.yaml", "left alone", |b, _| forward(b, "ALWAYS_FORWARD_ONLY")),
            of("behind-proxy.yaml", "another header", |b, _| {
                forward(b, "APPEND_FORWARD");
                *at(policy(b), "/peer_certificate/danger_trusted_hop/header") = "x-client-cert".into();
            }),
        ],
    },
    Row {
        rule: "hop_forgeable",
        bad: &[of("behind-proxy.yaml", "another listener leads here", |b, _| {
            hop_in_front(b, "FORWARD_ONLY")
        })],
        good: &[of("behind-proxy.yaml", "one that removes the header", |b, _| {
            hop_in_front(b, "SANITIZE_SET")
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
        bad: &[
            explain("plain text", |b, _| drop(remove(cluster(b, "genesys_api"), "transport_socket"))),
            explain("plain text to some endpoints", |b, _| {
                let raw = typed("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", json!({}));
                let raw = json!({"name": "envoy.transport_sockets.raw_buffer", "typed_config": raw});
                let api = cluster(b, "genesys_api");
                api["transport_socket_matches"] =
                    json!([{"name": "plain", "match": {"plain": true}, "transport_socket": raw}]);
                at(api, "/load_assignment/endpoints/0/lb_endpoints/0")["metadata"] =
                    json!({"filter_metadata": {"envoy.transport_socket_match": {"plain": true}}});
            }),
            explain("TLS to some endpoints, and nothing for the rest", |b, _| {
                let socket = remove(cluster(b, "genesys_api"), "transport_socket");
                cluster(b, "genesys_api")["transport_socket_matches"] =
                    json!([{"name": "tls", "match": {"tls": true}, "transport_socket": socket}]);
            }),
        ],
        good: &[
            explain("TLS chosen by endpoint", |b, _| {
                let socket = remove(cluster(b, "genesys_api"), "transport_socket");
                cluster(b, "genesys_api")["transport_socket_matches"] =
                    json!([{"name": "tls", "match": {}, "transport_socket": socket}]);
            }),
            explain("TLS through a proxy", |b, _| {
                let socket = remove(cluster(b, "genesys_api"), "transport_socket");
                let kind = "envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport";
                let proxy = typed(kind, json!({"transport_socket": socket}));
                cluster(b, "genesys_api")["transport_socket"] =
                    json!({"name": "envoy.transport_sockets.http_11_proxy", "typed_config": proxy});
            }),
        ],
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
            explain("the name that was asked for, and none was", |b, _| {
                callout_tls(b)["auto_sni_san_validation"] = true.into();
                remove(callout_tls(b), "sni");
            }),
            explain("a suffix that others' names have", |b, _| {
                callout_names(b, &[json!({"suffix": "mypurecloud.com"})]);
            }),
            explain("our name, and another's", |b, _| {
                callout_names(
                    b,
                    &[json!({"exact": "api.mypurecloud.com"}), json!({"exact": "evil.example"})],
                );
            }),
            explain("an expression with another's name in it", |b, _| {
                let regex = json!({"safe_regex": {"regex": "api\\.mypurecloud\\.com|evil\\.example"}});
                callout_names(b, &[regex]);
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
        bad: &[
            explain("another host's", |b, _| callout_names(b, &[json!({"exact": "api.example"})])),
            explain("another host is asked for, and its name verified", |b, _| {
                callout_tls(b)["auto_sni_san_validation"] = true.into();
                callout_tls(b)["sni"] = "evil.example".into();
            }),
        ],
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
        rule: "headers_stop_iteration",
        bad: &[explain("allowed", |b, _| plugin(b)["allow_on_headers_stop_iteration"] = true.into())],
        good: &[explain("as it is without", |b, _| {
            plugin(b)["allow_on_headers_stop_iteration"] = false.into();
        })],
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
