//! Istio's part: the Envoy configuration that its control plane makes of the manifests for a gateway.
//!
//! Written after Istio's own translation, as far as it concerns these manifests: `StringValue` configuration, no VM id,
//! the filter by extension discovery, `outbound|443||<host>` clusters with their secrets from files, XFCC with `Cert`,
//! no idle timeout, the RBAC of authorization policies behind the plugins of phase AUTHN, Istio's own filters before the
//! router.

use crate::{
    World, config,
    manifests::{kind, strings},
    paths,
};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Istio's name for the listener.
pub const LISTENER: &str = "0.0.0.0_443";

const ROUTER: &str = "envoy.filters.http.router";

/// A bootstrap with everything that a gateway would get, fitted to the world.
pub fn gateway(manifests: &[Value], world: &World) -> Value {
    let server = &kind(manifests, "Gateway")[0]["spec"]["servers"][0];
    assert_eq!(server["port"]["protocol"], "HTTPS");
    let mut chain = json!({
        "filter_chain_match": {"server_names": server["hosts"]},
        "filters": [connection_manager(manifests, server, world)],
        "transport_socket": downstream_tls(server, world),
    });
    for patch in
        kind(manifests, "EnvoyFilter").iter().filter_map(|m| m["spec"]["configPatches"].as_array()).flatten()
    {
        apply_patch(patch, &mut chain);
    }
    let mut clusters = external_clusters(manifests, world);
    clusters.push(cluster("outbound|8080||service.default.svc.cluster.local", world.upstream.addr()));
    json!({
        "node": {"id": "router~127.0.0.1~gateway.istio-ingress~cluster.local", "cluster": "genesys-ingressgateway.istio-ingress"},
        "static_resources": {
            "listeners": [{
                "name": LISTENER,
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "listener_filters": [{"name": "envoy.filters.listener.tls_inspector", "typed_config":
                    {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}],
                "filter_chains": [chain],
            }],
            "clusters": clusters,
        },
    })
}

/// The plugin as Istio's agent hands it to Envoy by extension discovery.
pub fn wasm_filter(manifest: &Value) -> Value {
    let spec = &manifest["spec"];
    let mut environment = json!({"key_values": {"ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": "1"}});
    for variable in spec["vmConfig"]["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().expect("a name");
        if variable["valueFrom"] == "HOST" {
            match &mut environment["host_env_keys"] {
                Value::Array(keys) => keys.push(name.into()),
                none => *none = json!([name]),
            }
        } else {
            environment["key_values"][name] = variable["value"].clone();
        }
    }
    let policy = match spec["failStrategy"].as_str() {
        Some("FAIL_RELOAD") => "FAIL_RELOAD",
        Some("FAIL_OPEN") => "FAIL_OPEN",
        _ => "FAIL_CLOSED",
    };
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": resource_name(manifest),
            "root_id": spec["pluginName"],
            "failure_policy": policy,
            "configuration": config::plugin_text(&spec["pluginConfig"].to_string()),
            "vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": paths::wasm_module()}},
                "environment_variables": environment,
            },
        },
    })
}

fn resource_name(manifest: &Value) -> String {
    let text = |key: &str| manifest["metadata"][key].as_str().expect("metadata").to_owned();
    format!("{}.{}", text("namespace"), text("name"))
}

/// Where [`gateway`] has the plugin read from.
pub fn plugin_file(world: &World) -> PathBuf {
    world.path("wasm-plugin.json")
}

fn connection_manager(manifests: &[Value], server: &Value, world: &World) -> Value {
    let mut filters = Vec::new();
    for plugin in kind(manifests, "WasmPlugin") {
        assert_eq!(plugin["spec"]["phase"], "AUTHN");
        let name = resource_name(plugin);
        config::write_filter(&plugin_file(world), 1, &name, &wasm_filter(plugin)).expect("the plugin's file");
        filters.push(json!({"name": name, "config_discovery": {
            "config_source": {
                "path_config_source": {"path": plugin_file(world)},
                "initial_fetch_timeout": "0s",
                "resource_api_version": "V3",
            },
            "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                          "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"],
        }}));
    }
    filters.extend(authorization(manifests));
    for (name, message) in [("fault", "fault.v3.HTTPFault"), ("cors", "cors.v3.Cors")] {
        filters.push(json!({"name": format!("envoy.filters.http.{name}"),
            "typed_config": {"@type": format!("type.googleapis.com/envoy.extensions.filters.http.{message}")}}));
    }
    filters.push(json!({"name": ROUTER,
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}));
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": format!("outbound_{LISTENER}"),
            "forward_client_cert_details": "SANITIZE_SET",
            "set_current_client_cert_details": {"subject": true, "cert": true, "dns": true, "uri": true},
            "stream_idle_timeout": "0s",
            "server_name": "istio-envoy",
            "http_filters": filters,
            "route_config": {
                "name": "https.443.https.genesys-ingress.istio-ingress",
                "virtual_hosts": [{
                    "name": "service.example:443",
                    "domains": server["hosts"],
                    "routes": [{"match": {"prefix": "/"},
                                "route": {"cluster": "outbound|8080||service.default.svc.cluster.local", "timeout": "0s"}}],
                }],
            },
        },
    })
}

