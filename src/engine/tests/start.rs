//! The first events of a configuration.

use super::*;

#[test]
fn summary_is_logged_once_per_proxy() {
    let mut proxy = Proxy::by_api(&json!({}), 3);
    let mut log = Vec::new();
    for worker in 0..3 {
        log.extend(lines(&proxy.tick(worker, &naming(&[&genuine()]))));
    }
    assert_eq!(log.iter().filter(|line| line.contains("genesys_mtls: configured build=")).count(), 1);
    assert_eq!(log.iter().filter(|line| line.contains("genesys_mtls: trusts CA")).count(), 1);
}

#[test]
fn missing_variable_is_named_once_and_requests_get_503() {
    let mut proxy = Proxy::by_api(&json!({}), 2);
    proxy.around.variables.remove("GENESYS_CLIENT_SECRET");
    let mut effects = proxy.tick(0, &naming(&[]));
    effects.extend(proxy.tick(1, &naming(&[])));
    let log = lines(&effects);
    let named: Vec<_> = log.iter().filter(|line| line.contains("GENESYS_CLIENT_SECRET")).collect();
    assert_eq!(named.len(), 1, "{log:?}");
    assert_eq!(counted(&effects, "refreshes.no_credentials.us-east-1"), 1);
    assert_eq!(said(&proxy.request(0, 1, &Shown(Some(genuine())))), "trust_not_loaded");
}

#[test]
fn worker_that_starts_later_knows_what_others_fetched() {
    let known = genuine();
    let mut proxy = Proxy::by_api(&json!({}), 2);
    proxy.tick(0, &naming(&[&known]));
    assert_eq!(said(&proxy.request(1, 1, &Shown(Some(known)))), "allow", "before its first tick");
}

#[test]
fn configuration_that_ends_hands_over_its_counts() {
    let mut proxy = Proxy::by_api(&json!({}), 1);
    proxy.tick(0, &naming(&[]));
    proxy.request(0, 1, &Shown(None));
    proxy.event(0, Engine::on_end);
    assert_eq!(counted(&proxy.take(), "deny.no_client_certificate"), 1);
}

#[test]
fn injected_credentials_need_no_variable_and_no_login() {
    let known = genuine();
    let mut proxy = Proxy::by_api(&json!({"refresh": {"oauth": "injected"}}), 1);
    proxy.around.variables.clear();
    let effects = proxy.tick(0, &|call| {
        let header =
            |name: &str| call.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        assert!(
            header(":path").unwrap().starts_with("/api/v2/integrations/actions/certificates"),
            "{call:?}"
        );
        assert_eq!(header("authorization"), None, "Envoy adds it");
        naming(&[&known])(call)
    });
    assert_eq!(counted(&effects, "refreshes.ok.us-east-1"), 1);
    assert_eq!(counted(&effects, "refreshes.no_credentials.us-east-1"), 0);
    assert_eq!(said(&proxy.request(0, 1, &Shown(Some(known)))), "allow");
}
