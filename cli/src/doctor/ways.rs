//! Ways to a protected service that do not pass the guard: other chains, other listeners, TCP proxies, upgrades, copies, other
//! clusters with the same endpoints, filters that call clusters themselves.

use super::{
    chains::{Chain, Filter, Model, Tunnel},
    dump::{Dump, has, list, text},
    examine::{admin_socket, is_scrape},
    finding::{Finding, few},
    plugin::Plugin,
    rbac::{self, Judge},
    routes::{self, Destination, Route, Stand},
    rules::Rule,
    services::{Directory, HostKind, Meeting, Services, Socket, internal},
};
use genesys_mtls_filter::policy::Peer;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A way into Envoy, and where it leads.
struct Way<'d> {
    chain: Option<&'d Chain<'d>>,
    tunnel: Option<&'d Tunnel<'d>>,
    route: Option<Route<'d>>,
    /// The keys whose verdict it demands (or counts the lack of).
    demands: BTreeSet<String>,
    answering: Vec<Destination<'d>>,
    copies: Vec<Destination<'d>>,
}

impl Way<'_> {
    fn path(&self) -> String {
        match (&self.route, self.tunnel, self.chain) {
            (Some(route), ..) => route.path(),
            (_, Some(tunnel), _) => format!("{}, TCP proxy", tunnel.path),
            (.., chain) => chain.map(|chain| chain.path.clone()).unwrap_or_default(),
        }
    }

    fn listener(&self) -> &Value {
        let chain = self.chain.map(|chain| chain.listener);
        chain.or(self.tunnel.map(|tunnel| tunnel.listener)).unwrap_or(&Value::Null)
    }
}

/// What guards protect, by the keys that they demand: each service with the way that does.
#[derive(Default)]
struct Protected {
    known: BTreeMap<String, (String, BTreeSet<String>)>,
    sockets: HashMap<String, BTreeMap<BTreeSet<String>, Ends>>,
}

/// Sockets of one port.
#[derive(Default)]
struct Ends {
    all: BTreeMap<Socket, String>,
    /// One of each kind of host: what may be one of them may be all.
    kinds: BTreeMap<HostKind, (Socket, String)>,
}

impl Protected {
    fn add(&mut self, services: &Services, way: &str, keys: &BTreeSet<String>) {
        for service in &services.known {
            let known = self.known.entry(service.clone()).or_insert_with(|| (way.to_owned(), keys.clone()));
            known.1.retain(|key| keys.contains(key));
        }
        for socket in &services.sockets {
            let ends = self.sockets.entry(socket.port.clone()).or_default().entry(keys.clone()).or_default();
            let entry = (socket.clone(), way.to_owned());
            ends.kinds.entry(socket.host.kind()).or_insert_with(|| entry.clone());
            ends.all.entry(entry.0).or_insert(entry.1);
        }
    }

    /// What of these services is protected by keys that a way does not demand: what, by which way, and how surely.
    fn open<'p>(
        &'p self,
        services: &Services,
        demands: &BTreeSet<String>,
    ) -> Option<(String, &'p str, Meeting)> {
        let is_open = |keys: &BTreeSet<String>| !keys.iter().any(|key| demands.contains(key));
        let known = services.known.iter().filter_map(|service| Some((service, self.known.get(service)?)));
        let mut known = known.filter(|(_, (_, keys))| is_open(keys));
        if let Some((service, (way, _))) = known.next() {
            return Some((service.clone(), way, Meeting::Same));
        }
        let sockets = services.sockets.iter().flat_map(|socket| {
            let by_keys = self.sockets.get(&socket.port).into_iter().flatten();
            by_keys.filter(|(keys, _)| is_open(keys)).flat_map(move |(_, ends)| {
                let is_name = socket.host.is_name();
                let names = ends.all.iter().filter(|(other, _)| other.host.is_name());
                let names = names.take(if is_name { usize::MAX } else { 0 });
                let kinds = ends.kinds.values().map(|(other, way)| (other, way));
                let all = ends.all.get_key_value(socket).into_iter().chain(kinds).chain(names);
                all.map(move |(other, way)| (socket, way, socket.meets(other)))
            })
        });
        let (socket, way, meeting) = sockets.max_by_key(|(.., meeting)| *meeting)?;
        (meeting > Meeting::Never).then(|| (socket.to_string(), way.as_str(), meeting))
    }
}

