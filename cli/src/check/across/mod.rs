//! Files that are right by themselves and do not fit together: each finding names both places.

mod finding;
mod hosts;
mod upstreams;

pub use finding::Finding;

use crate::source::{File, Found, Kind, Node};
use finding::{Place, error};
use genesys_mtls_filter::policy::{Credentials, Policy};
use std::{collections::HashSet, net::IpAddr};
use upstreams::Upstreams;

/// A valid configuration, and where it was found.
#[derive(Debug)]
pub struct Use<'f> {
    pub file: &'f File,
    pub found: Found,
    pub policy: Policy,
}

pub fn check<'f>(files: &'f [File], uses: &[Use<'f>]) -> Vec<Finding<'f>> {
    if uses.is_empty() {
        return Vec::new();
    }
    let upstreams = Upstreams::of(files);
    let mut findings = Vec::new();
    for one in uses {
        clusters(one, &upstreams, &mut findings);
        variables(one, files, &mut findings);
    }
    keys(files, uses, &mut findings);
    hosts::check(files, &mut findings);
    findings
}

impl<'f> Use<'f> {
    /// The first of these options that is written, as the place of what it says.
    fn place(&self, paths: &[&str]) -> (String, Place<'f>) {
        let node = self.found.configuration.as_ref().ok();
        let written =
            |path: &str| node.is_some_and(|node| node.at(&path.split('.').collect::<Vec<_>>()).is_some());
        let path = paths.iter().find(|path| written(path)).or(paths.last()).copied().unwrap_or_default();
        let mark = node.map(|node| node.locate(path, false)).unwrap_or_default();
        (path.to_owned(), Place { file: self.file, mark })
    }
}

/// Each cluster that the policy calls has to be there, lead to the host that is called, and verify that name.
fn clusters<'f>(one: &Use<'f>, upstreams: &Upstreams<'f>, findings: &mut Vec<Finding<'f>>) {
    let mut call = |what: &str, cluster: &str, host: &str, paths: &[&str]| {
        let (path, place) = one.place(paths);
        let wrong = |message: String| error(path.clone(), place, message);
        let Some(upstream) = upstreams.get(cluster) else {
            if let Some(other) = upstreams.other_than(cluster) {
                findings.push(wrong(format!(
                    "there is no cluster `{cluster}` for {what}, only others such as that of {other}"
                )));
            }
            return;
        };
        let is_host = |text: &str| text.trim_end_matches('.').eq_ignore_ascii_case(host);
        let mut hosts = upstream.hosts.iter().filter(|(text, _)| text.parse::<IpAddr>().is_err());
        if let Some((text, there)) = hosts.find(|(text, _)| !is_host(text)) {
            let message = format!("cluster `{cluster}` leads to `{text}` ({there}), but {what} is `{host}`");
            // A proxy on the way is no fault, if TLS proves who is behind it.
            let is_error = !upstream.names.iter().any(|(text, _)| is_host(text));
            findings.push(Finding { is_error, ..wrong(message) });
        }
        if let Some((text, there)) = upstream.names.iter().find(|(text, _)| !is_host(text)) {
            findings.push(wrong(format!(
                "cluster `{cluster}` asks TLS for `{text}` ({there}), but {what} is `{host}`"
            )));
        }
    };
    for region in &one.policy.regions {
        let Some(source) = &region.source else { continue };
        for (name, cluster, host) in [
            ("api", &source.api_cluster, &source.api_host),
            ("login", &source.login_cluster, &source.login_host),
        ] {
            let own = format!("regions.{}.refresh.clusters.{name}", region.id);
            let common = format!("refresh.clusters.{name}");
            let region_path = format!("regions.{}", region.id);
            let paths = [own.as_str(), &common, &region_path];
            call(&format!("the {name} host of {}", region.id), cluster, host, &paths);
        }
    }
    for (index, list) in one.policy.revocation.crls.iter().enumerate() {
        let host = list.host.split(':').next().unwrap_or_default();
        let path = format!("revocation.lists[{index}].cluster");
        call("the CRL's host", &list.cluster, host, &[&path]);
    }
    for (host, cluster) in &one.policy.revocation.discover {
        let name = host.split(':').next().unwrap_or_default();
        call("the CRL's host", cluster, name, &["revocation.discover"]);
    }
}

