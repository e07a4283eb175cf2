//! What the decision knows as answers, failures and time go by.

use crate::pins::tests::{PKI, Proxy, TICK, fingerprint};
use crate::{
    decision::trust::ApiState,
    pins::{Event, PinStatus},
    policy::Authority,
};
use serde_json::json;
use std::{sync::LazyLock, time::Duration};
use testbed_pki::{Ca, KeyType, Leaf};

const MINUTE: Duration = Duration::from_mins(1);

fn proxy(refresh: &serde_json::Value) -> Proxy {
    let mut proxy = Proxy::new(2, refresh);
    proxy.run(Duration::from_secs(1));
    assert!(proxy.has_pin(1, &PKI.us.digicert));
    proxy
}

fn changed(proxy: &Proxy) -> usize {
    proxy.events.iter().filter(|event| matches!(event, Event::Refreshed { changed: true, .. })).count()
}

#[test]
fn a_pin_that_disappears_is_kept_for_keep_removed() {
    let mut proxy = proxy(&json!({"interval": "1m", "jitter": "0%", "keep_removed": "10m"}));
    let (old, new) = (PKI.us.digicert.clone(), PKI.us.digicert_upcoming.clone());
    proxy.api.current = vec![new.clone()];
    proxy.run(MINUTE * 2);
    assert!(proxy.has_pin(0, &old) && proxy.has_pin(0, &new));
    assert_eq!(proxy.count(), (1, 1));
    // In the middle of a rotation the API may go back and forth.
    proxy.api.upcoming = vec![old.clone()];
    proxy.run(MINUTE * 2);
    assert_eq!(proxy.count(), (2, 0));
    proxy.api.upcoming.clear();
    proxy.run(MINUTE * 9);
    assert!(proxy.has_pin(0, &old) && proxy.has_pin(1, &old), "counted from its last removal");
    proxy.run(MINUTE * 3);
    assert!(!proxy.has_pin(0, &old) && !proxy.has_pin(1, &old));
    assert!(proxy.has_pin(0, &new) && proxy.has_pin(1, &new));
}

#[test]
fn a_change_of_a_pin_is_logged_by_one_worker() {
    let settings = json!({"interval": "1m", "jitter": "0%", "keep_removed": "5m", "max_staleness": "20m"});
    let mut proxy = Proxy::new(4, &settings);
    let (old, new) = (PKI.us.digicert.clone(), PKI.us.digicert_upcoming.clone());
    proxy.run(MINUTE);
    proxy.api.upcoming = vec![new.clone()];
    proxy.run(MINUTE * 2);
    (proxy.api.current, proxy.api.upcoming) = (vec![new.clone()], Vec::new());
    proxy.run(MINUTE * 10);
    // A worker that comes later, and one whose VM is started again, have nothing to tell.
    proxy.join();
    proxy.run(MINUTE * 2);
    proxy.api.silent = true;
    proxy.run(MINUTE * 30);
    proxy.api.silent = false;
    proxy.run(MINUTE * 10);
    let logged: Vec<_> = proxy.logged.iter().map(|(_, change)| (change.pin, change.status)).collect();
    let (old, new) = (fingerprint(&old), fingerprint(&new));
    let expected = [
        (old, Some(PinStatus::Named)),
        (new, Some(PinStatus::Named)),
        (old, Some(PinStatus::Kept)),
        (old, None),
        (new, Some(PinStatus::Stale)),
        (new, Some(PinStatus::Named)),
    ];
    assert_eq!(logged, expected);
    assert!(proxy.logged.iter().all(|(_, change)| change.not_after > proxy.wall));
}

#[test]
fn a_removed_pin_lapses_on_time_though_the_api_is_down() {
    let mut proxy = proxy(&json!({"interval": "1m", "jitter": "0%", "keep_removed": "10m"}));
    proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
    proxy.run(MINUTE * 2);
    proxy.api.current_status = Some(503);
    let versions = proxy.workers[1].version();
    proxy.run(MINUTE * 11);
    assert!(!proxy.has_pin(1, &PKI.us.digicert) && proxy.has_pin(1, &PKI.us.digicert_upcoming));
    assert!(proxy.workers[1].version() > versions, "the worker notices, so that cached verdicts are void");
}

