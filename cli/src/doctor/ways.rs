//! Ways to a protected service that do not pass the guard: other chains, other listeners, TCP proxies, upgrades.

use super::{
    chains::{Chain, Tunnel},
    finding::Finding,
    plugin::Plugin,
    rbac, routes,
    rules::Rule,
};
use std::collections::BTreeMap;

/// How a cluster is protected somewhere.
struct Protection {
    key: String,
    /// The route on which it is.
    way: String,
    /// The chain's guard protects it there, though the table has routes that bring the guard themselves.
    by_chain_alone: bool,
}

pub fn check(chains: &[Chain], tunnels: &[Tunnel]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let protected = protected_clusters(chains);
    for chain in chains {
        for route in routes::all(chain) {
            for cluster in route.clusters() {
                let Some(protection) = protected.get(cluster) else { continue };
                // The chain's own policy will do. A route that switches its guard off is reported as that.
                let own: Vec<String> = chain.plugins.iter().filter_map(Plugin::verdict_key).collect();
                let is_examined = own.iter().any(|key| rbac::guards(chain, key));
                let mut keys = own.iter().chain([&protection.key]);
                if !is_examined && !keys.any(|key| routes::is_guarded(chain, &route, key)) {
                    findings.push(way_in(&route.path, cluster, protection, chain.upgrade.is_some()));
                }
            }
        }
    }
    for tunnel in tunnels {
        let clusters = tunnel.clusters.iter();
        let led_to = clusters.filter_map(|cluster| Some((cluster, protected.get(cluster)?)));
        findings.extend(led_to.map(|(cluster, protection)| way_in(&tunnel.path, cluster, protection, false)));
    }
    findings
}

fn way_in(path: &str, cluster: &str, protection: &Protection, by_upgrade: bool) -> Finding {
    let way = &protection.way;
    if by_upgrade && !protection.by_chain_alone {
        return Finding::new(
            Rule::UpgradeBypass,
            path,
            format!(
                "this upgrade has filters of its own, and leads to cluster `{cluster}` without the guard that {way} has: a \
                 client passes by asking for it"
            ),
            "remove `filters` from the upgrade_config, so that the chain's own filters apply, or repeat filter and guard \
             there (on another chain the guard alone, for the rule at the virtual host to apply to)",
        );
    }
    if protection.by_chain_alone {
        return Finding::new(
            Rule::PartlyGuarded,
            path,
            format!(
                "leads to cluster `{cluster}` without the guard that its chain has at {way}. Nothing marks that service as \
                 protected, while other hosts of the same routes bring the rule themselves"
            ),
            "nothing, if it is not to be protected; else give its virtual host the rule as well (RBACPerRoute)",
        );
    }
    Finding::new(
        Rule::UnguardedWayIn,
        path,
        format!(
            "leads to cluster `{cluster}` without the guard that {way} has: a client that gets here (by another SNI, port or \
             host name) is never asked for a verdict"
        ),
        "put an empty RBAC filter on every chain and the verdict rule (RBACPerRoute) on the virtual host, or let only guarded \
         chains route to this cluster",
    )
}

/// Clusters behind a guard. Where some routes bring the guard themselves, they say which services it is about; the others
/// may just happen to be on a guarded chain.
fn protected_clusters(chains: &[Chain]) -> BTreeMap<String, Protection> {
    let mut protected: BTreeMap<String, Protection> = BTreeMap::new();
    for chain in chains {
        for key in chain.plugins.iter().filter_map(Plugin::verdict_key) {
            let all = routes::all(chain);
            let brings = |route: &routes::Route<'_>| routes::brings_own_guard(chain, route, &key);
            let some_bring_it = all.iter().any(brings);
            for route in all.iter().filter(|route| routes::is_guarded(chain, route, &key)) {
                let by_chain_alone = some_bring_it && !brings(route);
                for cluster in route.clusters() {
                    let known = protected.get(cluster);
                    if known.is_none_or(|known| known.by_chain_alone && !by_chain_alone) {
                        let protection =
                            Protection { key: key.clone(), way: route.path.clone(), by_chain_alone };
                        protected.insert(cluster.to_owned(), protection);
                    }
                }
            }
        }
    }
    protected
}
