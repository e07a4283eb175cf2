//! Workers that follow a CRL: what they share, and when they fetch.

use super::*;
use RevocationStatus::{Good, Revoked, Unknown};
use time::Duration as Span;

#[test]
fn crl_fetched_by_one_worker_serves_all() {
    for secret in BOTH {
        let mut store = MemoryStore::default();
        let (mut one, mut two) = (Worker::new(1, secret), Worker::new(2, secret));
        let (revoked, good) = (&PKI.us.genesys, &PKI.us.genesys_expired);
        assert_eq!(one.status(revoked), None);
        let der = PKI.us.root.crl().revoke(&serial_of(&revoked.der)).padding(1000).der();
        assert_eq!(one.fetch(&mut store, 100, &der), "ok");
        assert!(two.sync(&mut store, 101) && !two.sync(&mut store, 101), "once");
        let later = now() + 2 * 86_400;
        for worker in [&one, &two] {
            assert_eq!((worker.status(revoked), worker.status(good)), (Some(Revoked), Some(Good)));
            // An expired CRL clears no certificate, and what it revoked stays revoked.
            assert_eq!(worker.status_at(&worker.cas[0], good, later), Some(Unknown));
            assert_eq!(worker.status_at(&worker.cas[0], revoked, later), Some(Revoked));
        }
        assert_eq!(two.fetch(&mut store, 102, &der), "nothing", "one fetch per proxy");
        assert_eq!(store.values[&der_key(&store, &PKI.us.root)].0, der);
    }
}

/// Its callback read the clock, and then had to wait for a processor.
#[test]
fn worker_with_an_older_clock_learns_the_crl() {
    for secret in BOTH {
        let mut store = MemoryStore::default();
        let (mut one, mut two) = (Worker::new(1, secret), Worker::new(2, secret));
        assert_eq!(one.fetch(&mut store, 100, &crl(1, &[&PKI.us.genesys])), "ok");
        two.sync(&mut store, 90);
        two.sync(&mut store, 101);
        assert_eq!(two.status(&PKI.us.genesys), Some(Revoked));
        assert_eq!(two.fetch(&mut store, 102, &[]), "nothing", "nor does it fetch again");
    }
}

#[test]
fn late_worker_knows_an_expired_crl() {
    for secret in BOTH {
        let mut store = MemoryStore::default();
        assert_eq!(Worker::new(1, secret).fetch(&mut store, 100, &crl(1, &[&PKI.us.genesys])), "ok");
        let mut late = Worker::new(2, secret);
        let days_after = Now { wall: now() + 3 * 86_400, ..at(260_000) };
        late.fetcher.sync(VERIFIER, &mut store, days_after);
        let status = |leaf| late.status_at(&late.cas[0], leaf, days_after.wall);
        assert_eq!(status(&PKI.us.genesys), Some(Revoked));
        assert_eq!(status(&PKI.us.genesys_expired), Some(Unknown));
    }
}

#[test]
fn unchanged_crl_is_written_again_and_turns_no_verdict() {
    let mut store = MemoryStore::default();
    let (mut one, mut two) = (Worker::new(1, None), Worker::new(2, None));
    let der = crl(1, &[&PKI.us.genesys]);
    assert_eq!(one.fetch(&mut store, 100, &der), "ok");
    two.sync(&mut store, 101);
    let (key, versions) = (der_key(&store, &PKI.us.root), [one.fetcher.version(), two.fetcher.version()]);
    let before = store.values[&key].1;
    assert_eq!(one.fetch(&mut store, 8000, &der), "ok");
    assert!(store.values[&key].1 > before && !two.sync(&mut store, 8001) && !one.sync(&mut store, 8001));
    assert_eq!([one.fetcher.version(), two.fetcher.version()], versions);
}

