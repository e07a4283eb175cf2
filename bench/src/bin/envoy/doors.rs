//! One Envoy with a listener per contender. Each answers directly, so that no service adds noise to the measurement.

use serde_json::{Value, json};
use std::{net::SocketAddr, path::PathBuf};
use testbed::{World, config, paths};

/// A way to admit the client, or none.
pub struct Door {
    pub id: &'static str,
    pub title: &'static str,
    filters: Vec<Value>,
}

/// The contenders, in the table's order.
pub fn doors(world: &World, many: &str) -> Vec<Door> {
    let leaf = &world.pki.us.genesys;
    let door = |id, title, filters| Door { id, title, filters };
    let digest = json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": leaf.sha256});
    let rival = |name: &str| {
        let module = paths::target_dir().join(format!("wasm32-wasip1/release/examples/{name}.wasm"));
        wasm(name, module, &digest)
    };
    let mut policy = world.policy();
    let cas = &mut policy["regions"][world.pki.us.region.id]["genesys"]["ca_certificates"];
    *cas = format!("{}{many}", cas.as_str().unwrap_or_default()).into();
    let ours = |id: &str| wasm(id, paths::wasm_module(), &config::plugin_struct(&policy));
    let mut with_header = policy.clone();
    with_header["identity"] = json!({"header": "x-genesys-cloud-client"});
    let with_header = wasm("header", paths::wasm_module(), &config::plugin_struct(&with_header));
    vec![
        door("none", "no filter", vec![]),
        door("rbac", "native RBAC on the SAN", vec![rbac_on_san(world.pki.us.region.certificate_name)]),
        door("lua", "Lua comparing the digest", vec![lua(&leaf.sha256)]),
        door("empty", "SDK filter that does nothing", vec![rival("empty")]),
        door("digest", "SDK filter looking up the digest, enforcing nothing", vec![rival("digest")]),
        door("verdict", "the same with a verdict and a guard", vec![rival("verdict"), guard()]),
        door("bare", "no SDK, the same two host calls as ours", vec![rival("bare")]),
        door("bare_guard", "the same with a guard", vec![rival("bare"), guard()]),
        door("ours", "**this filter**", vec![ours("ours")]),
        door("ours_guard", "**this filter with its guard**", vec![ours("guard"), guard()]),
        door("ours_header", "the same with an identity header", vec![with_header, guard()]),
        door("ours_deny", "this filter, denying", vec![ours("deny"), guard()]),
        door("ext_authz", "ext_authz asking a local service over HTTP", vec![ext_authz()]),
    ]
}

/// The shipped *explain* profile with a listener for each door.
pub fn bootstrap(world: &World, doors: &[Door], authz: SocketAddr) -> Value {
    let mut bootstrap = world.bootstrap("envoy/envoy.yaml");
    let resources = &mut bootstrap["static_resources"];
    let shipped = resources["listeners"][0].take();
    let listeners = doors.iter().map(|door| {
        let mut listener = shipped.clone();
        listener["name"] = door.id.into();
        let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
        manager["stat_prefix"] = door.id.into();
        manager["access_log"] = json!([]);
        manager["forward_client_cert_details"] = if door.id == "ext_authz" { "SANITIZE_SET" } else { "SANITIZE" }.into();
        let router = manager["http_filters"].as_array_mut().and_then(Vec::pop).expect("a router");
        manager["http_filters"] = door.filters.iter().cloned().chain([router]).collect();
        manager["route_config"]["virtual_hosts"][0]["routes"] =
            json!([{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}]);
        listener
    });
    resources["listeners"] = listeners.collect();
    let endpoint =
        json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": authz.port()}}});
    let cluster = json!({"name": "authz", "type": "STATIC", "load_assignment": {
        "cluster_name": "authz", "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
    }});
    resources["clusters"].as_array_mut().expect("clusters").push(cluster);
    bootstrap
}

/// Each contender has its own VM: they share neither crashes nor memory.
fn wasm(id: &str, module: PathBuf, configuration: &Value) -> Value {
    json!({"name": "envoy.filters.http.wasm", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": id,
            "root_id": id,
            "failure_policy": "FAIL_RELOAD",
            "vm_config": {
                "vm_id": id,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": module}},
                "environment_variables": {"host_env_keys": ["GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET"]},
            },
            "configuration": configuration,
        },
    }})
}

fn guard() -> Value {
    let verdict =
        json!({"filter_state": {"key": "wasm.genesys_mtls.default", "string_match": {"prefix": "allow;"}}});
    rbac(verdict)
}

fn rbac_on_san(name: &str) -> Value {
    rbac(json!({"authenticated": {"principal_name": {"exact": name}}}))
}

fn rbac(principal: Value) -> Value {
    json!({"name": "envoy.filters.http.rbac", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"action": "ALLOW", "policies": {"allowed": {
            "permissions": [{"any": true}], "principals": [principal],
        }}},
    }})
}

fn lua(digest: &str) -> Value {
    let script = format!(
        "function envoy_on_request(handle)
           local ssl = handle:streamInfo():downstreamSslConnection()
           if ssl == nil or ssl:sha256PeerCertificateDigest() ~= \"{digest}\" then
             handle:respond({{[\":status\"] = \"403\"}}, \"\")
           end
         end"
    );
    json!({"name": "envoy.filters.http.lua", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": script},
    }})
}

fn ext_authz() -> Value {
    json!({"name": "envoy.filters.http.ext_authz", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "allowed_headers": {"patterns": [{"exact": "x-forwarded-client-cert"}]},
        "http_service": {"server_uri": {"uri": "http://authz.example", "cluster": "authz", "timeout": "5s"}},
    }})
}