pub fn check(model: &Model, dump: &Dump, judge: &Judge) -> Vec<Finding> {
    let keys: BTreeSet<String> =
        model.chains.iter().flat_map(|chain| &chain.plugins).filter_map(Plugin::verdict_key).collect();
    let ways = all(model, &keys, judge);
    let directory = Directory::new(dump, leads(&ways, dump));
    let (mut findings, mut protected) = (Vec::new(), Protected::default());
    for way in ways.iter().filter(|way| !way.demands.is_empty()) {
        for destination in &way.answering {
            if let Destination::Cluster(name) = destination {
                protected.add(&directory.of(name), &way.path(), &way.demands);
            }
        }
    }
    let guards = Whole::of_all(&ways, &keys, judge);
    let (admin, mut missing) = (admin_socket(dump), BTreeSet::new());
    for way in &ways {
        let own = route_findings(way, &guards);
        let is_known = way.demands.is_empty() && !own.is_empty();
        findings.extend(own);
        let is_internal = has(way.listener(), "/internal_listener")
            || has(way.listener(), "/address/envoy_internal_address");
        for destination in way.answering.iter().chain(&way.copies) {
            let services = match destination {
                Destination::Cluster(name) => directory.of(name),
                Destination::Unknown(why) => {
                    findings.push(unknown(&way.path(), why));
                    continue;
                }
            };
            findings.extend(reaches_admin(way, &services, admin.as_ref()));
            // What leads to an internal listener leads on as that listener does.
            if is_known || is_internal && way.demands.is_empty() {
                continue;
            }
            missing.extend(services.undelivered.iter().cloned());
            if let Some((service, guarded, meeting)) = protected.open(&services, &way.demands) {
                findings.push(past_guard(way, destination, &service, guarded, meeting));
            } else if !services.unexamined.is_empty() {
                let why: Vec<&str> = services.unexamined.iter().map(String::as_str).collect();
                findings.push(unknown(&way.path(), &why.join("; ")));
            }
        }
    }
    if !missing.is_empty() {
        findings.push(Finding::new(
            Rule::PartialInput,
            "endpoints",
            format!("the endpoints of {} are not there: other ways to them were not looked for", few(&missing)),
            "take the dump with ?include_eds (--admin does), or give the file of their ClusterLoadAssignment as well",
        ));
    }
    findings.extend(called(model, &directory, &protected));
    findings.extend(hops(model, &ways, &directory));
    findings
}

/// What a chain does on one route or another.
#[derive(Default)]
struct Whole {
    /// The keys that its guard demands, as long as a route does not say otherwise.
    keys: BTreeSet<String>,
    /// Those that some route demands.
    guarded: BTreeSet<String>,
    /// Plugins that run on some route.
    running: BTreeSet<usize>,
}

impl Whole {
    fn of_all<'d>(
        ways: &[Way<'d>],
        keys: &BTreeSet<String>,
        judge: &Judge,
    ) -> HashMap<*const Chain<'d>, Self> {
        let mut all = HashMap::new();
        for way in ways {
            let (Some(chain), Some(route)) = (way.chain, &way.route) else { continue };
            let whole: &mut Self = all.entry(std::ptr::from_ref(chain)).or_insert_with(|| Self {
                keys: keys.iter().filter(|key| rbac::guards(&chain.filters, key, judge)).cloned().collect(),
                ..Self::default()
            });
            whole.guarded.extend(way.demands.iter().cloned());
            let runs = |plugin: &&Plugin| {
                chain.filters.get(plugin.position).is_some_and(|filter| route.runs(filter))
            };
            whole.running.extend(chain.plugins.iter().filter(runs).map(|plugin| plugin.position));
        }
        all
    }
}

