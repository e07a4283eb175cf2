//! Row 5, and for how long a verdict holds.

use super::*;
use crate::test_support::{BEGIN, CA_BEGIN, CA_END, END, authority, ca, merged};
use proptest::{prelude::*, sample};
use std::{rc::Rc, sync::OnceLock};

use Reason::{Expired, NotYetValid, UnknownIssuer};

const ALLOWED: Result<(), Reason> = Ok(());

fn decide_at(leaf: &Leaf, policy: &Policy, now: UnixSeconds) -> (Result<(), Reason>, Window) {
    let verdict = decide(&client(leaf), policy, &Trust::default(), &(), VERIFIER, now, Monotonic::ZERO);
    let result = match verdict.outcome {
        Outcome::Allow { .. } => Ok(()),
        Outcome::Deny(reason) => Err(reason),
    };
    (result, verdict.window)
}

#[test]
fn validity_is_checked_to_the_second_give_or_take_the_skew() {
    let us = us_leaf(&cast().us_ca);
    for (configured, skew) in [("0s", 0), ("60s", 60), ("1h", 3600)] {
        let changes = json!({"clock_skew": configured});
        let policy = policy(&merged(&us_only(&json!({"genesys": genesys()})), &changes));
        let (first, last) = (BEGIN - skew, END + skew);
        let before = Window { from: i64::MIN, until: first };
        let within = Window { from: first, until: last + 1 };
        for (what, now, expected, window) in [
            ("long before", i64::MIN, Err(NotYetValid), before),
            ("a second before", first - 1, Err(NotYetValid), before),
            ("the first second", first, ALLOWED, within),
            ("notBefore", BEGIN, ALLOWED, within),
            ("between", NOW, ALLOWED, within),
            ("notAfter", END, ALLOWED, within),
            ("the last second", last, ALLOWED, within),
            ("a second after", last + 1, Err(Expired), Window { from: last + 1, until: i64::MAX }),
            ("long after", i64::MAX, Err(Expired), Window { from: last + 1, until: i64::MAX }),
        ] {
            assert_eq!(decide_at(&us, &policy, now), (expected, window), "skew {configured}, {what}");
        }
    }
}

#[test]
fn skew_is_a_minute_by_default() {
    let policy = policy(&us_only(&json!({"genesys": genesys()})));
    assert_eq!(decide_at(&us_leaf(&cast().us_ca), &policy, END + 60).0, Ok(()));
    assert_eq!(decide_at(&us_leaf(&cast().us_ca), &policy, END + 61).0, Err(Expired));
}

#[test]
fn a_wrong_name_is_wrong_at_any_time() {
    let policy = policy(&us_only(&json!({"genesys": genesys()})));
    let stranger = leaf(&cast().us_ca).name("x.example").issue();
    let (result, window) = decide_at(&stranger, &policy, NOW);
    assert_eq!((result, window), (Err(Reason::WrongName), Window { from: i64::MIN, until: i64::MAX }));
}

/// The skew is for certificates; a CA's own validity is a matter of years.
#[test]
fn the_authoritys_validity_is_checked_to_the_second() {
    let short_lived = ca("unit-short").valid(date(NOW), date(NOW + DAY)).self_signed();
    let policy = policy(&us_only(&json!({"genesys": {"ca_certificates": short_lived.pem}})));
    let us = us_leaf(&short_lived);
    let within = Window { from: NOW, until: NOW + DAY + 1 };
    for (now, expected, window) in [
        (NOW - 1, Err(UnknownIssuer), Window { from: BEGIN - 60, until: NOW }),
        (NOW, ALLOWED, within),
        (NOW + DAY, ALLOWED, within),
        (NOW + DAY + 1, Err(UnknownIssuer), Window { from: NOW + DAY + 1, until: END + 61 }),
    ] {
        assert_eq!(decide_at(&us, &policy, now), (expected, window), "{}", now - NOW);
    }
}

/// A certificate, a policy and what the API said, with many moments at which the verdict changes.
struct Scenario {
    certificate: ClientCertificate,
    policy: Policy,
    trust: Trust,
}

fn scenarios() -> &'static [Scenario] {
    // Not `Sync`, since trust is shared within a VM only: each thread has its own.
    thread_local! {
        static SCENARIOS: OnceLock<&'static [Scenario]> = const { OnceLock::new() };
    }
    SCENARIOS.with(|scenarios| *scenarios.get_or_init(|| Box::leak(make_scenarios().into_boxed_slice())))
}

fn make_scenarios() -> Vec<Scenario> {
    let dn = [("CN", "Rolling root")];
    let old = ca("unit-rolling-old").dn(&dn).valid(date(CA_BEGIN), date(NOW + 20 * DAY)).self_signed();
    let new = ca("unit-rolling-new").dn(&dn).valid(date(NOW + 10 * DAY), date(CA_END)).self_signed();
    let dn = [("O", "Testbed DigiCert Inc"), ("CN", "Rolling issuer")];
    let issuer =
        ca("unit-rolling-issuer").dn(&dn).valid(date(NOW - DAY / 2), date(NOW + 30 * DAY)).self_signed();
    let by_old = us_leaf(&old);
    let by_new = us_leaf(&new);
    let keyless = leaf(&new).name(US).no_authority_key_id().issue();
    let by_issuer = us_leaf(&issuer);
    let roots = json!({"ca_certificates": old.pem.clone() + &new.pem});
    let policies = [
        json!({"genesys": roots}),
        json!({"genesys": roots, "digicert": {"pins": ["api"], "issuers": issuer.pem}}),
        json!({"digicert": {"pins": ["api", by_issuer.pin()]}}),
        json!({"digicert": {"pins": ["api", by_issuer.pin()], "issuers": issuer.pem}}),
    ];
    let mut scenarios = Vec::new();
    for region in &policies {
        for leaf in [&by_old, &by_new, &keyless, &by_issuer] {
            for state in [ApiState::NotLoaded, ApiState::Loaded, ApiState::Stale] {
                let hints = Rc::new(vec![authority(&issuer), authority(&old)]);
                let said = ApiTrust { hints, ..api_trust(state, &[]) };
                let (certificate, policy) = (client(leaf), policy(&us_only(region)));
                scenarios.push(Scenario { certificate, policy, trust: us_trust(said) });
            }
        }
    }
    scenarios
}

fn moments() -> impl Strategy<Value = UnixSeconds> {
    let near = [BEGIN, END, CA_BEGIN, CA_END, NOW - DAY / 2, NOW + 10 * DAY, NOW + 20 * DAY, NOW + 30 * DAY];
    let near = (sample::select(near.to_vec()), -62_i64..=62).prop_map(|(moment, off)| moment + off);
    prop_oneof![near, CA_BEGIN - DAY..CA_END + DAY, any::<i64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_verdict_is_the_same_anywhere_in_its_window(
        index in any::<sample::Index>(), now in moments(), other in moments(),
    ) {
        let Scenario { certificate, policy, trust } = &scenarios()[index.index(scenarios().len())];
        let at = |time| decide(certificate, policy, trust, &(), VERIFIER, time, Monotonic::ZERO);
        let (verdict, again) = (at(now), at(other));
        prop_assert!(verdict.window.contains(now));
        if verdict.window.contains(other) {
            prop_assert_eq!(verdict, again);
        } else {
            prop_assert!(!again.window.contains(now));
        }
    }
}
