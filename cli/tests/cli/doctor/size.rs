//! Time grows with the size of a dump, no faster.
//!
//! Not run by default, for it says something of an optimised build alone:
//! `cargo test --release -p genesys-mtls --test cli doctor::size -- --ignored --nocapture`.

use super::changes::{at, clusters, list, manager_of, router, second_chain};
use crate::run::run;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The shipped file, and this many services of others behind a chain of theirs.
fn with_others(count: usize) -> Value {
    let mut bootstrap = testbed::config::load_yaml(&testbed::shipped::directory().join("envoy.yaml"));
    let (mut hosts, mut others) = (Vec::new(), Vec::new());
    for index in 0..count {
        let name = format!("others/service-{index}/8080");
        let ip = [10, index >> 16, index >> 8 & 255, index & 255].map(|part| part.to_string()).join(".");
        let address = json!({"socket_address": {"address": ip, "port_value": 8081}});
        others.push(json!({"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment":
            {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}}));
        let route = |number: usize| {
            json!({"name": format!("route-{index}-{number}"),
            "match": {"prefix": format!("/{number}")}, "route": {"cluster": name, "timeout": "15s"}})
        };
        let routes: Vec<Value> = (0..8).map(route).collect();
        hosts.push(json!({"name": format!("host-{index}"), "domains": [format!("{index}.example")], "routes": routes}));
    }
    clusters(&mut bootstrap).extend(others);
    let chain = manager_of(second_chain(&mut bootstrap, &[router()]));
    *list(chain, "/route_config/virtual_hosts") = hosts;
    *at(chain, "/route_config/name") = "others".into();
    bootstrap
}

#[test]
#[ignore = "says something of an optimised build alone"]
fn a_dump_of_20_mb_takes_two_seconds_at_most() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = with_others(18_500).to_string();
    assert!(text.len() > 20_000_000, "{}", text.len());
    std::fs::write(file.path(), &text).expect("a file");
    let start = Instant::now();
    let outcome = run(&["doctor", &file.path().to_string_lossy()]);
    let took = start.elapsed();
    println!("{} bytes: {took:?}", text.len());
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
    assert!(took <= Duration::from_secs(2), "{took:?}");
}