#[test]
fn the_same_certificates_in_another_order_are_no_change() {
    let mut proxy = proxy(&json!({"interval": "1m", "jitter": "0%"}));
    let (one, two) = (PKI.us.digicert.clone(), PKI.us.digicert_upcoming.clone());
    proxy.api.current = vec![one.clone(), two.clone()];
    proxy.run(MINUTE);
    let before = changed(&proxy);
    for (current, upcoming) in [
        (vec![two.clone(), one.clone()], vec![]),
        (vec![one.clone()], vec![two.clone()]),
        (vec![one.clone(), one.clone(), two.clone()], vec![one.clone()]),
    ] {
        (proxy.api.current, proxy.api.upcoming) = (current, upcoming);
        proxy.run(MINUTE);
    }
    assert!(proxy.api.sets >= 4);
    assert_eq!(changed(&proxy), before, "{:?}", proxy.events);
}

#[test]
fn half_a_success_adds_and_never_removes() {
    let rows = [(None, Some(503), "api_unavailable"), (None, Some(403), "api_forbidden")];
    for (current, upcoming, code) in rows {
        let mut proxy = proxy(&json!({"interval": "1m", "jitter": "0%", "keep_removed": "0s"}));
        proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
        (proxy.api.current_status, proxy.api.upcoming_status) = (current, upcoming);
        proxy.run(MINUTE * 2);
        assert_eq!(proxy.failures()[0], code);
        assert!(proxy.has_pin(0, &PKI.us.digicert), "{code}: nothing may go");
        assert!(proxy.has_pin(0, &PKI.us.digicert_upcoming), "{code}: what was named is in");
        (proxy.api.current_status, proxy.api.upcoming_status) = (None, None);
        proxy.run(MINUTE * 6);
        assert!(!proxy.has_pin(0, &PKI.us.digicert), "{code}: gone after a whole success");
    }
}

#[test]
fn half_a_success_is_no_start() {
    let mut proxy = Proxy::new(1, &json!({}));
    proxy.api.upcoming_status = Some(500);
    proxy.run(MINUTE);
    assert_eq!(proxy.trust(0).state, ApiState::NotLoaded, "who is missing may be in the other half");
    assert!(proxy.has_pin(0, &PKI.us.digicert));
}

#[test]
fn pins_that_are_too_old_are_out_of_use_until_the_next_success() {
    let settings = json!({"interval": "1m", "jitter": "0%", "max_staleness": "10m", "retry": {"max": "1m"}});
    let mut proxy = proxy(&settings);
    proxy.run(MINUTE);
    proxy.api.current_status = Some(500);
    proxy.run(MINUTE * 9);
    assert_eq!(proxy.trust(1).state, ApiState::Loaded);
    assert!(proxy.has_pin(1, &PKI.us.digicert));
    let versions = proxy.workers[1].version();
    proxy.run(MINUTE * 2);
    assert_eq!(proxy.trust(1).state, ApiState::Stale);
    assert!(!proxy.has_pin(1, &PKI.us.digicert));
    assert!(proxy.workers[1].version() > versions);
    proxy.api.current_status = None;
    proxy.run(MINUTE + TICK * 2);
    assert_eq!(proxy.trust(1).state, ApiState::Loaded);
    assert!(proxy.has_pin(1, &PKI.us.digicert));
}

#[test]
fn without_a_bound_pins_outlast_any_outage() {
    let mut proxy = proxy(&json!({"interval": "1m"}));
    proxy.api.current_status = Some(500);
    proxy.run(Duration::from_hours(1));
    assert!(proxy.has_pin(0, &PKI.us.digicert));
    let new = proxy.events.iter().filter(|event| matches!(event, Event::Failed { new: true, .. })).count();
    assert_eq!(new, 1, "one state, one line: {:?}", proxy.events);
    assert!(proxy.failures().len() > 15);
}

