//! Reading an Envoy bootstrap and fitting it to a test.
//!
//! Everything works on the JSON value, so a shipped file is tested as it is but for addresses and paths.

use std::{fs, io, net::SocketAddr, path::Path};

use serde_json::{Map, Value, json};

/// Reads a YAML (or JSON) file.
///
/// # Panics
/// If it is missing or malformed.
pub fn load_yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    parse_yaml(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Reads YAML text.
pub fn parse_yaml(text: &str) -> Result<Value, String> {
    yaml_serde::from_str(text).map_err(|e| e.to_string())
}

/// Writes a file so that a watcher sees it complete: written aside, then renamed.
pub fn write_atomic(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    io::Write::write_all(&mut new, bytes.as_ref())?;
    new.persist(path)?;
    Ok(())
}

/// Calls `visit` for each object in `value`, outer ones first.
pub fn walk(value: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            visit(map);
            map.values_mut().for_each(|v| walk(v, visit));
        }
        Value::Array(list) => list.iter_mut().for_each(|v| walk(v, visit)),
        _ => {}
    }
}

/// Whether an object is a typed configuration of this message, e.g. `UpstreamTlsContext`.
pub fn is_type(map: &Map<String, Value>, message: &str) -> bool {
    map.get("@type").and_then(Value::as_str).is_some_and(|t| t.rsplit('.').next() == Some(message))
}

/// Changes each typed configuration of a message; says how many there are.
pub fn each_type(value: &mut Value, message: &str, mut change: impl FnMut(&mut Map<String, Value>)) -> usize {
    let mut count = 0;
    walk(value, &mut |map| {
        if is_type(map, message) {
            count += 1;
            change(map);
        }
    });
    count
}

/// The static listeners.
fn listeners(bootstrap: &mut Value) -> &mut Vec<Value> {
    bootstrap["static_resources"]["listeners"].as_array_mut().expect("static listeners")
}

/// Gives each static listener a free port of 127.0.0.1, TCP or UDP as it was.
pub fn free_ports(bootstrap: &mut Value) {
    for listener in listeners(bootstrap) {
        let protocol = listener.pointer("/address/socket_address/protocol").cloned();
        listener["address"] = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
        if let Some(protocol) = protocol {
            listener["address"]["socket_address"]["protocol"] = protocol;
        }
    }
}

/// The static clusters: name, and whether they speak TLS.
pub fn clusters(bootstrap: &Value) -> Vec<(String, bool)> {
    let clusters = bootstrap["static_resources"]["clusters"].as_array().into_iter().flatten();
    clusters
        .filter_map(|c| Some((c["name"].as_str()?.to_owned(), c.get("transport_socket").is_some())))
        .collect()
}

