//! What is behind a cluster's name: two clusters may lead to one service, and one cluster anywhere.

use super::{
    dump::{Dump, full_type, has, list, text},
    types::{Place, unexamined},
};
use serde_json::Value;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    rc::Rc,
};

/// Where requests to a cluster may end.
#[derive(Debug, Default)]
pub struct Services {
    /// For people and for comparing. Clusters that have one in common lead to one service.
    pub known: BTreeSet<String>,
    pub sockets: BTreeSet<Socket>,
    /// Why not all of it is known.
    pub unexamined: BTreeSet<String>,
    /// Services whose endpoints are not there.
    pub undelivered: BTreeSet<String>,
}

/// Host and port, as far as the configuration tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    pub host: Host,
    pub port: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// This machine: loopback addresses and names, and wildcards.
    Own,
    Ip(IpAddr),
    /// A name, and whether the dump shows what it resolved to.
    Name(String, bool),
}

impl Socket {
    /// Of a `core.v3.Address`; or what else it is.
    pub fn of(address: &Value, resolved: bool) -> Result<Self, String> {
        let Some(socket) = address.get("socket_address") else {
            let (path, listener) =
                (text(address, "/pipe/path"), text(address, "/envoy_internal_address/server_listener_name"));
            return Err(match (path, listener) {
                ("", "") => String::new(),
                ("", listener) => internal(listener),
                (path, _) => {
                    let parts: Vec<&str> =
                        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
                    format!("the endpoint /{}", parts.join("/"))
                }
            });
        };
        let port = match (socket.get("port_value"), text(socket, "/named_port")) {
            (Some(Value::String(port)), _) => port.clone(),
            (Some(port), _) => port.to_string(),
            (None, named) => named.to_owned(),
        };
        Ok(Self { host: Host::of(text(socket, "/address"), resolved), port })
    }

    /// Whether two of them are, or may be, one.
    pub fn meets(&self, other: &Self) -> Meeting {
        if self.port != other.port {
            return Meeting::Never;
        }
        let is_start =
            |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        match (&self.host, &other.host) {
            (Host::Name(a, _), Host::Name(b, _)) if is_start(a, b) || is_start(b, a) => Meeting::Same,
            (Host::Name(..), Host::Name(..)) => Meeting::Never,
            (a, b) if a == b => Meeting::Same,
            (Host::Name(_, true), _) | (_, Host::Name(_, true)) | (Host::Ip(_), Host::Ip(_)) => {
                Meeting::Never
            }
            // A name may resolve to any address, and any address may be this machine's.
            _ => Meeting::Perhaps,
        }
    }
}

impl std::fmt::Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = match &self.host {
            Host::Own => "localhost".to_owned(),
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name, _) => name.clone(),
        };
        write!(f, "the endpoint {host}:{}", self.port)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meeting {
    Never,
    Perhaps,
    Same,
}

/// Hosts of one kind compare alike with those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostKind {
    Own,
    Ip,
    Name,
    ResolvedName,
}

impl Host {
    pub fn kind(&self) -> HostKind {
        match self {
            Self::Own => HostKind::Own,
            Self::Ip(_) => HostKind::Ip,
            Self::Name(_, false) => HostKind::Name,
            Self::Name(_, true) => HostKind::ResolvedName,
        }
    }

    pub fn is_name(&self) -> bool {
        matches!(self, Self::Name(..))
    }

    pub fn of(text: &str, resolved: bool) -> Self {
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        let Some(ip) = name.parse::<IpAddr>().ok().or_else(|| legacy(&name)) else {
            let is_own =
                name == "localhost" || name.ends_with(".localhost") || name.starts_with("localhost.");
            return if is_own || name.starts_with("ip6-l") { Self::Own } else { Self::Name(name, resolved) };
        };
        let ip = ip.to_canonical();
        if ip.is_loopback() || ip.is_unspecified() { Self::Own } else { Self::Ip(ip) }
    }
}