fn downstream_tls(server: &Value, world: &World) -> Value {
    let tls = &server["tls"];
    let required = match tls["mode"].as_str() {
        Some("MUTUAL") => true,
        Some("OPTIONAL_MUTUAL") => false,
        other => panic!("TLS mode {other:?}"),
    };
    let roots = [&world.pki.us.root, &world.pki.eu.root, &world.pki.digicert_root];
    let file = world.write("ca.crt", roots.map(|ca| ca.pem.as_str()).concat()).expect("ca.crt");
    let verification =
        if tls["insecureSkipVerify"] == true { "ACCEPT_UNTRUSTED" } else { "VERIFY_TRUST_CHAIN" };
    let secret = sds(
        world,
        "genesys-ingress-cacert",
        json!({"validation_context": {"trusted_ca": {"filename": file}}}),
    );
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": required,
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": {"tls_minimum_protocol_version": tls["minProtocolVersion"].as_str().unwrap_or("TLSV1_2").replace("TLSV", "TLSv")},
                "tls_certificates": [{"certificate_chain": {"filename": world.path("server.crt")},
                                      "private_key": {"filename": world.path("server.key")}}],
                "combined_validation_context": {
                    "default_validation_context": {"trust_chain_verification": verification},
                    "validation_context_sds_secret_config": secret,
                },
            },
        },
    })
}

/// A cluster for each host and port of the service entries, with TLS as its destination rule says.
fn external_clusters(manifests: &[Value], world: &World) -> Vec<Value> {
    let rules = kind(manifests, "DestinationRule");
    let mut clusters = Vec::new();
    for entry in kind(manifests, "ServiceEntry") {
        for host in strings(&entry["spec"]["hosts"]) {
            for port in entry["spec"]["ports"].as_array().into_iter().flatten() {
                let rule = rules.iter().find(|rule| rule["spec"]["host"] == host);
                let addr = if rule.is_some() { world.genesys.addr() } else { world.genesys.crl_addr() };
                let mut cluster = cluster(&format!("outbound|{}||{host}", port["number"]), addr);
                if let Some(rule) = rule {
                    cluster["transport_socket"] = upstream_tls(&rule["spec"]["trafficPolicy"]["tls"], world);
                }
                clusters.push(cluster);
            }
        }
    }
    clusters
}

fn upstream_tls(tls: &Value, world: &World) -> Value {
    assert_eq!((&tls["mode"], &tls["caCertificates"]), (&json!("SIMPLE"), &json!("system")));
    let exact: Vec<Value> = strings(&tls["subjectAltNames"]).map(|name| json!({"exact": name})).collect();
    let secret = sds(
        world,
        "file-root:system",
        json!({"validation_context": {"trusted_ca": {"filename": world.path("api-ca.crt")}}}),
    );
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": tls["sni"],
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
                "combined_validation_context": {
                    "default_validation_context": {"match_subject_alt_names": exact},
                    "validation_context_sds_secret_config": secret,
                },
            },
        },
    })
}

/// A secret from a file, as the agent serves it.
fn sds(world: &World, name: &str, secret: Value) -> Value {
    let mut resource = secret;
    resource["@type"] = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret".into();
    resource["name"] = name.into();
    let file = format!("{}.json", name.replace(':', "-"));
    let file = world
        .write(&file, json!({"version_info": "1", "resources": [resource]}).to_string())
        .expect("a secret");
    json!({"name": name, "sds_config": {"path_config_source": {"path": file}, "resource_api_version": "V3"}})
}

fn cluster(name: &str, addr: std::net::SocketAddr) -> Value {
    let address = json!({"socket_address": {"address": addr.ip().to_string(), "port_value": addr.port()}});
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "10s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
    })
}

