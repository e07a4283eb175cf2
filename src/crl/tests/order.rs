//! Which CRL takes the place of which.

use super::*;
use RevocationStatus::{Good, Revoked};
use testbed_pki::CrlBuilder;
use time::Duration as Span;

#[test]
fn older_crl_does_not_undo_a_revocation() {
    let (mut store, mut worker) = (MemoryStore::default(), Worker::new(1, None));
    let revoked = &PKI.us.genesys;
    let earlier = PKI.us.root.crl().number(400).valid_from_now(Span::hours(-2), Span::hours(20)).der();
    let steps = [
        ("the first", crl(300, &[revoked]), "ok", Revoked),
        ("a number less", crl(299, &[]), "crl_rollback", Revoked),
        ("a shorter number", crl(2, &[]), "crl_rollback", Revoked),
        ("a higher number, issued earlier", earlier, "crl_rollback", Revoked),
        ("the same number again", crl(300, &[revoked]), "ok", Revoked),
        ("a newer one", crl(301, &[]), "ok", Good),
    ];
    for ((what, der, code, status), seconds) in steps.into_iter().zip((1..).map(|n| 4000 * n)) {
        assert_eq!(worker.fetch(&mut store, seconds, &der), code, "{what}");
        assert_eq!(worker.status(revoked), Some(status), "{what}");
    }
}

