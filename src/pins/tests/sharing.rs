//! Which worker refreshes, and what follows when workers stall, leave, die or cannot log in.

use crate::{
    pins::{
        Event,
        tests::{Api, PKI, Proxy, TICK, key},
    },
    shared::SharedStore as _,
    test_support::VERIFIER,
    time::Monotonic,
};
use serde_json::json;
use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn one_worker_of_many_asks_and_all_of_them_learn() {
    for workers in [1, 4, 17] {
        let mut proxy = Proxy::new(workers, &json!({"interval": "1m", "jitter": "0%"}));
        proxy.run(Duration::from_secs(1));
        assert_eq!((proxy.api.tokens, proxy.api.sets), (1, 1), "{workers} workers, at the start");
        proxy.run(MINUTE * 10);
        // The first period is shorter; a tick comes late by up to 250 ms.
        assert!((10..=11).contains(&(proxy.api.sets - 1)), "{workers} workers: {} sets", proxy.api.sets);
        assert_eq!(proxy.api.tokens, 1, "{workers} workers: the token serves as long as it lives");
        assert!((0..workers).all(|worker| proxy.has_pin(worker, &PKI.us.digicert)), "{workers} workers");
    }
}

#[test]
fn workers_with_slightly_different_clocks_ask_only_once() {
    let mut proxy = Proxy::new(4, &json!({"interval": "1m", "jitter": "0%"}));
    for (worker, late) in [0, 1, 700, 4_000].into_iter().enumerate() {
        let now = proxy.now;
        proxy.now = Monotonic::from_millis(now.millis() - late);
        proxy.tick(worker);
        proxy.now = now;
    }
    proxy.run(Duration::from_secs(1));
    assert_eq!((proxy.api.tokens, proxy.api.sets), (1, 1));
    assert!((0..4).all(|worker| proxy.has_pin(worker, &PKI.us.digicert)));
}

/// The time that a lease outlives its last renewal with the default timeout of a call.
const TERM: Duration = Duration::from_secs(10);

#[test]
fn a_dead_workers_lease_ends_by_its_term() {
    let mut proxy = Proxy::new(3, &json!({"interval": "30s", "jitter": "0%"}));
    proxy.run(Duration::from_secs(1));
    // It dies in the middle of a refresh: it has called, and the answer never comes.
    proxy.api.silent = true;
    let mut dead = 0;
    while proxy.api.unanswered == 0 {
        proxy.now += TICK;
        for worker in 0..3 {
            if proxy.api.unanswered == 0 {
                proxy.tick(worker);
                dead = worker;
            }
        }
    }
    let died = proxy.now;
    proxy.remove(dead);
    proxy.api.silent = false;
    let asked = proxy.api.sets;
    while proxy.api.sets == asked {
        proxy.run(TICK);
        assert!(proxy.now < died + MINUTE, "nothing went on");
    }
    let after = proxy.now.since(died);
    assert!(after + TICK > TERM, "after {after:?}, while the lease may be alive");
    assert!(after <= TERM + Duration::from_secs(2) + TICK, "after {after:?}");
    assert!(proxy.has_pin(0, &PKI.us.digicert) && proxy.has_pin(1, &PKI.us.digicert));
}

#[test]
fn an_answer_begun_before_the_last_complete_one_is_dropped() {
    let (old, new) = (&PKI.us.digicert_upcoming, &PKI.us.digicert);
    // It comes late, or never.
    for is_lost in [false, true] {
        let mut proxy = Proxy::new(1, &json!({"interval": "1m", "jitter": "0%", "keep_removed": "0s"}));
        proxy.api.current = vec![old.clone()];
        proxy.run(Duration::from_secs(1));
        let call = loop {
            proxy.now += TICK;
            let now = proxy.at();
            if let Some(call) = proxy.workers[0].tick(VERIFIER, &mut proxy.shared, now).call {
                break call;
            }
        };
        proxy.join();
        proxy.api.current = vec![new.clone()];
        proxy.now += TERM;
        proxy.run_worker(1, Duration::from_secs(3));
        assert!(proxy.has_pin(1, new) && !proxy.has_pin(1, old), "taken over");
        proxy.events.clear();
        proxy.api.current = vec![old.clone()];
        if is_lost {
            proxy.tick(0);
        } else {
            proxy.answer(0, Some(call));
        }
        assert_eq!(proxy.events, [], "lost: {is_lost}");
        proxy.tick(1);
        proxy.tick(0);
        for worker in 0..2 {
            assert!(proxy.has_pin(worker, new) && !proxy.has_pin(worker, old), "lost: {is_lost}: {worker}");
        }
    }
}

#[test]
fn a_worker_that_leaves_in_a_refresh_hands_over_at_once() {
    let mut proxy = Proxy::new(3, &json!({"interval": "30s", "jitter": "0%"}));
    proxy.api.silent = true;
    proxy.now += TICK;
    proxy.tick(1);
    assert_eq!(proxy.api.unanswered, 1);
    let mut gone = proxy.remove(1);
    gone.leave(&mut proxy.shared, proxy.now);
    proxy.api.silent = false;
    proxy.run(TICK);
    assert_eq!((proxy.api.sets, proxy.api.tokens), (1, 1));
}