#[test]
fn crl_from_a_mirror_counts_for_its_distribution_point() {
    let mut store = MemoryStore::default();
    let point = "http://crl.ca.example/us.crl";
    let leaf = PKI.us.root.leaf().key_name("crl").name(PKI.us.region.certificate_name);
    let leaf = leaf.crl("HTTP://CRL.ca.example:80/us.crl").issue();
    let der = PKI.us.root.crl().distribution_point(point, None).revoke(&serial_of(&leaf.der)).der();
    let mut worker = Worker::new(1, None);
    assert_eq!(worker.fetch(&mut store, 100, &der), "ok");
    assert_eq!(worker.status(&leaf), Some(Revoked));
    assert_eq!(worker.status(&PKI.us.genesys), None, "it names no distribution point");
}

#[test]
fn stalled_worker_does_not_replace_a_newer_crl() {
    for secret in BOTH {
        let mut store = MemoryStore::default();
        let (mut stalled, mut other) = (Worker::new(1, secret), Worker::new(2, secret));
        let revoked = &PKI.us.genesys;
        assert!(stalled.call(&mut store, at(100)).is_some());
        assert_eq!(other.fetch(&mut store, 136, &crl(2, &[revoked])), "ok", "the lease is over");
        assert_eq!(stalled.respond(&mut store, at(137), &crl(1, &[])), "crl_rollback");
        for worker in [&mut stalled, &mut other] {
            worker.sync(&mut store, 138);
            assert_eq!(worker.status(revoked), Some(Revoked));
        }
    }
}

#[test]
fn lease_of_a_dead_worker_lasts_one_fetch() {
    for secret in BOTH {
        let mut store = MemoryStore::default();
        assert!(Worker::new(1, secret).call(&mut store, at(100)).is_some());
        let mut other = Worker::new(2, secret);
        // The timeout of 30 s, and what a callback may be late.
        assert_eq!(other.fetch(&mut store, 134, &crl(1, &[])), "nothing");
        assert_eq!(other.fetch(&mut store, 135, &crl(1, &[])), "ok");
        // One that leaves gives it up.
        let mut third = Worker::new(3, secret);
        assert!(third.call(&mut store, at(8000)).is_some());
        third.fetcher.leave(&mut store, at(8001).mono);
        assert_eq!(other.fetch(&mut store, 8002, &crl(1, &[])), "ok");
    }
}

#[test]
fn call_without_a_callback_counts_as_failed() {
    let (mut store, mut worker) = (MemoryStore::default(), Worker::new(1, None));
    assert!(worker.call(&mut store, at(100)).is_some());
    assert_eq!(worker.fetcher.tick(VERIFIER, &mut store, at(135)), (None, None));
    let (call, event) = worker.fetcher.tick(VERIFIER, &mut store, at(136));
    let Some(CrlEvent::Failed { failure, failures: 1, new: true, .. }) = event else { panic!("{event:?}") };
    assert_eq!((call, failure.code.code()), (None, "no_answer"));
    assert_eq!(worker.respond(&mut store, at(137), &crl(1, &[])), "no answer was awaited");
}

/// As during a reload by LDS, whose old configuration lives as long as a connection does.
#[test]
fn configurations_side_by_side_keep_their_own_intervals() {
    let revoked = &PKI.us.genesys;
    for secret in BOTH {
        let mut store = MemoryStore::default();
        let [long, short] =
            ["7d", "1m"].map(|interval| policy(&[&PKI.us.root], json!({"interval": interval})));
        let mut before = Worker::under(&long, 1, secret);
        assert_eq!(before.fetch(&mut store, 100, &crl(1, &[])), "ok");
        let mut after = Worker::under(&short, 2, secret);
        assert_eq!(after.fetch(&mut store, 159, &[]), "nothing", "the interval begins with the last fetch");
        assert_eq!(before.fetch(&mut store, 170, &[]), "nothing");
        assert_eq!(after.fetch(&mut store, 170, &crl(2, &[revoked])), "ok");
        before.sync(&mut store, 171);
        for worker in [&before, &after] {
            assert_eq!(worker.status(revoked), Some(Revoked));
        }
        assert_eq!(Worker::under(&short, 3, secret).fetch(&mut store, 240, &crl(3, &[revoked])), "ok");
        assert_eq!(before.fetch(&mut store, 4000, &[]), "nothing");
    }
}

