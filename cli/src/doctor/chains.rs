//! Every HTTP filter chain of every listener, with the filters that requests really meet, and the TCP proxies next to them.

use super::{
    dump::{Dump, is_false, list, text, truth, type_of},
    finding::Finding,
    plugin::Plugin,
    plugin::Plugins,
    rules::Rule,
};
use serde_json::Value;

#[derive(Debug)]
pub struct Filter<'d> {
    pub name: &'d str,
    pub disabled: bool,
    /// Whether a matcher decides for each request if it runs.
    pub matched: bool,
    /// Every typed configuration that may be in force: one, or what discovery brought and its default.
    pub configs: Vec<&'d Value>,
    /// Discovery has brought nothing.
    pub undelivered: bool,
}

impl<'d> Filter<'d> {
    /// Resolved: from ECDS, out of a matcher.
    pub fn of(filter: &'d Value, dump: &'d Dump) -> Self {
        let name = text(filter, "/name");
        let is_discovered = filter.get("config_discovery").is_some();
        let found =
            dump.filters.get(name).filter(|_| is_discovered).and_then(|found| found.get("typed_config"));
        let mut configs: Vec<&Value> = match filter.get("typed_config") {
            Some(config) => vec![config],
            None => found.into_iter().chain(filter.pointer("/config_discovery/default_config")).collect(),
        };
        let is_matcher = |config: &&Value| type_of(config) == "ExtensionWithMatcher";
        let matched = configs.iter().any(is_matcher);
        for config in configs.iter_mut().filter(|config| is_matcher(config)) {
            *config = config.pointer("/extension_config/typed_config").unwrap_or(&Value::Null);
        }
        let undelivered = is_discovered && found.is_none();
        Self { name, disabled: truth(filter, "/disabled"), matched, configs, undelivered }
    }

    /// What is in force now.
    pub fn config(&self) -> &'d Value {
        self.configs.first().copied().unwrap_or(&Value::Null)
    }

    pub fn is_rbac(&self) -> bool {
        type_of(self.config()) == "RBAC"
    }

    pub fn may_be_skipped(&self) -> bool {
        self.disabled || self.matched
    }
}

/// The filters of an HTTP connection manager: its own, or those that it has for one kind of upgrade.
#[derive(Debug)]
pub struct Chain<'d> {
    pub path: String,
    /// The upgrade whose requests meet these filters, and none of the manager's own.
    pub upgrade: Option<Upgrade<'d>>,
    pub listener: &'d Value,
    pub manager: &'d Value,
    /// The network filters before it.
    pub network_filters: Vec<&'d Value>,
    pub filters: Vec<Filter<'d>>,
    pub plugins: Vec<Plugin<'d>>,
    /// Its route table; nothing where it is not known.
    pub routes: Option<&'d Value>,
    pub transport_socket: Option<&'d Value>,
}

#[derive(Debug)]
pub struct Upgrade<'d> {
    pub kind: &'d str,
    /// Whether requests may upgrade where the route does not say.
    pub enabled: bool,
}

/// A TCP proxy: no HTTP filter sees what passes there.
#[derive(Debug)]
pub struct Tunnel<'d> {
    pub path: String,
    pub listener: &'d Value,
    pub clusters: Vec<&'d str>,
}

/// All that listeners have.
#[derive(Debug, Default)]
pub struct Model<'d> {
    pub chains: Vec<Chain<'d>>,
    pub tunnels: Vec<Tunnel<'d>>,
    /// Network filters, with their place.
    pub network: Vec<(String, Filter<'d>)>,
}

impl<'d> Model<'d> {
    pub fn of(dump: &'d Dump) -> Self {
        let (mut model, mut known) = (Self::default(), Plugins::default());
        for listener in &dump.listeners {
            let label = |(index, chain): (usize, &Value)| match text(chain, "/name") {
                "" => format!("filter chain {index}"),
                name => format!("filter chain {name}"),
            };
            let chains = list(listener, "/filter_chains").iter().enumerate();
            let chains = chains.map(|(index, chain)| (label((index, chain)), chain));
            let default =
                listener.get("default_filter_chain").map(|chain| ("default filter chain".to_owned(), chain));
            for (label, chain) in chains.chain(default) {
                let path = format!("listener {}, {label}", text(listener, "/name"));
                model.add(&path, listener, chain, dump, &mut known);
            }
        }
        model
    }

