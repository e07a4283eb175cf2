//! Shared data that another module has damaged, hidden or replaced: nobody is cleared by it, and it is put right.

use crate::crl::tests::{
    PKI, authority, now,
    workers::{BOTH, Shared, Worker, list, moment, policy},
};
use crate::time::Monotonic;
use crate::{
    crl::{RevocationStatus, table::BUCKETS},
    shared::{Seal, Secret, SharedStore as _},
    time::Now,
};
use std::time::Duration;
use testbed_pki::{Ca, serial_of};
use time::Duration as Span;

#[test]
fn damaged_tables_clear_nobody_and_are_fetched_again() {
    for secret in BOTH {
        let (mut shared, mut worker) = (Shared::default(), Worker::new(1, secret));
        let mut other = Worker::new(2, secret);
        let (first, next) = (list(1, &[]), list(2, &[&PKI.us.genesys]));
        assert_eq!(worker.fetch(&mut shared, 100, &first), "ok");
        assert_eq!(worker.standing(&shared, &PKI.us.genesys, now()), Some(RevocationStatus::Good));
        let older = shared.buckets();
        assert_eq!(older.len(), BUCKETS);
        assert_eq!(worker.fetch(&mut shared, 8000, &next), "ok");
        other.learn(&mut shared, 8001);
        assert_eq!(other.standing(&shared, &PKI.us.genesys, now()), Some(RevocationStatus::Revoked));
        // An older bucket in the place of the new one is no bucket of the new list either.
        for garbage in [true, false] {
            let at = if garbage { 9000 } else { 10_000 };
            assert_eq!(worker.fetch(&mut shared, at - 1, &next), "nothing", "it keeps its lease");
            for (key, _) in shared.buckets() {
                let bucket = key.rsplit('/').next().unwrap();
                let old = &older.iter().find(|(key, _)| key.ends_with(bucket)).unwrap().1;
                shared.set(&key, if garbage { b"garbage" } else { old }, None);
            }
            assert_eq!(other.standing(&shared, &PKI.us.genesys, now()), Some(RevocationStatus::Unreadable));
            // Whoever finds the damage, the one with the lease repairs it.
            assert_eq!(other.fetch(&mut shared, at, &next), "nothing");
            assert_eq!(worker.fetch(&mut shared, at + 1, &next), "ok");
            other.learn(&mut shared, at + 2);
            assert_eq!(other.standing(&shared, &PKI.us.genesys, now()), Some(RevocationStatus::Revoked));
            for (key, _) in shared.buckets() {
                shared.set(&key, b"garbage", None);
            }
            assert_eq!(worker.standing(&shared, &PKI.us.genesys, now()), Some(RevocationStatus::Unreadable));
            assert_eq!(worker.fetch(&mut shared, at + 3, &next), "nothing", "not more than once in a while");
            assert_eq!(worker.standing(&shared, &PKI.us.genesys, now()), Some(RevocationStatus::Unreadable));
            assert_eq!(worker.fetch(&mut shared, at + 40, &next), "ok");
            assert_eq!(worker.standing(&shared, &PKI.us.genesys, now()), Some(RevocationStatus::Revoked));
        }
    }
}