/// The filters that Istio makes of authorization policies: one of all that deny, and behind it one of all that allow.
fn authorization(manifests: &[Value]) -> Vec<Value> {
    let policies = kind(manifests, "AuthorizationPolicy");
    let of =
        |action: &str| policies.iter().copied().filter(|policy| policy["spec"]["action"] == action).collect();
    let by_action: [(&str, Vec<&Value>); 2] = ["DENY", "ALLOW"].map(|action| (action, of(action)));
    assert_eq!(by_action.iter().map(|(_, policies)| policies.len()).sum::<usize>(), policies.len());
    by_action
        .iter()
        .filter(|(_, policies)| !policies.is_empty())
        .map(|(action, all)| rbac(action, all))
        .collect()
}

fn rbac(action: &str, manifests: &[&Value]) -> Value {
    let mut policies = json!({});
    for manifest in manifests {
        for (index, rule) in manifest["spec"]["rules"].as_array().expect("rules").iter().enumerate() {
            let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
            policies[format!("ns[istio-ingress]-policy[{name}]-rule[{index}]")] = json!({
                "permissions": [{"and_rules": {"rules": permissions(rule)}}],
                "principals": [{"and_ids": {"ids": [{"any": true}]}}],
            });
        }
    }
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": action, "policies": policies},
            "shadow_rules_stat_prefix": format!("istio_dry_run_{}_", action.to_lowercase()),
        },
    })
}

/// What a rule's conditions become, all of which have to be met.
fn permissions(rule: &Value) -> Vec<Value> {
    assert!(rule["to"].is_null() && rule["from"].is_null(), "not modelled: {rule}");
    let mut all = Vec::new();
    for condition in rule["when"].as_array().into_iter().flatten() {
        let key = condition["key"].as_str().and_then(|key| key.strip_prefix("experimental."));
        let (filter, key) =
            key.expect("a filter's key").trim_end_matches(']').split_once('[').expect("filter[key]");
        let any_of = |values: &Value| {
            let is = |value: &str| json!({"metadata": {"filter": filter, "path": [{"key": key}], "value": {"string_match": {"exact": value}}}});
            let values: Vec<Value> = strings(values).map(is).collect();
            (!values.is_empty()).then(|| json!({"or_rules": {"rules": values}}))
        };
        all.extend(any_of(&condition["values"]));
        all.extend(any_of(&condition["notValues"]).map(|any| json!({"not_rule": any})));
    }
    if all.is_empty() { vec![json!({"any": true})] } else { all }
}

/// A patch of Envoy's configuration, where it matches.
fn apply_patch(patch: &Value, chain: &mut Value) {
    assert_eq!(patch["match"]["context"], "GATEWAY");
    let (operation, value) = (patch["patch"]["operation"].as_str(), &patch["patch"]["value"]);
    let filter = &patch["match"]["listener"]["filterChain"]["filter"];
    match (patch["applyTo"].as_str(), operation) {
        (Some("FILTER_CHAIN"), Some("MERGE")) => {
            // Without a name the patch would give TLS to chains that have none.
            let sni = &patch["match"]["listener"]["filterChain"]["sni"];
            assert_eq!(json!([sni]), chain["filter_chain_match"]["server_names"]);
            // A transport socket is merged into the one of its name, and a patch with one changes nothing else.
            assert_eq!(value["transport_socket"]["name"], chain["transport_socket"]["name"]);
            merge(&mut chain["transport_socket"], &value["transport_socket"]);
        }
        (Some("NETWORK_FILTER"), Some("MERGE")) => {
            assert_eq!(filter["name"], chain["filters"][0]["name"]);
            merge(&mut chain["filters"][0], value);
        }
        (Some("HTTP_FILTER"), Some("INSERT_BEFORE")) => {
            assert_eq!(filter["name"], chain["filters"][0]["name"]);
            let filters =
                chain["filters"][0]["typed_config"]["http_filters"].as_array_mut().expect("filters");
            // Without such a filter Istio leaves the patch out.
            if let Some(at) = filters.iter().position(|f| f["name"] == filter["subFilter"]["name"]) {
                filters.insert(at, value.clone());
            }
        }
        other => panic!("{other:?} is not understood here"),
    }
}

/// Protobuf's merge: messages field by field, lists joined, everything else replaced.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) => into.extend(from.iter().cloned()),
        (into, from) => *into = from.clone(),
    }
}