fn all<'d>(model: &'d Model<'d>, keys: &BTreeSet<String>, judge: &Judge) -> Vec<Way<'d>> {
    let mut ways = Vec::new();
    for chain in &model.chains {
        for route in routes::all(chain).filter(Route::forwards) {
            let stands: Vec<(&String, Stand)> =
                keys.iter().map(|key| (key, route.stand(key, judge))).collect();
            if stands.iter().all(|(_, stand)| *stand != Stand::Closed) {
                ways.push((chain, route, stands));
            }
        }
    }
    // A guard that counts is one as long as no other refuses.
    let on_routes = ways
        .iter()
        .flat_map(|(.., stands)| stands)
        .filter(|(_, stand)| *stand == Stand::Guarded)
        .map(|(key, _)| *key);
    let on_chains =
        keys.iter().filter(|key| model.chains.iter().any(|chain| rbac::guards(&chain.filters, key, judge)));
    let refused: BTreeSet<&String> = on_routes.chain(on_chains).collect();
    let least = |key: &String| if refused.contains(key) { Stand::Guarded } else { Stand::Watched };
    let of_route = |(chain, route, stands): (&'d Chain<'d>, Route<'d>, Vec<(&String, Stand)>)| Way {
        chain: Some(chain),
        tunnel: None,
        demands: stands
            .into_iter()
            .filter(|(key, stand)| *stand <= least(key))
            .map(|(key, _)| key.clone())
            .collect(),
        answering: route.answering(),
        copies: route.mirrors().collect(),
        route: Some(route),
    };
    let of_tunnel = |tunnel: &'d Tunnel<'d>| Way {
        chain: None,
        tunnel: Some(tunnel),
        route: None,
        demands: BTreeSet::new(),
        answering: tunnel
            .clusters
            .iter()
            .copied()
            .map(Destination::Cluster)
            .chain(tunnel.clusters.is_empty().then(routes::unknown))
            .collect(),
        copies: Vec::new(),
    };
    ways.into_iter().map(of_route).chain(model.tunnels.iter().map(of_tunnel)).collect()
}

/// Where listeners of this Envoy lead, by what a cluster calls them as an endpoint.
fn leads<'d>(ways: &[Way<'d>], dump: &'d Dump) -> BTreeMap<String, Vec<&'d str>> {
    let mut names: HashMap<*const Value, Vec<String>> = HashMap::new();
    for listener in &dump.listeners {
        let more = list(listener, "/additional_addresses").iter().filter_map(|one| one.get("address"));
        let addresses = listener.get("address").into_iter().chain(more);
        let ends = addresses
            .map(|address| Socket::of(address, true).map_or_else(|other| other, |socket| socket.to_string()));
        names.insert(std::ptr::from_ref(listener), ends.chain([internal(text(listener, "/name"))]).collect());
    }
    let mut leads: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for way in ways.iter().filter(|way| way.demands.is_empty()) {
        let listener: *const Value = match (way.chain, way.tunnel) {
            (Some(chain), _) => chain.listener,
            (_, Some(tunnel)) => tunnel.listener,
            _ => continue,
        };
        for end in names.get(&listener).into_iter().flatten() {
            let clusters =
                way.answering.iter().chain(&way.copies).filter_map(|destination| match destination {
                    Destination::Cluster(name) => Some(*name),
                    Destination::Unknown(_) => None,
                });
            leads.entry(end.clone()).or_default().extend(clusters);
        }
    }
    leads
}

