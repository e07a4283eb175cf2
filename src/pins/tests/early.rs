//! Refreshes asked for out of turn.

use crate::pins::tests::{PKI, Proxy, TICK};
use serde_json::json;
use std::time::Duration;

const HOLD: Duration = Duration::from_secs(2);

/// Three workers an hour from their next refresh; one early refresh in 30 s is allowed.
fn settled() -> Proxy {
    let mut proxy =
        Proxy::new(3, &json!({"interval": "1h", "on_unknown_certificate": {"min_interval": "30s"}}));
    proxy.run(Duration::from_mins(1));
    assert_eq!(proxy.api.sets, 1);
    proxy
}

fn ask(proxy: &mut Proxy, worker: usize) {
    proxy.workers[worker].ask_early(&mut proxy.shared, proxy.now);
}

fn expects_news(proxy: &Proxy, worker: usize) -> bool {
    proxy.workers[worker].expects_news(proxy.now + HOLD, proxy.now)
}

#[test]
fn any_worker_can_ask_and_one_refresh_answers_all() {
    let mut proxy = settled();
    proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
    for worker in [2, 0, 1, 2, 0] {
        assert!(expects_news(&proxy, worker));
        ask(&mut proxy, worker);
    }
    proxy.run(TICK * 2);
    assert_eq!(proxy.api.sets, 2);
    assert!((0..3).all(|worker| proxy.has_pin(worker, &PKI.us.digicert_upcoming)));
    assert!(!(0..3).any(|worker| expects_news(&proxy, worker)), "nothing more is to be waited for");
    proxy.run(Duration::from_mins(10));
    assert_eq!(proxy.api.sets, 2, "what was asked for before the answer is settled by it");
}

#[test]
fn however_many_ask_there_is_one_early_refresh_per_min_interval() {
    let mut proxy = settled();
    let end = proxy.now + Duration::from_mins(5);
    while proxy.now < end {
        for worker in 0..3 {
            ask(&mut proxy, worker);
        }
        proxy.run(TICK);
    }
    let early = proxy.api.sets - 1;
    assert!((9..=10).contains(&early), "{early} early refreshes in 5 minutes");
}

#[test]
fn a_module_that_forges_requests_is_bound_by_the_same_limit() {
    let mut proxy = settled();
    ask(&mut proxy, 0);
    proxy.run(TICK);
    let key = proxy.shared.key("/wanted");
    for forged in [u64::MAX, 0, 1, u64::try_from(proxy.now.as_nanos()).unwrap()] {
        let before = proxy.api.sets;
        let end = proxy.now + Duration::from_mins(2);
        while proxy.now < end {
            // The end of the last refresh stands in the record, for anybody to read.
            let known = proxy.now.saturating_sub(proxy.workers[0].age(proxy.now).unwrap());
            let known = u64::try_from(known.as_nanos()).unwrap();
            let question = [forged, known].map(u64::to_le_bytes).concat();
            super::SharedStore::set(&mut proxy.shared, &key, &question, None);
            proxy.run(TICK);
        }
        assert!(proxy.api.sets - before <= 1, "{forged}: {}", proxy.api.sets - before);
    }
    super::SharedStore::set(&mut proxy.shared, &key, b"short", None);
    let before = proxy.api.sets;
    proxy.run(Duration::from_mins(1));
    assert_eq!(proxy.api.sets, before);
}

#[test]
fn a_refresh_that_was_under_way_already_does_not_settle_a_question() {
    let mut proxy = settled();
    proxy.api.silent = true;
    ask(&mut proxy, 1);
    proxy.run(TICK * 2);
    assert_eq!(proxy.api.unanswered, 1, "the early refresh is under way");
    // Another certificate turns up meanwhile. The answer may have been made before; nothing more is allowed for now.
    proxy.now += Duration::from_millis(500);
    ask(&mut proxy, 2);
    assert!(expects_news(&proxy, 2));
    proxy.api.silent = false;
    // The call times out, the usual retries follow, and the next early refresh has to wait for its turn.
    proxy.run(Duration::from_secs(20));
    let settled = proxy.api.sets;
    assert_eq!(settled, 2, "one retry, which succeeded");
    ask(&mut proxy, 2);
    proxy.run(Duration::from_secs(5));
    assert_eq!(proxy.api.sets, settled, "not before min_interval has passed");
    proxy.run(Duration::from_secs(10));
    ask(&mut proxy, 2);
    proxy.run(TICK * 2);
    assert_eq!(proxy.api.sets, settled + 1);
}

