//! Two configurations of one policy, one after the other or, by LDS, side by side.

use crate::pins::tests::{PKI, Proxy, TICK, fingerprint};
use serde_json::json;
use std::time::Duration;
use testbed_pki::{Ca, pem_block};

const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn a_reload_keeps_the_facts_and_takes_its_own_interval() {
    let mut proxy = Proxy::new(2, &json!({"interval": "1h", "jitter": "0%"}));
    proxy.run(MINUTE * 10);
    assert_eq!(proxy.api.sets, 1);
    let age = proxy.workers[0].age(proxy.now);
    proxy.end();
    // The first period is 55 % of the interval.
    proxy.configure(&json!({"interval": "40m", "jitter": "0%", "keep_removed": "1h"}));
    proxy.join();
    proxy.join();
    assert_eq!(proxy.workers[0].age(proxy.now), age);
    assert!(proxy.has_pin(1, &PKI.us.digicert));
    proxy.run(MINUTE * 9);
    assert_eq!(proxy.api.sets, 1, "not due yet");
    proxy.run(MINUTE * 4);
    assert_eq!(proxy.api.sets, 2);
}

/// The old configuration runs as long as a connection does.
#[test]
fn configurations_share_facts_and_apply_their_own_rules() {
    let other_issuer = Ca::builder("another-intermediate").self_signed();
    let renewed = other_issuer.leaf().name(PKI.us.region.certificate_name).issue();
    let mut proxy = Proxy::new(2, &json!({"interval": "1h", "jitter": "0%", "keep_removed": "0s"}));
    proxy.run(MINUTE);
    proxy.api.current.push(renewed.clone());
    let issuers = [&PKI.digicert_ca, &other_issuer].map(|ca| pem_block(&ca.der)).concat();
    let refresh = json!({
        "interval": "20m", "jitter": "0%", "keep_removed": "1h", "max_staleness": "2h",
        "on_unknown_certificate": {"min_interval": "1m"},
    });
    proxy.reconfigure(&json!({"pins": ["api"], "issuers": issuers}), &refresh);
    let new = proxy.join();
    assert!(proxy.has_pin(new, &PKI.us.digicert) && !proxy.has_pin(new, &renewed));
    let now = proxy.at();
    proxy.workers[new].request_early(fingerprint(&renewed), &mut proxy.shared, now);
    proxy.run(TICK * 2);
    // The pin is one for both workers, and `decide` demands the signature of each one's issuers.
    assert_eq!(proxy.api.sets, 2);
    assert!((0..=new).all(|worker| proxy.has_pin(worker, &renewed)));
    assert!((0..=new).all(|worker| proxy.trust(worker).refreshed.is_some()));
    let sets = proxy.api.sets;
    proxy.run(MINUTE * 21);
    assert_eq!(proxy.api.sets, sets + 1, "the shorter interval counts, and once");
    // Removal and age go by each one's settings.
    proxy.api.current.pop();
    proxy.run(MINUTE * 21);
    assert!(!proxy.has_pin(0, &renewed) && proxy.has_pin(new, &renewed));
    proxy.api.current_status = Some(500);
    proxy.run(MINUTE * 130);
    assert!(
        proxy.has_pin(0, &PKI.us.digicert) && !proxy.has_pin(new, &PKI.us.digicert),
        "stale for one only"
    );
}

/// What one configuration cannot use is a failure for that one only.
#[test]
fn an_answer_may_be_usable_for_one_of_two_configurations() {
    let other = Ca::builder("another-intermediate").self_signed();
    let refresh = json!({"interval": "10m", "jitter": "0%", "retry": {"max": "5m"}});
    let mut proxy = Proxy::without_issuers(&refresh);
    proxy.run(MINUTE);
    proxy.reconfigure(&json!({"pins": ["api"], "issuers": pem_block(&other.der)}), &refresh);
    let new = proxy.join();
    proxy.run(MINUTE * 20);
    let failures = proxy.failures();
    assert!(
        failures.len() >= 5 && failures.iter().all(|code| *code == "no_usable_certificate"),
        "{failures:?}"
    );
    assert_eq!((proxy.workers[0].failures(), proxy.workers[new].failures() > 0), (0, true));
    assert!(proxy.api.sets < 30, "with its backoff: {}", proxy.api.sets);
}

#[test]
fn issuers_that_signed_none_of_the_pins_show_at_once() {
    let other = Ca::builder("another-intermediate").self_signed();
    let refresh = json!({"interval": "1m", "jitter": "0%"});
    let mut proxy = Proxy::without_issuers(&refresh);
    proxy.run(MINUTE);
    proxy.end();
    proxy.reconfigure(&json!({"pins": ["api"], "issuers": pem_block(&other.der)}), &refresh);
    let new = proxy.join();
    proxy.run(MINUTE * 2);
    assert_eq!(proxy.failures().last(), Some(&"no_usable_certificate"));
    // None of them is taken away: only an answer that does not name it does.
    assert!(proxy.has_pin(new, &PKI.us.digicert));
}

#[test]
fn a_reload_waits_no_longer_than_its_own_configuration_would() {
    let mut proxy = Proxy::new(1, &json!({"interval": "7d", "jitter": "0%"}));
    (proxy.api.current_status, proxy.api.retry_after) = (Some(429), Some("360000".to_owned()));
    proxy.run(TICK);
    assert_eq!(proxy.failures(), ["api_rate_limited"]);
    proxy.end();
    proxy.configure(&json!({"interval": "20m", "jitter": "0%"}));
    proxy.join();
    proxy.run(MINUTE * 19);
    assert_eq!(proxy.api.sets, 1, "the server asked to be left alone");
    proxy.run(MINUTE * 2);
    assert_eq!(proxy.api.sets, 2);
}

/// Workers with the old secret and with the new one run at the same time under load.
#[test]
fn workers_of_two_secrets_do_not_touch_each_others_data() {
    let mut proxy = Proxy::new(2, &json!({"interval": "1m", "jitter": "0%"}));
    proxy.run(MINUTE);
    let sets = proxy.api.sets;
    let worker = proxy.worker("new secret");
    proxy.add(worker);
    assert!(!proxy.has_pin(2, &PKI.us.digicert));
    proxy.run(TICK);
    assert_eq!((proxy.api.sets, proxy.api.tokens), (sets + 1, 2));
    proxy.run(MINUTE * 10);
    assert!((0..3).all(|worker| proxy.has_pin(worker, &PKI.us.digicert)));
    assert!((20..=23).contains(&(proxy.api.sets - sets)), "one schedule each: {}", proxy.api.sets - sets);
    assert!(proxy.failures().is_empty());
}
