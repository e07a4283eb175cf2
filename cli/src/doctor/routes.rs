//! Route tables: per-route configurations that switch the filter or its guard off, or bring the guard.

use super::{
    chains::{Chain, Filter},
    dump::{has, is_false, list, text, truth, type_of, unwrapped},
    finding::Finding,
    rbac::{self, Rules, enforces, judge},
    rules::Rule,
};
use serde_json::Value;

/// A route and what applies to it.
#[derive(Debug)]
pub struct Route<'c> {
    /// Where it stands, for people.
    pub path: String,
    entry: &'c Value,
    /// Where per-filter configurations may stand, the most specific first.
    levels: Vec<&'c Value>,
}

/// What a route makes of a filter.
#[derive(Debug)]
pub enum Override {
    /// Nothing: the chain's configuration counts.
    None,
    Disabled,
    Config(Value),
}

/// Where a route sends requests.
pub enum Destination<'c> {
    Cluster(&'c str),
    /// To the cluster that a request header names.
    Header(&'c str),
    Plugin,
}

impl<'c> Route<'c> {
    /// Nothing for redirects and direct responses.
    pub fn action(&self) -> Option<&'c Value> {
        self.entry.get("route")
    }

    /// The clusters that answer its requests, as far as it names them.
    pub fn clusters(&self) -> Vec<&'c str> {
        let named = self.answering().into_iter().filter_map(|destination| match destination {
            Destination::Cluster(name) => Some(name),
            _ => None,
        });
        named.collect()
    }

    /// All that its requests go to: what answers them, and what gets a copy.
    pub fn destinations(&self) -> Vec<Destination<'c>> {
        let Some(action) = self.action() else { return Vec::new() };
        let levels = [action].into_iter().chain(self.levels.iter().copied());
        let mut mirrors = levels.map(|level| list(level, "/request_mirror_policies"));
        // The most specific ones count.
        let mirrors = mirrors.find(|policies| !policies.is_empty()).unwrap_or_default();
        self.answering().into_iter().chain(mirrors.iter().filter_map(cluster_of)).collect()
    }

    fn answering(&self) -> Vec<Destination<'c>> {
        let Some(action) = self.action() else { return Vec::new() };
        let weighted = list(action, "/weighted_clusters/clusters").iter().filter_map(|cluster| {
            let name = cluster.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
            name.map(Destination::Cluster).or_else(|| cluster_of(cluster))
        });
        let plugins = ["cluster_specifier_plugin", "inline_cluster_specifier_plugin"];
        let by_plugin = plugins.iter().any(|field| has(action, &format!("/{field}")));
        let by_plugin = by_plugin.then_some(Destination::Plugin);
        cluster_of(action).into_iter().chain(by_plugin).chain(weighted).collect()
    }

    /// Whether a filter sees this route's requests.
    fn runs(&self, filter: &Filter) -> bool {
        match self.of_filter(&filter.name) {
            Override::None => !filter.disabled,
            Override::Disabled => false,
            Override::Config(_) => true,
        }
    }

    fn of_filter(&self, name: &str) -> Override {
        let found = self.levels.iter().find_map(|level| level.get("typed_per_filter_config")?.get(name));
        let Some(config) = found.map(unwrapped) else { return Override::None };
        let config = match type_of(&config) {
            "FilterConfig" if truth(&config, "/disabled") => return Override::Disabled,
            "FilterConfig" => config.get("config").map(unwrapped).unwrap_or_default(),
            _ => config,
        };
        // An RBACPerRoute without rules switches the filter off.
        if type_of(&config) == "RBACPerRoute" && !has(&config, "/rbac") {
            return Override::Disabled;
        }
        Override::Config(config)
    }
}

/// What `cluster` or `cluster_header` names.
fn cluster_of(action: &Value) -> Option<Destination<'_>> {
    match (text(action, "/cluster"), text(action, "/cluster_header")) {
        ("", "") => None,
        ("", header) => Some(Destination::Header(header)),
        (cluster, _) => Some(Destination::Cluster(cluster)),
    }
}

/// Every route that requests of a chain can take. A weighted cluster with a configuration of its own counts as a route.
pub fn all(chain: &Chain) -> Vec<Route<'_>> {
    let Some(table) = &chain.routes else { return Vec::new() };
    let mut routes = Vec::new();
    for host in list(table, "/virtual_hosts") {
        let numbered = list(host, "/routes").iter().enumerate();
        for (index, route) in numbered.filter(|(_, route)| chain.is_open_to(route)) {
            let label = match text(route, "/name") {
                "" => format!("route {index}"),
                name => format!("route {name}"),
            };
            let path = format!("{}, virtual host {}, {label}", chain.path, text(host, "/name"));
            let weighted = list(route, "/route/weighted_clusters/clusters");
            for cluster in weighted.iter().filter(|cluster| has(cluster, "/typed_per_filter_config")) {
                let path = format!("{path}, cluster {}", text(cluster, "/name"));
                routes.push(Route { path, entry: route, levels: vec![cluster, route, host, table] });
            }
            routes.push(Route { path, entry: route, levels: vec![route, host, table] });
        }
    }
    routes
}

