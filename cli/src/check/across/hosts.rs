//! Hosts of routes, and those of the gateway that they hang on.

use super::{
    finding::{Finding, Place},
    upstreams::texts,
};
use crate::source::{File, Node, Problem};

/// Hosts of a gateway of Istio or of the Gateway API.
struct Gateway<'f> {
    name: &'f str,
    hosts: Vec<&'f str>,
    place: Place<'f>,
}

/// Warns of routes whose host their gateway does not serve. A gateway that is not among the files may.
pub fn check<'f>(files: &'f [File], findings: &mut Vec<Finding<'f>>) {
    let mut resources = Vec::new();
    for file in files {
        for document in file.documents.iter().flatten() {
            let items = document.get("items").map(Node::children).unwrap_or_default();
            resources.extend(std::iter::once(document).chain(items).map(|resource| (file, resource)));
        }
    }
    let gateways: Vec<_> = resources.iter().filter_map(|(file, resource)| gateway(file, resource)).collect();
    for (file, resource) in &resources {
        let spec = resource.get("spec");
        let field = |name| spec.and_then(|spec| spec.get(name));
        let (parents, hosts): (Vec<&str>, _) = match resource.get("kind").and_then(Node::as_str) {
            Some("VirtualService") => {
                let parents = texts(field("gateways")).into_iter();
                (
                    parents.map(|(name, _)| name.rsplit('/').next().unwrap_or_default()).collect(),
                    field("hosts"),
                )
            }
            Some("HTTPRoute") => {
                let parents = field("parentRefs").map(Node::children).unwrap_or_default().into_iter();
                (parents.filter_map(|parent| parent.get("name")?.as_str()).collect(), field("hostnames"))
            }
            _ => continue,
        };
        let own: Vec<_> = gateways.iter().filter(|gateway| parents.contains(&gateway.name)).collect();
        let Some(first) = own.first() else { continue };
        for (host, node) in texts(hosts) {
            let is_served = |gateway: &&Gateway<'_>| gateway.hosts.iter().any(|served| covers(served, host));
            if !own.iter().any(is_served) {
                let message = format!(
                    "gateway `{}` ({}) does not serve `{host}`, only {}",
                    first.name,
                    first.place,
                    first.hosts.join(", ")
                );
                let problem = Problem { path: String::new(), message, mark: node.mark };
                findings.push(Finding { file, problem, is_error: false });
            }
        }
    }
}

fn gateway<'f>(file: &'f File, resource: &'f Node) -> Option<Gateway<'f>> {
    if resource.get("kind")?.as_str()? != "Gateway" {
        return None;
    }
    let (name, spec) = (resource.at(&["metadata", "name"])?.as_str()?, resource.get("spec")?);
    let servers = spec.get("servers").map(Node::children).unwrap_or_default().into_iter();
    let hosts = servers.flat_map(|server| texts(server.get("hosts")));
    let mut hosts: Vec<&str> = hosts.map(|(host, _)| host.rsplit('/').next().unwrap_or_default()).collect();
    for listener in spec.get("listeners").map(Node::children).unwrap_or_default() {
        hosts.push(listener.get("hostname").and_then(Node::as_str).unwrap_or("*"));
    }
    Some(Gateway { name, hosts, place: Place { file, mark: resource.mark } })
}

/// `*.example` covers `a.example`, and either may be the wider one.
fn covers(served: &str, host: &str) -> bool {
    let wide = |wide: &str, narrow: &str| {
        wide.strip_prefix('*')
            .is_some_and(|end| narrow.to_ascii_lowercase().ends_with(&end.to_ascii_lowercase()))
    };
    served.eq_ignore_ascii_case(host) || wide(served, host) || wide(host, served)
}