/// A CRL that says nothing of the certificate would undo its revocation as well as an old one.
#[test]
fn crl_of_another_scope_does_not_replace_a_current_one() {
    let of = |number, change: &dyn Fn(CrlBuilder<'_>) -> Vec<u8>| change(PKI.us.root.crl().number(number));
    let whole = |crl: CrlBuilder<'_>| crl.der();
    let partition = |crl: CrlBuilder<'_>| crl.distribution_point(URL, None).der();
    let other = |crl: CrlBuilder<'_>| crl.distribution_point("http://crl.example/2.crl", None).der();
    let cases = [
        ("a partition of it", of(1, &whole), of(9, &partition), "crl_other_scope"),
        ("another partition", of(1, &partition), of(9, &other), "crl_other_scope"),
        ("all certificates", of(1, &partition), of(9, &whole), "ok"),
    ];
    for (what, before, after, code) in cases {
        let (mut store, mut worker) = (MemoryStore::default(), Worker::new(1, None));
        assert_eq!(worker.fetch(&mut store, 100, &before), "ok", "{what}");
        assert_eq!(worker.fetch(&mut store, 8000, &after), code, "{what}");
    }
}

/// In any order, older or of a lower number: a CA speaks for its own certificates only.
#[test]
fn crls_of_two_cas_under_one_url_do_not_replace_each_other() {
    let second = Ca::builder("second-root").self_signed();
    let leaf = second.leaf().name(PKI.us.region.certificate_name).crl(URL).issue();
    let seconds = |number, revoked: bool, hours| {
        let crl = second.crl().number(number).valid_from_now(Span::hours(hours), Span::hours(hours + 20));
        if revoked {
            crl.revoke(&serial_of(&leaf.der)).der()
        } else {
            crl.distribution_point(URL, None).der()
        }
    };
    for secret in BOTH {
        let (mut store, mut fetching) =
            (MemoryStore::default(), Worker::trusting(1, secret, &[&PKI.us.root, &second]));
        let mut learning = Worker::trusting(2, secret, &[&second, &PKI.us.root]);
        let steps = [
            ("one CA's", crl(300, &[&PKI.us.genesys]), "ok", Some(Revoked), None),
            ("the other's, older", seconds(2, true, -3), "ok", Some(Revoked), Some(Revoked)),
            ("a number less", seconds(1, false, -3), "crl_other_scope", Some(Revoked), Some(Revoked)),
            ("the first's, rolled back", crl(299, &[]), "crl_rollback", Some(Revoked), Some(Revoked)),
            ("the first's, newer", crl(301, &[]), "ok", Some(Good), Some(Revoked)),
        ];
        for ((what, der, code, of_first, of_second), moment) in steps.into_iter().zip((1..).map(|n| 4000 * n))
        {
            assert_eq!(fetching.fetch(&mut store, moment, &der), code, "{what}");
            learning.sync(&mut store, moment + 1);
            for worker in [&fetching, &learning] {
                let by = |ca: &Ca, leaf| worker.status_at(&authority(ca), leaf, now());
                assert_eq!(
                    (by(&PKI.us.root, &PKI.us.genesys), by(&second, &leaf)),
                    (of_first, of_second),
                    "{what}"
                );
            }
        }
        // The first nextUpdate counts, or a CA that publishes nothing any more would hide behind the other.
        let left = learning.fetcher.gauges(at(20_002)).unwrap().1;
        assert!((16 * 3600..=17 * 3600).contains(&left), "{left}");
        // A CA that is not configured any more has no CRL.
        let only_second = Worker::trusting(3, secret, &[&second]);
        assert_eq!(only_second.status_at(&authority(&PKI.us.root), &PKI.us.genesys, now()), None);
    }
}

#[test]
fn crl_of_another_scope_does_not_keep_the_right_one_away() {
    let of = |number, point: Option<&str>, hours| {
        let crl = PKI.us.root.crl().number(number).valid_from_now(Span::hours(hours), Span::hours(20));
        point.into_iter().fold(crl, |crl, point| crl.distribution_point(point, None)).der()
    };
    let other = Some("http://crl.example/2.crl");
    for secret in BOTH {
        // Its number says nothing of these certificates, nor does it matter that it was issued later.
        for (own, hours, older) in [(Some(URL), -2, "crl_rollback"), (None, -1, "crl_other_scope")] {
            let (mut store, mut worker) = (MemoryStore::default(), Worker::new(1, secret));
            assert_eq!(worker.fetch(&mut store, 100, &of(900, other, -1)), "ok");
            assert_eq!(worker.fetch(&mut store, 8000, &of(3, own, hours)), "ok");
            assert_eq!(worker.fetch(&mut store, 16_000, &of(901, other, 0)), "crl_other_scope");
            assert_eq!(worker.fetch(&mut store, 24_000, &of(2, Some(URL), hours)), older);
        }
        // Nor does it keep a complete CRL away that was issued before it.
        let (mut store, mut worker) = (MemoryStore::default(), Worker::new(1, secret));
        assert_eq!(worker.fetch(&mut store, 100, &of(900, other, -1)), "ok");
        assert_eq!(worker.fetch(&mut store, 8000, &of(3, None, -10)), "ok");
        assert_eq!(worker.fetch(&mut store, 16_000, &of(901, other, 0)), "crl_other_scope");
        // Also when the one about others has expired meanwhile.
        let (mut store, mut worker) = (MemoryStore::default(), Worker::new(1, secret));
        assert_eq!(worker.fetch(&mut store, 100, &of(900, other, -1)), "ok");
        let own = PKI.us.root.crl().number(3).distribution_point(URL, None);
        let own = own.valid_from_now(Span::hours(-5), Span::days(9)).der();
        let later = Now { wall: now() + 2 * 86_400, ..at(8000) };
        assert_eq!(worker.fetch_at(&mut store, later, &own), "ok");
    }
}

#[test]
fn expired_crl_still_revokes_when_another_scope_is_served() {
    let revoked = &PKI.us.genesys;
    let long = |crl: CrlBuilder<'_>| crl.valid_from_now(Span::hours(0), Span::days(9)).der();
    let other = || PKI.us.root.crl().number(9).distribution_point("http://crl.example/2.crl", None);
    let (mut store, mut worker) = (MemoryStore::default(), Worker::new(1, None));
    assert_eq!(worker.fetch(&mut store, 100, &crl(1, &[revoked])), "ok");
    let later = |seconds| Now { wall: now() + 2 * 86_400, ..at(seconds) };
    assert_eq!(worker.fetch_at(&mut store, later(8000), &long(other())), "crl_other_scope");
    assert_eq!(worker.status_at(&worker.cas[0], revoked, later(0).wall), Some(Revoked));
    // A CA that begins to partition its CRL has one that names the URL.
    let partition = PKI.us.root.crl().number(10).distribution_point(URL, None);
    assert_eq!(worker.fetch_at(&mut store, later(16_000), &long(partition)), "ok");
}

#[test]
fn expired_crl_is_replaced_by_any_issued_later() {
    for secret in BOTH {
        let (mut store, mut worker) = (MemoryStore::default(), Worker::new(1, secret));
        assert_eq!(worker.fetch(&mut store, 100, &crl(900, &[])), "ok");
        let anew = |from| PKI.us.root.crl().number(1).valid_from_now(Span::hours(from), Span::days(20)).der();
        let later = Now { wall: now() + 10 * 86_400, ..at(8000) };
        assert_eq!(worker.fetch_at(&mut store, at(8000), &anew(0)), "crl_rollback", "while it is current");
        let long_after = Now { wall: later.wall, ..at(250 * 3600) };
        assert_eq!(worker.fetch_at(&mut store, long_after, &anew(-48)), "crl_rollback", "issued earlier");
        let longer_after = Now { wall: later.wall, ..at(275 * 3600) };
        assert_eq!(worker.fetch_at(&mut store, longer_after, &anew(0)), "ok");
        assert_eq!(worker.status_at(&worker.cas[0], &PKI.us.genesys, later.wall), Some(Good));
    }
}

/// Signed by the CA, and put in the place of the newest by another module.
#[test]
fn older_crl_put_back_is_not_believed() {
    let revoked = &PKI.us.genesys;
    for secret in BOTH {
        let mut store = MemoryStore::default();
        let [mut one, mut two] = [1, 2].map(|number| Worker::new(number, secret));
        assert_eq!(one.fetch(&mut store, 100, &crl(1, &[])), "ok");
        assert_eq!(one.fetch(&mut store, 8000, &crl(2, &[revoked])), "ok");
        two.sync(&mut store, 8001);
        put(&mut store, &PKI.us.root, &crl(1, &[]));
        let mut new = Worker::new(3, secret);
        for worker in [&mut one, &mut two, &mut new] {
            worker.sync(&mut store, 8002);
        }
        assert_eq!((one.status(revoked), two.status(revoked)), (Some(Revoked), Some(Revoked)));
        if secret.is_some() {
            // The record holds the floor: it has no CRL, fetches at once, and is not to be given an older one either.
            assert_eq!(new.status(revoked), None);
            assert_eq!(new.fetch(&mut store, 8003, &crl(1, &[])), "crl_rollback");
            assert_eq!(new.fetch(&mut store, 8005, &crl(2, &[revoked])), "ok");
        } else {
            // Nothing that it could believe tells a fresh VM of a newer one, until the next good fetch.
            assert_eq!(new.status(revoked), Some(Good));
            assert_eq!(new.fetch(&mut store, 8003, &[]), "nothing");
            assert_eq!(two.fetch(&mut store, 12_000, &crl(2, &[revoked])), "ok");
        }
        for worker in [&mut one, &mut two, &mut new] {
            worker.sync(&mut store, 12_001);
            assert_eq!(worker.status(revoked), Some(Revoked), "{secret:?}");
        }
    }
}

/// It may hold the lease after others fetched, and be served an older CRL.
#[test]
fn worker_that_missed_a_crl_does_not_bring_back_the_one_before() {
    let revoked = &PKI.us.genesys;
    for secret in BOTH {
        let mut store = MemoryStore::default();
        let [mut leader, mut follower, mut behind] = [1, 2, 3].map(|number| Worker::new(number, secret));
        assert_eq!(leader.fetch(&mut store, 100, &crl(1, &[])), "ok");
        behind.sync(&mut store, 101);
        assert_eq!(leader.fetch(&mut store, 8000, &crl(2, &[revoked])), "ok");
        follower.sync(&mut store, 8001);
        // Another module hides what they wrote.
        for key in store.values.keys().cloned().collect::<Vec<_>>() {
            store.set(&key, b"garbage", None);
        }
        assert_eq!(behind.fetch(&mut store, 8002, &crl(1, &[])), "ok", "it is served the older one");
        for worker in [&mut leader, &mut follower] {
            worker.sync(&mut store, 8003);
            assert_eq!(worker.status(revoked), Some(Revoked));
        }
        assert_eq!(behind.fetch(&mut store, 16_000, &crl(2, &[revoked])), "ok");
        for worker in [&mut leader, &mut follower, &mut behind] {
            worker.sync(&mut store, 16_001);
            assert_eq!(worker.status(revoked), Some(Revoked));
        }
    }
}

/// The floor of the record is that of each CA.
#[test]
fn floor_of_one_ca_does_not_bind_another() {
    let second = Ca::builder("second-root").self_signed();
    let mut store = MemoryStore::default();
    let mut one = Worker::trusting(1, Some("s3cret"), &[&PKI.us.root, &second]);
    assert_eq!(one.fetch(&mut store, 100, &crl(900, &[])), "ok");
    let mut two = Worker::trusting(2, Some("s3cret"), &[&PKI.us.root, &second]);
    assert_eq!(two.fetch(&mut store, 8000, &second.crl().number(1).der()), "ok");
    assert_eq!(two.fetch(&mut store, 16_000, &crl(899, &[])), "crl_rollback");
}