#[test]
fn a_record_that_is_sealed_well_and_says_nothing_is_written_again_by_the_worker_that_leads() {
    for secret in BOTH {
        let (mut shared, mut leader, mut follower) =
            (Shared::default(), Worker::new(1, secret), Worker::new(2, secret));
        let revoked = &PKI.us.genesys;
        assert_eq!(leader.fetch(&mut shared, 100, &list(1, &[revoked])), "ok");
        follower.learn(&mut shared, 101);
        let key = shared.record();
        let own = secret.map(|secret| Secret::new(secret.to_owned()));
        let seal = Seal::new(own.as_ref(), &key).unwrap();
        for text in [&b""[..], b"{}", b"no JSON", b"[1]"] {
            // Under the number of the record itself, and under one that outranks it.
            for later in [0, 1] {
                let record = seal.open(&shared.0[&key].0).unwrap();
                let number = u64::from_le_bytes(*record.first_chunk().unwrap()) + later;
                let damage = seal.seal(&[&number.to_le_bytes()[..], text].concat());
                shared.set(&key, &damage, None);
                follower.learn(&mut shared, 105);
                assert_eq!(shared.0[&key].0, damage, "who does not lead may know less");
                leader.learn(&mut shared, 105);
                let mut new = Worker::new(3, secret);
                for worker in [&mut leader, &mut follower, &mut new] {
                    worker.learn(&mut shared, 106);
                    let standing = worker.standing(&shared, revoked, now());
                    assert_eq!(standing, Some(RevocationStatus::Revoked), "{later} later: {text:?}");
                }
            }
        }
    }
}

/// Without a secret anybody can seal. The forger here is a worker that believes another CA, or knows no newer list.
#[test]
fn without_a_secret_workers_believe_the_ca_and_not_each_other() {
    let revoked = &PKI.us.genesys;
    let forged = PKI.impostor.crl().number(99).der();
    for (what, ca, der) in [("forged", &PKI.impostor, forged), ("older", &PKI.us.root, list(1, &[]))] {
        let mut shared = Shared::default();
        let (mut leader, mut follower) = (Worker::new(1, None), Worker::new(2, None));
        assert_eq!(leader.fetch(&mut shared, 100, &list(5, &[revoked])), "ok");
        follower.learn(&mut shared, 101);
        assert_eq!(leader.fetch(&mut shared, 198, &der), "nothing", "it keeps its lease");
        let mut forger = Worker::trusting(3, None, &[ca]);
        let elsewhere = &mut Shared::default();
        assert_eq!(forger.fetch(elsewhere, 200, &der), "ok");
        // Where the others look: under the CA's key, not under the forger's.
        let place = |ca: &Ca| authority(ca).ca.to_string();
        for (key, (value, _)) in elsewhere.0.iter().filter(|(key, _)| !key.ends_with("lease")) {
            let there = key.replace(&place(ca), &place(&PKI.us.root));
            let [here, seal] = [key, &there].map(|key| Seal::new(None, key).unwrap());
            let value = here.open(value).map_or(value.clone(), |record| seal.seal(record));
            shared.set(&there, &value, None);
        }
        for worker in [&mut leader, &mut follower] {
            worker.learn(&mut shared, 201);
            let standing = worker.standing(&shared, revoked, now());
            assert!(
                matches!(standing, Some(RevocationStatus::Revoked | RevocationStatus::Unreadable)),
                "{what}: {standing:?}"
            );
        }
        let mut new = Worker::new(4, None);
        new.learn(&mut shared, 202);
        let expected = if what == "forged" { None } else { Some(RevocationStatus::Good) };
        assert_eq!(new.standing(&shared, revoked, now()), expected, "{what}");
        // Those who know better put it right.
        assert_eq!(follower.fetch(&mut shared, 203, &der), "nothing", "not its turn");
        assert_eq!(leader.fetch(&mut shared, 204, &list(5, &[revoked])), "ok");
        for worker in [&mut follower, &mut new] {
            worker.learn(&mut shared, 205);
            assert_eq!(worker.standing(&shared, revoked, now()), Some(RevocationStatus::Revoked), "{what}");
        }
    }
}

