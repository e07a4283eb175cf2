//! Ways to a protected service that do not pass the guard: other chains, other listeners, TCP proxies, upgrades, other clusters
//! with the same endpoints.

use super::{
    chains::{Chain, Tunnel},
    dump::Dump,
    finding::Finding,
    plugin::Plugin,
    rbac,
    routes::{self, Destination, Route},
    rules::Rule,
    services::{self, Services},
};
use std::collections::{BTreeMap, BTreeSet};

/// How a cluster is protected somewhere.
struct Protection {
    cluster: String,
    key: String,
    /// The route on which it is.
    way: String,
    /// The chain's guard protects it there, though the table has routes that bring the guard themselves.
    by_chain_alone: bool,
}

/// What guards protect, by service.
type Protected = BTreeMap<String, Protection>;

pub fn check(chains: &[Chain], tunnels: &[Tunnel], dump: &Dump) -> Vec<Finding> {
    let keys: BTreeSet<String> = chains.iter().flat_map(demanded).collect();
    if keys.is_empty() {
        return Vec::new();
    }
    let protected = protected_services(chains, dump);
    let (mut findings, mut unnamed, mut is_open) = (Vec::new(), Vec::new(), !tunnels.is_empty());
    for chain in chains {
        let own: Vec<String> = chain.plugins.iter().filter_map(Plugin::verdict_key).collect();
        // A route that switches the guard of its chain off is reported as that.
        let is_examined = own.iter().any(|key| rbac::guards(chain, key));
        for route in routes::all(chain) {
            let demands = |key: &String| routes::is_guarded(chain, &route, key);
            let is_guarded = is_examined || own.iter().any(demands);
            let by_all = is_guarded || keys.iter().all(demands);
            is_open |= !by_all && route.action().is_some();
            for destination in route.destinations() {
                let way = Way { path: &route.path, by_upgrade: chain.upgrade.is_some() };
                if by_all {
                    unnamed.extend(unknown_services(&route, &destination, dump));
                    let has = |key: &String| demands(key) || own.contains(key);
                    if let Destination::Cluster(name) = destination {
                        findings.extend(way.by_other_policy(name, &protected, dump, &has));
                    }
                    continue;
                }
                findings.extend(match destination {
                    Destination::Cluster(name) => way.to_cluster(name, &protected, dump, &demands),
                    Destination::Header(header) => way.by_header(header, &protected),
                    Destination::Plugin => Some(way.by_itself("a cluster specifier plugin")),
                });
            }
        }
        findings.extend(chain.plugins.is_empty().then(|| routes::unknown(chain)).flatten());
    }
    for tunnel in tunnels {
        let way = Way { path: &tunnel.path, by_upgrade: false };
        let led_to = tunnel.clusters.iter();
        findings.extend(led_to.filter_map(|name| way.to_cluster(name, &protected, dump, &|_| false)));
        findings.extend(tunnel.by_server_name.then(|| way.by_itself("the client's server name")));
    }
    // Where all is guarded it does not matter what is behind.
    if is_open {
        findings.extend(unnamed);
    }
    findings
}

/// A way that does not pass the guard of everything that is protected.
struct Way<'c> {
    path: &'c str,
    by_upgrade: bool,
}