/// As after a change of the configured CAs.
#[test]
fn configurations_with_other_cas_do_not_wait_for_each_other() {
    let second = Ca::builder("second-root").self_signed();
    for secret in BOTH {
        let mut store = MemoryStore::default();
        let mut before = Worker::new(1, secret);
        assert_eq!(before.fetch(&mut store, 100, &crl(1, &[])), "ok");
        let (mut same, mut other) = (Worker::new(2, secret), Worker::trusting(3, secret, &[&second]));
        assert_eq!(same.fetch(&mut store, 102, &[]), "nothing");
        assert_eq!(other.fetch(&mut store, 103, &crl(1, &[])), "crl_other_issuer", "without a CRL, at once");
        assert_eq!(other.fetch(&mut store, 103, &[]), "nothing", "it waits as after any failure");
        assert_eq!(other.fetch(&mut store, 160, &second.crl().der()), "ok");
        assert_eq!(other.fetch(&mut store, 161, &[]), "nothing");
        assert_eq!(before.fetch(&mut store, 4000, &crl(2, &[])), "ok");
    }
}

/// The URL serves what only one of the two configurations can use.
#[test]
fn worker_that_cannot_use_the_crl_backs_off_on_its_own() {
    let second = Ca::builder("second-root").self_signed();
    for secret in BOTH {
        let mut store = MemoryStore::default();
        let (mut one, mut other) = (Worker::new(1, secret), Worker::trusting(2, secret, &[&second]));
        let (mut good, mut bad) = (0, 0);
        for seconds in 100..700 {
            good += u32::from(one.fetch(&mut store, seconds, &crl(1, &[])) == "ok");
            bad += u32::from(other.fetch(&mut store, seconds, &crl(1, &[])) == "crl_other_issuer");
        }
        assert!((8..=11).contains(&bad) && good <= bad + 1, "{bad} in ten minutes, and {good}");
    }
}

/// Or alerts on them would be silent for as long as nothing can be fetched under the new settings.
#[test]
fn gauges_show_age_and_end_after_a_reload_in_an_outage() {
    for secret in BOTH {
        let mut store = MemoryStore::default();
        let mut before = Worker::new(1, secret);
        assert_eq!(before.fetch(&mut store, 100, &crl(1, &[])), "ok");
        assert_eq!(before.fetch(&mut store, 4000, &crl(1, &[])), "ok", "the same, fetched again");
        let mut after = Worker::under(&policy(&[&PKI.us.root], json!({"interval": "10m"})), 2, secret);
        assert_eq!(after.fetch(&mut store, 5000, b"an outage"), "crl_malformed");
        let (age, left, entries) = after.fetcher.gauges(at(9000)).unwrap();
        assert_eq!((age, entries), (Duration::from_secs(5000), 0));
        assert!(left > 3600);
        // After a change of the secret the age is that of the CRL.
        let mut changed = Worker::new(3, Some("another"));
        changed.sync(&mut store, 9000);
        let (age, ..) = changed.fetcher.gauges(at(9000)).unwrap();
        assert!((3500..3700).contains(&age.as_secs()), "{age:?}");
    }
}

/// It is no more signed than the rest of the response.
#[test]
fn retry_after_keeps_no_crl_away() {
    let (mut store, mut worker) = (MemoryStore::default(), Worker::new(1, Some("s3cret")));
    assert!(worker.call(&mut store, at(100)).is_some());
    let busy = HttpResponse { status: 503, body: None, retry_after: Some(b"360000".to_vec()) };
    worker.fetcher.on_response(Ok(busy), VERIFIER, &mut store, at(100));
    assert_eq!(worker.fetch(&mut store, 102, &crl(1, &[])), "ok");
}

