//! Route tables: per-route configurations that switch the filter or its guard off, or bring the guard.

use super::{
    chains::{Chain, Filter},
    dump::{has, list, text, truth, type_of, unwrapped},
    finding::Finding,
    guard::{self, Rules, judge},
};
use serde_json::Value;

/// A route and what applies to it.
#[derive(Debug)]
pub struct Route<'c> {
    /// Where it stands, for people.
    pub path: String,
    route: &'c Value,
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

impl Route<'_> {
    /// Clusters it leads to; none for redirects and direct responses.
    pub fn clusters(&self) -> Vec<&str> {
        let Some(action) = self.route.get("route") else { return Vec::new() };
        let weighted =
            list(action, "/weighted_clusters/clusters").iter().map(|cluster| text(cluster, "/name"));
        let one = action.get("cluster").and_then(Value::as_str);
        let by_header = action.get("cluster_header").map(|_| "(by header)");
        one.into_iter().chain(by_header).chain(weighted).collect()
    }

    pub fn action(&self) -> Option<&Value> {
        self.route.get("route")
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

/// Every route of a chain. A weighted cluster with a configuration of its own counts as a route.
pub fn all(chain: &Chain) -> Vec<Route<'_>> {
    let Some(table) = &chain.routes else { return Vec::new() };
    let mut routes = Vec::new();
    for host in list(table, "/virtual_hosts") {
        for (index, route) in list(host, "/routes").iter().enumerate() {
            let label = match text(route, "/name") {
                "" => format!("route {index}"),
                name => format!("route {name}"),
            };
            let path = format!("{}, virtual host {}, {label}", chain.path, text(host, "/name"));
            let weighted = list(route, "/route/weighted_clusters/clusters");
            for cluster in weighted.iter().filter(|cluster| has(cluster, "/typed_per_filter_config")) {
                let path = format!("{path}, cluster {}", text(cluster, "/name"));
                routes.push(Route { path, route, levels: vec![cluster, route, host, table] });
            }
            routes.push(Route { path, route, levels: vec![route, host, table] });
        }
    }
    routes
}

/// Whether requests on this route have to carry the verdict under the key.
pub fn is_guarded(chain: &Chain, route: &Route<'_>, key: &str) -> bool {
    chain.filters.iter().filter(|filter| filter.is_rbac()).any(|filter| guards(filter, route, key))
}

fn guards(filter: &Filter, route: &Route<'_>, key: &str) -> bool {
    match route.of_filter(&filter.name) {
        Override::None => guard::enforces(filter, key),
        Override::Disabled => false,
        Override::Config(config) => {
            config.pointer("/rbac/rules").is_some_and(|rules| judge(rules, key) == Rules::Demand)
        }
    }
}

/// Whether at least one route brings the guard to a filter that has no rules of its own.
pub fn any_guards(chain: &Chain, filter: &Filter, key: &str) -> bool {
    all(chain).iter().any(|route| guards(filter, route, key))
}

pub fn check(chain: &Chain) -> Vec<Finding> {
    let mut findings = Vec::new();
    for plugin in &chain.plugins {
        let Some(key) = plugin.verdict_key() else { continue };
        let Some(filter) = chain.filters.get(plugin.position) else { continue };
        let guard = chain.filters.iter().find(|filter| guard::enforces(filter, &key));
        for route in all(chain).iter().filter(|route| !route.clusters().is_empty()) {
            let guarded = is_guarded(chain, route, &key);
            if guard.is_some() && !guarded {
                findings.push(Finding::error(
                    "route_bypasses_guard",
                    &route.path,
                    "a typed_per_filter_config switches the guard off, or replaces its rules by some that do not demand \
                     the verdict",
                    "remove it; to exempt a health check, answer it with a direct_response",
                ));
            }
            if matches!(route.of_filter(&filter.name), Override::Disabled) {
                findings.push(if guarded {
                    Finding::warning(
                        "filter_disabled_on_route",
                        &route.path,
                        "the filter is disabled here and the guard is not: everything is refused",
                        "remove the typed_per_filter_config of the filter",
                    )
                } else {
                    Finding::error(
                        "route_bypasses_filter",
                        &route.path,
                        "a typed_per_filter_config disables the filter, and nothing demands its verdict",
                        "remove it",
                    )
                });
            }
        }
    }
    if !chain.plugins.is_empty() && chain.routes.is_none() {
        findings.push(Finding::note(
            "routes_unknown",
            &chain.path,
            "the route table is not in the dump (scoped routes, or not loaded yet): its overrides were not examined",
            "take the dump again once Envoy has its routes",
        ));
    }
    findings
}