/// The forms of an IPv4 address that resolvers read as well: `127.1`, `0x7f000001`, `0177.0.0.1`.
fn legacy(name: &str) -> Option<IpAddr> {
    let part = |text: &str| match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(hex), _) => u32::from_str_radix(hex, 16).ok(),
        (_, Some(octal)) if !octal.is_empty() => u32::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    };
    let parts: Vec<u32> = name.split('.').map(part).collect::<Option<_>>()?;
    let (last, first) = parts.split_last().filter(|(_, first)| first.len() < 4)?;
    let mut ip = *last;
    for (index, part) in first.iter().enumerate() {
        ip |= part.checked_shl(24 - 8 * u32::try_from(index).ok()?)?;
    }
    Some(IpAddr::from(ip.to_be_bytes()))
}

/// All clusters' services, each looked up once.
pub struct Directory<'d> {
    dump: &'d Dump,
    /// Where listeners of this Envoy lead that a cluster can have as an endpoint, by what the endpoint is called.
    leads: BTreeMap<String, Vec<&'d str>>,
    found: RefCell<HashMap<String, Rc<Services>>>,
}

impl<'d> Directory<'d> {
    pub fn new(dump: &'d Dump, leads: BTreeMap<String, Vec<&'d str>>) -> Self {
        Self { dump, leads, found: RefCell::default() }
    }

    /// Of a cluster, and of those that it passes requests on to.
    pub fn of(&self, cluster: &str) -> Rc<Services> {
        if let Some(found) = self.found.borrow().get(cluster) {
            return found.clone();
        }
        let (mut services, mut waiting) = (Services::default(), vec![cluster.to_owned()]);
        while let Some(name) = waiting.pop() {
            if services.known.insert(named(&name)) {
                waiting.extend(self.add(&mut services, &name));
            }
        }
        let services = Rc::new(services);
        self.found.borrow_mut().insert(cluster.to_owned(), services.clone());
        services
    }

    /// Adds what one cluster leads to; says which clusters come next.
    fn add(&self, services: &mut Services, name: &str) -> Vec<String> {
        services.known.extend(mesh_service(name));
        let Some(cluster) = self.dump.clusters.get(name) else {
            // Envoy answers 503 itself.
            services.unexamined.insert(format!("cluster `{name}` is not in the configuration"));
            return Vec::new();
        };
        let mut next = Vec::new();
        let (kind, config) = kind(cluster);
        match kind {
            "STATIC"
            | "STRICT_DNS"
            | "LOGICAL_DNS"
            | "EDS"
            | ""
            | "envoy.extensions.clusters.dns.v3.DnsCluster" => {
                self.add_endpoints(services, name, cluster);
            }
            "envoy.extensions.clusters.aggregate.v3.ClusterConfig"
            | "envoy.extensions.clusters.composite.v3.ClusterConfig" => {
                let members = list(config, "/clusters").iter();
                let members =
                    members.filter_map(|member| member.as_str().or_else(|| member.get("name")?.as_str()));
                next.extend(members.map(str::to_owned));
            }
            other => {
                services.unexamined.insert(format!("cluster `{name}` is of type {other}: it is not the configuration that says where it leads"));
            }
        }
        let sockets = list(cluster, "/transport_socket_matches").iter();
        let sockets = sockets.filter_map(|one| one.pointer("/transport_socket/typed_config"));
        for socket in sockets.chain(cluster.pointer("/transport_socket/typed_config")) {
            services.unexamined.extend(unexamined(Place::UpstreamSocket, socket));
        }
        if has(cluster, "/upstream_config") || !list(cluster, "/filters").is_empty() {
            services.unexamined.insert(format!("cluster `{name}` has upstream_config or filters of its own"));
        }
        next.extend(self.next_listeners(services));
        next
    }

    /// The clusters behind listeners of this Envoy that are endpoints here.
    fn next_listeners(&self, services: &Services) -> Vec<String> {
        let named = services.known.iter().cloned();
        let sockets = services.sockets.iter().map(ToString::to_string);
        let leads = named.chain(sockets).filter_map(|end| self.leads.get(&end));
        leads.flatten().map(|name| (*name).to_owned()).collect()
    }

