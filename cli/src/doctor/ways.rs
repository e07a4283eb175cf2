//! Ways to a protected service that do not pass the guard: other chains, other listeners, upgrades.

use super::{
    chains::{self, Chain},
    dump::{Dump, list, text, truth},
    finding::Finding,
    guard, routes,
};
use std::collections::BTreeMap;

pub fn check(chains: &[Chain]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = chains.iter().flat_map(upgrades).collect();
    let protected = protected_clusters(chains);
    for chain in chains {
        let own_guard = |key: &String| chain.filters.iter().any(|filter| guard::enforces(filter, key));
        for route in routes::all(chain) {
            for cluster in route.clusters() {
                let Some((key, way)) = protected.get(cluster) else { continue };
                // A route that switches the chain's own guard off is reported as that.
                if routes::is_guarded(chain, &route, key) || own_guard(key) {
                    continue;
                }
                findings.push(Finding::error(
                    "unguarded_way_in",
                    &route.path,
                    format!(
                        "leads to cluster `{cluster}` without the guard that {way} has: a client that gets here (by another \
                         SNI, port or host name) is never asked for a verdict"
                    ),
                    "put an empty RBAC filter on every chain and the verdict rule (RBACPerRoute) on the virtual host, or \
                     let only guarded chains route to this cluster",
                ));
            }
        }
    }
    findings
}

/// Clusters behind a guard, with its key and the way there.
fn protected_clusters(chains: &[Chain]) -> BTreeMap<String, (String, String)> {
    let mut protected = BTreeMap::new();
    for chain in chains {
        for key in chain.plugins.iter().filter_map(super::plugin::Plugin::verdict_key) {
            for route in routes::all(chain) {
                if routes::is_guarded(chain, &route, &key) {
                    for cluster in route.clusters() {
                        let way = (key.clone(), route.path.clone());
                        protected.entry(cluster.to_owned()).or_insert(way);
                    }
                }
            }
        }
    }
    protected
}

/// Upgrades with a filter chain of their own.
fn upgrades(chain: &Chain) -> Vec<Finding> {
    let mut findings = Vec::new();
    for upgrade in list(&chain.manager, "/upgrade_configs") {
        let filters = list(upgrade, "/filters");
        let enabled = upgrade.get("enabled").is_none() || truth(upgrade, "/enabled");
        if filters.is_empty() || !enabled || chain.plugins.is_empty() {
            continue;
        }
        let filters = chains::http_filters(filters, &Dump::default());
        let path = format!("{}, upgrade {}", chain.path, text(upgrade, "/upgrade_type"));
        let own = chains::plugins(&path, &filters);
        let guarded = own.iter().any(|plugin| {
            let key = plugin.verdict_key().unwrap_or_default();
            filters.get(plugin.position + 1).is_some_and(|filter| guard::enforces(filter, &key))
        });
        if !guarded {
            findings.push(Finding::error(
                "upgrade_bypass",
                &path,
                "this upgrade has a filter chain of its own, without the filter and its guard directly behind: a client \
                 passes by asking for it",
                "remove `filters` from the upgrade_config, so that the chain's own filters apply, or repeat both there",
            ));
        }
    }
    findings
}
