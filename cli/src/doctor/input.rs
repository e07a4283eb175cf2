//! Where a configuration comes from, and in which of many forms: all become a [`Dump`].

use super::dump::{Dump, list, normalise, text, type_of};
use crate::{
    input::looks_like_a_url,
    output::{self, Usage},
    source::{self, Dialect},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a running Envoy says apart from its configuration.
#[derive(Debug, Default)]
pub struct Live {
    pub stats: BTreeMap<String, u64>,
    /// How many addresses a cluster has.
    pub hosts: BTreeMap<String, usize>,
}

/// A proxy's configuration, with its name where there are several.
pub struct Proxy {
    pub name: String,
    pub dump: Dump,
    pub live: Option<Live>,
}

/// Reads files, directories, URLs and standard input. All that is no dump is one configuration together.
pub fn read(sources: &[String]) -> Result<Vec<Proxy>, Usage> {
    let (mut proxies, mut files) = (Vec::new(), Dump { is_static: true, ..Dump::default() });
    let mut is_used = false;
    for source in sources {
        for name in source::paths(source)? {
            let text = output::read_text(&name).map_err(|Usage(why)| {
                let is_url = looks_like_a_url(&name);
                Usage(if is_url { format!("{why}; a running Envoy is read by --admin {name}") } else { why })
            })?;
            for mut document in documents(&name, &text)? {
                normalise(&mut document);
                let before = proxies.len();
                dumps(&mut document, "", 0, &mut proxies);
                if proxies.len() == before {
                    is_used |=
                        add(&mut document, &mut files).map_err(|why| Usage::new(format!("{name}: {why}")))?;
                }
            }
        }
    }
    if is_used {
        proxies.push(Proxy { name: String::new(), dump: files, live: None });
    }
    if proxies.is_empty() {
        let sources = sources.join(", ");
        return Err(Usage::new(format!(
            "{sources}: no Envoy configuration: neither `configs` (a config dump) nor static_resources, resources or listeners"
        )));
    }
    Ok(proxies)
}

/// Reads a running Envoy by its admin interface.
pub fn read_admin(url: &str) -> Result<Vec<Proxy>, Usage> {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let base = url.trim_end_matches('/').trim_end_matches("/config_dump");
    let mut proxies = read(&[format!("{base}/config_dump?include_eds")])?;
    let stats = output::read_text(&format!("{base}/stats"))?;
    let number = |line: &str| {
        line.rsplit_once(": ").and_then(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
    };
    let clusters: Value = serde_json::from_str(&output::read_text(&format!("{base}/clusters?format=json"))?)
        .map_err(|error| Usage::new(format!("{base}/clusters is not JSON: {error}")))?;
    let mut live = Live { stats: stats.lines().filter_map(number).collect(), hosts: BTreeMap::new() };
    for cluster in list(&clusters, "/cluster_statuses") {
        let hosts = list(cluster, "/host_statuses");
        let endpoints: Vec<Value> =
            hosts.iter().map(|host| json!({"endpoint": {"address": host["address"]}})).collect();
        let name = text(cluster, "/name").to_owned();
        live.hosts.insert(name.clone(), endpoints.len());
        if let Some(proxy) = proxies.first_mut() {
            let assignment = json!({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]});
            proxy.dump.endpoints.entry(name).or_default().push(assignment);
        }
    }
    if let Some(proxy) = proxies.first_mut() {
        proxy.live = Some(live);
    }
    Ok(proxies)
}

/// JSON, or the documents of a YAML file.
fn documents(name: &str, text: &str) -> Result<Vec<Value>, Usage> {
    let error = match serde_json::from_str(text) {
        Ok(document) => return Ok(vec![document]),
        Err(error) => error,
    };
    if text.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<Value>(text).is_err_and(|error| error.is_eof())
    {
        return Err(Usage::new(format!("{name} ends too early: {error}")));
    }
    let nodes = source::parse_yaml(text, Dialect::Envoy).map_err(|yaml| {
        Usage::new(format!(
            "{name} is neither JSON ({error}) nor YAML (line {}: {})",
            yaml.mark.line, yaml.message
        ))
    })?;
    Ok(nodes.iter().map(source::Node::to_value).collect())
}

/// Finds config dumps, or one of their sections: at the top, or by namespace and pod (`egctl config`).
fn dumps(document: &mut Value, name: &str, depth: usize, proxies: &mut Vec<Proxy>) {
    let sections = if type_of(document).ends_with("ConfigDump") {
        Some(vec![document.take()])
    } else {
        document.get_mut("configs").and_then(Value::as_array_mut).map(std::mem::take)
    };
    if let Some(sections) = sections {
        let mut dump = Dump::default();
        for section in sections {
            dump.add_section(section);
        }
        proxies.push(Proxy { name: name.to_owned(), dump, live: None });
    } else if depth < 3 {
        for (key, inner) in document.as_object_mut().into_iter().flatten() {
            dumps(inner, format!("{name}/{key}").trim_start_matches('/'), depth + 1, proxies);
        }
    }
}

/// Adds a document of a file; says whether it holds a part of a configuration.
fn add(document: &mut Value, dump: &mut Dump) -> Result<bool, String> {
    if let Some(items) = document.as_array_mut() {
        return items.iter_mut().try_fold(false, |used, item| Ok(add(item, dump)? || used));
    }
    if document.get("kind").is_some() && document.get("api_version").is_some() {
        return Err("this is a Kubernetes manifest: `check` reads those; give doctor what Envoy made of it"
            .to_owned());
    }
    if ["static_resources", "dynamic_resources"].iter().any(|field| document.get(field).is_some()) {
        dump.add_bootstrap(document.take());
        return Ok(true);
    }
    if let Some(resources) = document.get_mut("resources").and_then(Value::as_array_mut) {
        let added =
            resources.iter_mut().filter_map(|resource| dump.add_resource(resource.take()).then_some(()));
        return Ok(added.count() > 0);
    }
    Ok(dump.add_resource(document.take()))
}
