//! The values of the project's Helm chart: the configuration that the chart makes of them, with its places in the values.

use super::node::{Entry, Kind, Mark, Node};
use indexmap::IndexMap;
use serde_json::json;

type Fields = IndexMap<String, Entry>;

pub fn is_values(document: &Node) -> bool {
    let is_list = |node: &Node| matches!(node.kind, Kind::List(_));
    let is_chart = ["platform", "module"].iter().any(|field| document.get(field).is_some());
    is_chart && document.get("regions").is_some_and(is_list)
}

pub fn configuration(values: &Node) -> Node {
    let mut policy = fields(values.get("policy"));
    if let Some(Kind::List(items)) = values.get("regions").map(|node| &node.kind) {
        let named = |item: &Node| {
            let id = item.get("id")?;
            Some((id.as_str()?.to_owned(), Entry { key: id.mark, node: region(item), earlier: None }))
        };
        put(&mut policy, "regions", map(items.iter().filter_map(named).collect(), values.mark));
    }
    let mut refresh = fields(policy.get("refresh").map(|entry| &entry.node));
    let clusters = json!({"api": "outbound|443||{host}", "login": "outbound|443||{host}"});
    put(&mut refresh, "clusters", Node::from(&clusters));
    put(&mut policy, "refresh", map(refresh, values.mark));
    let is_on = |mode: &Node| mode.as_str().is_some_and(|mode| mode != "off");
    if let Some(revocation) = values.get("revocation").filter(|all| all.get("mode").is_some_and(is_on)) {
        let mut revocation = revocation.clone();
        if let Kind::Map(entries) = &mut revocation.kind
            && let Some(Entry { node: Node { kind: Kind::List(lists), .. }, .. }) = entries.get_mut("lists")
        {
            for list in lists {
                if let Kind::Map(list) = &mut list.kind {
                    put(list, "cluster", Node::from(&json!("crl")));
                }
            }
        }
        put(&mut policy, "revocation", revocation);
    }
    let is_enforced = values.get("rollout").and_then(Node::as_str).is_some_and(|state| "BD".contains(state));
    put(&mut policy, "mode", Node::from(&json!(if is_enforced { "enforce" } else { "shadow" })));
    map(policy, values.mark)
}

fn region(values: &Node) -> Node {
    let mut region = Fields::new();
    for (from, to) in
        [("certificateName", "certificate_name"), ("domain", "domain"), ("digicert", "digicert")]
    {
        copy(values, from, &mut region, to);
    }
    if let Some(genesys) = values.get("genesys") {
        let mut own = Fields::new();
        copy(genesys, "caCertificates", &mut own, "ca_certificates");
        put(&mut region, "genesys", map(own, genesys.mark));
    }
    let pins = values.at(&["digicert", "pins"]).map(Node::children).unwrap_or_default();
    let id = values.get("id").and_then(Node::as_str).unwrap_or_default();
    if pins.iter().any(|pin| pin.as_str() == Some("api")) {
        let prefix = format!("GENESYS_{}", id.to_uppercase().replace('-', "_"));
        let oauth = json!({"oauth": {
            "client_id_env": format!("{prefix}_CLIENT_ID"), "client_secret_env": format!("{prefix}_CLIENT_SECRET"),
        }});
        put(&mut region, "refresh", Node::from(&oauth));
    }
    map(region, values.mark)
}

fn fields(node: Option<&Node>) -> Fields {
    match node.map(|node| &node.kind) {
        Some(Kind::Map(fields)) => fields.clone(),
        _ => Fields::new(),
    }
}

fn copy(from: &Node, name: &str, to: &mut Fields, new_name: &str) {
    if let Kind::Map(entries) = &from.kind
        && let Some(entry) = entries.get(name)
    {
        to.insert(new_name.to_owned(), entry.clone());
    }
}

fn put(fields: &mut Fields, name: &str, node: Node) {
    let key = node.mark;
    fields.insert(name.to_owned(), Entry { key, node, earlier: None });
}

fn map(fields: Fields, mark: Mark) -> Node {
    Node { mark, kind: Kind::Map(fields) }
}
