//! Shared data that another module has damaged, hidden or replaced: no revocation is undone by it.

use super::*;
use crate::{
    crl::record::FetchRecord,
    shared::{FORM, Seal, SealedRecord},
};
use RevocationStatus::{Good, Revoked};
use proptest::{collection, prelude::*, sample};
use time::Duration as Span;

/// Changes a record that no secret seals, as each module can.
fn forge(store: &mut MemoryStore, seconds: u64, change: impl FnOnce(&mut FetchRecord)) {
    let mut record = SealedRecord::<FetchRecord>::new(store.key("/record").unwrap(), None).unwrap();
    record.sync(store, at(seconds).mono);
    change(&mut record.value);
    record.write(store, at(seconds).mono);
}

#[test]
fn damaged_bytes_are_ignored_until_the_next_good_fetch() {
    let revoked = &PKI.us.genesys;
    let newest = crl(2, &[revoked]);
    let mut flipped = newest.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let pem = PKI.us.root.crl().number(2).pem();
    let bytes: [&[u8]; 6] =
        [b"", b"garbage", &newest[..99], &flipped, &PKI.impostor.crl().number(9).der(), pem.as_bytes()];
    for secret in BOTH {
        for (row, damaged) in bytes.iter().enumerate().filter(|(row, _)| *row < 5) {
            let mut store = MemoryStore::default();
            let [mut one, mut two, mut new] = [1, 2, 3].map(|number| Worker::new(number, secret));
            assert_eq!(one.fetch(&mut store, 100, &newest), "ok");
            two.sync(&mut store, 101);
            put(&mut store, &PKI.us.root, damaged);
            for worker in [&mut one, &mut two, &mut new] {
                assert!(!worker.sync(&mut store, 102), "{row}");
            }
            assert_eq!([one.status(revoked), two.status(revoked)], [Some(Revoked); 2], "{row}");
            // A worker that has nothing else fetches at once, and makes it whole for all.
            assert_eq!(new.status(revoked), None, "{row}");
            assert_eq!(two.fetch(&mut store, 103, &newest), "nothing", "{row}");
            assert_eq!(new.fetch(&mut store, 103, &newest), "ok", "{row}");
            let mut later = Worker::new(4, secret);
            later.sync(&mut store, 104);
            assert_eq!(later.status(revoked), Some(Revoked), "{row}");
            assert_eq!(later.fetch(&mut store, 104, &newest), "nothing", "{row}");
        }
    }
}

#[test]
fn crl_of_another_ca_in_its_place_is_ignored() {
    let second = Ca::builder("second-root").self_signed();
    let mut store = MemoryStore::default();
    let mut one = Worker::trusting(1, None, &[&PKI.us.root, &second]);
    assert_eq!(one.fetch(&mut store, 100, &crl(1, &[&PKI.us.genesys])), "ok");
    put(&mut store, &PKI.us.root, &second.crl().number(9).der());
    let mut two = Worker::trusting(2, None, &[&PKI.us.root, &second]);
    for worker in [&mut one, &mut two] {
        assert!(!worker.sync(&mut store, 101));
    }
    assert_eq!((one.status(&PKI.us.genesys), two.status(&PKI.us.genesys)), (Some(Revoked), None));
}

/// Without a seal each module may write the record.
#[test]
fn record_keeps_no_worker_waiting_longer_than_its_settings() {
    for (failures, instant, random) in [(0, u64::MAX, 1e300), (3, u64::MAX, -1.0), (u32::MAX, 0, f64::NAN)] {
        let mut store = MemoryStore::default();
        let mut one = Worker::new(1, None);
        assert_eq!(one.fetch(&mut store, 100, &crl(1, &[])), "ok");
        forge(&mut store, 101, |record| {
            (record.failures, record.last_attempt, record.random) = (failures, instant, random);
            record.accepted.values_mut().for_each(|(_, fetched)| *fetched = instant);
        });
        let mut new = Worker::new(2, None);
        for worker in [&mut one, &mut new] {
            worker.sync(&mut store, 102);
            assert_eq!(worker.status(&PKI.us.genesys), Some(Good));
            assert!(worker.fetcher.gauges(at(1000)).unwrap().0 > Duration::from_secs(700));
        }
        // An hour and its jitter, or five minutes after a failure.
        let longest = if failures == 0 { 3960 } else { 300 };
        assert_eq!(new.fetch(&mut store, 102 + longest + 5, &crl(1, &[])), "ok", "{failures}");
    }
}

