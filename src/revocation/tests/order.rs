//! Which list takes the place of which.

use super::{
    PKI, URL, authority, now,
    workers::{BOTH, Shared, Worker, list, moment},
};
use crate::{refresh::Now, revocation::Standing};
use std::time::Duration;
use testbed::pki::{Ca, CrlBuilder};
use time::Duration as Span;

#[test]
fn an_older_list_does_not_undo_a_revocation() {
    let (mut shared, mut worker) = (Shared::default(), Worker::new(1, None));
    let revoked = &PKI.us.genesys;
    let earlier = PKI.us.root.crl().number(400).valid_from_now(Span::hours(-2), Span::hours(20)).der();
    let steps = [
        ("the first", list(300, &[revoked]), "ok", Standing::Revoked),
        ("a number less", list(299, &[]), "crl_rollback", Standing::Revoked),
        ("a shorter number", list(2, &[]), "crl_rollback", Standing::Revoked),
        ("a higher number, issued earlier", earlier, "crl_rollback", Standing::Revoked),
        ("the same number again", list(300, &[revoked]), "ok", Standing::Revoked),
        ("a newer one", list(301, &[]), "ok", Standing::Good),
    ];
    for ((what, der, code, standing), at) in steps.into_iter().zip((1..).map(|n| 4000 * n)) {
        assert_eq!(worker.fetch(&mut shared, at, &der), code, "{what}");
        assert_eq!(worker.standing(&shared, revoked, now()), Some(standing), "{what}");
    }
}

/// Or a list that says nothing of the certificate would undo its revocation as well as an old one.
#[test]
fn a_list_about_others_does_not_replace_a_current_one() {
    let second = Ca::builder("second-root").self_signed();
    let of = |ca: &Ca, number, change: &dyn Fn(CrlBuilder<'_>) -> Vec<u8>| change(ca.crl().number(number));
    let whole = |crl: CrlBuilder<'_>| crl.der();
    let partition = |crl: CrlBuilder<'_>| crl.distribution_point(URL, None).der();
    let other = |crl: CrlBuilder<'_>| crl.distribution_point("http://crl.example/2.crl", None).der();
    let first = &PKI.us.root;
    let cases = [
        ("another CA's", of(first, 1, &whole), of(&second, 9, &whole), "crl_other_scope"),
        ("a partition of it", of(first, 1, &whole), of(first, 9, &partition), "crl_other_scope"),
        ("another partition", of(first, 1, &partition), of(first, 9, &other), "crl_other_scope"),
        ("all certificates", of(first, 1, &partition), of(first, 9, &whole), "ok"),
    ];
    for (what, before, after, code) in cases {
        let mut shared = Shared::default();
        let mut worker = Worker::trusting(1, None, &[first, &second]);
        assert_eq!(worker.fetch(&mut shared, 100, &before), "ok", "{what}");
        assert_eq!(worker.fetch(&mut shared, 8000, &after), code, "{what}");
        // A CA that is no longer configured, or a list that has run out, keeps nobody.
        worker.authorities = vec![authority(&second)];
        if what == "another CA's" {
            assert_eq!(worker.fetch(&mut shared, 16_000, &after), "ok", "{what}");
        }
    }
    let mut shared = Shared::default();
    let mut worker = Worker::trusting(1, None, &[first, &second]);
    let long = |ca: &Ca| ca.crl().valid_from_now(Span::hours(-1), Span::days(9)).der();
    assert_eq!(worker.fetch(&mut shared, 100, &of(first, 1, &whole)), "ok");
    let later = Now { wall: now() + 2 * 86_400, ..moment(8000) };
    assert_eq!(worker.fetch_at(&mut shared, later, &long(&second)), "ok");
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
        // Also when the one about others has run out meanwhile.
        let (mut shared, mut worker) = (Shared::default(), Worker::new(1, secret));
        assert_eq!(worker.fetch(&mut shared, 100, &of(900, other, -1)), "ok");
        let own = PKI.us.root.crl().number(3).distribution_point(URL, None);
        let own = own.valid_from_now(Span::hours(-5), Span::days(9)).der();
        let later = Now { wall: now() + 2 * 86_400, ..moment(8000) };
        assert_eq!(worker.fetch_at(&mut shared, later, &own), "ok");
    }
}

/// The URL of the set-up may be a mirror's, which the list does not name.
#[test]
fn a_list_that_does_not_name_its_url_gives_way_to_none_of_another_ca() {
    let second = Ca::builder("second-root").self_signed();
    let mirrored = PKI.us.root.crl().distribution_point("http://ca.example/us.crl", None).der();
    let (mut shared, mut worker) = (Shared::default(), Worker::trusting(1, None, &[&PKI.us.root, &second]));
    assert_eq!(worker.fetch(&mut shared, 100, &mirrored), "ok");
    assert_eq!(worker.fetch(&mut shared, 8000, &second.crl().number(9).der()), "crl_other_scope");
    assert_eq!(
        worker.fetch(&mut shared, 16_000, &second.crl().distribution_point(URL, None).der()),
        "crl_other_scope"
    );
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
    assert_eq!(worker.standing(&shared, revoked, later(0).wall), Some(Standing::Revoked));
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
        let long_after = Now { mono: Duration::from_hours(250), ..later };
        assert_eq!(worker.fetch_at(&mut shared, long_after, &anew(-48)), "crl_rollback", "issued earlier");
        let longer_after = Now { mono: Duration::from_hours(275), ..later };
        assert_eq!(worker.fetch_at(&mut shared, longer_after, &anew(0)), "ok");
        assert_eq!(worker.standing(&shared, &PKI.us.genesys, later.wall), Some(Standing::Good));
    }
}