/// As after a reload with another OAuth client, while old connections are served by the old configuration.
#[test]
fn workers_with_another_secret_leave_each_others_records_alone() {
    let revoked = &PKI.us.genesys;
    let (mut store, mut old) = (MemoryStore::default(), Worker::new(1, Some("old")));
    assert_eq!(old.fetch(&mut store, 100, &crl(1, &[revoked])), "ok");
    let before = store.clone();
    let mut new = Worker::new(2, Some("new"));
    new.sync(&mut store, 101);
    assert_eq!(new.status(revoked), Some(Revoked), "the CRL itself needs no secret");
    assert_eq!(new.fetch(&mut store, 101, &crl(1, &[revoked])), "ok");
    for (key, (value, version)) in &before.values {
        let (now, moved) = &store.values[key];
        assert_eq!(now, value, "{key}");
        assert!(moved == version || key.contains(&authority(&PKI.us.root).ca.to_string()), "{key}");
    }
    for worker in [&mut old, &mut new] {
        assert_eq!(worker.fetch(&mut store, 110, &[]), "nothing");
        assert_eq!(worker.status(revoked), Some(Revoked));
    }
}

#[test]
fn crl_counts_for_each_certificate_of_its_ca() {
    // One name, one key, two certificates: the CA renewed its own.
    let of_one_key = |days| {
        let ca = Ca::builder("crl-renewed").dn(&[("CN", "Renewed")]);
        ca.valid_from_now(-Span::days(days), Span::days(365)).self_signed()
    };
    let (old, new) = (of_one_key(300), of_one_key(1));
    assert_ne!(old.der, new.der);
    let leaf = new.leaf().name("dataactions.prod.us-east-1.mypurecloud.com").issue();
    let der = old.crl().revoke(&serial_of(&leaf.der)).der();
    let mut worker = Worker::trusting(1, Some("s3cret"), &[&new, &old]);
    assert_eq!(worker.fetch(&mut MemoryStore::default(), 100, &der), "ok");
    for ca in [&old, &new] {
        assert_eq!(worker.status_at(&authority(ca), &leaf, now()), Some(Revoked));
    }
}

/// During a reload that raises `max_size`.
#[test]
fn crl_above_max_size_is_no_damage() {
    let revoked = &PKI.us.genesys;
    for secret in BOTH {
        let mut store = MemoryStore::default();
        let smaller = policy(&[&PKI.us.root], json!({"max_size": 50_000}));
        let (mut before, mut after) = (Worker::under(&smaller, 1, secret), Worker::new(2, secret));
        assert_eq!(before.fetch(&mut store, 100, &crl(1, &[revoked])), "ok");
        let longer = PKI.us.root.crl().number(2).padding(5_000).revoke(&serial_of(&revoked.der)).der();
        assert!(longer.len() > 50_000);
        for seconds in [4000, 8000, 12_000] {
            assert_eq!(after.fetch(&mut store, seconds, &longer), "ok");
            before.sync(&mut store, seconds + 1);
            for worker in [&before, &after] {
                assert_eq!(worker.status(revoked), Some(Revoked), "at {seconds}");
                assert_eq!(worker.status(&PKI.us.genesys_expired), Some(Good), "at {seconds}");
            }
        }
        assert_eq!(before.fetch(&mut store, 16_000, &longer), "crl_too_large");
    }
}

/// webpki's own look-up, on the whole CRL, is the oracle.
#[test]
fn ten_thousand_serial_numbers_are_found_as_webpki_finds_them() {
    let der = PKI.us.root.crl().padding(5_000).der();
    let cas = [authority(&PKI.us.root)];
    let index =
        crate::crl::SerialIndex::of(&crate::x509::crl::Crl::verify(&der, &cas, VERIFIER).unwrap()).unwrap();
    let oracle: webpki::CertRevocationList<'_> =
        webpki::OwnedCertRevocationList::from_der(&der).unwrap().into();
    for n in 0..10_000_u32 {
        // Every other number is one of the CRL's, in another order.
        let mut serial = vec![0x7f; if n % 2 == 0 { 12 } else { 11 }];
        serial.extend((n.wrapping_mul(2_654_435_761) % 5_000).to_be_bytes());
        assert_eq!(index.contains(&serial), oracle.find_serial(&serial).unwrap().is_some(), "{serial:?}");
    }
    assert_eq!(index.entries(), 5_000);
}