/// `decide` looks at the time, at each request.
#[test]
fn answer_of_expired_leaves_fails_one_of_future_leaves_not() {
    let leaf = || PKI.digicert_ca.leaf().key_name("digicert").name(PKI.us.region.certificate_name);
    for (leaf, failures) in [(leaf().expired().issue(), 1), (leaf().not_yet_valid().issue(), 0)] {
        let mut proxy = Proxy::new(1, &json!({"interval": "1m", "jitter": "0%"}));
        proxy.api.current = vec![leaf.clone()];
        proxy.run(TICK);
        assert_eq!(proxy.failures().len(), failures);
        assert!(proxy.has_pin(0, &leaf));
    }
}

/// Only a success takes pins away: an answer that names none of the region's is none.
#[test]
fn an_empty_answer_takes_no_pin_away_however_long_it_lasts() {
    let settings = json!({"interval": "10m", "jitter": "0%", "keep_removed": "1h", "max_staleness": "3h"});
    let mut proxy = proxy(&settings);
    proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
    proxy.run(MINUTE * 10);
    proxy.api.current.clear();
    proxy.run(MINUTE * 30);
    assert_eq!(proxy.failures()[0], "no_usable_certificate");
    assert_eq!(proxy.trust(0).refreshed, None, "it settles nothing");
    proxy.run(MINUTE * 60);
    assert!(!proxy.has_pin(0, &PKI.us.digicert), "removed by a success before");
    assert!((0..2).all(|worker| proxy.has_pin(worker, &PKI.us.digicert_upcoming)));
    proxy.run(MINUTE * 100);
    assert_eq!(proxy.trust(1).state, ApiState::Stale, "its age goes on");
    proxy.api.current = vec![PKI.us.digicert.clone()];
    proxy.run(MINUTE * 6);
    assert!(proxy.has_pin(1, &PKI.us.digicert_upcoming), "counted from the success that did not name it");
    proxy.run(MINUTE * 50);
    assert!(proxy.has_pin(1, &PKI.us.digicert_upcoming));
    proxy.run(MINUTE * 10);
    assert!(!proxy.has_pin(1, &PKI.us.digicert_upcoming) && proxy.has_pin(1, &PKI.us.digicert));
}

/// A later issue compares them with the configured CA.
#[test]
fn genesys_certificates_are_recorded_and_never_pins() {
    let mut proxy = Proxy::new(2, &json!({}));
    proxy.api.genesys = vec![PKI.us.genesys.clone()];
    proxy.run(TICK);
    assert!((0..2).all(|worker| !proxy.has_pin(worker, &PKI.us.genesys)));
    let leaves = &proxy.workers[1].record.value.leaves;
    let recorded = leaves.iter().find(|leaf| leaf.fingerprint == fingerprint(&PKI.us.genesys)).unwrap();
    assert_eq!((recorded.authority, recorded.der.as_slice()), (Authority::Genesys, &PKI.us.genesys.der[..]));
}

/// Certificates of the region's name, as an API that has been taken over can make them where no `issuers` are configured.
fn crowd(count: usize) -> Vec<Leaf> {
    static CA: LazyLock<Ca> = LazyLock::new(|| Ca::builder("crowd").key(KeyType::P256).self_signed());
    let leaf = || CA.leaf().key(KeyType::P256).key_name("crowd-leaf").name(PKI.us.region.certificate_name);
    (0..count).map(|_| leaf().issue()).collect()
}

#[test]
fn a_flood_of_certificates_adds_and_takes_away_nothing() {
    let mut proxy = Proxy::without_issuers(&json!({"interval": "1m", "jitter": "0%", "keep_removed": "1h"}));
    proxy.run(MINUTE);
    (proxy.api.current, proxy.api.upcoming) = (crowd(600), crowd(401));
    proxy.run(MINUTE * 2);
    assert_eq!(proxy.count(), (1, 0));
    (proxy.api.current, proxy.api.upcoming_status) = (crowd(1001), Some(500));
    proxy.run(MINUTE * 2);
    assert_eq!(proxy.count(), (1, 0));
    assert!(proxy.has_pin(0, &PKI.us.digicert));
    assert!(proxy.failures().iter().all(|code| *code == "too_many_certificates"), "{:?}", proxy.failures());
}