impl Way<'_> {
    /// It is one past the guard if it leads to a service whose verdict it does not demand.
    fn to_cluster(
        &self,
        name: &str,
        protected: &Protected,
        dump: &Dump,
        demands: &dyn Fn(&String) -> bool,
    ) -> Option<Finding> {
        let services = Services::of(name, dump);
        let Some((service, protection)) = open(&services, protected, demands) else {
            return services.anywhere.then(|| self.by_itself("the request"));
        };
        let to = match &protection.cluster {
            cluster if cluster == name => format!("cluster `{name}`"),
            cluster if services::named(cluster) == *service => {
                format!("cluster `{name}`, which passes on to `{cluster}`,")
            }
            cluster => format!("cluster `{name}`, which shares {service} with `{cluster}`,"),
        };
        Some(self.past_guard(&to, protection))
    }

    /// A way that a guard watches, which asks for another verdict than the service's guard elsewhere.
    fn by_other_policy(
        &self,
        name: &str,
        protected: &Protected,
        dump: &Dump,
        has: &dyn Fn(&String) -> bool,
    ) -> Option<Finding> {
        let services = Services::of(name, dump);
        let (_, protection) = open(&services, protected, has)?;
        let Protection { cluster, key, way, .. } = protection;
        Some(Finding::new(
            Rule::TwoPolicies,
            self.path,
            format!(
                "leads to cluster `{name}` with a verdict of its own, while {way} protects `{cluster}` by `{key}`: whom either \
                 policy lets in gets there, by this server name or that, whatever host he names"
            ),
            "nothing, if the callers of both are meant to reach it; else put the rule at its virtual host too (RBACPerRoute), or \
             leave its route out here",
        ))
    }

    /// Clients write headers.
    fn by_header(&self, header: &str, protected: &Protected) -> Option<Finding> {
        let protection = protected.values().min_by_key(|protection| protection.by_chain_alone)?;
        let to = format!("whatever cluster the header {header} names, and so to `{}`,", protection.cluster);
        Some(self.past_guard(&to, protection))
    }

    fn by_itself(&self, chooser: &str) -> Finding {
        Finding::new(
            Rule::DestinationUnknown,
            self.path,
            format!(
                "{chooser} says where this leads, and no guard stands here: whether it can be the protected service was not \
                 examined"
            ),
            "name the cluster, put the guard here as well, or see to it yourself that it cannot lead to the protected service",
        )
    }

    fn past_guard(&self, to: &str, protection: &Protection) -> Finding {
        let way = &protection.way;
        if protection.by_chain_alone {
            return Finding::new(
                Rule::PartlyGuarded,
                self.path,
                format!(
                    "leads to {to} without the guard that its chain has at {way}. Nothing marks that service as protected, \
                     while other hosts of the same routes bring the rule themselves"
                ),
                "nothing, if it is not to be protected; else give its virtual host the rule as well (RBACPerRoute)",
            );
        }
        if self.by_upgrade {
            return Finding::new(
                Rule::UpgradeBypass,
                self.path,
                format!(
                    "this upgrade has filters of its own, and leads to {to} without the guard that {way} has: a client passes \
                     by asking for it"
                ),
                "remove `filters` from the upgrade_config, so that the chain's own filters apply, or repeat filter and guard \
                 there (on another chain the guard alone, for the rule at the virtual host to apply to)",
            );
        }
        Finding::new(
            Rule::UnguardedWayIn,
            self.path,
            format!(
                "leads to {to} without the guard that {way} has: a client that gets here (by another SNI, port or host name) \
                 is never asked for a verdict"
            ),
            "put an empty RBAC filter on every chain and the verdict rule (RBACPerRoute) on the virtual host, or let only \
             guarded chains lead to this service",
        )
    }
}

/// Of the services behind a cluster that are protected, one whose verdict is not demanded.
fn open<'s, 'p>(
    services: &'s Services,
    protected: &'p Protected,
    demands: &dyn Fn(&String) -> bool,
) -> Option<(&'s String, &'p Protection)> {
    let behind = services.known.iter().filter_map(|service| Some((service, protected.get(service)?)));
    let open = behind.filter(|(_, protection)| !demands(&protection.key));
    open.min_by_key(|(service, protection)| {
        (protection.by_chain_alone, **service != services::named(&protection.cluster))
    })
}

/// A guarded route does not say what it protects.
fn unknown_services(route: &Route<'_>, destination: &Destination<'_>, dump: &Dump) -> Option<Finding> {
    let is_named = matches!(destination, Destination::Cluster(name) if !Services::of(name, dump).anywhere);
    (!is_named).then(|| {
        Finding::new(
            Rule::DestinationUnknown,
            &route.path,
            "only requests say which services are behind the guard here: other ways to them were not looked for",
            "name the clusters, or see to it yourself that no other chain leads to them",
        )
    })
}

/// The keys of a chain's policies whose verdict some route demands.
fn demanded(chain: &Chain) -> Vec<String> {
    let all = routes::all(chain);
    let leading = || all.iter().filter(|route| route.action().is_some());
    let keys = chain.plugins.iter().filter_map(Plugin::verdict_key);
    keys.filter(|key| leading().any(|route| routes::is_guarded(chain, route, key))).collect()
}

/// Services behind a guard. Where some routes bring the guard themselves, they say which services it is about; the others may
/// just happen to be on a guarded chain.
fn protected_services(chains: &[Chain], dump: &Dump) -> Protected {
    let mut protected = Protected::new();
    for chain in chains {
        for key in chain.plugins.iter().filter_map(Plugin::verdict_key) {
            let all = routes::all(chain);
            let brings = |route: &Route<'_>| routes::brings_own_guard(chain, route, &key);
            let some_bring_it = all.iter().any(brings);
            for route in all.iter().filter(|route| routes::is_guarded(chain, route, &key)) {
                let by_chain_alone = some_bring_it && !brings(route);
                for cluster in route.clusters() {
                    for service in Services::of(cluster, dump).known {
                        let known = protected.get(&service);
                        if known.is_none_or(|known| known.by_chain_alone && !by_chain_alone) {
                            let (cluster, key, way) = (cluster.to_owned(), key.clone(), route.path.clone());
                            protected.insert(service, Protection { cluster, key, way, by_chain_alone });
                        }
                    }
                }
            }
        }
    }
    protected
}