/// Points a static cluster at an address: one static endpoint replaces those it had. TLS stays as it is.
///
/// # Panics
/// If there is no such cluster.
pub fn set_endpoint(bootstrap: &mut Value, cluster: &str, addr: SocketAddr) {
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("static clusters");
    let found = clusters.iter_mut().find(|c| c["name"] == cluster);
    let found = found.unwrap_or_else(|| panic!("no cluster {cluster}")).as_object_mut().expect("a cluster");
    // What belongs to name resolution does not fit a static cluster.
    for key in [
        "cluster_type",
        "dns_lookup_family",
        "dns_refresh_rate",
        "respect_dns_ttl",
        "typed_dns_resolver_config",
    ] {
        found.remove(key);
    }
    found.insert("type".into(), "STATIC".into());
    let address = json!({"socket_address": {"address": addr.ip().to_string(), "port_value": addr.port()}});
    // `hostname` of the endpoint feeds auto_host_sni and the like: keep it.
    let hostname = found
        .get("load_assignment")
        .and_then(|l| l.pointer("/endpoints/0/lb_endpoints/0/endpoint"))
        .and_then(|e| e.get("hostname").or_else(|| e.pointer("/address/socket_address/address")))
        .cloned();
    let mut endpoint = json!({"address": address});
    if let Some(hostname) = hostname {
        endpoint["hostname"] = hostname;
    }
    let assignment =
        json!({"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]});
    found.insert("load_assignment".into(), assignment);
}

/// The certificate and key that every listener presents, over TCP and over QUIC.
pub fn set_server_certificate(bootstrap: &mut Value, cert: &Path, key: &Path) {
    let files = json!([{"certificate_chain": {"filename": cert}, "private_key": {"filename": key}}]);
    for message in ["DownstreamTlsContext", "QuicDownstreamTransport"] {
        each_type(bootstrap, message, |context| {
            for value in context.values_mut() {
                walk(value, &mut |map| {
                    if let Some(certificates) = map.get_mut("tls_certificates") {
                        *certificates = files.clone();
                    }
                });
            }
        });
    }
}

/// `trusted_ca` wherever a TLS context of this message (`DownstreamTlsContext`, `UpstreamTlsContext`) has one; says how
/// many.
pub fn set_trusted_ca(bootstrap: &mut Value, message: &str, ca: &Path) -> usize {
    let mut count = 0;
    each_type(bootstrap, message, |context| {
        let Some(common) = context.get_mut("common_tls_context") else { return };
        walk(common, &mut |map| {
            if let Some(trusted) = map.get_mut("trusted_ca") {
                *trusted = json!({"filename": ca});
                count += 1;
            }
        });
    });
    count
}

/// Makes every HTTP connection manager that only removes `x-forwarded-client-cert` write the peer's certificate into it, and
/// nothing else: where the filter finds it in Envoy before 1.39, whose attributes do not hold it.
pub fn show_certificate_in_xfcc(bootstrap: &mut Value) -> usize {
    each_type(bootstrap, "HttpConnectionManager", |manager| {
        if manager.get("forward_client_cert_details").is_some_and(|mode| mode != "SANITIZE") {
            return;
        }
        manager.insert("forward_client_cert_details".into(), "SANITIZE_SET".into());
        manager.insert("set_current_client_cert_details".into(), json!({"cert": true}));
    })
}

/// Every `PluginConfig` of a wasm filter, in order: `{name, vm_config, configuration, ...}`.
pub fn each_plugin(bootstrap: &mut Value, mut change: impl FnMut(&mut Map<String, Value>)) -> usize {
    each_type(bootstrap, "Wasm", |filter| {
        if let Some(plugin) = filter.get_mut("config").and_then(Value::as_object_mut) {
            change(plugin);
        }
    })
}

/// The wasm module of every plugin.
pub fn set_module(bootstrap: &mut Value, path: &Path) -> usize {
    each_plugin(bootstrap, |plugin| plugin["vm_config"]["code"] = json!({"local": {"filename": path}}))
}

/// The plugin configuration as a plain YAML author writes it: a `Struct`.
pub fn plugin_struct(configuration: &Value) -> Value {
    json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": configuration})
}

/// The plugin configuration as text: a `StringValue`.
pub fn plugin_text(configuration: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration})
}

/// The configuration of every plugin, as a `Struct`.
pub fn set_plugin_configuration(bootstrap: &mut Value, configuration: &Value) -> usize {
    each_plugin(bootstrap, |plugin| drop(plugin.insert("configuration".into(), plugin_struct(configuration))))
}

/// Environment variables of every plugin's VM, added to those that are there.
pub fn set_plugin_env(bootstrap: &mut Value, variables: &[(&str, &str)]) -> usize {
    each_plugin(bootstrap, |plugin| {
        let environment = &mut plugin["vm_config"]["environment_variables"];
        for (name, value) in variables {
            environment["key_values"][*name] = (*value).into();
            // The same name from the host's environment is refused by Envoy.
            if let Some(keys) = environment["host_env_keys"].as_array_mut() {
                keys.retain(|key| key != name);
            }
        }
    })
}

fn discovery(version: u64, resources: &[Value]) -> String {
    json!({"version_info": version.to_string(), "resources": resources}).to_string()
}

/// The `node.id` of an Envoy that reads files which it watches, unless its bootstrap has one.
pub const NODE: &str = "testbed";

fn named_node(bootstrap: &mut Value) {
    if bootstrap["node"]["id"].is_null() {
        bootstrap["node"] = json!({"id": NODE, "cluster": "testbed"});
    }
}

/// Moves the static listeners to a file that Envoy watches. Change them with [`write_listeners`].
pub fn listeners_from_file(bootstrap: &mut Value, file: &Path) -> io::Result<Vec<Value>> {
    let mut moved = std::mem::take(listeners(bootstrap));
    named_node(bootstrap);
    bootstrap["dynamic_resources"]["lds_config"] =
        json!({"path_config_source": {"path": file}, "resource_api_version": "V3"});
    for listener in &mut moved {
        listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
    }
    write_listeners(file, 1, &moved)?;
    Ok(moved)
}

/// Writes a new version of the file that [`listeners_from_file`] made.
pub fn write_listeners(file: &Path, version: u64, listeners: &[Value]) -> io::Result<()> {
    write_atomic(file, discovery(version, listeners))
}

