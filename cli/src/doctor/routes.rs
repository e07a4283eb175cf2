//! Route tables: where routes lead, and the per-route configurations that switch filter or guard off, or bring them.

use super::{
    chains::{Chain, Filter},
    dump::{has, is_false, list, text, truth, type_of},
    rbac::{self, Judge, Rules},
};
use serde_json::Value;

/// A route and what applies to it.
#[derive(Debug)]
pub struct Route<'c> {
    chain: &'c Chain<'c>,
    host: &'c Value,
    index: usize,
    entry: &'c Value,
    /// A part of its requests with its own configuration.
    part: Option<&'c Value>,
}

/// What a route makes of a filter.
#[derive(Clone, Copy, Debug)]
pub enum Override<'c> {
    /// Nothing: the chain's configuration counts.
    None,
    Disabled,
    Config(&'c Value),
}

/// Where a route sends requests.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination<'c> {
    Cluster(&'c str),
    /// Why it is not known.
    Unknown(String),
}

/// What happens on a route to requests without the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stand {
    /// All are refused, with the verdict or without.
    Closed,
    Guarded,
    /// They are counted.
    Watched,
    Open,
}

/// Actions by which Envoy answers itself.
const ANSWERS: [&str; 3] = ["redirect", "direct_response", "non_forwarding_action"];

impl<'c> Route<'c> {
    /// Where it is, for people.
    pub fn path(&self) -> String {
        let label = match text(self.entry, "/name") {
            "" => format!("route {}", self.index),
            name => format!("route {name}"),
        };
        let part = self.part.map(|part| format!(", cluster {}", text(part, "/name"))).unwrap_or_default();
        format!("{}, virtual host {}, {label}{part}", self.chain.path, text(self.host, "/name"))
    }

    /// Whether Envoy sends its requests somewhere, and does not answer them itself.
    pub fn forwards(&self) -> bool {
        !ANSWERS.iter().any(|answer| has(self.entry, &format!("/{answer}")))
    }

    pub fn action(&self) -> Option<&'c Value> {
        self.entry.get("route")
    }

    pub fn entry(&self) -> &'c Value {
        self.entry
    }

    pub fn domains(&self) -> impl Iterator<Item = &'c str> {
        list(self.host, "/domains").iter().filter_map(Value::as_str)
    }

    /// The more specific ones first.
    fn levels(&self) -> impl Iterator<Item = &'c Value> {
        self.part.into_iter().chain([self.entry, self.host]).chain(self.chain.routes)
    }

    /// What gets a copy of its requests. The most specific policies count.
    pub fn mirrors(&self) -> impl Iterator<Item = Destination<'c>> {
        let levels = self.action().into_iter().chain(self.levels());
        let mut policies = levels.map(|level| list(level, "/request_mirror_policies"));
        let policies = policies.find(|policies| !policies.is_empty()).unwrap_or_default();
        policies.iter().map(|policy| cluster_of(policy).unwrap_or_else(unknown))
    }

    /// What answers its requests.
    pub fn answering(&self) -> Vec<Destination<'c>> {
        let Some(action) = self.action() else {
            return if self.forwards() { vec![unknown()] } else { Vec::new() };
        };
        let weighted = list(action, "/weighted_clusters/clusters").iter().map(|cluster| {
            let name = Some(text(cluster, "/name")).filter(|name| !name.is_empty());
            name.map(Destination::Cluster).or_else(|| cluster_of(cluster)).unwrap_or_else(unknown)
        });
        let plugins = ["cluster_specifier_plugin", "inline_cluster_specifier_plugin"];
        let by_plugin = plugins.iter().any(|field| has(action, &format!("/{field}")));
        let by_plugin = by_plugin
            .then(|| Destination::Unknown("a cluster specifier plugin says where this leads".to_owned()));
        let mut all: Vec<_> = cluster_of(action).into_iter().chain(by_plugin).chain(weighted).collect();
        if all.is_empty() {
            all.push(unknown());
        }
        all
    }

    /// Whether a filter sees this route's requests.
    pub fn runs(&self, filter: &Filter) -> bool {
        match self.of_filter(filter.name) {
            Override::None => !filter.disabled,
            Override::Disabled => false,
            Override::Config(_) => true,
        }
    }

    fn of_filter(&self, name: &str) -> Override<'c> {
        let mut levels = self.levels();
        let Some(config) = levels.find_map(|level| level.get("typed_per_filter_config")?.get(name)) else {
            return Override::None;
        };
        let config = match type_of(config) {
            "FilterConfig" if truth(config, "/disabled") => return Override::Disabled,
            "FilterConfig" => config.get("config").unwrap_or(&Value::Null),
            _ => config,
        };
        // An RBACPerRoute without rules switches the filter off.
        if type_of(config) == "RBACPerRoute" && !has(config, "/rbac") {
            return Override::Disabled;
        }
        Override::Config(config)
    }

    /// What a filter demands of its requests.
    fn rules(&self, filter: &Filter, key: &str, judge: &Judge) -> Rules {
        match self.of_filter(filter.name) {
            Override::None if filter.may_be_skipped() => Rules::Unrelated,
            Override::None => judge.of_filter(filter, key),
            Override::Config(config) if filter.is_rbac() && !filter.matched => {
                config.get("rbac").map_or(Rules::Unrelated, |rules| judge.of(rules, key))
            }
            Override::Disabled | Override::Config(_) => Rules::Unrelated,
        }
    }

    /// What happens to its requests that have no verdict under the key.
    pub fn stand(&self, key: &str, judge: &Judge) -> Stand {
        let mut stand = Stand::Open;
        for filter in self.chain.filters.iter().filter(|filter| filter.is_rbac()) {
            stand = stand.min(match self.rules(filter, key, judge) {
                Rules::Closed => Stand::Closed,
                Rules::Demand => Stand::Guarded,
                Rules::DemandOf(hosts) if self.is_within(&hosts) => Stand::Guarded,
                Rules::Watch => Stand::Watched,
                _ => Stand::Open,
            });
        }
        let untouched = |filter: &Filter| matches!(self.of_filter(filter.name), Override::None);
        let noting = || rbac::noted(&self.chain.filters, key, judge);
        let filters = (stand > Stand::Guarded).then(noting).flatten();
        let filters = filters.and_then(|(taker, reader)| self.chain.filters.get(taker..=reader));
        let is_noted = filters.is_some_and(|all| all.iter().filter(|filter| filter.is_rbac()).all(untouched));
        if is_noted { Stand::Guarded } else { stand }
    }

    /// Whether all its domains are among these hosts, any port may be named.
    fn is_within(&self, hosts: &[String]) -> bool {
        let mut domains = self.domains().peekable();
        let bare = |domain: &str| {
            domain
                .rsplit_once(':')
                .map_or(domain, |(host, _)| host)
                .trim_end_matches('.')
                .to_ascii_lowercase()
        };
        domains.peek().is_some() && domains.all(|domain| hosts.contains(&bare(domain)))
    }
}

