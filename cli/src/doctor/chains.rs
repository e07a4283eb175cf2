//! Every HTTP filter chain of every listener, with the filters that requests really meet.

use super::{
    dump::{Dump, is_false, list, text, truth, type_of, unwrapped},
    finding::Finding,
    plugin::Plugin,
    rules::Rule,
};
use serde_json::Value;

#[derive(Debug)]
pub struct Filter {
    pub name: String,
    pub disabled: bool,
    /// Whether a matcher decides for each request if it runs.
    pub matched: bool,
    /// Its typed configuration, however it was delivered.
    pub config: Value,
    /// What counts as long as discovery (ECDS) has not delivered.
    pub fallback: Option<Value>,
}

impl Filter {
    pub fn is_rbac(&self) -> bool {
        type_of(&self.config) == "RBAC"
    }

    /// Every configuration that may be in force.
    pub fn configs(&self) -> impl Iterator<Item = &Value> {
        [&self.config].into_iter().chain(&self.fallback)
    }

    pub fn may_be_skipped(&self) -> bool {
        self.disabled || self.matched
    }
}

/// The filters of an HTTP connection manager: its own, or those that it has for one kind of upgrade.
#[derive(Debug)]
pub struct Chain {
    pub path: String,
    /// The upgrade whose requests meet these filters, and none of the manager's own.
    pub upgrade: Option<Upgrade>,
    pub manager: Value,
    /// The network filters before it.
    pub network_filters: Vec<Value>,
    pub filters: Vec<Filter>,
    pub plugins: Vec<Plugin>,
    /// Its route table; nothing where it is not in the dump.
    pub routes: Option<Value>,
    pub transport_socket: Option<Value>,
}

#[derive(Debug)]
pub struct Upgrade {
    pub kind: String,
    /// Whether requests may upgrade where the route does not say.
    pub enabled: bool,
}

/// A TCP proxy: no HTTP filter sees what passes there.
#[derive(Debug)]
pub struct Tunnel {
    pub path: String,
    pub clusters: Vec<String>,
    /// The client's server name says which cluster.
    pub by_server_name: bool,
}

/// The HTTP chains, and the TCP proxies beside them.
pub fn all(dump: &Dump) -> (Vec<Chain>, Vec<Tunnel>) {
    let (mut chains, mut tunnels) = (Vec::new(), Vec::new());
    for listener in &dump.listeners {
        let name = text(listener, "/name");
        let numbered = list(listener, "/filter_chains").iter().enumerate();
        let labelled = numbered.map(|(index, chain)| {
            let label = match text(chain, "/name") {
                "" => format!("filter chain {index}"),
                name => format!("filter chain {name}"),
            };
            (label, chain)
        });
        let default =
            listener.get("default_filter_chain").map(|chain| ("default filter chain".to_owned(), chain));
        for (label, chain) in labelled.chain(default) {
            let path = format!("listener {name}, {label}");
            chains.extend(managers(&path, chain, dump));
            tunnels.extend(tunnels_of(&path, list(chain, "/filters")));
        }
    }
    (chains, tunnels)
}

fn tunnels_of(path: &str, filters: &[Value]) -> Vec<Tunnel> {
    let configs = filters.iter().filter_map(|filter| filter.get("typed_config")).map(unwrapped);
    let configs: Vec<Value> = configs.collect();
    let by_server_name = configs.iter().any(|config| type_of(config) == "SniCluster");
    let proxies = configs.iter().filter(|config| type_of(config) == "TcpProxy");
    let tunnel = |proxy: &Value| {
        let one = text(proxy, "/cluster");
        let weighted = list(proxy, "/weighted_clusters/clusters").iter().map(|one| text(one, "/name"));
        let clusters = weighted.chain([one]).filter(|cluster| !cluster.is_empty());
        Tunnel { path: path.to_owned(), clusters: clusters.map(str::to_owned).collect(), by_server_name }
    };
    proxies.map(tunnel).collect()
}