#[test]
fn a_crowd_drives_no_genuine_pin_out() {
    let mut proxy = Proxy::without_issuers(&json!({"interval": "1m", "jitter": "0%", "keep_removed": "24h"}));
    proxy.run(MINUTE);
    for _ in 0..3 {
        proxy.api.current = crowd(1000);
        proxy.run(MINUTE);
    }
    assert!(proxy.has_pin(0, &PKI.us.digicert), "it is kept for a day");
    assert_eq!(proxy.count(), (1000, 24));
    proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
    proxy.run(MINUTE);
    assert!(proxy.has_pin(0, &PKI.us.digicert) && proxy.has_pin(0, &PKI.us.digicert_upcoming));
    proxy.now += Duration::from_hours(25);
    proxy.run(MINUTE);
    assert_eq!(proxy.count(), (1, 0));
    proxy.now += Duration::from_hours(24 * 30);
    proxy.run(MINUTE * 2);
    assert_eq!(proxy.workers[0].record.value.leaves.len(), 1, "forgotten after 30 days");
}

#[test]
fn pin_removed_last_makes_room_first() {
    let mut proxy = Proxy::without_issuers(&json!({"interval": "1h", "jitter": "0%", "keep_removed": "24h"}));
    let others = crowd(999);
    proxy.api.current.clone_from(&others);
    proxy.run(TICK);
    proxy.api.current.push(PKI.us.digicert.clone());
    let hours = |proxy: &mut Proxy, hours| {
        proxy.now += Duration::from_hours(hours);
        proxy.run(TICK);
    };
    hours(&mut proxy, 1);
    proxy.api.current = others;
    hours(&mut proxy, 2);
    assert_eq!(proxy.count(), (999, 1));
    proxy.api.current = crowd(1000);
    hours(&mut proxy, 1);
    assert_eq!(proxy.count(), (1000, 24));
    assert!(proxy.has_pin(0, &PKI.us.digicert), "it was removed before the crowd");
}

#[test]
fn pins_of_half_a_refresh_go_stale_as_others_do() {
    let mut proxy = Proxy::new(2, &json!({"interval": "1m", "jitter": "0%", "max_staleness": "10m"}));
    proxy.api.upcoming_status = Some(500);
    proxy.run(MINUTE * 9);
    assert_eq!(proxy.trust(1).state, ApiState::NotLoaded);
    assert!(proxy.has_pin(1, &PKI.us.digicert), "half an answer adds");
    proxy.run(MINUTE * 2);
    assert!((0..2).all(|worker| proxy.trust(worker).state == ApiState::Stale));
    assert!(!proxy.has_pin(1, &PKI.us.digicert));
    proxy.api.upcoming_status = None;
    proxy.run(MINUTE * 6);
    assert!((0..2).all(|worker| proxy.has_pin(worker, &PKI.us.digicert)));
}

#[test]
fn a_wall_clock_that_jumps_drops_nothing_and_delays_nothing() {
    const DAY: i64 = 24 * 3600;
    for jump in [DAY, -DAY] {
        let settings =
            json!({"interval": "1m", "jitter": "0%", "max_staleness": "5m", "keep_removed": "10m"});
        let mut proxy = proxy(&settings);
        proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
        proxy.run(MINUTE);
        let asked = proxy.api.sets;
        for _ in 0..3 {
            proxy.wall += jump;
            proxy.run(MINUTE);
            for worker in 0..2 {
                assert_eq!(proxy.trust(worker).state, ApiState::Loaded, "{jump}");
                assert!(proxy.has_pin(worker, &PKI.us.digicert), "{jump}: the removed pin");
                assert!(proxy.has_pin(worker, &PKI.us.digicert_upcoming), "{jump}");
            }
            proxy.wall -= jump;
        }
        assert!((2..=4).contains(&(proxy.api.sets - asked)), "{jump}: {} sets", proxy.api.sets - asked);
        assert!(proxy.failures().is_empty(), "{jump}: {:?}", proxy.failures());
    }
}