/// Whoever holds the lease puts right what it cannot read, and may have missed the newest list.
#[test]
fn a_worker_that_missed_a_list_does_not_bring_the_others_back_to_the_one_before() {
    let revoked = &PKI.us.genesys;
    for secret in BOTH {
        let mut shared = Shared::default();
        let [mut leader, mut follower, mut behind] = [1, 2, 3].map(|number| Worker::new(number, secret));
        assert_eq!(leader.fetch(&mut shared, 100, &list(1, &[])), "ok");
        behind.learn(&mut shared, 101);
        assert_eq!(leader.fetch(&mut shared, 8000, &list(2, &[revoked])), "ok");
        follower.learn(&mut shared, 8001);
        // Another module has the leader lose its lease, and hides what it wrote.
        let lease = shared.0.keys().find(|key| key.ends_with("/lease")).unwrap().clone();
        let damaged = lease.split("/turns/").next().unwrap().to_owned() + "/damaged";
        let told = u64::try_from(Duration::from_secs(8002).as_nanos()).unwrap();
        for (key, value) in
            [(shared.record(), &b"garbage"[..]), (lease, b"garbage"), (damaged, &told.to_le_bytes())]
        {
            shared.set(&key, value, None);
        }
        assert_eq!(
            behind.fetch(&mut shared, 8002, &list(1, &[])),
            "ok",
            "it is served the older one as well"
        );
        for worker in [&mut leader, &mut follower] {
            worker.learn(&mut shared, 8003);
            let standing = worker.standing(&shared, revoked, now());
            assert!(
                matches!(standing, Some(RevocationStatus::Revoked | RevocationStatus::Unreadable)),
                "{standing:?}"
            );
        }
        // And the next fetch puts it right.
        assert_eq!(leader.fetch(&mut shared, 8004, &list(2, &[revoked])), "nothing", "not its turn");
        assert_eq!(behind.fetch(&mut shared, 8040, &list(2, &[revoked])), "ok");
        for worker in [&mut leader, &mut follower, &mut behind] {
            worker.learn(&mut shared, 8041);
            assert_eq!(worker.standing(&shared, revoked, now()), Some(RevocationStatus::Revoked));
        }
    }
}

#[test]
fn damage_is_repaired_by_the_next_worker_if_the_one_that_tries_fails() {
    for secret in BOTH {
        let (mut shared, mut first, mut second) =
            (Shared::default(), Worker::new(1, secret), Worker::new(2, secret));
        let newest = list(1, &[]);
        assert_eq!(first.fetch(&mut shared, 100, &newest), "ok");
        second.learn(&mut shared, 101);
        assert_eq!(first.fetch(&mut shared, 199, &[]), "nothing", "it keeps its lease");
        for (key, _) in shared.buckets() {
            shared.set(&key, b"garbage", None);
        }
        assert_eq!(second.standing(&shared, &PKI.us.genesys, now()), Some(RevocationStatus::Unreadable));
        assert_eq!(second.fetch(&mut shared, 200, &[]), "nothing");
        assert_eq!(first.fetch(&mut shared, 201, &[]), "crl_malformed");
        first.list.leave(&mut shared, Monotonic::from_millis(201000));
        assert_eq!(second.fetch(&mut shared, 400, &newest), "ok");
        assert_eq!(second.standing(&shared, &PKI.us.genesys, now()), Some(RevocationStatus::Good));
        // Once that is done nobody does it again.
        second.list.leave(&mut shared, Monotonic::from_millis(400000));
        assert_eq!(Worker::new(3, secret).fetch(&mut shared, 402, &newest), "nothing");
    }
}

/// A CA may sign one ahead of its time. Shown by another module, it must not keep away the one that counts now.
#[test]
fn a_list_that_has_not_begun_is_not_believed_whoever_wrote_it() {
    let mut shared = Shared::default();
    let mut ahead = Worker::new(1, None);
    let tomorrow = Now { wall: now() + 86_400, ..moment(100) };
    let der = PKI.us.root.crl().valid_from_now(Span::hours(24), Span::hours(48)).der();
    assert_eq!(ahead.fetch_at(&mut shared, tomorrow, &der), "ok");
    let mut worker = Worker::new(2, None);
    worker.learn(&mut shared, 101);
    assert_eq!(worker.standing(&shared, &PKI.us.genesys, now()), None);
    ahead.list.leave(&mut shared, Monotonic::from_millis(101000));
    assert_eq!(worker.fetch(&mut shared, 102, &list(1, &[])), "ok");
}

