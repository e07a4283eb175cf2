//! Two configurations of one policy, one after the other or, by LDS, side by side.

use crate::pins::tests::{PKI, Proxy, TICK};
use crate::test_support::VERIFIER;
use serde_json::json;
use std::time::Duration;
use testbed_pki::{Ca, pem_block};

const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn a_reload_keeps_what_is_known_and_its_age_and_a_shorter_interval_takes_effect() {
    let mut proxy = Proxy::new(2, &json!({"interval": "1h", "jitter": "0%"}));
    proxy.run(MINUTE * 10);
    assert_eq!(proxy.api.sets, 1);
    let age = proxy.workers[0].age(proxy.now);
    proxy.end();
    proxy.configure(&json!({"interval": "20m", "jitter": "0%", "keep_removed": "1h"}));
    proxy.join();
    proxy.join();
    assert_eq!(proxy.workers[0].age(proxy.now), age);
    assert!(proxy.has_pin(1, &PKI.us.digicert));
    proxy.run(MINUTE * 9);
    assert_eq!(proxy.api.sets, 1, "not due yet");
    proxy.run(MINUTE * 2);
    assert_eq!(proxy.api.sets, 2);
}

/// The old configuration lives as long as a connection does, and keeps its lease.
#[test]
fn during_a_reload_by_lds_each_configuration_refreshes_as_its_own_settings_say() {
    let other_issuer = Ca::builder("another-intermediate").self_signed();
    let renewed = other_issuer.leaf().name(PKI.us.region.certificate_name).issue();
    let mut proxy = Proxy::new(2, &json!({"interval": "1h", "jitter": "0%"}));
    proxy.run(MINUTE);
    // Others are trusted from now on; the API has named one of theirs for a while.
    proxy.api.current.push(renewed.clone());
    let issuers = [&PKI.digicert_ca, &other_issuer].map(|ca| pem_block(&ca.der)).concat();
    let refresh =
        json!({"interval": "20m", "jitter": "0%", "on_unknown_certificate": {"min_interval": "1m"}});
    proxy.reconfigure(&json!({"pins": ["api"], "issuers": issuers}), &refresh);
    let new = proxy.join();
    assert!(proxy.has_pin(new, &PKI.us.digicert) && !proxy.has_pin(new, &renewed));
    assert_eq!(
        proxy.trust(new).refreshed,
        None,
        "what others asked for under their settings settles nothing"
    );
    // A caller shows it: only whoever can make a pin of it is asked.
    let now = proxy.now;
    proxy.workers[new].ask_early(&mut proxy.shared, now);
    proxy.run(TICK * 2);
    assert!(proxy.has_pin(new, &renewed));
    assert!(proxy.trust(new).refreshed.is_some());
    let sets = proxy.api.sets;
    proxy.run(MINUTE * 21);
    assert_eq!(proxy.api.sets, sets + 1, "its own interval counts though the others live");
}

/// Whichever ends first: what the old configuration passes over does not undo what the new one has asked for.
#[test]
fn during_a_reload_by_lds_an_answer_counts_though_the_old_configuration_asked_later() {
    let other_issuer = Ca::builder("another-intermediate").self_signed();
    let renewed = other_issuer.leaf().name(PKI.us.region.certificate_name).issue();
    let mut proxy = Proxy::new(1, &json!({"interval": "1h", "jitter": "0%", "keep_removed": "0s"}));
    proxy.run(MINUTE);
    proxy.api.current.push(renewed.clone());
    let issuers = [&PKI.digicert_ca, &other_issuer].map(|ca| pem_block(&ca.der)).concat();
    let refresh = json!({"interval": "1h", "jitter": "0%", "keep_removed": "0s"});
    proxy.reconfigure(&json!({"pins": ["api"], "issuers": issuers}), &refresh);
    let new = proxy.join();
    let now = proxy.now;
    proxy.workers[new].ask_early(&mut proxy.shared, now);
    // Its first call is under way while the other one, for which it made a refresh due, does all of its own.
    proxy.now += TICK;
    let now = proxy.at();
    let mut call = proxy.workers[new].tick(VERIFIER, &mut proxy.shared, now).0;
    proxy.now += TICK;
    let sets = proxy.api.sets;
    proxy.tick(0);
    assert_eq!(proxy.api.sets, sets + 1);
    while let Some(made) = call {
        let response = proxy.api.answer(&made).unwrap();
        call = proxy.answer_one(new, response);
    }
    assert!(proxy.has_pin(new, &renewed) && proxy.trust(new).refreshed.is_some());
    // Nor does the old one's next refresh take the pin away.
    proxy.run(MINUTE * 130);
    assert!(proxy.has_pin(new, &renewed) && proxy.has_pin(0, &PKI.us.digicert));
}

#[test]
fn issuers_that_signed_none_of_the_pins_show_at_once_though_the_pins_were_there_before() {
    let other = Ca::builder("another-intermediate").self_signed();
    let refresh = json!({"interval": "1m", "jitter": "0%"});
    let mut proxy = Proxy::without_issuers(&refresh);
    proxy.run(MINUTE);
    proxy.end();
    proxy.reconfigure(&json!({"pins": ["api"], "issuers": pem_block(&other.der)}), &refresh);
    let new = proxy.join();
    proxy.run(MINUTE * 2);
    assert_eq!(proxy.failures().last(), Some(&"no_usable_certificate"));
    // None of them is taken away: that is for an answer that does not name it.
    assert!(proxy.has_pin(new, &PKI.us.digicert));
}

#[test]
fn a_reload_waits_no_longer_than_its_own_configuration_would() {
    let mut proxy = Proxy::new(1, &json!({"interval": "7d", "jitter": "0%"}));
    (proxy.api.current_status, proxy.api.retry_after) = (Some(429), Some(Duration::from_hours(100)));
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
