//! Who asks, and what becomes of the turn when workers stall, leave or die.

use crate::pins::tests::{Api, PKI, Proxy, Shared, TICK};
use crate::test_support::VERIFIER;
use crate::{
    pins::Event,
    shared::{
        Seal, SharedStore,
        lease::{Lease, TERM},
    },
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

/// Lets another worker act right before one operation of the worker under test.
struct Interleaved<'a> {
    shared: &'a mut Shared,
    operations: std::cell::Cell<usize>,
    at: usize,
    other: std::cell::RefCell<&'a mut dyn FnMut(&mut Shared)>,
}

impl Interleaved<'_> {
    fn operation(&self) -> bool {
        self.operations.set(self.operations.get() + 1);
        self.operations.get() == self.at
    }
}

impl SharedStore for Interleaved<'_> {
    fn get(&self, key: &str) -> (Option<Vec<u8>>, Option<u32>) {
        // Reading comes right before writing, so acting before each write covers every order of the two.
        self.shared.get(key)
    }

    fn set(&mut self, key: &str, value: &[u8], cas: Option<u32>) -> bool {
        if self.operation() {
            let mut other = self.other.borrow_mut();
            other(self.shared);
        }
        self.shared.set(key, value, cas)
    }
}

#[test]
fn two_workers_that_find_no_lease_do_not_both_get_it() {
    let now = Duration::from_secs(100);
    let lease = |owner| Lease::new("lease".to_owned(), owner, Seal::new(None, "lease").unwrap());
    for at in 1..=2 {
        for existing in [None, Some(&b"-"[..]), Some(b""), Some(b"garbage")] {
            let (mut one, mut two) = (lease(1), lease(2));
            let mut shared = Shared::default();
            if let Some(value) = existing {
                shared.set("lease", value, None);
            }
            let mut other = |shared: &mut Shared| assert!(two.take(shared, now), "nobody has it yet");
            let mut store = Interleaved {
                shared: &mut shared,
                operations: 0.into(),
                at,
                other: std::cell::RefCell::new(&mut other),
            };
            let taken = one.take(&mut store, now);
            let acted = store.operations.get() >= at;
            assert_eq!(taken, !acted, "before write {at}, with {existing:?}");
            assert!(!(one.is_held(now) && two.is_held(now)), "both, before write {at}, with {existing:?}");
        }
    }
}

#[test]
fn a_worker_that_read_the_clock_before_the_holder_did_sees_the_lease_nevertheless() {
    let lease = |owner| Lease::new("lease".to_owned(), owner, Seal::new(None, "lease").unwrap());
    let (now, mut shared) = (Duration::from_secs(100), Shared::default());
    assert!(lease(1).take(&mut shared, now));
    for (earlier, taken) in [(0, false), (1, false), (1_000, false), (5_000, false), (5_001, true)] {
        let read = now.saturating_sub(Duration::from_millis(earlier));
        // Further ahead than any callback lasts, it is from before a restart, or somebody's.
        assert_eq!(lease(2).take(&mut shared.clone(), read), taken, "{earlier} ms before");
    }
    assert!(lease(2).take(&mut shared, now + TERM), "over");
}

#[test]
fn workers_whose_clocks_were_read_at_slightly_different_times_still_ask_once() {
    let mut proxy = Proxy::new(4, &json!({"interval": "1m", "jitter": "0%"}));
    for (worker, late) in [0, 1, 700, 4_000].into_iter().enumerate() {
        proxy.now -= Duration::from_millis(late);
        proxy.tick(worker);
        proxy.now += Duration::from_millis(late);
    }
    proxy.run(Duration::from_secs(1));
    assert_eq!((proxy.api.tokens, proxy.api.sets), (1, 1));
    assert!((0..4).all(|worker| proxy.has_pin(worker, &PKI.us.digicert)));
}

#[test]
fn a_dead_holders_lease_passes_on_when_its_term_is_over() {
    let mut proxy = Proxy::new(3, &json!({"interval": "30s", "jitter": "0%"}));
    proxy.run(Duration::from_secs(1));
    let leader = proxy.workers.iter().position(|worker| worker.is_leader(proxy.now)).unwrap();
    // It dies in the middle of a refresh: it has called, and never hears the answer.
    proxy.api.silent = true;
    while proxy.api.unanswered == 0 {
        proxy.now += TICK;
        proxy.tick(leader);
    }
    let died = proxy.now;
    proxy.workers.remove(leader);
    proxy.api.silent = false;
    let asked = proxy.api.sets;
    while proxy.api.sets == asked {
        proxy.run(TICK);
        assert!(proxy.now < died + MINUTE, "nobody took over");
    }
    let after = proxy.now.saturating_sub(died);
    assert!(after + TICK > TERM, "after {after:?}, while the lease may be alive");
    assert!(after <= TERM + TICK, "after {after:?}");
    assert!(proxy.has_pin(0, &PKI.us.digicert) && proxy.has_pin(1, &PKI.us.digicert));
}

#[test]
fn what_a_worker_brings_home_that_stalled_does_not_replace_what_another_one_asked_for_later() {
    let (old, new) = (&PKI.us.digicert_upcoming, &PKI.us.digicert);
    // Its answer comes late, or never.
    for is_lost in [false, true] {
        let mut proxy = Proxy::new(2, &json!({"interval": "1m", "jitter": "0%", "keep_removed": "0s"}));
        proxy.api.current = vec![old.clone()];
        proxy.run(Duration::from_secs(1));
        let stalled = proxy.workers.iter().position(|worker| worker.is_leader(proxy.now)).unwrap();
        let call = loop {
            proxy.now += TICK;
            let now = proxy.at();
            if let (Some(call), _) = proxy.workers[stalled].tick(VERIFIER, &mut proxy.shared, now) {
                break call;
            }
        };
        proxy.api.current = vec![new.clone()];
        proxy.now += TERM;
        proxy.tick(1 - stalled);
        assert!(proxy.has_pin(1 - stalled, new) && !proxy.has_pin(1 - stalled, old), "taken over");
        proxy.events.clear();
        proxy.api.current = vec![old.clone()];
        if is_lost {
            proxy.now += TERM;
            proxy.tick(stalled);
        } else {
            proxy.answer(stalled, Some(call));
        }
        assert_eq!(proxy.events, [], "lost: {is_lost}");
        proxy.tick(1 - stalled);
        for worker in 0..2 {
            assert!(proxy.has_pin(worker, new) && !proxy.has_pin(worker, old), "lost: {is_lost}: {worker}");
        }
    }
}

#[test]
fn a_worker_that_leaves_hands_over_at_once() {
    let mut proxy = Proxy::new(3, &json!({"interval": "30s", "jitter": "0%"}));
    proxy.run(Duration::from_secs(1));
    let leader = proxy.workers.iter().position(|worker| worker.is_leader(proxy.now)).unwrap();
    let mut gone = proxy.workers.remove(leader);
    gone.leave(&mut proxy.shared, proxy.now);
    let asked = proxy.api.sets;
    while proxy.api.sets == asked {
        proxy.run(TICK);
        assert!(proxy.now < Duration::from_secs(5000) + MINUTE, "nobody took over");
    }
    // The first period was 55 % of the interval.
    assert!(proxy.now <= Duration::from_secs(5018), "{:?}", proxy.now);
    assert_eq!(proxy.api.tokens, 2, "a token stays with the worker that fetched it");
}

#[test]
fn an_answer_that_never_comes_is_a_failure_and_the_next_attempt_follows() {
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