    fn add_endpoints(&self, services: &mut Services, name: &str, cluster: &Value) {
        let is_discovered = has(cluster, "/eds_cluster_config");
        let service = text(cluster, "/eds_cluster_config/service_name");
        let service = if service.is_empty() { name } else { service };
        let dumped = self.dump.endpoints.get(service).or_else(|| self.dump.endpoints.get(name));
        if is_discovered {
            services.known.insert(format!("the discovered endpoints of {service}"));
            if dumped.is_none() {
                services.undelivered.insert(service.to_owned());
            }
        }
        let own = cluster.get("load_assignment");
        let resolved = dumped.into_iter().flatten().flat_map(lb_endpoints).next().is_some();
        for endpoint in own.into_iter().chain(dumped.into_iter().flatten()).flat_map(lb_endpoints) {
            for address in addresses(endpoint) {
                match Socket::of(address, resolved) {
                    Ok(socket) => drop(services.sockets.insert(socket)),
                    Err(other) => drop(services.known.insert(other)),
                }
                if has(address, "/socket_address/resolver_name") {
                    services
                        .unexamined
                        .insert(format!("a resolver of its own says where cluster `{name}` leads"));
                }
            }
        }
    }
}

/// How a cluster finds its endpoints, and the configuration of that.
fn kind(cluster: &Value) -> (&str, &Value) {
    match cluster.pointer("/cluster_type/typed_config") {
        Some(config) => (full_type(config), config),
        None if has(cluster, "/cluster_type") => (text(cluster, "/cluster_type/name"), &Value::Null),
        None if cluster.get("type").is_some_and(|kind| !kind.is_string()) => ("a number", &Value::Null),
        None => (text(cluster, "/type"), &Value::Null),
    }
}

pub fn lb_endpoints(assignment: &Value) -> impl Iterator<Item = &Value> {
    list(assignment, "/endpoints").iter().flat_map(|locality| list(locality, "/lb_endpoints"))
}

/// The addresses of an endpoint.
pub fn addresses(endpoint: &Value) -> impl Iterator<Item = &Value> {
    let more = list(endpoint, "/endpoint/additional_addresses").iter().filter_map(|one| one.get("address"));
    endpoint.pointer("/endpoint/address").into_iter().chain(more)
}

/// The cluster itself, as one of its services.
pub fn named(cluster: &str) -> String {
    format!("cluster `{cluster}`")
}

/// An internal listener, as an endpoint.
pub fn internal(listener: &str) -> String {
    format!("the internal listener {listener}")
}

/// Istio's clusters for the subsets of a service: `outbound|8080|v1|service.default.svc.cluster.local`.
fn mesh_service(name: &str) -> Option<String> {
    let mut parts = name.split('|');
    let (direction, port, _subset, host) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (!host.is_empty()).then(|| format!("the {direction} service {host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(host: &str) -> Socket {
        Socket { host: Host::of(host, false), port: "1".to_owned() }
    }

    #[test]
    fn addresses_are_one_if_they_lead_to_one_place() {
        for (a, b, expected) in [
            ("127.0.0.1", "localhost", Meeting::Same),
            ("127.0.0.1", "LOCALHOST.", Meeting::Same),
            ("127.0.0.1", "127.8.9.1", Meeting::Same),
            ("127.0.0.1", "::1", Meeting::Same),
            ("127.0.0.1", "::ffff:127.0.0.1", Meeting::Same),
            ("127.0.0.1", "0.0.0.0", Meeting::Same),
            ("127.0.0.1", "::", Meeting::Same),
            ("127.0.0.1", "127.1", Meeting::Same),
            ("127.0.0.1", "2130706433", Meeting::Same),
            ("127.0.0.1", "0x7f.0.0.1", Meeting::Same),
            ("127.0.0.1", "0177.0.0.1", Meeting::Same),
            ("10.0.0.1", "::ffff:a00:1", Meeting::Same),
            ("10.0.0.1", "10.0.0.2", Meeting::Never),
            ("10.0.0.1", "127.0.0.1", Meeting::Perhaps),
            ("10.0.0.1", "service", Meeting::Perhaps),
            ("127.0.0.1", "service", Meeting::Perhaps),
            ("service", "Service.", Meeting::Same),
            ("service", "service.default.svc.cluster.local", Meeting::Same),
            ("service", "service2", Meeting::Never),
            ("service", "others", Meeting::Never),
        ] {
            assert_eq!(socket(a).meets(&socket(b)), expected, "{a} and {b}");
            assert_eq!(socket(b).meets(&socket(a)), expected, "{b} and {a}");
        }
    }
}