#[test]
fn no_list_was_fetched_later_than_now() {
    let (mut shared, mut worker) = (Shared::default(), Worker::new(1, None));
    assert_eq!(worker.fetch(&mut shared, 100, &list(1, &[])), "ok");
    let key = shared.record();
    let seal = Seal::new(None, &key).unwrap();
    let (number, json) = seal.open(&shared.0[&key].0).unwrap().split_first_chunk::<8>().unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(json).unwrap();
    record["fetched"] = u64::MAX.into();
    let number = u64::from_le_bytes(*number) + 1;
    let forged = seal.seal(&[&number.to_le_bytes()[..], record.to_string().as_bytes()].concat());
    shared.set(&key, &forged, None);
    for mut worker in [worker, Worker::new(2, None)] {
        worker.learn(&mut shared, 200);
        assert_eq!(worker.standing(&shared, &PKI.us.genesys, now()), Some(RevocationStatus::Good));
        assert!(worker.list.gauges(moment(1000)).unwrap().0 > Duration::from_secs(700));
    }
}

/// Where there is no secret. The module puts the lease and whose turn it is aside, again and again.
#[test]
fn nobody_makes_a_worker_fetch_without_pause() {
    let (mut shared, mut worker) = (Shared::default(), Worker::new(1, None));
    assert_eq!(worker.fetch(&mut shared, 100, &list(1, &[])), "ok");
    let key = |ending| shared.0.keys().find(|key| key.contains("/turns/") && key.ends_with(ending)).unwrap();
    let (lease, turns) = (key("/lease").clone(), key("/record").clone());
    let seal = Seal::new(None, &turns).unwrap();
    let mut fetches = 0;
    for tick in 1..=40_u32 {
        let mono = Duration::from_secs(100) + tick * Duration::from_millis(250);
        let number = u64::try_from(mono.as_millis()).unwrap() + 4000;
        let due = [&number.to_le_bytes()[..], br#"{"failures":0,"failing":null,"next":0}"#].concat();
        shared.set(&turns, &seal.seal(&due), None);
        shared.set(&lease, b"garbage", None);
        fetches += u32::from(
            worker.fetch_at(&mut shared, Now { mono: Monotonic::new(mono), ..moment(0) }, &list(1, &[]))
                == "ok",
        );
    }
    assert!((10..=20).contains(&fetches), "{fetches} in ten seconds");
}

/// During a reload that raises `max_size`. What they cannot take they must not think damaged.
#[test]
fn workers_that_take_longer_lists_leave_those_that_do_not_alone() {
    let revoked = &PKI.us.genesys;
    for secret in BOTH {
        let mut shared = Shared::default();
        let mut smaller = policy();
        smaller.revocation.max_size = 50_000;
        let (mut before, mut after) =
            (Worker::under(&smaller, 1, secret), Worker::under(&policy(), 2, secret));
        assert_eq!(before.fetch(&mut shared, 100, &list(1, &[revoked])), "ok");
        let longer = PKI.us.root.crl().number(2).padding(5_000).revoke(&serial_of(&revoked.der)).der();
        assert!(longer.len() > 50_000);
        for at in [200, 4000, 8000, 12_000] {
            assert_eq!(after.fetch(&mut shared, at, &longer), "ok");
            before.learn(&mut shared, at + 1);
            for worker in [&before, &after] {
                assert_eq!(
                    worker.standing(&shared, revoked, now()),
                    Some(RevocationStatus::Revoked),
                    "at {at}"
                );
                let good = worker.standing(&shared, &PKI.us.genesys_expired, now());
                assert_eq!(good, Some(RevocationStatus::Good), "at {at}");
            }
        }
    }
}
