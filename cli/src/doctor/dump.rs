//! Envoy's `/config_dump`, reduced to what is in force.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Listeners, clusters, route tables, discovered filters and secrets, by name.
#[derive(Debug, Default)]
pub struct Dump {
    pub version: Option<(u64, u64)>,
    pub listeners: Vec<Value>,
    pub clusters: BTreeMap<String, Value>,
    pub routes: BTreeMap<String, Value>,
    /// Filters delivered by ECDS.
    pub filters: BTreeMap<String, Value>,
    /// Secrets that have arrived by SDS, and static ones.
    pub secrets: BTreeMap<String, Value>,
}

impl Dump {
    /// Nothing, if this is no dump.
    pub fn read(value: &Value) -> Option<Self> {
        let mut dump = Self::default();
        for section in value.get("configs")?.as_array()? {
            match type_of(section) {
                "BootstrapConfigDump" => dump.version = version(section),
                "ListenersConfigDump" => {
                    dump.listeners.extend(items(section, "static_listeners", &["listener"]));
                    dump.listeners.extend(items(section, "dynamic_listeners", &["active_state", "listener"]));
                }
                "ClustersConfigDump" => {
                    for list in ["static_clusters", "dynamic_active_clusters"] {
                        dump.clusters.extend(items(section, list, &["cluster"]).filter_map(named));
                    }
                }
                "RoutesConfigDump" => {
                    for list in ["static_route_configs", "dynamic_route_configs"] {
                        dump.routes.extend(items(section, list, &["route_config"]).filter_map(named));
                    }
                }
                "EcdsConfigDump" => {
                    dump.filters.extend(items(section, "ecds_filters", &["ecds_filter"]).filter_map(named));
                }
                "SecretsConfigDump" => {
                    for list in ["static_secrets", "dynamic_active_secrets"] {
                        dump.secrets.extend(items(section, list, &["secret"]).filter_map(named));
                    }
                }
                _ => {}
            }
        }
        (!dump.listeners.is_empty()).then_some(dump)
    }

    pub fn version_text(&self) -> String {
        self.version
            .map_or_else(|| "of unknown version".to_owned(), |(major, minor)| format!("{major}.{minor}"))
    }

    pub fn is_before(&self, version: (u64, u64)) -> bool {
        self.version.is_some_and(|own| own < version)
    }
}

fn version(bootstrap: &Value) -> Option<(u64, u64)> {
    let version = bootstrap.pointer("/bootstrap/node/user_agent_build_version/version")?;
    let part = |name: &str| version.get(name).and_then(Value::as_u64);
    Some((part("major_number")?, part("minor_number").unwrap_or_default()))
}

fn items<'v>(section: &'v Value, list: &str, inner: &'v [&str]) -> impl Iterator<Item = Value> + use<'v> {
    let entries = section.get(list).and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(|entry| inner.iter().try_fold(entry, |value, key| value.get(key))).cloned()
}

fn named(value: Value) -> Option<(String, Value)> {
    Some((value.get("name")?.as_str()?.to_owned(), value))
}

/// The message type of a typed configuration, without its package: `RBAC`.
pub fn type_of(value: &Value) -> &str {
    let name = value.get("@type").and_then(Value::as_str).unwrap_or_default();
    name.rsplit(['.', '/']).next().unwrap_or_default()
}

/// A `TypedStruct` as the message that it stands for.
pub fn unwrapped(value: &Value) -> Value {
    if type_of(value) != "TypedStruct" {
        return value.clone();
    }
    let mut fields = value.get("value").and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
    fields.insert("@type".to_owned(), value.get("type_url").cloned().unwrap_or_default());
    Value::Object(fields)
}

/// The elements of a list; none where it is absent.
pub fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn truth(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// Whether a field that is true by default says otherwise.
pub fn is_false(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool) == Some(false)
}

/// Whether a message or a field is there.
pub fn has(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).is_some_and(|value| !value.is_null())
}

/// A protobuf duration (`60s`, `0.250s`) in seconds; nothing where it is absent.
pub fn seconds(value: &Value, pointer: &str) -> Option<f64> {
    text(value, pointer).strip_suffix('s')?.parse().ok()
}
