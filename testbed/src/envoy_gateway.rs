//! Envoy Gateway's part: the Envoy configuration that it makes of the manifests under `envoy/envoy-gateway`.
//!
//! Written after its translation as far as it concerns these manifests: a filter that is disabled but for the routes it is for, a
//! `StringValue` configuration, a VM id of its own, a TLS context with the CAs of a ConfigMap and without resumption, and JSON
//! patches on the result.

use crate::{World, config, kustomize, paths};
use serde_json::{Value, json};

const DIRECTORY: &str = "envoy/envoy-gateway";
const FILTER: &str = "envoy.filters.http.wasm/envoyextensionpolicy/default/genesys-mtls/wasm/0";
const VM: &str = "envoyextensionpolicy/default/genesys-mtls/wasm/0";
const ROUTER: &str = "envoy.filters.http.router";

fn manifest(file: &str, kind: &str) -> Value {
    let manifests = kustomize::documents(&paths::workspace_root().join(DIRECTORY).join(file));
    manifests.into_iter().find(|m| m["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {file}"))
}

fn wasm_filter() -> Value {
    let policy = manifest("extension-policy.yaml", "EnvoyExtensionPolicy");
    let wasm = &policy["spec"]["wasm"][0];
    assert_eq!(wasm["failOpen"], false);
    json!({"name": FILTER, "disabled": true, "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": wasm["name"],
            "root_id": wasm["rootID"],
            "configuration": config::plugin_text(&wasm["config"].to_string()),
            "vm_config": {
                "vm_id": VM,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": paths::wasm_module()}},
                "environment_variables": {"host_env_keys": wasm["env"]["hostKeys"]},
            },
        },
    }})
}

/// A listener as Envoy Gateway makes it of the gateway, its route and its traffic policy.
fn listener(world: &World) -> Value {
    let policy = manifest("client-traffic-policy.yaml", "ClientTrafficPolicy");
    let (tls, headers) = (&policy["spec"]["tls"], &policy["spec"]["headers"]);
    assert_eq!(headers["xForwardedClientCert"], json!({"mode": "SanitizeSet", "certDetailsToAdd": ["Cert"]}));
    assert_eq!(headers["withUnderscoresAction"], "RejectRequest");
    let gateway = manifest("gateway.yaml", "Gateway");
    let route = manifest("gateway.yaml", "HTTPRoute");
    let removed = headers["earlyRequestHeaders"]["remove"].as_array().expect("headers");
    let mutations: Vec<Value> = removed.iter().map(|name| json!({"remove": name})).collect();
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "https-443",
        "stream_idle_timeout": policy["spec"]["timeout"]["http"]["streamIdleTimeout"],
        "request_timeout": policy["spec"]["timeout"]["http"]["requestReceivedTimeout"],
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"cert": true},
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "early_header_mutation_extensions": [{"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": mutations,
        }}],
        "http_filters": [wasm_filter(), {"name": ROUTER, "typed_config":
            {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{
            "name": "service",
            "domains": route["spec"]["hostnames"],
            "routes": [{
                "match": {"prefix": "/"},
                "route": {"cluster": "service"},
                "typed_per_filter_config":
                    {FILTER: {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}},
            }],
        }]},
    });
    let required = tls["clientValidation"]["optional"] != true;
    json!({
        "name": format!("default/{}/{}", gateway["metadata"]["name"].as_str().expect("a name"),
                        gateway["spec"]["listeners"][0]["name"].as_str().expect("a name")),
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{
            "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": required,
                "disable_stateless_session_resumption": true,
                "disable_stateful_session_resumption": true,
                "common_tls_context": {
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                    "tls_certificates": [{"certificate_chain": {"filename": world.path("server.crt")},
                                          "private_key": {"filename": world.path("server.key")}}],
                    "validation_context": {"trusted_ca": {"filename": world.path("client-ca.crt")}},
                },
            }},
        }],
    })
}

/// The listener's name, and a bootstrap with everything that a gateway would get, fitted to the world.
pub fn gateway(world: &World) -> (String, Value) {
    let mut listener = listener(world);
    let name = listener["name"].as_str().expect("a name").to_owned();
    let mut clusters = vec![json!({"name": "service", "load_assignment": {"cluster_name": "service"}})];
    let policy = manifest("patches.yaml", "EnvoyPatchPolicy");
    for patch in policy["spec"]["jsonPatches"].as_array().expect("patches") {
        let operation = &patch["operation"];
        assert_eq!(operation["op"], "add");
        match patch["type"].as_str().and_then(|kind| kind.rsplit('.').next()) {
            Some("Listener") => {
                assert_eq!(patch["name"], *name);
                let place = operation["jsonPath"].as_str().expect("a path");
                assert!(place.ends_with(&format!("http_filters[?(@.name=='{ROUTER}')]")), "{place}");
                let filters = listener.pointer_mut("/filter_chains/0/filters/0/typed_config/http_filters");
                let filters = filters.and_then(Value::as_array_mut).expect("filters");
                let at = filters.iter().position(|filter| filter["name"] == ROUTER).expect("a router");
                filters.insert(at, operation["value"].clone());
            }
            Some("Cluster") => {
                assert_eq!((&operation["path"], &operation["value"]["name"]), (&json!(""), &patch["name"]));
                clusters.push(operation["value"].clone());
            }
            other => panic!("{other:?} is not understood here"),
        }
    }
    let mut bootstrap = json!({"static_resources": {"listeners": [listener], "clusters": clusters}});
    world.localize(&mut bootstrap);
    (name, bootstrap)
}