pub fn unknown<'c>() -> Destination<'c> {
    Destination::Unknown("it names no cluster".to_owned())
}

/// What `cluster` or `cluster_header` names.
fn cluster_of(action: &Value) -> Option<Destination<'_>> {
    match (text(action, "/cluster"), text(action, "/cluster_header")) {
        ("", "") => None,
        ("", header) => {
            Some(Destination::Unknown(format!("the header {header} names the cluster that this leads to")))
        }
        (cluster, _) => Some(Destination::Cluster(cluster)),
    }
}

/// Every route that requests of a chain can take. A weighted cluster with its own configuration counts as a route.
pub fn all<'c>(chain: &'c Chain<'c>) -> impl Iterator<Item = Route<'c>> {
    let hosts = chain.routes.map_or(&[][..], |table| list(table, "/virtual_hosts"));
    let entries = hosts.iter().flat_map(|host| {
        list(host, "/routes").iter().enumerate().map(move |(index, entry)| (host, index, entry))
    });
    entries.filter(|(_, _, entry)| chain.is_open_to(entry)).flat_map(move |(host, index, entry)| {
        let weighted = list(entry, "/route/weighted_clusters/clusters").iter();
        let parts = weighted.filter(|cluster| has(cluster, "/typed_per_filter_config")).map(Some);
        parts.chain([None]).map(move |part| Route { chain, host, index, entry, part })
    })
}

impl Chain<'_> {
    /// Whether its requests may take a route. About an upgrade the route has the last word.
    fn is_open_to(&self, route: &Value) -> bool {
        let Some(upgrade) = &self.upgrade else { return true };
        let mut said = list(route, "/route/upgrade_configs").iter();
        let said = said.find(|said| text(said, "/upgrade_type").eq_ignore_ascii_case(upgrade.kind));
        said.map_or(upgrade.enabled, |said| !is_false(said, "/enabled"))
    }

    /// What of its routes is not known.
    pub fn unknown_routes(&self) -> Option<String> {
        let has_unknown =
            |table: &Value| list(table, "/virtual_hosts").iter().any(|host| has(host, "/matcher"));
        let rds = text(self.manager, "/rds/route_config_name");
        match self.routes {
            None if has(self.manager, "/scoped_routes") => Some("its routes are scoped (SRDS)".to_owned()),
            None => Some(format!("its route table `{rds}` is not there")),
            Some(table) if has(table, "/vhds") => Some("virtual hosts come by VHDS".to_owned()),
            Some(table) if has_unknown(table) => {
                Some("a virtual host finds its routes by a matcher tree".to_owned())
            }
            Some(_) => None,
        }
    }
}