fn managers(path: &str, chain: &Value, dump: &Dump) -> Vec<Chain> {
    let filters = list(chain, "/filters");
    let typed = filters.iter().enumerate().filter_map(|(index, filter)| {
        let manager = unwrapped(filter.get("typed_config")?);
        (type_of(&manager) == "HttpConnectionManager").then_some((index, manager))
    });
    typed
        .flat_map(|(index, manager)| {
            let with = |path: String, http: &[Value], upgrade: Option<Upgrade>| {
                let http = http_filters(http, dump);
                Chain {
                    network_filters: filters.iter().take(index).cloned().collect(),
                    plugins: plugins(&path, &http),
                    filters: http,
                    routes: routes(&manager, dump),
                    transport_socket: chain.pointer("/transport_socket/typed_config").map(unwrapped),
                    manager: manager.clone(),
                    path,
                    upgrade,
                }
            };
            let own = with(path.to_owned(), list(&manager, "/http_filters"), None);
            let apart = list(&manager, "/upgrade_configs").iter();
            let apart = apart.filter(|upgrade| !list(upgrade, "/filters").is_empty()).map(|upgrade| {
                let kind = text(upgrade, "/upgrade_type").to_owned();
                let enabled = !is_false(upgrade, "/enabled");
                let path = format!("{path}, upgrade {kind}");
                with(path, list(upgrade, "/filters"), Some(Upgrade { kind, enabled }))
            });
            [own].into_iter().chain(apart).collect::<Vec<_>>()
        })
        .collect()
}

/// Filters with their configuration resolved: from ECDS, out of a matcher, out of a `TypedStruct`.
fn http_filters(filters: &[Value], dump: &Dump) -> Vec<Filter> {
    let resolve = |filter: &Value| {
        let name = text(filter, "/name").to_owned();
        let discovered = dump.filters.get(&name).and_then(|found| found.get("typed_config"));
        let fallback = filter.pointer("/config_discovery/default_config");
        let config = filter.get("typed_config").or(discovered).or(fallback);
        let mut config = config.map(unwrapped).unwrap_or_default();
        let matched = type_of(&config) == "ExtensionWithMatcher";
        if matched {
            config = config.pointer("/extension_config/typed_config").map(unwrapped).unwrap_or_default();
        }
        let disabled = truth(filter, "/disabled");
        Filter { name, disabled, matched, config, fallback: fallback.map(unwrapped) }
    };
    filters.iter().map(resolve).collect()
}

fn plugins(path: &str, filters: &[Filter]) -> Vec<Plugin> {
    let numbered = filters.iter().enumerate();
    let wasm = numbered.filter(|(_, filter)| type_of(&filter.config) == "Wasm");
    wasm.filter_map(|(index, filter)| {
        Plugin::recognise(filter.config.get("config")?, &format!("{path}, filter {}", filter.name), index)
    })
    .collect()
}

fn routes(manager: &Value, dump: &Dump) -> Option<Value> {
    manager.get("route_config").or_else(|| dump.routes.get(text(manager, "/rds/route_config_name"))).cloned()
}

/// Filter state is the request's, whichever chain it came by: a guard tells policies apart by their names alone.
pub fn check_names(chains: &[Chain]) -> Vec<Finding> {
    let plugins: Vec<&Plugin> = chains.iter().flat_map(|chain| &chain.plugins).collect();
    let digest = |plugin: &Plugin| plugin.policy.as_ref().ok().map(|policy| policy.digest);
    let twins = plugins.iter().enumerate().filter_map(|(index, plugin)| {
        let mut before = plugins.iter().take(index).filter(|other| digest(other).is_some());
        let twin = before.find(|other| other.name() == plugin.name() && digest(other) != digest(plugin))?;
        Some((plugin, twin))
    });
    twins
        .map(|(plugin, twin)| {
            Finding::new(
                Rule::SharedName,
                &plugin.path,
                format!(
                    "its policy is called `{}` and is another than that of {}: a caller that one of them allows passes the guard of \
                     both, and they share metrics and fetched pins",
                    plugin.name(),
                    twin.path
                ),
                "give each policy its own `name`, and its guard that key",
            )
        })
        .collect()
}
