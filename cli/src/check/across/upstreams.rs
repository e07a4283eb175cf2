//! The clusters that files define, in any of their forms: where they lead, and which name TLS asks for.

use super::finding::Place;
use crate::source::{File, Kind, Node};
use std::collections::BTreeMap;

/// A text, and where it was written.
pub type Written<'f> = (&'f str, Place<'f>);

#[derive(Debug, Default)]
pub struct Upstream<'f> {
    /// Where it is defined; nothing if only a policy speaks of it.
    pub places: Vec<Place<'f>>,
    pub hosts: Vec<Written<'f>>,
    /// SNI, and the names that the server's certificate has to carry.
    pub names: Vec<Written<'f>>,
}

#[derive(Debug, Default)]
pub struct Upstreams<'f> {
    by_name: BTreeMap<String, Upstream<'f>>,
    /// Clusters may come from elsewhere as well.
    is_partial: bool,
    /// One of each family.
    firsts: Vec<(Family, Place<'f>)>,
}

/// How clusters are named: by Istio, by Envoy Gateway, by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Istio,
    EnvoyGateway,
    Envoy,
}

fn family(cluster: &str) -> Family {
    match cluster {
        name if name.starts_with("outbound|") => Family::Istio,
        name if name.starts_with("backend/") => Family::EnvoyGateway,
        _ => Family::Envoy,
    }
}

/// The name under which a cluster is kept: Istio's by host alone, so that a `DestinationRule` finds it; a Backend's by its own.
fn key(cluster: &str) -> String {
    match family(cluster) {
        Family::Istio => format!("||{}", cluster.rsplit('|').next().unwrap_or_default().to_ascii_lowercase()),
        Family::EnvoyGateway => format!("backend/{}", cluster.split('/').nth(2).unwrap_or_default()),
        Family::Envoy => cluster.to_owned(),
    }
}

impl<'f> Upstreams<'f> {
    pub fn of(files: &'f [File]) -> Self {
        let mut all = Self::default();
        for file in files {
            for document in file.documents.iter().flatten() {
                all.visit(file, document);
            }
        }
        for family in [Family::Istio, Family::EnvoyGateway, Family::Envoy] {
            let is_one = |name: &str| match family {
                Family::Istio => name.starts_with("||"),
                Family::EnvoyGateway => name.starts_with("backend/"),
                Family::Envoy => !name.starts_with("||") && !name.starts_with("backend/"),
            };
            let mut same = all.by_name.iter().filter(|(name, _)| is_one(name));
            let first = same.find_map(|(_, upstream)| upstream.places.first().copied());
            all.firsts.extend(first.map(|place| (family, place)));
        }
        all
    }

    pub fn get(&self, cluster: &str) -> Option<&Upstream<'f>> {
        self.by_name.get(&key(cluster)).filter(|upstream| !upstream.places.is_empty())
    }

    /// One that is named as this one would be, if there is any, and none can come from elsewhere.
    pub fn other_than(&self, cluster: &str) -> Option<Place<'f>> {
        let family = family(cluster);
        if self.is_partial && family == Family::Envoy {
            return None;
        }
        self.firsts.iter().find(|(of, _)| *of == family).map(|(_, place)| *place)
    }

    fn add(&mut self, name: &str) -> &mut Upstream<'f> {
        self.by_name.entry(key(name)).or_default()
    }

    fn visit(&mut self, file: &'f File, node: &'f Node) {
        let place = |node: &Node| Place { file, mark: node.mark };
        let name = node.at(&["metadata", "name"]).and_then(Node::as_str).unwrap_or_default();
        match node.get("kind").and_then(Node::as_str) {
            Some("ServiceEntry") => {
                for host in texts(node.at(&["spec", "hosts"])) {
                    let upstream = self.add(&format!("outbound|443||{}", host.0));
                    upstream.places.push(place(host.1));
                    upstream.hosts.push((host.0, place(host.1)));
                }
            }
            Some("DestinationRule") => {
                let host = node.at(&["spec", "host"]).and_then(Node::as_str).unwrap_or_default();
                let names = tls_names(node, file);
                self.add(&format!("outbound|443||{host}")).names.extend(names);
            }
            Some("Backend") => {
                let upstream = self.add(&format!("backend//{name}"));
                upstream.places.push(place(node));
                for endpoint in node.at(&["spec", "endpoints"]).map(Node::children).unwrap_or_default() {
                    let host = endpoint.at(&["fqdn", "hostname"]);
                    upstream.hosts.extend(host.and_then(|host| Some((host.as_str()?, place(host)))));
                }
            }
            Some("BackendTLSPolicy") => {
                for target in node.at(&["spec", "targetRefs"]).map(Node::children).unwrap_or_default() {
                    let target = target.get("name").and_then(Node::as_str).unwrap_or_default();
                    let host = node.at(&["spec", "validation", "hostname"]);
                    let host = host.and_then(|host| Some((host.as_str()?, place(host))));
                    self.add(&format!("backend//{target}")).names.extend(host);
                }
            }
            _ => self.envoy(file, node),
        }
    }

    fn envoy(&mut self, file: &'f File, node: &'f Node) {
        let type_name = node.get("@type").and_then(Node::as_str).unwrap_or_default();
        let is_cluster = type_name.ends_with("config.cluster.v3.Cluster")
            || ["load_assignment", "connect_timeout", "lb_policy", "eds_cluster_config"]
                .iter()
                .any(|field| node.get(field).is_some());
        if let (true, Some(name)) = (is_cluster, node.get("name").and_then(Node::as_str)) {
            let upstream = self.add(name);
            upstream.places.push(Place { file, mark: node.mark });
            let assignment = node.get("load_assignment").into_iter();
            upstream.hosts.extend(assignment.flat_map(|all| values(all, "address", file)));
            upstream
                .names
                .extend(node.get("transport_socket").into_iter().flat_map(|all| tls_names(all, file)));
            return;
        }
        self.is_partial |= node.get("cds_config").is_some() || node.get("ads_config").is_some();
        for child in node.children() {
            let is_resource = child.get("kind").is_some() && child.get("metadata").is_some();
            if is_resource { self.visit(file, child) } else { self.envoy(file, child) }
        }
    }
}

/// SNI and names to verify, in a `DestinationRule` or an Envoy cluster.
fn tls_names<'f>(node: &'f Node, file: &'f File) -> Vec<Written<'f>> {
    let mut names = values(node, "sni", file);
    names.extend(values(node, "exact", file));
    names.extend(lists(node, "subjectAltNames", file));
    names
}

/// The texts under every key of this name.
fn values<'f>(node: &'f Node, wanted: &str, file: &'f File) -> Vec<Written<'f>> {
    let mut found = Vec::new();
    if let Some(one) = node.get(wanted)
        && let Some(text) = one.as_str()
    {
        found.push((text, Place { file, mark: one.mark }));
    }
    found.extend(node.children().into_iter().flat_map(|child| values(child, wanted, file)));
    found
}

fn lists<'f>(node: &'f Node, wanted: &str, file: &'f File) -> Vec<Written<'f>> {
    let own = texts(node.get(wanted)).into_iter().map(|(text, node)| (text, Place { file, mark: node.mark }));
    let mut found: Vec<_> = own.collect();
    found.extend(node.children().into_iter().flat_map(|child| lists(child, wanted, file)));
    found
}

/// The texts of a list.
pub fn texts(list: Option<&Node>) -> Vec<(&str, &Node)> {
    let Some(Kind::List(items)) = list.map(|node| &node.kind) else { return Vec::new() };
    items.iter().filter_map(|item| Some((item.as_str()?, item))).collect()
}
