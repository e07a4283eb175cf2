//! Who asks, and what becomes of what is shared when workers die or others write to it.

use super::{Api, PKI, Proxy, Shared, TICK};
use crate::refresh::{
    Event, FORM, Secret, Store,
    lease::{Lease, TERM},
    seal::Seal,
};
use crate::trust::ApiState;
use serde_json::{Value, json};
use std::time::Duration;
use testbed::pki::{Ca, pem_block};

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

impl Store for Interleaved<'_> {
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
            if let (Some(call), _) = proxy.workers[stalled].tick(&mut proxy.shared, now) {
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

/// What a module with the same `vm_id` might write to one of our keys.
fn damages(proxy: &Proxy, key: &str, older: &Shared, newer: &Shared) -> Vec<(&'static str, Vec<u8>)> {
    let value = proxy.shared.values[key].0.clone();
    let mut flipped = value.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let seal = Seal::new(Some(&Secret::new("secret".to_owned())), key).unwrap();
    let number = u64::from_le_bytes(*seal.open(&value).unwrap().first_chunk().unwrap());
    let sealed = seal.seal(&[&(number + 1).to_le_bytes()[..], b"{}"].concat());
    vec![
        ("nothing", Vec::new()),
        ("noise", vec![0xff; 50_000]),
        ("a changed bit", flipped),
        ("a good seal on nothing of ours", sealed),
        ("half of it", value[..value.len() / 2].to_vec()),
        ("an older copy", older.values[key].0.clone()),
        ("a copy from a host that has been up for longer", newer.values[key].0.clone()),
    ]
}

#[test]
fn whatever_is_written_to_our_keys_costs_a_refetch_at_most() {
    let (old, new) = (&PKI.us.digicert_upcoming, &PKI.us.digicert);
    let settings = json!({"interval": "1m", "jitter": "0%", "keep_removed": "0s"});
    let mut sibling = Proxy::new(1, &settings);
    sibling.now = MINUTE * 100_000;
    sibling.api.current = vec![old.clone()];
    sibling.run(MINUTE);
    for ending in ["/lease", "/record"] {
        for row in 0..7 {
            let mut proxy = Proxy::new(3, &settings);
            proxy.api.current = vec![old.clone()];
            proxy.run(Duration::from_secs(1));
            let older = proxy.shared.clone();
            proxy.api.current = vec![new.clone()];
            proxy.run(MINUTE);

            let key = proxy.shared.key(ending);
            let (what, damage) = damages(&proxy, &key, &older, &sibling.shared).swap_remove(row);
            let what = format!("{what} in {key}");
            let asked = proxy.api.sets;
            proxy.shared.set(&key, &damage, None);
            proxy.run(TICK * 4);
            assert!(proxy.api.sets <= asked + 1, "{what}: {} sets at once", proxy.api.sets - asked);
            let newcomer = proxy.join();
            for worker in 0..=newcomer {
                assert!(proxy.has_pin(worker, new), "{what}: worker {worker} lost its pins");
                assert!(!proxy.has_pin(worker, old), "{what}: an old pin is back in worker {worker}");
            }
            let asked = proxy.api.sets;
            proxy.run(MINUTE * 2);
            let since = proxy.api.sets - asked;
            assert!((1..=3).contains(&since), "{what}: {since} sets in the next two minutes");
        }
    }
}

#[test]
fn a_module_that_never_stops_writing_cannot_stop_refresh_or_take_pins() {
    for damage in [&b""[..], b"-", b"noise"] {
        let mut proxy = Proxy::new(3, &json!({"interval": "1m", "jitter": "0%"}));
        proxy.run(Duration::from_secs(1));
        let keys: Vec<String> = proxy.shared.values.keys().cloned().collect();
        let asked = proxy.api.sets;
        let end = proxy.now + MINUTE * 5;
        while proxy.now < end {
            proxy.run(TICK);
            for key in &keys {
                proxy.shared.set(key, damage, None);
            }
            for worker in 0..3 {
                assert!(proxy.has_pin(worker, &PKI.us.digicert), "{damage:?}: worker {worker}");
            }
        }
        let sets = proxy.api.sets - asked;
        // Without a lease each worker keeps its own time: one set each and minute, and no more.
        assert!((5..=3 * 7).contains(&sets), "{damage:?}: {sets} sets in 5 minutes");
    }
}

#[test]
fn what_was_sealed_with_another_secret_is_not_read() {
    let mut proxy = Proxy::new(1, &json!({}));
    proxy.run(Duration::from_secs(1));
    let stranger = proxy.worker("another secret");
    assert!(stranger.trust(proxy.now).pins.is_empty());
    let own = proxy.worker("secret");
    assert!(own.trust(proxy.now).has_pin(&super::fingerprint(&PKI.us.digicert)));
    // Nor is it overwritten: another secret has keys of its own.
    let before = proxy.shared.clone();
    proxy.add(stranger);
    proxy.run(Duration::from_secs(1));
    for (key, value) in &before.values {
        assert_eq!(proxy.shared.values[key].0, value.0, "{key}");
    }
    let text: String = proxy
        .shared
        .values
        .iter()
        .map(|(key, (value, _))| key.clone() + &String::from_utf8_lossy(value))
        .collect();
    assert!(!text.contains("secret") && !text.contains("token"), "{text}");
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

#[test]
fn a_reload_keeps_what_is_known_and_its_age_and_a_shorter_interval_takes_effect() {
    let mut proxy = Proxy::new(2, &json!({"interval": "1h", "jitter": "0%"}));
    proxy.run(MINUTE * 10);
    assert_eq!(proxy.api.sets, 1);
    let age = proxy.workers[0].age(proxy.now);
    for mut old in std::mem::take(&mut proxy.workers) {
        old.leave(&mut proxy.shared, proxy.now);
    }
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
    let mut call = proxy.workers[new].tick(&mut proxy.shared, now).0;
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
fn a_reload_waits_no_longer_than_its_own_configuration_would() {
    let mut proxy = Proxy::new(1, &json!({"interval": "7d", "jitter": "0%"}));
    (proxy.api.current_status, proxy.api.retry_after) = (Some(429), Some(Duration::from_hours(100)));
    proxy.run(TICK);
    assert_eq!(proxy.failures(), ["api_rate_limited"]);
    for mut old in std::mem::take(&mut proxy.workers) {
        old.leave(&mut proxy.shared, proxy.now);
    }
    proxy.configure(&json!({"interval": "20m", "jitter": "0%"}));
    proxy.join();
    proxy.run(MINUTE * 19);
    assert_eq!(proxy.api.sets, 1, "the server asked to be left alone");
    proxy.run(MINUTE * 2);
    assert_eq!(proxy.api.sets, 2);
}

/// Puts a record in the place of the one that is there, as somebody could where there is no secret.
fn forge(proxy: &mut Proxy, change: impl FnOnce(&mut Value)) {
    let key = proxy.shared.key("/record");
    let seal = Seal::new(Some(&Secret::new("secret".to_owned())), &key).unwrap();
    let (number, json) = seal.open(&proxy.shared.values[&key].0).unwrap().split_first_chunk().unwrap();
    let mut record: Value = serde_json::from_slice(json).unwrap();
    change(&mut record);
    let number = u64::from_le_bytes(*number) + 1;
    let record = [&number.to_le_bytes()[..], record.to_string().as_bytes()].concat();
    proxy.shared.set(&key, &seal.seal(&record), None);
}

#[test]
fn no_record_makes_workers_wait_longer_than_the_configuration_would() {
    for member in ["next", "quiet_until", "early"] {
        let mut proxy = Proxy::new(2, &json!({"interval": "10m", "jitter": "0%"}));
        proxy.run(MINUTE);
        forge(&mut proxy, |record| (record[member], record["failures"]) = (u64::MAX.into(), 1.into()));
        proxy.run(MINUTE * 11);
        let sets = proxy.api.sets;
        assert!(sets > 1, "{member}: no refresh any more");
        let now = proxy.now;
        proxy.workers[1].ask_early(&mut proxy.shared, now);
        proxy.run(TICK * 2);
        assert_eq!(proxy.api.sets, sets + 1, "{member}: no early refresh any more");
    }
}

/// Or every refresh would be older than the last one and be dropped, trust would not age, and a pin would never lapse.
#[test]
fn nothing_in_a_record_happened_later_than_it_was_read() {
    for member in ["began", "ended"] {
        let mut proxy = Proxy::new(2, &json!({"interval": "10m", "jitter": "0%", "max_staleness": "20m"}));
        proxy.run(MINUTE);
        forge(&mut proxy, |record| record[member] = u64::MAX.into());
        proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
        proxy.run(MINUTE * 11);
        assert_eq!(proxy.api.sets, 2, "{member}");
        assert!((0..2).all(|worker| proxy.has_pin(worker, &PKI.us.digicert_upcoming)), "{member}");
        forge(&mut proxy, |record| record[member] = u64::MAX.into());
        proxy.api.current_status = Some(500);
        proxy.run(MINUTE * 21);
        assert_eq!(proxy.trust(0).state, ApiState::Stale, "{member}");
    }
    let mut proxy = Proxy::new(2, &json!({"interval": "10m", "jitter": "0%", "keep_removed": "1h"}));
    proxy.run(MINUTE);
    proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
    forge(&mut proxy, |record| record["kept"][0]["removed"] = u64::MAX.into());
    proxy.run(MINUTE * 55);
    assert!(proxy.has_pin(1, &PKI.us.digicert));
    proxy.run(MINUTE * 6);
    assert!((0..2).all(|worker| !proxy.has_pin(worker, &PKI.us.digicert)));
}

/// The proxies of a fleet have one secret, and a module may carry what one of them sealed to another.
#[test]
fn what_another_proxy_has_sealed_counts_nowhere_else() {
    for (node, counts) in [("another", false), ("", true)] {
        let mut proxy = Proxy::new(3, &json!({"interval": "1h", "jitter": "0%"}));
        let mut other = Proxy::new(0, &json!({"interval": "10m", "jitter": "0%"}));
        other.node = node.to_owned();
        other.join();
        other.api.current = vec![PKI.us.digicert_upcoming.clone()];
        proxy.run(MINUTE * 20);
        other.run(MINUTE * 20);
        let sealed = other.shared.values[&other.shared.key("/record")].0.clone();
        proxy.shared.set(&proxy.shared.key("/record"), &sealed, None);
        proxy.run(TICK * 2);
        for worker in 0..3 {
            // SECURITY.md: proxies of one `node.id` cannot be told from each other.
            assert_eq!(proxy.has_pin(worker, &PKI.us.digicert_upcoming), counts, "{node:?}");
            assert_eq!(proxy.has_pin(worker, &PKI.us.digicert), !counts, "{node:?}");
        }
    }
}

/// Workers of an older module may live beside these. Whoever changes this raises the form.
#[test]
fn what_is_shared_has_this_form() {
    let mut proxy = Proxy::new(1, &json!({}));
    proxy.api.current_status = Some(500);
    proxy.run(TICK);
    proxy.api.current_status = None;
    proxy.run(MINUTE * 2);
    let mut fields = Vec::new();
    forge(&mut proxy, |record| {
        for object in [&*record, &record["kept"][0]] {
            fields.push(object.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" "));
        }
    });
    let expected = [
        "began early ended failing failures half hints kept next quiet_until under",
        "not_after not_before removed sha256",
    ];
    assert_eq!((FORM, fields.as_slice()), ("3", &expected.map(str::to_owned)[..]));
}
