//! Which list takes the place of which.

use crate::crl::tests::{
    PKI, URL, authority, now,
    workers::{BOTH, Shared, Worker, list, moment},
};
use crate::time::Monotonic;
use crate::{crl::RevocationStatus, time::Now};
use std::time::Duration;
use testbed_pki::{Ca, CrlBuilder, serial_of};
use time::Duration as Span;

#[test]
fn an_older_list_does_not_undo_a_revocation() {
    let (mut shared, mut worker) = (Shared::default(), Worker::new(1, None));
    let revoked = &PKI.us.genesys;
    let earlier = PKI.us.root.crl().number(400).valid_from_now(Span::hours(-2), Span::hours(20)).der();
    let steps = [
        ("the first", list(300, &[revoked]), "ok", RevocationStatus::Revoked),
        ("a number less", list(299, &[]), "crl_rollback", RevocationStatus::Revoked),
        ("a shorter number", list(2, &[]), "crl_rollback", RevocationStatus::Revoked),
        ("a higher number, issued earlier", earlier, "crl_rollback", RevocationStatus::Revoked),
        ("the same number again", list(300, &[revoked]), "ok", RevocationStatus::Revoked),
        ("a newer one", list(301, &[]), "ok", RevocationStatus::Good),
    ];
    for ((what, der, code, standing), at) in steps.into_iter().zip((1..).map(|n| 4000 * n)) {
        assert_eq!(worker.fetch(&mut shared, at, &der), code, "{what}");
        assert_eq!(worker.standing(&shared, revoked, now()), Some(standing), "{what}");
    }
}

/// Or a list that says nothing of the certificate would undo its revocation as well as an old one.
#[test]
fn a_list_about_others_does_not_replace_a_current_one() {
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
        let (mut shared, mut worker) = (Shared::default(), Worker::new(1, None));
        assert_eq!(worker.fetch(&mut shared, 100, &before), "ok", "{what}");
        assert_eq!(worker.fetch(&mut shared, 8000, &after), code, "{what}");
    }
}

/// Whichever the server sends first, older or of lower number than the other's: a CA speaks for its own certificates only.
#[test]
fn the_lists_of_two_cas_under_one_url_stand_side_by_side() {
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
        let (mut shared, mut fetching) =
            (Shared::default(), Worker::trusting(1, secret, &[&PKI.us.root, &second]));
        let mut learning = Worker::trusting(2, secret, &[&second, &PKI.us.root]);
        let steps = [
            ("one CA's", list(300, &[&PKI.us.genesys]), "ok", Some(RevocationStatus::Revoked), None),
            (
                "the other's, older",
                seconds(2, true, -3),
                "ok",
                Some(RevocationStatus::Revoked),
                Some(RevocationStatus::Revoked),
            ),
            (
                "a number less",
                seconds(1, false, -3),
                "crl_other_scope",
                Some(RevocationStatus::Revoked),
                Some(RevocationStatus::Revoked),
            ),
            (
                "the first's, rolled back",
                list(299, &[]),
                "crl_rollback",
                Some(RevocationStatus::Revoked),
                Some(RevocationStatus::Revoked),
            ),
            (
                "the first's, newer",
                list(301, &[]),
                "ok",
                Some(RevocationStatus::Good),
                Some(RevocationStatus::Revoked),
            ),
        ];
        for ((what, der, code, of_first, of_second), at) in steps.into_iter().zip((1..).map(|n| 4000 * n)) {
            assert_eq!(fetching.fetch(&mut shared, at, &der), code, "{what}");
            learning.learn(&mut shared, at + 1);
            for worker in [&fetching, &learning] {
                let by = |ca: &Ca, leaf| worker.standing_by(&authority(ca), &shared, leaf, now());
                assert_eq!(
                    (by(&PKI.us.root, &PKI.us.genesys), by(&second, &leaf)),
                    (of_first, of_second),
                    "{what}"
                );
            }
        }
        // The first nextUpdate counts, or a CA that publishes nothing any more would hide behind the other.
        let left = learning.list.gauges(moment(20_002)).unwrap().1;
        assert!((16 * 3600..=17 * 3600).contains(&left), "{left}");
        // A CA that is not configured any more has no list.
        let only_second = Worker::trusting(3, secret, &[&second]);
        assert_eq!(only_second.standing_by(&authority(&PKI.us.root), &shared, &PKI.us.genesys, now()), None);
    }
}

