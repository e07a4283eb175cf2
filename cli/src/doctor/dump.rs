//! An Envoy's configuration, however it was delivered, reduced to what is in force.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Resources by name.
pub type Named = BTreeMap<String, Value>;

#[derive(Debug, Default)]
pub struct Dump {
    pub version: Option<(u64, u64)>,
    pub bootstrap: Option<Value>,
    pub listeners: Vec<Value>,
    pub clusters: Named,
    pub routes: Named,
    /// Filters delivered by ECDS.
    pub filters: Named,
    /// Secrets that have arrived by SDS, and static ones.
    pub secrets: Named,
    /// Endpoints by cluster or service: discovered ones, and what names resolved to.
    pub endpoints: BTreeMap<String, Vec<Value>>,
    /// Names for which there is more than one content.
    pub twice: BTreeSet<String>,
    /// Updates that Envoy has rejected, and why.
    pub rejected: Vec<(String, String)>,
    /// Versions that warm or drain.
    pub waiting: BTreeSet<String>,
    /// Parts of a dump that are there.
    pub sections: BTreeSet<&'static str>,
    /// From files, not from a running Envoy.
    pub is_static: bool,
}

/// The keys under which entries of a dump have a resource.
const RESOURCES: [&str; 6] =
    ["listener", "cluster", "route_config", "ecds_filter", "secret", "endpoint_config"];

/// The sections of a dump, by the first word of their type.
const SECTIONS: [&str; 6] = ["Listener", "Cluster", "Route", "Ecds", "Secret", "Endpoint"];

impl Dump {
    /// Adds what a section of `/config_dump`, or an entry of one, holds.
    pub fn add_section(&mut self, mut section: Value) {
        if let Some(bootstrap) = section.get_mut("bootstrap").map(Value::take) {
            self.sections.insert("Bootstrap");
            self.version = version(&bootstrap);
            self.bootstrap = Some(bootstrap);
        }
        let kind = type_of(&section).trim_start_matches("Dynamic").trim_start_matches("Static");
        self.sections.extend(SECTIONS.iter().filter(|word| kind.starts_with(**word)));
        self.add_entry(&mut section);
        for (name, list) in section.as_object_mut().into_iter().flatten() {
            // Inline tables are where their managers are.
            let entries = list.as_array_mut().filter(|_| name != "static_route_configs");
            for entry in entries.into_iter().flatten() {
                if name.contains("warming") {
                    self.waiting.insert(format!("{} ({name})", entry_name(entry)));
                } else {
                    self.add_entry(entry);
                }
            }
        }
    }

    fn add_entry(&mut self, entry: &mut Value) {
        if let Some(error) = entry.get("error_state") {
            self.rejected.push((entry_name(entry), text(error, "/details").to_owned()));
        }
        for state in ["warming_state", "draining_state"] {
            if entry.get(state).is_some() {
                self.waiting.insert(format!("{} ({state})", entry_name(entry)));
            }
        }
        let active = if entry.get("active_state").is_some() { &mut entry["active_state"] } else { entry };
        for key in RESOURCES {
            if let Some(resource) = active.get_mut(key).filter(|resource| resource.is_object()) {
                self.add_resource(resource.take());
            }
        }
    }

    /// Adds one resource; says whether it is one.
    pub fn add_resource(&mut self, resource: Value) -> bool {
        let any = |fields: &[&str]| fields.iter().any(|field| resource.get(field).is_some());
        let is = |kind: &str, fields: &[&str]| match type_of(&resource) {
            "" => any(fields),
            own => own == kind,
        };
        let name = text(&resource, "/name").to_owned();
        let (kind, map) = if is("ClusterLoadAssignment", &["cluster_name"]) {
            let name = text(&resource, "/cluster_name").to_owned();
            self.endpoints.entry(name).or_default().push(resource);
            return true;
        } else if is(
            "Listener",
            &["filter_chains", "default_filter_chain", "listener_filters", "api_listener"],
        ) {
            self.listeners.push(resource);
            return true;
        } else if is("RouteConfiguration", &["virtual_hosts", "vhds"]) {
            ("route table", &mut self.routes)
        } else if is(
            "Cluster",
            &["connect_timeout", "load_assignment", "cluster_type", "eds_cluster_config", "lb_policy"],
        ) {
            ("cluster", &mut self.clusters)
        } else if is("TypedExtensionConfig", &["typed_config"]) {
            ("filter", &mut self.filters)
        } else if is(
            "Secret",
            &["tls_certificate", "validation_context", "generic_secret", "session_ticket_keys"],
        ) {
            ("secret", &mut self.secrets)
        } else {
            return false;
        };
        let before = map.insert(name.clone(), resource);
        if before.is_some_and(|other| Some(&other) != map.get(&name)) {
            self.twice.insert(format!("{kind} {name}"));
        }
        true
    }

