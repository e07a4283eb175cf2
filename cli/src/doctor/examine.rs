//! Deny by default: what of listeners, filters, names and routes is not known to be harmless is said, and nothing passes in silence.

use super::{
    chains::{Chain, Filter, Model},
    dump::{Dump, has, list, text, type_of},
    finding::Finding,
    routes,
    rules::Rule,
    services::{Host, Socket},
    types::{Place, unexamined, unusual, written_verdict},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub fn check(model: &Model, dump: &Dump) -> Vec<Finding> {
    let mut findings = listeners(dump);
    for (path, filter) in &model.network {
        findings.extend(examined(Place::NetworkFilter, filter, path, &[]));
    }
    for chain in &model.chains {
        let own: Vec<usize> = chain.plugins.iter().map(|plugin| plugin.position).collect();
        for (index, filter) in chain.filters.iter().enumerate() {
            findings.extend(examined(
                Place::HttpFilter,
                filter,
                &chain.path,
                if own.contains(&index) { &["Wasm"] } else { &[] },
            ));
            for config in filter.configs.iter().flat_map(|config| list(config, "/upstream_http_filters")) {
                findings.extend(examined(
                    Place::HttpFilter,
                    &Filter::of(config, dump),
                    &format!("{}, router", chain.path),
                    &[],
                ));
            }
        }
        let early = list(chain.manager, "/early_header_mutation_extensions")
            .iter()
            .filter_map(|one| one.get("typed_config"));
        for config in early.filter(|config| type_of(config) != "HeaderMutation") {
            let why = format!(
                "the early header mutation {} is not known to keep requests on their way",
                type_of(config)
            );
            findings.push(not_examined(&chain.path, why));
        }
        if let Some(what) = chain.unknown_routes().filter(|_| chain.upgrade.is_none()) {
            findings.push(unresolved(&chain.path, &what));
        }
    }
    for (name, cluster) in &dump.clusters {
        let options = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/http_filters";
        for config in list(cluster, options) {
            findings.extend(examined(
                Place::HttpFilter,
                &Filter::of(config, dump),
                &format!("cluster {name}"),
                &[],
            ));
        }
    }
    findings.extend(route_names(&model.chains));
    findings.extend(names(dump));
    findings.extend(admin(dump));
    findings
}

fn not_examined(path: &str, why: String) -> Finding {
    Finding::new(
        Rule::NotExamined,
        path,
        why,
        "remove it, or see to it yourself that it opens no way to the service, and accept this finding",
    )
}

fn unresolved(path: &str, what: &str) -> Finding {
    Finding::new(
        Rule::DiscoveryUnresolved,
        path,
        format!("{what}: what is there was not examined"),
        "read it from a running Envoy that has loaded it (--admin), or give its file as well",
    )
}

/// What of a filter is not known to be harmless. Types of our own are.
fn examined(place: Place, filter: &Filter, path: &str, own: &[&str]) -> Vec<Finding> {
    let at = format!("{path}, filter {}", filter.name);
    let mut findings = Vec::new();
    if filter.undelivered {
        findings.push(unresolved(&at, "discovery (ECDS) has not brought this filter"));
    } else if filter.configs.is_empty() {
        findings.push(not_examined(&at, "it has no typed_config".to_owned()));
    }
    for config in filter.configs.iter().filter(|config| !own.contains(&type_of(config))) {
        findings.extend(unexamined(place, config).map(|why| not_examined(&at, why)));
        findings.extend(writes_verdict(config, &at));
    }
    findings
}

fn writes_verdict(config: &Value, path: &str) -> Option<Finding> {
    written_verdict(config).map(|key| {
        Finding::new(
            Rule::VerdictWritten,
            path,
            format!(
                "it writes {key}, the filter state that a guard believes: no verdict of the filter is needed"
            ),
            "let nothing but the filter write wasm.genesys_mtls.*",
        )
    })
}

fn listeners(dump: &Dump) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in &dump.listeners {
        let path = format!("listener {}", text(listener, "/name"));
        for filter in list(listener, "/listener_filters") {
            findings.extend(examined(Place::ListenerFilter, &Filter::of(filter, dump), &path, &[]));
        }
        for field in ["api_listener", "fcds_config", "filter_chains_discovery"] {
            if has(listener, &format!("/{field}")) {
                findings.push(not_examined(&path, format!("its {field} was not examined")));
            }
        }
    }
    for extension in dump.bootstrap.iter().flat_map(|bootstrap| list(bootstrap, "/bootstrap_extensions")) {
        let kind = extension.get("typed_config").map(type_of).unwrap_or_default();
        if !matches!(kind, "InternalListener" | "DefaultSocketInterface") {
            findings.push(not_examined(
                &format!("bootstrap extension {}", text(extension, "/name")),
                format!("{kind} is not known to be harmless"),
            ));
        }
    }
    for name in &dump.waiting {
        findings.push(unresolved(
            name,
            "it has a version that is not in force yet, or whose connections still end",
        ));
    }
    for (name, why) in &dump.rejected {
        findings.push(Finding::new(
            Rule::UpdateRejected,
            name,
            format!("Envoy rejected its newest configuration, and the one before is in force: {why}"),
            "correct it, and see that lds.update_rejected and its like stop rising",
        ));
    }
    let discovered = |kind: &str| {
        let bootstrap = dump.bootstrap.as_ref().filter(|_| dump.is_static)?;
        let source = bootstrap.pointer(&format!("/dynamic_resources/{kind}"))?;
        Some(text(source, "/path_config_source/path").to_owned())
    };
    let is_static =
        |resource: &Value| type_of(resource) == "Listener" && text(resource, "/@type") == "Listener";
    let has_discovered = dump.listeners.iter().any(|listener| !is_static(listener));
    if let Some(file) = discovered("lds_config").filter(|_| !has_discovered) {
        findings
            .push(unresolved("dynamic_resources.lds_config", &format!("listeners are discovered {file}")));
    }
    findings
}