#[test]
fn a_list_about_others_that_came_first_does_not_keep_away_the_one_that_belongs_here() {
    let of = |number, point: Option<&str>, hours| {
        let crl = PKI.us.root.crl().number(number).valid_from_now(Span::hours(hours), Span::hours(20));
        point.into_iter().fold(crl, |crl, point| crl.distribution_point(point, None)).der()
    };
    let other = Some("http://crl.example/2.crl");
    for secret in BOTH {
        // Its number says nothing of these certificates, nor does it matter that it was issued later.
        for (own, hours, older) in [(Some(URL), -2, "crl_rollback"), (None, -1, "crl_other_scope")] {
            let (mut shared, mut worker) = (Shared::default(), Worker::new(1, secret));
            assert_eq!(worker.fetch(&mut shared, 100, &of(900, other, -1)), "ok");
            assert_eq!(worker.fetch(&mut shared, 8000, &of(3, own, hours)), "ok");
            assert_eq!(worker.fetch(&mut shared, 16_000, &of(901, other, 0)), "crl_other_scope");
            assert_eq!(worker.fetch(&mut shared, 24_000, &of(2, Some(URL), hours)), older);
        }
        // Nor does it keep a complete list away that was issued before it.
        let (mut shared, mut worker) = (Shared::default(), Worker::new(1, secret));
        assert_eq!(worker.fetch(&mut shared, 100, &of(900, other, -1)), "ok");
        assert_eq!(worker.fetch(&mut shared, 8000, &of(3, None, -10)), "ok");
        assert_eq!(worker.fetch(&mut shared, 16_000, &of(901, other, 0)), "crl_other_scope");
        // Also when the one about others has run out meanwhile.
        let (mut shared, mut worker) = (Shared::default(), Worker::new(1, secret));
        assert_eq!(worker.fetch(&mut shared, 100, &of(900, other, -1)), "ok");
        let own = PKI.us.root.crl().number(3).distribution_point(URL, None);
        let own = own.valid_from_now(Span::hours(-5), Span::days(9)).der();
        let later = Now { wall: now() + 2 * 86_400, ..moment(8000) };
        assert_eq!(worker.fetch_at(&mut shared, later, &own), "ok");
    }
}

#[test]
fn who_is_on_a_list_that_has_run_out_stays_revoked_whatever_is_served_of_others() {
    let revoked = &PKI.us.genesys;
    let long = |crl: CrlBuilder<'_>| crl.valid_from_now(Span::hours(0), Span::days(9)).der();
    let other = || PKI.us.root.crl().number(9).distribution_point("http://crl.example/2.crl", None);
    let (mut shared, mut worker) = (Shared::default(), Worker::new(1, None));
    assert_eq!(worker.fetch(&mut shared, 100, &list(1, &[revoked])), "ok");
    let later = |at| Now { wall: now() + 2 * 86_400, ..moment(at) };
    assert_eq!(worker.fetch_at(&mut shared, later(8000), &long(other())), "crl_other_scope");
    assert_eq!(worker.standing(&shared, revoked, later(0).wall), Some(RevocationStatus::Revoked));
    // A CA that begins to partition its list has one that names the URL.
    let partition = PKI.us.root.crl().number(10).distribution_point(URL, None);
    assert_eq!(worker.fetch_at(&mut shared, later(16_000), &long(partition)), "ok");
}

#[test]
fn a_list_that_has_run_out_gives_way_to_any_that_its_ca_issued_later() {
    for secret in BOTH {
        let (mut shared, mut worker) = (Shared::default(), Worker::new(1, secret));
        assert_eq!(worker.fetch(&mut shared, 100, &list(900, &[])), "ok");
        let anew = |from| PKI.us.root.crl().number(1).valid_from_now(Span::hours(from), Span::days(20)).der();
        let later = Now { wall: now() + 10 * 86_400, ..moment(8000) };
        assert_eq!(
            worker.fetch_at(&mut shared, moment(8000), &anew(0)),
            "crl_rollback",
            "while it is current"
        );
        let long_after = Now { mono: Monotonic::new(Duration::from_hours(250)), ..later };
        assert_eq!(worker.fetch_at(&mut shared, long_after, &anew(-48)), "crl_rollback", "issued earlier");
        let longer_after = Now { mono: Monotonic::new(Duration::from_hours(275)), ..later };
        assert_eq!(worker.fetch_at(&mut shared, longer_after, &anew(0)), "ok");
        assert_eq!(worker.standing(&shared, &PKI.us.genesys, later.wall), Some(RevocationStatus::Good));
    }
}