/// The VM sees only variables that the plugin names, and the proxy only those of its container.
fn variables<'f>(one: &Use<'f>, files: &'f [File], findings: &mut Vec<Finding<'f>>) {
    let Some((seen, mark)) = &one.found.variables else { return };
    let seen: HashSet<&str> = seen.iter().map(String::as_str).collect();
    let containers = containers(files);
    for region in &one.policy.regions {
        let Some(Credentials::Environment { client_id, client_secret }) =
            region.source.as_ref().map(|source| &source.credentials)
        else {
            continue;
        };
        for (field, variable) in [("client_id_env", client_id), ("client_secret_env", client_secret)] {
            let own = format!("regions.{}.refresh.oauth.{field}", region.id);
            let common = format!("refresh.oauth.{field}");
            let region_path = format!("regions.{}", region.id);
            let (path, place) = one.place(&[&own, &common, &region_path]);
            let there = Place { file: one.file, mark: *mark };
            if !seen.contains(variable.as_str()) {
                findings.push(error(path, place, format!(
                    "the VM does not see `{variable}`, since the plugin ({there}) does not name it: Envoy's host_env_keys, \
                     Istio's vmConfig.env and Envoy Gateway's env.hostKeys let it pass"
                )));
            } else if let Some((_, there)) =
                containers.iter().find(|(names, _)| !names.contains(variable.as_str()))
            {
                let message = format!("the proxy's container ({there}) has no variable `{variable}`");
                findings.push(error(path, place, message));
            }
        }
    }
}

/// The environments of proxies' containers in manifests.
fn containers(files: &[File]) -> Vec<(HashSet<&str>, Place<'_>)> {
    let mut found = Vec::new();
    for file in files {
        for document in file.documents.iter().flatten() {
            collect_containers(file, document, &mut found);
        }
    }
    found
}

fn collect_containers<'f>(file: &'f File, node: &'f Node, found: &mut Vec<(HashSet<&'f str>, Place<'f>)>) {
    let is_gateway = node.get("kind").and_then(Node::as_str) == Some("EnvoyProxy");
    let is_proxy = node.get("name").and_then(Node::as_str) == Some("istio-proxy");
    let environment = if is_gateway {
        node.at(&["spec", "provider", "kubernetes", "envoyDeployment", "container", "env"])
    } else {
        node.get("env").filter(|_| is_proxy)
    };
    if let Some(environment) = environment {
        let names = environment.children().into_iter().filter_map(|one| one.get("name")?.as_str());
        found.push((names.collect(), Place { file, mark: environment.mark }));
    }
    for child in node.children() {
        collect_containers(file, child, found);
    }
}

/// What reads a verdict has to read that of a policy that is there.
fn keys<'f>(files: &'f [File], uses: &[Use<'f>], findings: &mut Vec<Finding<'f>>) {
    for file in files {
        for document in file.documents.iter().flatten() {
            collect_keys(file, document, uses, findings);
        }
    }
}

const KEY: &str = "wasm.genesys_mtls.";

fn collect_keys<'f>(file: &'f File, node: &'f Node, uses: &[Use<'f>], findings: &mut Vec<Finding<'f>>) {
    if let Kind::Map(_) | Kind::List(_) = node.kind {
        return node.children().into_iter().for_each(|child| collect_keys(file, child, uses, findings));
    }
    let Some(text) = node.as_str() else { return };
    for rest in text.split(KEY).skip(1) {
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
        let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if name.is_empty() || uses.iter().any(|one| one.policy.name == name) {
            continue;
        }
        if let Some(one) = uses.first() {
            let (_, there) = one.place(&["name"]);
            let message = format!("no policy is named `{name}`; `{}` is ({there})", one.policy.name);
            findings.push(error(format!("{KEY}{name}"), Place { file, mark: node.mark }, message));
            break;
        }
    }
}
