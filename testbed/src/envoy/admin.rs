//! Reading Envoy's admin interface.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::Value;

/// `name: value` lines of `/stats` with whole numbers; histograms are left out.
pub(super) fn parse_stats(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// Name and address of each listener in `/listeners?format=json`.
pub(super) fn parse_listeners(json: &Value) -> BTreeMap<String, SocketAddr> {
    let statuses = json["listener_statuses"].as_array().into_iter().flatten();
    statuses
        .filter_map(|status| {
            let address = &status["local_address"]["socket_address"];
            let ip = address["address"].as_str()?.parse().ok()?;
            let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
            Some((status["name"].as_str()?.to_owned(), SocketAddr::new(ip, port)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stats_and_listeners() {
        let stats = parse_stats("a.b: 3\nh: P0(1,1)\nname: with: 7\ntext: \"x\"\n");
        assert_eq!(stats, [("a.b".to_owned(), 3), ("name: with".to_owned(), 7)].into());
        let socket = json!({"socket_address": {"address": "127.0.0.1", "port_value": 7}});
        let listeners = parse_listeners(&json!({"listener_statuses": [
            {"name": "ingress", "local_address": socket},
            {"name": "pipe", "local_address": {"pipe": {"path": "/x"}}},
        ]}));
        assert_eq!(listeners["ingress"], "127.0.0.1:7".parse().unwrap());
        assert_eq!(listeners.len(), 1);
    }
}