/// Routes of a chain with the filter on which filter and guard are not both there.
fn route_findings(way: &Way, guards: &HashMap<*const Chain, Whole>) -> Vec<Finding> {
    let (Some(chain), Some(route)) = (way.chain, &way.route) else { return Vec::new() };
    let mut findings = Vec::new();
    for plugin in &chain.plugins {
        let (Some(key), Some(filter)) = (plugin.verdict_key(), chain.filters.get(plugin.position)) else {
            continue;
        };
        let whole = guards.get(&std::ptr::from_ref(chain));
        let has_guard = whole.is_some_and(|whole| whole.keys.contains(&key));
        let runs_somewhere =
            !filter.disabled || whole.is_some_and(|whole| whole.running.contains(&plugin.position));
        let is_ours = has_guard || whole.is_none_or(|whole| !whole.guarded.contains(&key));
        findings.extend(match (route.runs(filter), way.demands.contains(&key)) {
            (true, true) => None,
            // Reported for the whole chain where no route is guarded.
            (true, false) => has_guard.then(|| {
                Finding::new(
                    Rule::RouteBypassesGuard,
                    &route.path(),
                    "a typed_per_filter_config switches the guard off, or replaces its rules by some that do not demand the verdict",
                    "remove it; to exempt a health check, answer it with a direct_response",
                )
            }),
            // Reported for the whole chain where no route enables it.
            (false, true) => runs_somewhere.then(|| Finding::new(
                Rule::FilterDisabledOnRoute,
                &route.path(),
                "the filter is disabled here and the guard is not: everything is refused",
                "remove the typed_per_filter_config of the filter, or enable it there if the chain disables it",
            )),
            (false, false) => (!filter.disabled && is_ours).then(|| {
                Finding::new(
                    Rule::RouteBypassesFilter,
                    &route.path(),
                    "the filter is disabled here, and nothing demands its verdict: strangers get through",
                    "remove the typed_per_filter_config; to exempt a health check, answer it with a direct_response",
                )
            }),
        });
    }
    findings
}

fn unknown(path: &str, why: &str) -> Finding {
    Finding::new(
        Rule::DestinationUnknown,
        path,
        format!("{why}: whether that can be the protected service was not examined"),
        "name a cluster with known endpoints, read them from a running Envoy (--admin, or config_dump?include_eds), or see to it \
         yourself that this cannot lead to the protected service, and accept this finding",
    )
}

fn past_guard(
    way: &Way,
    destination: &Destination,
    service: &str,
    guarded: &str,
    meeting: Meeting,
) -> Finding {
    let cluster = match destination {
        Destination::Cluster(name) => *name,
        Destination::Unknown(_) => "",
    };
    let same = if meeting == Meeting::Same { "leads to" } else { "may lead to" };
    if !way.demands.is_empty() {
        return Finding::new(
            Rule::TwoPolicies,
            &way.path(),
            format!(
                "cluster `{cluster}` {same} {service} with a verdict of its own, while {guarded} protects it by another: callers whom \
                 either policy allows get there"
            ),
            "accept it if the callers of both are meant to reach it; else put the rule at its virtual host too (RBACPerRoute)",
        );
    }
    let upgrade = way.chain.is_some_and(|chain| chain.upgrade.is_some());
    let what = if upgrade {
        ": a client passes by asking for the upgrade, which has filters of its own"
    } else {
        ""
    };
    Finding::new(
        if meeting == Meeting::Same { Rule::UnguardedWayIn } else { Rule::DestinationUnknown },
        &way.path(),
        format!("cluster `{cluster}` {same} {service}, without the guard that {guarded} has{what}"),
        "let only guarded chains lead to this service: filter and guard on this chain as well, or an empty RBAC filter here and the \
         verdict rule (RBACPerRoute) at the virtual host; a host that the chain's guard names must be named in full",
    )
}

fn reaches_admin(way: &Way, services: &Services, admin: Option<&Result<Socket, String>>) -> Option<Finding> {
    let reaches = match admin? {
        Ok(admin) => {
            admin.port != "0" && services.sockets.iter().any(|socket| socket.meets(admin) == Meeting::Same)
        }
        Err(path) => services.known.contains(path),
    };
    let is_scrape = way.route.as_ref().is_some_and(is_scrape);
    (reaches && !is_scrape).then(|| {
        Finding::new(
            Rule::AdminReachable,
            &way.path(),
            "this leads to Envoy's admin interface: who gets here reads all, and can stop Envoy",
            "route `path: /stats/prometheus` or `path: /ready` there, without a rewrite, and nothing else",
        )
    })
}

