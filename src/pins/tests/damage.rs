//! Shared data that another module has damaged, forged or brought from elsewhere: no pin comes or goes by it for good, and refreshing
//! goes on.

use crate::pins::tests::{PKI, Proxy, Shared, TICK};
use crate::{
    decision::trust::ApiState,
    shared::{FORM, Seal, Secret, SharedStore as _},
};
use serde_json::{Value, json};
use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);

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