    /// Adds the static resources of a bootstrap file.
    pub fn add_bootstrap(&mut self, mut bootstrap: Value) {
        self.is_static = true;
        for (kind, typed) in [("listeners", "Listener"), ("clusters", "Cluster"), ("secrets", "Secret")] {
            let mut resources = bootstrap.pointer_mut(&format!("/static_resources/{kind}")).map(Value::take);
            for mut resource in resources.iter_mut().filter_map(Value::as_array_mut).flat_map(std::mem::take)
            {
                resource["@type"] = typed.into();
                self.add_resource(resource);
            }
        }
        self.bootstrap = Some(bootstrap);
    }

    /// The sections that a whole dump has, and this one has not.
    pub fn missing(&self) -> Vec<&'static str> {
        let needed = ["Bootstrap", "Listener", "Cluster"].into_iter().filter(|_| !self.is_static);
        needed.filter(|section| !self.sections.contains(section)).collect()
    }

    pub fn version_text(&self) -> String {
        self.version
            .map_or_else(|| "of unknown version".to_owned(), |(major, minor)| format!("{major}.{minor}"))
    }

    pub fn is_before(&self, version: (u64, u64)) -> bool {
        self.version.is_some_and(|own| own < version)
    }
}

fn entry_name(entry: &Value) -> String {
    let mut named = RESOURCES.iter().filter_map(|key| Some(text(entry.get(key)?, "/name")));
    named.next().unwrap_or_else(|| text(entry, "/name")).to_owned()
}

fn version(bootstrap: &Value) -> Option<(u64, u64)> {
    let version = bootstrap.pointer("/node/user_agent_build_version/version")?;
    let part = |name: &str| version.get(name).and_then(Value::as_u64);
    Some((part("major_number")?, part("minor_number").unwrap_or_default()))
}

/// Fields whose keys are names, not fields.
const MAPS: [&str; 8] = [
    "typed_per_filter_config",
    "policies",
    "typed_extension_protocol_options",
    "key_values",
    "allowed_capabilities",
    "typed_filter_metadata",
    "map",
    "match",
];

/// One form for all: fields in `snake_case`, each `TypedStruct` as the message that it means.
pub fn normalise(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(normalise),
        Value::Object(fields) => {
            if type_of_fields(fields) == "Struct" {
                return;
            }
            rename(fields);
            if type_of_fields(fields) == "TypedStruct" {
                let mut inner = fields.remove("value").unwrap_or_default();
                if let Value::Object(inner) = &mut inner {
                    inner.insert("@type".to_owned(), fields.remove("type_url").unwrap_or_default());
                }
                *value = inner;
                return normalise(value);
            }
            for (name, value) in fields {
                match value {
                    Value::Object(named) if MAPS.contains(&name.as_str()) => {
                        named.values_mut().for_each(normalise);
                    }
                    _ if name == "filter_metadata" => {}
                    _ => normalise(value),
                }
            }
        }
        _ => {}
    }
}

fn type_of_fields(fields: &Map<String, Value>) -> &str {
    let name = fields.get("@type").and_then(Value::as_str).unwrap_or_default();
    name.rsplit(['.', '/']).next().unwrap_or_default()
}

fn rename(fields: &mut Map<String, Value>) {
    let is_camel = |key: &String| {
        key.bytes().any(|byte| byte.is_ascii_uppercase())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !fields.keys().any(is_camel) {
        return;
    }
    *fields = std::mem::take(fields)
        .into_iter()
        .map(|(key, value)| if is_camel(&key) { (snake(&key), value) } else { (key, value) })
        .collect();
}

fn snake(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// The message type of a typed configuration, without its package: `RBAC`.
pub fn type_of(value: &Value) -> &str {
    full_type(value).rsplit('.').next().unwrap_or_default()
}

/// The same with its package.
pub fn full_type(value: &Value) -> &str {
    let name = value.get("@type").and_then(Value::as_str).unwrap_or_default();
    name.rsplit('/').next().unwrap_or_default()
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
