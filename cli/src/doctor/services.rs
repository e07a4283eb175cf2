//! What is behind a cluster's name: two clusters may lead to one service, and one cluster anywhere.

use super::dump::{Dump, has, list, text, type_of, unwrapped};
use serde_json::Value;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub struct Services {
    /// For people and for comparing: clusters, addresses, names of endpoint discovery. Clusters that have one in common lead to
    /// one service.
    pub known: BTreeSet<String>,
    /// The request itself says where it goes.
    pub anywhere: bool,
}

impl Services {
    /// Of a cluster, and of those that it passes requests on to.
    pub fn of(cluster: &str, dump: &Dump) -> Self {
        let (mut services, mut waiting) = (Self::default(), vec![cluster.to_owned()]);
        while let Some(name) = waiting.pop() {
            if !services.known.insert(named(&name)) {
                continue;
            }
            services.known.extend(mesh_service(&name));
            let Some(cluster) = dump.clusters.get(&name) else { continue };
            services.known.extend(endpoints(cluster));
            services.known.extend(discovered(&name, cluster));
            services.anywhere |= leads_anywhere(cluster);
            waiting.extend(members(cluster));
        }
        services
    }
}

/// The cluster itself, as one of its services.
pub fn named(cluster: &str) -> String {
    format!("cluster `{cluster}`")
}

/// Istio's clusters for the subsets of a service: `outbound|8080|v1|service.default.svc.cluster.local`.
fn mesh_service(name: &str) -> Option<String> {
    let mut parts = name.split('|');
    let (direction, port, _subset, host) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (!host.is_empty()).then(|| format!("the {direction} service {host}:{port}"))
}

/// Addresses that the configuration names.
fn endpoints(cluster: &Value) -> Vec<String> {
    let localities = list(cluster, "/load_assignment/endpoints").iter();
    let endpoints = localities.flat_map(|locality| list(locality, "/lb_endpoints"));
    let address = |endpoint: &Value| {
        let socket = endpoint.pointer("/endpoint/address/socket_address");
        let path = text(endpoint, "/endpoint/address/pipe/path");
        match socket {
            Some(socket) => {
                let host = text(socket, "/address").trim_end_matches('.').to_ascii_lowercase();
                Some(format!("the endpoint {host}:{}", socket["port_value"]))
            }
            None => (!path.is_empty()).then(|| format!("the endpoint {path}")),
        }
    };
    endpoints.filter_map(address).collect()
}

/// The name under which endpoints are discovered (EDS).
fn discovered(name: &str, cluster: &Value) -> Option<String> {
    let service = match text(cluster, "/eds_cluster_config/service_name") {
        "" => name,
        service => service,
    };
    has(cluster, "/eds_cluster_config").then(|| format!("the discovered endpoints of {service}"))
}

/// The clusters that an aggregate or composite cluster passes requests on to.
fn members(cluster: &Value) -> Vec<String> {
    let config = cluster.pointer("/cluster_type/typed_config").map(unwrapped).unwrap_or_default();
    let members = list(&config, "/clusters").iter();
    members
        .filter_map(|member| member.as_str().or_else(|| member.get("name")?.as_str()))
        .map(Into::into)
        .collect()
}

/// Whether host or header of a request say where it goes.
fn leads_anywhere(cluster: &Value) -> bool {
    let config = cluster.pointer("/cluster_type/typed_config").map(unwrapped).unwrap_or_default();
    let is_forward_proxy =
        type_of(&config) == "ClusterConfig" && text(&config, "/@type").contains(".dynamic_forward_proxy.");
    is_forward_proxy
        || has(cluster, "/original_dst_lb_config/http_header_name")
        || cluster.pointer("/original_dst_lb_config/use_http_header") == Some(&Value::Bool(true))
}