impl Chain {
    /// Whether its requests may take a route. About an upgrade the route has the last word.
    fn is_open_to(&self, route: &Value) -> bool {
        let Some(upgrade) = &self.upgrade else { return true };
        let mut said = list(route, "/route/upgrade_configs").iter();
        let said = said.find(|said| text(said, "/upgrade_type").eq_ignore_ascii_case(&upgrade.kind));
        said.map_or(upgrade.enabled, |said| !is_false(said, "/enabled"))
    }
}

/// Whether requests on this route have to carry the verdict under the key.
pub fn is_guarded(chain: &Chain, route: &Route<'_>, key: &str) -> bool {
    let untouched = |filter: &Filter| matches!(route.of_filter(&filter.name), Override::None);
    chain.filters.iter().any(|filter| guards(filter, route, key))
        || rbac::noted(&chain.filters, key)
            .and_then(|(taker, reader)| chain.filters.get(taker..=reader))
            .is_some_and(|noting| noting.iter().filter(|filter| filter.is_rbac()).all(untouched))
}

fn guards(filter: &Filter, route: &Route<'_>, key: &str) -> bool {
    match route.of_filter(&filter.name) {
        Override::None => enforces(filter, key),
        Override::Disabled => false,
        Override::Config(_) => brings_guard(filter, route, key),
    }
}

/// Whether the route itself has the rule, whatever the chain says.
fn brings_guard(filter: &Filter, route: &Route<'_>, key: &str) -> bool {
    let Override::Config(config) = route.of_filter(&filter.name) else { return false };
    let rules = config.get("rbac").and_then(rbac::rules);
    filter.is_rbac() && !filter.matched && rules.is_some_and(|rules| judge(rules, key) == Rules::Demand)
}

/// Whether the route itself brings the guard to one of the chain's filters.
pub fn brings_own_guard(chain: &Chain, route: &Route<'_>, key: &str) -> bool {
    chain.filters.iter().any(|filter| brings_guard(filter, route, key))
}

/// Whether at least one route brings the guard to this filter.
pub fn any_guards(chain: &Chain, filter: &Filter, key: &str) -> bool {
    all(chain).iter().any(|route| brings_guard(filter, route, key))
}

/// Whether at least one route enables a filter that the chain disables.
pub fn any_enables(chain: &Chain, filter: &Filter) -> bool {
    all(chain).iter().any(|route| route.runs(filter))
}

pub fn check(chain: &Chain) -> Vec<Finding> {
    let mut findings = Vec::new();
    for plugin in &chain.plugins {
        let Some(key) = plugin.verdict_key() else { continue };
        let Some(filter) = chain.filters.get(plugin.position) else { continue };
        let chain_guards = rbac::guards(chain, &key);
        let all = all(chain);
        // Then each host decides for itself; `ways` looks for other ways to the same service.
        let hosts_guard = !chain_guards && all.iter().any(|route| brings_own_guard(chain, route, &key));
        for route in all.iter().filter(|route| route.action().is_some()) {
            findings.extend(match (route.runs(filter), is_guarded(chain, route, &key)) {
                (true, true) => None,
                (true, false) => chain_guards.then(|| guard_bypassed(route)),
                // A filter that is disabled everywhere is reported as that.
                (false, true) => (!filter.disabled || any_enables(chain, filter)).then(|| disabled(route)),
                (false, false) => (!hosts_guard).then(|| filter_bypassed(route)),
            });
        }
    }
    findings.extend(unknown(chain));
    findings
}

fn guard_bypassed(route: &Route<'_>) -> Finding {
    Finding::new(
        Rule::RouteBypassesGuard,
        &route.path,
        "a typed_per_filter_config switches the guard off, or replaces its rules by some that do not demand the verdict",
        "remove it; to exempt a health check, answer it with a direct_response",
    )
}

fn disabled(route: &Route<'_>) -> Finding {
    Finding::new(
        Rule::FilterDisabledOnRoute,
        &route.path,
        "the filter is disabled here and the guard is not: everything is refused",
        "remove the typed_per_filter_config of the filter, or enable it there if the chain disables it",
    )
}

fn filter_bypassed(route: &Route<'_>) -> Finding {
    Finding::new(
        Rule::RouteBypassesFilter,
        &route.path,
        "the filter is disabled here, and nothing demands its verdict: everybody gets through",
        "remove the typed_per_filter_config; to exempt a health check, answer it with a direct_response",
    )
}

/// What of the routes is not in the dump, or not understood here.
pub fn unknown(chain: &Chain) -> Option<Finding> {
    // The manager's own chain says the same.
    if chain.upgrade.is_some() {
        return None;
    }
    let by_matcher = |table: &Value| list(table, "/virtual_hosts").iter().any(|host| has(host, "/matcher"));
    let what = match &chain.routes {
        None => "the route table is not in the dump (scoped routes, or not loaded yet)",
        Some(table) if has(table, "/vhds") => "virtual hosts come by VHDS",
        Some(table) if by_matcher(table) => "a virtual host finds its routes by a matcher tree",
        Some(_) => return None,
    };
    let (unseen, fix) = if chain.plugins.is_empty() {
        (
            "whether they lead to the protected service was not examined",
            "no route leads there without the guard",
        )
    } else {
        ("whether routes override filter or guard was not examined", "no route overrides them")
    };
    Some(Finding::new(
        Rule::RoutesUnknown,
        &chain.path,
        format!("{what}: {unseen}"),
        format!("take the dump again once Envoy has its routes; else see to it yourself that {fix}"),
    ))
}