    fn add(
        &mut self,
        path: &str,
        listener: &'d Value,
        chain: &'d Value,
        dump: &'d Dump,
        known: &mut Plugins,
    ) {
        let filters = list(chain, "/filters").iter().map(|filter| Filter::of(filter, dump));
        let filters: Vec<Filter> = filters.collect();
        for (index, config) in filters
            .iter()
            .enumerate()
            .flat_map(|(index, filter)| filter.configs.iter().map(move |one| (index, *one)))
        {
            match type_of(config) {
                "HttpConnectionManager" => {
                    let before = filters.iter().take(index).map(Filter::config).collect();
                    self.add_manager(
                        path,
                        config,
                        dump,
                        known,
                        &Chain {
                            path: path.to_owned(),
                            upgrade: None,
                            listener,
                            manager: config,
                            network_filters: before,
                            filters: Vec::new(),
                            plugins: Vec::new(),
                            routes: config
                                .get("route_config")
                                .or_else(|| dump.routes.get(text(config, "/rds/route_config_name"))),
                            transport_socket: chain.pointer("/transport_socket/typed_config"),
                        },
                    );
                }
                "TcpProxy" => {
                    let weighted =
                        list(config, "/weighted_clusters/clusters").iter().map(|one| text(one, "/name"));
                    let clusters = weighted.chain([text(config, "/cluster")]).filter(|name| !name.is_empty());
                    self.tunnels.push(Tunnel {
                        path: path.to_owned(),
                        listener,
                        clusters: clusters.collect(),
                    });
                }
                _ => {}
            }
        }
        self.network.extend(filters.into_iter().map(|filter| (path.to_owned(), filter)));
    }

    fn add_manager(
        &mut self,
        path: &str,
        manager: &'d Value,
        dump: &'d Dump,
        known: &mut Plugins,
        like: &Chain<'d>,
    ) {
        let own = [(path.to_owned(), list(manager, "/http_filters"), None)];
        let apart =
            list(manager, "/upgrade_configs").iter().filter(|upgrade| !list(upgrade, "/filters").is_empty());
        let apart = apart.map(|upgrade| {
            let kind = text(upgrade, "/upgrade_type");
            let upgraded = Upgrade { kind, enabled: !is_false(upgrade, "/enabled") };
            (format!("{path}, upgrade {kind}"), list(upgrade, "/filters"), Some(upgraded))
        });
        for (path, filters, upgrade) in own.into_iter().chain(apart) {
            let filters: Vec<Filter> = filters.iter().map(|filter| Filter::of(filter, dump)).collect();
            let plugins = known.of(filters.iter().map(|filter| (filter.name, filter.config())), &path);
            self.chains.push(Chain {
                path,
                upgrade,
                filters,
                plugins,
                network_filters: like.network_filters.clone(),
                ..*like
            });
        }
    }
}

/// Filter state is the request's, on each chain: a guard tells policies apart by their names alone.
pub fn check_names(chains: &[Chain]) -> Vec<Finding> {
    let plugins: Vec<&Plugin> = chains.iter().flat_map(|chain| &chain.plugins).collect();
    let digest = |plugin: &Plugin| plugin.policy().map(|policy| policy.digest);
    let mut first = std::collections::HashMap::new();
    let mut findings = Vec::new();
    for plugin in plugins.into_iter().filter(|plugin| digest(plugin).is_some()) {
        let twin = *first.entry(plugin.name()).or_insert(plugin);
        if digest(twin) != digest(plugin) {
            findings.push(Finding::new(
                Rule::SharedName,
                &plugin.path,
                format!(
                    "its policy is called `{}` and is another than that of {}: a caller that one of them allows passes the guard of \
                     both, and they share metrics and fetched pins",
                    plugin.name(),
                    twin.path
                ),
                "give each policy its own `name`, and its guard that key",
            ));
        }
    }
    findings
}