#[test]
fn a_worker_with_a_token_refreshes_first() {
    let mut proxy = Proxy::new(4, &json!({"interval": "10s", "jitter": "0%"}));
    proxy.run(MINUTE * 5);
    assert!(proxy.api.sets >= 29, "{}", proxy.api.sets);
    assert_eq!(proxy.api.tokens, 1);
    // Without that worker another one waits 2 s longer once, and then has a token as well.
    let (sets, at) = (proxy.api.sets, proxy.now);
    let holder = (0..4).find(|worker| proxy.workers[*worker].token.is_some()).unwrap();
    proxy.remove(holder);
    while proxy.api.sets == sets {
        proxy.run(TICK);
    }
    assert!(proxy.now.since(at) <= Duration::from_secs(13), "{:?}", proxy.now.since(at));
    let sets = proxy.api.sets;
    proxy.run(MINUTE);
    assert_eq!((proxy.api.sets - sets, proxy.api.tokens), (5, 2).max((proxy.api.sets - sets, 2)));
}

/// A login host that fails stops no worker that still has a token.
#[test]
fn a_login_outage_does_not_stop_a_worker_with_a_token() {
    for status in [500, 429, 401] {
        let mut proxy = Proxy::new(1, &json!({"interval": "30s", "jitter": "0%"}));
        proxy.run(TICK);
        proxy.api.login_status = Some(status);
        proxy.api.retry_after = Some("3600".to_owned());
        for _ in 0..3 {
            proxy.join();
        }
        proxy.run(MINUTE * 10);
        assert!(proxy.api.sets >= 20, "{status}: {} sets", proxy.api.sets);
        assert!(proxy.failures().is_empty(), "{status}: {:?}", proxy.failures());
        // One of the others was faster, as when this one had stalled.
        proxy.now += MINUTE;
        proxy.tick(1);
        assert_eq!(proxy.failures().len(), 1, "{status}");
        let sets = proxy.api.sets;
        proxy.run(TICK * 2);
        assert_eq!(proxy.api.sets, sets + 1, "{status}");
        assert_eq!(proxy.workers[2].failures(), 0, "{status}");
    }
}

/// Workers that do not have a token do not wait for one that no worker has.
#[test]
fn a_first_start_and_short_lived_tokens_cost_no_delay() {
    let mut proxy = Proxy::new(4, &json!({"interval": "10s", "jitter": "0%"}));
    proxy.api.lifetime = 60;
    proxy.run(TICK);
    assert_eq!(proxy.api.sets, 1, "at the first tick");
    proxy.run(MINUTE);
    assert_eq!(proxy.api.sets, proxy.api.tokens);
    assert!(proxy.api.sets >= 6, "{}", proxy.api.sets);
}

#[test]
fn a_worker_whose_lease_was_lost_makes_no_further_call() {
    let mut proxy = Proxy::new(2, &json!({}));
    proxy.now += TICK;
    let now = proxy.at();
    let call = proxy.workers[0].tick(VERIFIER, &mut proxy.shared, now).call.unwrap();
    proxy.now += TERM;
    let now = proxy.at();
    assert!(proxy.workers[1].tick(VERIFIER, &mut proxy.shared, now).call.is_some());
    let response = proxy.api.answer(&call).unwrap();
    assert!(proxy.answer_one(0, response).is_none());
    assert!(proxy.events.is_empty());
}

/// A region whose API hangs or fails delays no other one.
#[test]
fn regions_do_not_wait_for_each_other() {
    let mut hanging = Proxy::new(2, &json!({}));
    let mut other = Proxy::new(0, &json!({}));
    other.certificate_name("dataactions.other.example");
    std::mem::swap(&mut other.shared, &mut hanging.shared);
    other.join();
    std::mem::swap(&mut other.shared, &mut hanging.shared);
    hanging.api.silent = true;
    hanging.run(TICK);
    std::mem::swap(&mut other.shared, &mut hanging.shared);
    other.run(TICK);
    assert_eq!(
        (other.api.sets, other.shared.values.keys().filter(|key| key.ends_with("/lease")).count()),
        (1, 2)
    );
    assert_eq!(hanging.api.unanswered, 1);
}

#[test]
fn missing_answer_is_a_failure_and_is_followed_by_a_retry() {
    let mut proxy = Proxy::new(2, &json!({"timeout": "2s", "retry": {"base": "1s"}, "jitter": "0%"}));
    proxy.api.silent = true;
    proxy.run(Duration::from_secs(1));
    let began = proxy.now;
    while proxy.failures().is_empty() {
        proxy.run(TICK);
        assert!(proxy.now < began + MINUTE, "{:?}", proxy.events);
    }
    assert_eq!(proxy.failures(), ["no_answer"]);
    proxy.api = Api { current: vec![PKI.us.digicert.clone()], ..Api::default() };
    proxy.run(Duration::from_millis(1250));
    assert!(proxy.has_pin(0, &PKI.us.digicert) && proxy.has_pin(1, &PKI.us.digicert));
    let recovered = Event::Refreshed { named: 1, kept: 0, changed: true, recovered: true };
    assert!(proxy.events.contains(&recovered), "{:?}", proxy.events);
}

#[test]
fn a_lease_that_cannot_be_written_costs_no_worker_its_pins() {
    let mut proxy = Proxy::new(2, &json!({"interval": "1m"}));
    proxy.run(TICK);
    let lease = key(&proxy.shared, "/lease");
    proxy.shared.set(&lease, b"", None);
    proxy.run(MINUTE * 3);
    assert!(proxy.api.sets >= 3 && proxy.has_pin(1, &PKI.us.digicert));
}