#[test]
fn a_server_that_asked_to_be_left_alone_is() {
    let mut proxy = settled();
    proxy.api.current_status = Some(429);
    proxy.api.retry_after = Some(Duration::from_mins(5));
    ask(&mut proxy, 0);
    proxy.run(Duration::from_mins(1));
    assert_eq!(proxy.failures(), ["api_rate_limited"]);
    let asked = proxy.api.sets;
    for worker in 0..3 {
        assert!(!expects_news(&proxy, worker), "nobody waits for an API that must not be asked");
        ask(&mut proxy, worker);
    }
    proxy.run(Duration::from_mins(3));
    assert_eq!(proxy.api.sets, asked);
    proxy.api.current_status = None;
    proxy.run(Duration::from_mins(2));
    assert_eq!(proxy.api.sets, asked + 1);
}

#[test]
fn a_request_that_comes_shortly_before_the_next_early_refresh_may_wait_for_it() {
    let mut proxy = settled();
    ask(&mut proxy, 0);
    proxy.run(TICK * 2);
    assert_eq!(proxy.api.sets, 2);
    let began = proxy.now;
    while !expects_news(&proxy, 1) {
        proxy.run(TICK);
        assert!(proxy.now < began + Duration::from_secs(30), "never");
    }
    proxy.run(TICK * 2);
    // The request waits and its worker asks at every tick, as long as it may wait.
    let deadline = proxy.now + HOLD;
    while proxy.api.sets == 2 {
        assert!(proxy.now < deadline && proxy.workers[1].expects_news(deadline, proxy.now));
        ask(&mut proxy, 1);
        proxy.run(TICK);
    }
    assert!(proxy.now + TICK * 2 >= began + Duration::from_secs(30), "{:?}", proxy.now.saturating_sub(began));
}

#[test]
fn an_early_refresh_whose_worker_dies_or_leaves_is_made_up_for_by_the_next() {
    for leaves in [false, true] {
        let mut proxy = settled();
        let leader = proxy.workers.iter().position(|worker| worker.is_leader(proxy.now)).unwrap();
        proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
        proxy.api.silent = true;
        ask(&mut proxy, (leader + 1) % 3);
        proxy.run(TICK);
        assert_eq!(proxy.api.unanswered, 1, "the early refresh is under way");
        let mut gone = proxy.workers.remove(leader);
        if leaves {
            gone.leave(&mut proxy.shared, proxy.now);
        }
        proxy.api.silent = false;
        // Nobody asks again: it is due until it has ended, and then not any more.
        proxy.run(if leaves { TICK * 2 } else { Duration::from_secs(11) });
        assert!(proxy.has_pin(0, &PKI.us.digicert_upcoming), "leaves: {leaves}");
        let asked = proxy.api.sets;
        proxy.run(Duration::from_mins(5));
        assert_eq!(proxy.api.sets, asked);
    }
}

#[test]
fn a_question_of_a_worker_that_has_missed_the_answer_is_void() {
    let mut proxy = Proxy::new(2, &json!({"interval": "1h"}));
    proxy.now += TICK;
    proxy.tick(0);
    assert_eq!(proxy.api.sets, 1);
    // The other one reads its clock, and what is shared, right before that answer is.
    proxy.now += Duration::from_millis(1);
    ask(&mut proxy, 1);
    proxy.run(Duration::from_secs(1));
    assert_eq!(proxy.api.sets, 1, "the answer is there, and what it does not cure is asked again");
    proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
    ask(&mut proxy, 1);
    proxy.run(TICK * 2);
    assert_eq!(proxy.api.sets, 2);
    assert!(proxy.has_pin(1, &PKI.us.digicert_upcoming));
}