/// Filters, logs and traces that call the protected service themselves.
fn called(model: &Model, directory: &Directory, protected: &Protected) -> Vec<Finding> {
    let of_filter = |path: &str, filter: &Filter<'_>| format!("{path}, filter {}", filter.name);
    let network =
        model.network.iter().map(|(path, filter)| (of_filter(path, filter), filter.configs.clone()));
    let http = model.chains.iter().flat_map(|chain| {
        chain.filters.iter().map(move |filter| (of_filter(&chain.path, filter), filter.configs.clone()))
    });
    let reports = model.chains.iter().flat_map(|chain| {
        let parts = ["access_log", "tracing"]
            .into_iter()
            .filter_map(|field| Some((field, chain.manager.get(field)?)));
        parts.map(move |(field, config)| (format!("{}, {field}", chain.path), vec![config]))
    });
    let mut findings = Vec::new();
    for (path, configs) in http.chain(network).chain(reports) {
        let mut clusters = BTreeSet::new();
        for config in configs {
            mentioned(config, &mut clusters);
        }
        for cluster in clusters {
            let Some((service, guarded, _)) = protected.open(&directory.of(cluster), &BTreeSet::new()) else {
                continue;
            };
            findings.push(Finding::new(
                Rule::UnguardedWayIn,
                &path,
                format!("it calls cluster `{cluster}` itself, which leads to {service}, without the guard that {guarded} has"),
                "give what it calls a service of its own",
            ));
        }
    }
    findings
}

/// Clusters that a filter names, but for where a manager or a TCP proxy leads.
fn mentioned<'v>(value: &'v Value, clusters: &mut BTreeSet<&'v str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| mentioned(item, clusters)),
        Value::Object(fields) => {
            let kind = super::dump::type_of(value);
            if matches!(kind, "TcpProxy" | "Wasm" | "HttpConnectionManager") {
                return;
            }
            for (name, value) in fields {
                match value.as_str() {
                    Some(cluster)
                        if matches!(name.as_str(), "cluster" | "cluster_name") && !cluster.is_empty() =>
                    {
                        clusters.insert(cluster);
                    }
                    _ => mentioned(value, clusters),
                }
            }
        }
        _ => {}
    }
}

/// A trusted hop that is this very Envoy: what a stranger writes into its header, the hop forwards under its own name.
fn hops(model: &Model, ways: &[Way], directory: &Directory) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (chain, plugin) in
        model.chains.iter().flat_map(|chain| chain.plugins.iter().map(move |plugin| (chain, plugin)))
    {
        let Some(Peer::Hop(hop)) = plugin.policy().map(|policy| &policy.peer) else { continue };
        let Some(Ok(own)) = chain.listener.get("address").map(|address| Socket::of(address, true)) else {
            continue;
        };
        for way in ways {
            let clusters = way.answering.iter().filter_map(|destination| match destination {
                Destination::Cluster(name) => Some(*name),
                Destination::Unknown(_) => None,
            });
            let leads_here = |name: &str| {
                directory.of(name).sockets.iter().any(|socket| socket.meets(&own) == Meeting::Same)
            };
            let mode =
                way.chain.map_or("FORWARD_ONLY", |chain| text(chain.manager, "/forward_client_cert_details"));
            let is_removed =
                hop.header == "x-forwarded-client-cert" && matches!(mode, "" | "SANITIZE" | "SANITIZE_SET");
            if !is_removed && own.port != "0" && clusters.into_iter().any(leads_here) {
                findings.push(Finding::new(
                    Rule::HopForgeable,
                    &way.path(),
                    format!(
                        "it leads to the listener of {}, which trusts the header {} of a hop, and does not remove what clients write \
                         there: a stranger's certificate passes as one that the hop has seen",
                        plugin.path, hop.header
                    ),
                    "remove the header here (forward_client_cert_details: SANITIZE_SET), or do not lead there",
                ));
            }
        }
    }
    findings
}