/// Per-route configurations: what they make of a filter, and a name that no filter has. Envoy takes it without a word, and nothing
/// applies.
fn route_names(chains: &[Chain]) -> Vec<Finding> {
    let mut known: BTreeMap<*const Value, (&str, BTreeSet<&str>, &Value)> = BTreeMap::new();
    for chain in chains {
        let Some(table) = chain.routes else { continue };
        let (_, names, _) =
            known.entry(std::ptr::from_ref(table)).or_insert_with(|| (&chain.path, BTreeSet::new(), table));
        names.extend(chain.filters.iter().map(|filter| filter.name));
    }
    let mut findings = Vec::new();
    for (path, names, table) in known.values() {
        let hosts = list(table, "/virtual_hosts").iter();
        let routes =
            hosts.clone().flat_map(|host| list(host, "/routes").iter().map(move |route| (Some(host), route)));
        let parts = routes.clone().flat_map(|(host, route)| {
            list(route, "/route/weighted_clusters/clusters").iter().map(move |part| (host, part))
        });
        let levels = [(None, *table)]
            .into_iter()
            .chain(hosts.clone().map(|host| (Some(host), host)))
            .chain(routes.clone())
            .chain(parts);
        for (host, level) in levels {
            let configs = level.get("typed_per_filter_config").and_then(Value::as_object);
            for (key, config) in configs.into_iter().flatten() {
                let host =
                    host.map(|host| format!(", virtual host {}", text(host, "/name"))).unwrap_or_default();
                let at = format!("{path}{host}, typed_per_filter_config {key}");
                findings.extend(writes_verdict(config, &at));
                findings.extend(unusual(config).map(|what| not_examined(&at, format!("it {what}"))));
                if names.contains(key.as_str()) {
                    continue;
                }
                findings.push(Finding::new(
                    Rule::RouteFilterUnknown,
                    &format!("{path}{host}"),
                    format!("a typed_per_filter_config is for `{key}`, and no filter is called that: Envoy ignores it without a word"),
                    format!("use the name of a filter: {}", names.iter().copied().collect::<Vec<_>>().join(", ")),
                ));
            }
        }
    }
    findings
}

/// One name that two sources may fill.
fn names(dump: &Dump) -> Vec<Finding> {
    let mut sources: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let parts = dump.listeners.iter().chain(dump.clusters.values()).chain(&dump.bootstrap);
    parts.for_each(|part| named_sources(part, &mut sources));
    let by_two = sources.into_iter().filter(|(_, sources)| sources.len() > 1).map(|(name, _)| name);
    let all: BTreeSet<String> = dump.twice.iter().cloned().chain(by_two).collect();
    let twice = |name: &String| {
        Finding::new(
            Rule::NameTwice,
            name,
            "two sources deliver something of this name, and the configuration does not tell which of them is used where",
            "give each its own name",
        )
    };
    all.iter().map(twice).collect()
}

fn named_sources(value: &Value, sources: &mut BTreeMap<String, BTreeSet<String>>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| named_sources(item, sources)),
        Value::Object(fields) => {
            let reference = [
                ("filter", "/name", "/config_discovery/config_source"),
                ("route table", "/route_config_name", "/config_source"),
                ("secret", "/name", "/sds_config"),
            ];
            for (kind, name, source) in reference {
                if let (Some(name), Some(source)) =
                    (value.pointer(name).and_then(Value::as_str), value.pointer(source))
                {
                    let mut source = source.clone();
                    if let Some(fields) = source.as_object_mut() {
                        // What has no bearing on where it comes from.
                        fields.retain(|field, _| {
                            field != "initial_fetch_timeout" && field != "resource_api_version"
                        });
                    }
                    sources.entry(format!("{kind} {name}")).or_default().insert(source.to_string());
                }
            }
            fields.values().for_each(|value| named_sources(value, sources));
        }
        _ => {}
    }
}

/// Where the admin interface listens, if that is known.
pub fn admin_socket(dump: &Dump) -> Option<Result<Socket, String>> {
    let address = dump.bootstrap.as_ref()?.pointer("/admin/address")?;
    Some(Socket::of(address, false))
}

fn admin(dump: &Dump) -> Option<Finding> {
    let socket = admin_socket(dump)?.ok()?;
    let address = text(dump.bootstrap.as_ref()?, "/admin/address/socket_address/address");
    let is_wildcard = matches!(address.trim_matches('0'), "::" | "...")
        || address.trim_start_matches(['0', ':', 'f', 'F']) == ".0.0.0";
    (socket.host != Host::Own || is_wildcard).then(|| {
        Finding::new(
            Rule::AdminExposed,
            "admin",
            format!("the admin interface listens on {address}: who reaches it reads all, and can stop Envoy"),
            "bind it to 127.0.0.1 or a Unix socket",
        )
    })
}

/// The routes of the admin interface that may be opened to others.
const HARMLESS_ADMIN: [&str; 2] = ["/stats/prometheus", "/ready"];

/// Whether a route asks nothing else of the admin interface than to be scraped.
pub fn is_scrape(route: &routes::Route) -> bool {
    let entry = route.entry();
    let path = match (text(entry, "/match/path"), text(entry, "/match/prefix")) {
        ("", path) | (path, _) => path,
    };
    let rewrites = ["prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite"];
    HARMLESS_ADMIN.contains(&path) && !rewrites.iter().any(|rewrite| has(entry, &format!("/route/{rewrite}")))
}