/// Moves the first HTTP filter of this name to a file that Envoy watches, so that a new version serves the next request of
/// open connections too. Returns the filter's typed configuration; change it with [`write_filter`].
///
/// # Panics
/// If there is no such filter.
pub fn filter_from_file(bootstrap: &mut Value, filter: &str, file: &Path) -> io::Result<Value> {
    let mut moved = None;
    walk(bootstrap, &mut |map| {
        for entry in map.get_mut("http_filters").and_then(Value::as_array_mut).into_iter().flatten() {
            if moved.is_none() && entry["name"] == filter && entry.get("typed_config").is_some() {
                let typed = entry["typed_config"].take();
                let url = typed["@type"].clone();
                *entry = json!({"name": filter, "config_discovery": {
                    "config_source": {"path_config_source": {"path": file}, "resource_api_version": "V3"},
                    "type_urls": [url.as_str().unwrap_or_default().trim_start_matches("type.googleapis.com/")],
                }});
                moved = Some(typed);
            }
        }
    });
    let typed = moved.unwrap_or_else(|| panic!("no HTTP filter {filter}"));
    named_node(bootstrap);
    write_filter(file, 1, filter, &typed)?;
    Ok(typed)
}

/// Writes a new version of the file that [`filter_from_file`] made.
pub fn write_filter(file: &Path, version: u64, filter: &str, typed: &Value) -> io::Result<()> {
    let resource = json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": filter,
        "typed_config": typed,
    });
    write_atomic(file, discovery(version, &[resource]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTSTRAP: &str = r#"
static_resources:
  listeners:
  - name: ingress
    address: {socket_address: {address: 0.0.0.0, port_value: 8443}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          http_filters:
          - name: envoy.filters.http.wasm
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: genesys
                vm_config:
                  code: {local: {filename: /etc/envoy/x.wasm}}
                  environment_variables: {host_env_keys: [ID, OTHER], key_values: {A: b}}
                configuration:
                  "@type": type.googleapis.com/google.protobuf.Struct
                  value: {a: 1}
  clusters:
  - name: genesys_api
    type: LOGICAL_DNS
    dns_lookup_family: V4_ONLY
    load_assignment:
      cluster_name: genesys_api
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: api.example, port_value: 443}}}}]}]
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {validation_context: {trusted_ca: {filename: /etc/ssl/ca.crt}}}
"#;

    #[test]
    fn a_bootstrap_is_fitted() {
        let mut config = parse_yaml(BOOTSTRAP).unwrap();
        assert_eq!(clusters(&config), [("genesys_api".to_owned(), true)]);
        free_ports(&mut config);
        set_endpoint(&mut config, "genesys_api", "127.0.0.1:77".parse().unwrap());
        assert_eq!(set_trusted_ca(&mut config, "UpstreamTlsContext", Path::new("/t/ca.crt")), 1);
        assert_eq!(set_trusted_ca(&mut config, "DownstreamTlsContext", Path::new("/t/ca.crt")), 0);
        assert_eq!(set_module(&mut config, Path::new("/t/x.wasm")), 1);
        assert_eq!(set_plugin_env(&mut config, &[("ID", "me")]), 1);
        assert_eq!(set_plugin_configuration(&mut config, &json!({"b": 2})), 1);

        let resources = &config["static_resources"];
        assert_eq!(resources["listeners"][0]["address"]["socket_address"]["port_value"], 0);
        let cluster = &resources["clusters"][0];
        assert_eq!((cluster["type"].as_str(), cluster.get("dns_lookup_family")), (Some("STATIC"), None));
        let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        assert_eq!(endpoint["hostname"], "api.example", "SNI by host name still works");
        assert_eq!(endpoint["address"]["socket_address"]["port_value"], 77);
        let context = &cluster["transport_socket"]["typed_config"]["common_tls_context"];
        assert_eq!(context["validation_context"]["trusted_ca"], json!({"filename": "/t/ca.crt"}));
        let filters =
            &resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
        let plugin = &filters[0]["typed_config"]["config"];
        assert_eq!(plugin["vm_config"]["code"]["local"]["filename"], "/t/x.wasm");
        let environment = json!({"host_env_keys": ["OTHER"], "key_values": {"A": "b", "ID": "me"}});
        assert_eq!(plugin["vm_config"]["environment_variables"], environment);
        assert_eq!(plugin["configuration"]["value"], json!({"b": 2}));
    }

    #[test]
    fn a_filter_moves_to_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("filter.json");
        let mut config = parse_yaml(BOOTSTRAP).unwrap();
        let typed = filter_from_file(&mut config, "envoy.filters.http.wasm", &file).unwrap();
        assert_eq!(typed["config"]["name"], "genesys");
        let text = config.to_string();
        assert!(text.contains("envoy.extensions.filters.http.wasm.v3.Wasm") && !text.contains("vm_config"));
        assert_eq!(load_yaml(&file)["resources"][0]["typed_config"], typed);
    }
}
