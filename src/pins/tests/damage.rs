//! Shared data that another module has damaged, forged or brought from elsewhere: no pin comes or goes by it for good, and refreshing
//! goes on.

use crate::{
    decision::trust::ApiState,
    http::FailureCode,
    pins::{
        ApiStatus, Complete, EarlyRefreshRequest, Leaf, Record,
        tests::{PKI, Proxy, TICK, fingerprint, key},
    },
    policy::Authority,
    shared::{FORM, MemoryStore, Seal, Secret, SharedStore as _},
    time::Monotonic,
};
use serde_json::json;
use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);

/// What a module with the same `vm_id` might write to one of our keys.
fn damages(
    proxy: &Proxy,
    key: &str,
    older: &MemoryStore,
    newer: &MemoryStore,
) -> Vec<(&'static str, Vec<u8>)> {
    let value = proxy.shared.values[key].0.clone();
    let mut flipped = value.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let seal = Seal::new(Some(&Secret::new("secret".to_owned())), key).unwrap();
    let number = seal.open(&value).map_or(0, |value| u64::from_le_bytes(*value.first_chunk().unwrap()));
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
fn damage_to_our_keys_costs_one_more_fetch_at_most() {
    let (old, new) = (&PKI.us.digicert_upcoming, &PKI.us.digicert);
    let settings = json!({"interval": "1m", "jitter": "0%", "keep_removed": "0s"});
    let mut sibling = Proxy::new(1, &settings);
    sibling.now += MINUTE * 100_000;
    sibling.api.current = vec![old.clone()];
    sibling.run(MINUTE);
    let now = sibling.at();
    sibling.workers[0].request_early(fingerprint(new), &mut sibling.shared, now);
    for ending in ["/lease", "/record", "/early"] {
        for row in 0..7 {
            let mut proxy = Proxy::new(3, &settings);
            proxy.api.current = vec![old.clone()];
            proxy.run(Duration::from_secs(1));
            let now = proxy.at();
            proxy.workers[0].request_early(fingerprint(new), &mut proxy.shared, now);
            let older = proxy.shared.clone();
            proxy.api.current = vec![new.clone()];
            proxy.run(MINUTE);
            let now = proxy.at();
            proxy.workers[0].request_early(fingerprint(new), &mut proxy.shared, now);

            let key = key(&proxy.shared, ending);
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
fn module_that_keeps_writing_stops_no_refresh_and_no_pin() {
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
fn record_sealed_with_another_secret_is_not_read() {
    let mut proxy = Proxy::new(1, &json!({}));
    proxy.run(Duration::from_secs(1));
    let stranger = proxy.worker("another secret");
    assert!(stranger.trust().pins.is_empty());
    let own = proxy.worker("secret");
    assert!(own.trust().has_pin(&fingerprint(&PKI.us.digicert)));
    // Nor is it overwritten: another secret has other keys.
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

/// Replaces a shared value, as another module could where there is no secret.
fn forge<T: serde::Serialize + serde::de::DeserializeOwned>(
    proxy: &mut Proxy,
    ending: &str,
    change: impl FnOnce(&mut T),
) {
    let key = key(&proxy.shared, ending);
    let seal = Seal::new(Some(&Secret::new("secret".to_owned())), &key).unwrap();
    let (number, value) = seal.open(&proxy.shared.values[&key].0).unwrap().split_first_chunk().unwrap();
    let mut record: T = postcard::from_bytes(value).unwrap();
    change(&mut record);
    let number = u64::from_le_bytes(*number) + 1;
    let record = [&number.to_le_bytes()[..], &postcard::to_allocvec(&record).unwrap()].concat();
    proxy.shared.set(&key, &seal.seal(&record), None);
}

type Forgery = fn(&mut Record);

fn forge_record(proxy: &mut Proxy, change: impl FnOnce(&mut Record)) {
    forge(proxy, "/record", change);
}

const MAX: Option<Monotonic> = Some(Monotonic::MAX);

#[test]
fn no_record_makes_workers_wait_longer_than_their_settings() {
    let changes: [(&str, Forgery); 6] = [
        ("failed", |record| (record.failed, record.failures) = (MAX, 1)),
        ("retry_after", |record| {
            (record.retry_after, record.failures, record.failing) =
                (MAX, 1, Some(FailureCode::ApiRateLimited));
        }),
        ("failures", |record| {
            (record.failures, record.failing) = (u32::MAX, Some(FailureCode::ApiMalformed))
        }),
        ("token_until", |record| record.token_until = MAX),
        ("random", |record| record.random = f64::INFINITY),
        ("attempted", |record| record.attempted = MAX),
    ];
    for (member, change) in changes {
        let mut proxy = Proxy::new(2, &json!({"interval": "10m", "jitter": "0%"}));
        proxy.run(MINUTE);
        forge_record(&mut proxy, change);
        proxy.run(MINUTE * 11);
        let sets = proxy.api.sets;
        assert!(sets > 1, "{member}: no refresh any more");
        let now = proxy.at();
        proxy.workers[1].request_early(fingerprint(&PKI.us.digicert_upcoming), &mut proxy.shared, now);
        proxy.run(Duration::from_secs(3));
        assert_eq!(proxy.api.sets, sets + 1, "{member}: no early refresh any more");
    }
}

/// A forged schedule neither keeps early refreshes away nor makes one worker begin more of them than one in `min_interval`.
#[test]
fn no_early_request_makes_workers_ask_more_or_never() {
    let changes: [fn(&mut EarlyRefreshRequest); 3] = [
        |early| (early.asked, early.began, early.step) = (MAX, None, 0),
        |early| (early.began, early.step) = (MAX, u32::MAX),
        |early| {
            (early.restarts, early.met) = (vec![Monotonic::MAX; 1000], vec![fingerprint(&PKI.stranger); 1000])
        },
    ];
    for (row, change) in changes.into_iter().enumerate() {
        let mut proxy = Proxy::new(1, &json!({"interval": "1h", "jitter": "0%"}));
        proxy.run(MINUTE);
        let unknown = fingerprint(&PKI.us.digicert_upcoming);
        let now = proxy.at();
        proxy.workers[0].request_early(unknown, &mut proxy.shared, now);
        let sets = proxy.api.sets;
        let end = proxy.now + MINUTE * 5;
        while proxy.now < end {
            forge(&mut proxy, "/early", change);
            proxy.run(TICK);
        }
        assert!(proxy.api.sets - sets <= 11, "{row}: {}", proxy.api.sets - sets);
        proxy.run(Duration::from_secs(100));
        let sets = proxy.api.sets;
        let now = proxy.at();
        proxy.workers[0].request_early(unknown, &mut proxy.shared, now);
        proxy.run(TICK * 2);
        assert_eq!(proxy.api.sets, sets + 1, "{row}");
    }
}

/// Or every refresh would be older than the last one and be dropped, trust would not age, and a pin would never lapse.
#[test]
fn nothing_in_a_record_happened_later_than_it_was_read() {
    fn complete(record: &mut Record) -> &mut Complete {
        record.complete.as_mut().unwrap()
    }
    let changes: [(&str, Forgery); 2] = [
        ("began", |record| complete(record).began = Monotonic::MAX),
        ("ended", |record| complete(record).ended = Monotonic::MAX),
    ];
    for (member, change) in changes {
        let mut proxy = Proxy::new(2, &json!({"interval": "10m", "jitter": "0%", "max_staleness": "20m"}));
        proxy.run(MINUTE);
        forge_record(&mut proxy, change);
        proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
        proxy.run(MINUTE * 11);
        assert_eq!(proxy.api.sets, 2, "{member}");
        assert!((0..2).all(|worker| proxy.has_pin(worker, &PKI.us.digicert_upcoming)), "{member}");
        forge_record(&mut proxy, change);
        proxy.api.current_status = Some(500);
        proxy.run(MINUTE * 21);
        assert_eq!(proxy.trust(0).state, ApiState::Stale, "{member}");
    }
    let mut proxy = Proxy::new(2, &json!({"interval": "10m", "jitter": "0%", "keep_removed": "1h"}));
    proxy.run(MINUTE);
    proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
    proxy.run(MINUTE * 10);
    forge_record(&mut proxy, |record| {
        for leaf in &mut record.leaves {
            leaf.named_since = Monotonic::MAX;
            if leaf.fingerprint == fingerprint(&PKI.us.digicert) {
                leaf.absent_since = MAX;
            }
        }
    });
    proxy.run(MINUTE * 55);
    assert!(proxy.has_pin(1, &PKI.us.digicert));
    proxy.run(MINUTE * 6);
    assert!((0..2).all(|worker| !proxy.has_pin(worker, &PKI.us.digicert)));
}

/// The proxies of a fleet have one secret, and a module may carry what one of them sealed to another.
#[test]
fn record_sealed_by_another_proxy_does_not_count() {
    for (node, counts) in [("another", false), ("", true)] {
        let mut proxy = Proxy::new(3, &json!({"interval": "1h", "jitter": "0%"}));
        let mut other = Proxy::new(0, &json!({"interval": "10m", "jitter": "0%"}));
        other.node = node.to_owned();
        other.join();
        other.api.current = vec![PKI.us.digicert_upcoming.clone()];
        proxy.run(MINUTE * 20);
        other.run(MINUTE * 20);
        let sealed = other.shared.values[&key(&other.shared, "/record")].0.clone();
        proxy.shared.set(&key(&proxy.shared, "/record"), &sealed, None);
        proxy.run(TICK * 2);
        for worker in 0..3 {
            // The threat model: proxies of one `node.id` cannot be distinguished.
            assert_eq!(proxy.has_pin(worker, &PKI.us.digicert_upcoming), counts, "{node:?}");
            assert_eq!(proxy.has_pin(worker, &PKI.us.digicert), !counts, "{node:?}");
        }
    }
}

/// Workers of an older module may run at the same time: a change of this raises the form.
#[test]
fn shared_values_have_this_form() {
    let record = Record {
        leaves: vec![Leaf {
            fingerprint: fingerprint(&PKI.us.digicert),
            der: vec![7],
            authority: Authority::Digicert,
            status: ApiStatus::Upcoming,
            named_since: Monotonic::from_millis(1),
            absent_since: Some(Monotonic::from_millis(2)),
        }],
        illegible: vec![(Authority::Genesys, ApiStatus::Current)],
        hints: vec![vec![8]],
        attempted: Some(Monotonic::from_millis(3)),
        complete: Some(Complete {
            began: Monotonic::from_millis(4),
            ended: Monotonic::from_millis(5),
            is_first: true,
        }),
        partial: Some(Monotonic::from_millis(6)),
        failed: Some(Monotonic::from_millis(7)),
        failures: 8,
        failing: FailureCode::ALL.last().copied(),
        retry_after: Some(Monotonic::from_millis(9)),
        random: 0.0,
        token_until: Some(Monotonic::from_millis(10)),
    };
    let bytes = postcard::to_allocvec(&record).unwrap();
    let (fingerprint, rest) = bytes[1..].split_first_chunk::<32>().unwrap();
    assert_eq!(fingerprint, record.leaves[0].fingerprint.as_bytes());
    let last = u8::try_from(FailureCode::ALL.len() - 1).unwrap();
    let expected = [
        &[1, 7, 1, 1, 1, 1, 2, 1, 0, 0, 1, 1, 8, 1, 3, 1, 4, 5, 1, 1, 6, 1, 7, 8, 1, last, 1, 9][..],
        &[0; 8],
        &[1, 10],
    ];
    assert_eq!((FORM, last, rest), ("5", 35, &expected.concat()[..]));
    let early = EarlyRefreshRequest {
        asked: Some(Monotonic::from_millis(1)),
        began: Some(Monotonic::from_millis(2)),
        step: 3,
        met: Vec::new(),
        restarts: vec![Monotonic::from_millis(4)],
    };
    assert_eq!(postcard::to_allocvec(&early).unwrap(), [1, 1, 1, 2, 3, 0, 1, 4]);
}