/// A record without a seal is no floor, or any module could keep all CRLs away.
#[test]
fn floor_of_a_record_without_seal_is_not_believed() {
    let mut store = MemoryStore::default();
    let mut one = Worker::new(1, None);
    assert_eq!(one.fetch(&mut store, 100, &crl(1, &[])), "ok");
    forge(&mut store, 101, |record| {
        record.accepted.values_mut().for_each(|(metadata, _)| metadata.number = vec![0xff; 20]);
    });
    let mut two = Worker::new(2, None);
    assert_eq!(two.fetch(&mut store, 8000, &crl(2, &[])), "ok");
    assert!(one.sync(&mut store, 8001) || one.status(&PKI.us.genesys) == Some(Good));
}

/// A CA may sign one ahead of its time. Shown by another module, it must not keep away the one that counts now.
#[test]
fn crl_that_has_not_begun_is_not_believed() {
    for secret in BOTH {
        let (mut store, mut ahead) = (MemoryStore::default(), Worker::new(1, secret));
        let tomorrow = Now { wall: now() + 86_400, ..at(100) };
        let der = PKI.us.root.crl().valid_from_now(Span::hours(24), Span::hours(48)).der();
        assert_eq!(ahead.fetch_at(&mut store, tomorrow, &der), "ok");
        let mut worker = Worker::new(2, None);
        worker.sync(&mut store, 101);
        assert_eq!(worker.status(&PKI.us.genesys), None);
        assert_eq!(worker.fetch(&mut store, 102, &crl(1, &[])), "ok");
    }
}

/// Another module puts the lease, the record and the CRL aside, again and again.
#[test]
fn no_module_makes_a_worker_fetch_without_pause() {
    for body in [crl(1, &[]), b"garbage".to_vec()] {
        let (mut store, mut worker) = (MemoryStore::default(), Worker::new(1, None));
        worker.fetch(&mut store, 100, &body);
        let mut fetches = 0;
        for tick in 1..=40_u32 {
            for key in store.values.keys().cloned().collect::<Vec<_>>() {
                store.set(&key, b"garbage", None);
            }
            let now = Now { mono: at(100).mono + tick * Duration::from_millis(250), ..at(0) };
            let mut fresh = Worker::new(2, None);
            std::mem::swap(&mut fresh.fetcher, &mut worker.fetcher);
            fetches += u32::from(fresh.fetch_at(&mut store, now, &body) != "nothing");
            std::mem::swap(&mut fresh.fetcher, &mut worker.fetcher);
        }
        assert!(fetches <= 10, "{fetches} in ten seconds");
    }
}

/// Workers of an older module may run at the same time. A change of this raises the form.
#[test]
fn record_and_keys_have_this_form() {
    let (mut store, mut worker) = (MemoryStore::default(), Worker::new(1, None));
    let der = PKI.us.root.crl().number(7).distribution_point(URL, None).der();
    assert_eq!(worker.fetch(&mut store, 100, &der), "ok");
    let ca = authority(&PKI.us.root).ca.to_string();
    let names: Vec<String> = store
        .values
        .keys()
        .map(|key| key.replace(&ca, "CA").split('/').skip(4).collect::<Vec<_>>().join("/"))
        .collect();
    let key = store.key("/record").unwrap();
    let record = Seal::new(None, &key).unwrap().open(store.value("/record").unwrap()).unwrap()[8..].to_vec();
    // Last attempt, failures, kind, random number, one CA; its signer ends the CRL's part of the key.
    assert_eq!(
        record[..16],
        [&[0xa0, 0x8d, 6, 0, 0][..], &0.5_f64.to_le_bytes(), &[1, 64, ca.as_bytes()[0]]].concat()
    );
    assert_eq!((FORM, names.join(" ").as_str()), ("5", "CA CA/version lease record"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_write_into_shared_data_undoes_a_revocation(
        writes in collection::vec((any::<sample::Index>(), any::<sample::Index>(), any::<u8>()), 1..40),
        secret in sample::select(&BOTH[..]),
    ) {
        let revoked = &PKI.us.genesys;
        let (mut store, mut one) = (MemoryStore::default(), Worker::new(1, secret));
        prop_assert_eq!(one.fetch(&mut store, 100, &crl(1, &[revoked])), "ok");
        let keys: Vec<String> = store.values.keys().cloned().collect();
        for (key, at, byte) in writes {
            let key = key.get(&keys);
            let mut value = store.values[key].0.clone();
            let at = at.index(value.len() + 1);
            value.resize(value.len().max(at + 1), 0);
            value[at] = byte;
            store.set(key, &value, None);
        }
        let mut two = Worker::new(2, secret);
        for worker in [&mut one, &mut two] {
            worker.sync(&mut store, 101);
            prop_assert_ne!(worker.status(revoked), Some(Good));
        }
        prop_assert_eq!(one.status(revoked), Some(Revoked));
    }
}
