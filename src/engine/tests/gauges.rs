//! Gauges of the policy and its regions.

use super::*;
use crate::{
    test_support::{CA_BEGIN, CA_END, DAY, END, US, ca, date},
    x509::signature::{Hash, SignatureVerifier, VerifierUnavailable},
};

/// One second later, a tick: it writes the gauges.
fn gauges(proxy: &mut Proxy, api: Api<'_>) -> Vec<Effect> {
    proxy.pass(SECOND);
    proxy.tick(0, api)
}

#[test]
fn gauges_are_written_at_most_once_a_second() {
    let mut proxy = Proxy::by_api(&json!({}), 1);
    for (passed, written) in [(0, true), (999, false), (1, true), (250, false), (1000, true)] {
        proxy.pass(Duration::from_millis(passed));
        let effects = proxy.tick(0, &naming(&[&genuine()]));
        assert_eq!(gauged(&effects, "default.enforcing").is_some(), written, "after {passed} ms");
    }
}

#[test]
fn enforcing_gauge_is_zero_in_shadow_mode() {
    for (mode, expected) in [("enforce", 1), ("shadow", 0)] {
        let mut proxy = Proxy::by_api(&json!({"mode": mode}), 1);
        assert_eq!(gauged(&proxy.tick(0, &naming(&[])), "default.enforcing"), Some(expected), "{mode}");
    }
}

#[test]
fn expired_ca_does_not_hide_the_next_to_expire() {
    let until = |name: &str, end| ca(name).valid(date(CA_BEGIN), date(end)).self_signed().pem;
    let expired = until("unit-expired", NOW - DAY);
    let (soon, late) = (until("unit-soon", NOW + 10), until("unit-late", CA_END));
    let left = u64::try_from(CA_END - NOW).unwrap() - 1;
    for (what, pem, first, last) in [
        ("all", [expired.as_str(), &soon, &late].concat(), 9, left),
        ("one that is valid", late.clone(), left, left),
        ("one that has expired", expired.clone(), 0, 0),
    ] {
        let mut proxy =
            Proxy::new(&json!({"regions": {"us-east-1": {"genesys": {"ca_certificates": pem}}}}), 1);
        let effects = gauges(&mut proxy, &naming(&[]));
        let expiry = |which| gauged(&effects, &format!("{which}_expiry.genesys_ca.us-east-1"));
        assert_eq!((expiry("first"), expiry("last")), (Some(first), Some(last)), "{what}");
        assert_eq!(gauged(&effects, "_expiry.pin."), None, "{what}");
    }
}

#[test]
fn configured_pin_has_an_expiry_once_it_was_used() {
    let (used, unused) = (genuine(), genuine());
    let digicert = json!({"pins": [used.pin(), unused.pin()], "issuers": cast().digicert_ca.pem});
    let mut proxy = Proxy::new(&json!({"regions": {"us-east-1": {"digicert": digicert}}}), 1);
    let effects = gauges(&mut proxy, &naming(&[]));
    assert_eq!(gauged(&effects, "pins.configured.us-east-1"), Some(2));
    assert_eq!(gauged(&effects, "expiry.pin.us-east-1"), None);
    assert_eq!(said(&proxy.request(0, 1, &Shown(Some(used)))), "allow");
    let left = u64::try_from(END - NOW).unwrap() - 2;
    let effects = gauges(&mut proxy, &naming(&[]));
    for which in ["first", "last"] {
        let metric = format!("seconds_to_{which}_expiry.pin.us-east-1");
        assert_eq!(gauged(&effects, &metric), Some(left), "{which}");
    }
}

#[test]
fn allowed_certificate_without_a_configured_pin_gets_no_gauge() {
    let known = genuine();
    let mut proxy = Proxy::by_api(&json!({}), 1);
    proxy.tick(0, &naming(&[&known]));
    assert_eq!(said(&proxy.request(0, 1, &Shown(Some(known.clone())))), "allow");
    let effects = gauges(&mut proxy, &naming(&[&known]));
    assert_eq!(gauged(&effects, "expiry.pin.us-east-1"), None);
    assert!(gauged(&effects, "first_expiry.api_pin.us-east-1").is_some());
}

#[test]
fn refresh_gauges_follow_the_pins_and_failures_of_the_api() {
    let (old, new) = (genuine(), genuine());
    let settings = json!({"max_staleness": "3h", "retry": {"base": "10s"}});
    let mut proxy = Proxy::by_api(&json!({"refresh": settings}), 1);
    proxy.tick(0, &|_| response(503, b""));
    let effects = gauges(&mut proxy, &|call| panic!("{call:?}"));
    let values = ["refresh_failures_in_a_row", "trust_age_seconds"].map(|name| gauged(&effects, name));
    assert_eq!(values, [Some(1), None], "no refresh has succeeded");
    let down = |_: &HttpCall| response(503, b"");
    let [first, second] = [vec![&old], vec![&new]].map(|named| naming(&named));
    let steps: [(&str, u64, Api<'_>, [u64; 5]); 4] = [
        // The pins named, kept and stale, failures in a row, and age.
        ("one named", 10, &first, [1, 0, 0, 0, 1]),
        ("another named", 3600, &second, [1, 1, 0, 0, 1]),
        ("API down", 2 * 3600, &down, [1, 1, 0, 1, 2 * 3600 + 2]),
        ("for too long", 2 * 3600, &down, [0, 0, 2, 2, 4 * 3600 + 3]),
    ];
    for (what, passed, api, expected) in steps {
        proxy.pass(Duration::from_secs(passed));
        proxy.tick(0, api);
        let effects = gauges(&mut proxy, &|call| panic!("{what}: {call:?}"));
        let names =
            ["pins.named", "pins.kept", "pins.stale", "refresh_failures_in_a_row", "trust_age_seconds"];
        let values = names.map(|name| gauged(&effects, &format!("default.{name}.us-east-1")).unwrap());
        assert_eq!(values, expected, "{what}");
    }
}

#[test]
fn expiry_of_what_the_api_names_counts_what_is_allowed() {
    let (old, later) = (genuine(), us_leaf(&cast().digicert_impostor));
    let named = |from, until| leaf(&cast().digicert_ca).name(US).valid(date(from), date(until)).issue();
    let (ending, future) = (named(CA_BEGIN, NOW + 5000), named(NOW + DAY, END + DAY));
    let left = u64::try_from(END - NOW).unwrap() - 1;
    let next = left + u64::try_from(DAY).unwrap();
    for (what, named, first, last) in [
        ("all allowed", vec![&old], left, left),
        ("one that will be denied", vec![&old, &later], left, left),
        ("the first to end and the last", vec![&old, &ending, &future], 4999, next),
        ("none that is allowed", vec![&later], 0, 0),
    ] {
        let genesys = json!({"regions": {"us-east-1": {"genesys": {"ca_certificates": cast().us_ca.pem}}}});
        let mut proxy = Proxy::by_api(&genesys, 1);
        proxy.tick(0, &naming(&named));
        let effects = gauges(&mut proxy, &naming(&named));
        let expiry = |of: &str| gauged(&effects, &format!("default.seconds_to_{of}.us-east-1"));
        assert_eq!(expiry("first_expiry.api_pin"), Some(first), "{what}");
        assert_eq!(expiry("last_expiry.api_pin"), Some(last), "{what}");
        assert_eq!(expiry("first_expiry.genesys_certificate"), None, "{what}");
    }
}

#[test]
fn announced_denials_are_gauges_until_they_are_gone() {
    let (old, forged, other) = (genuine(), us_leaf(&cast().digicert_impostor), us_leaf(&cast().stranger_ca));
    let mut proxy = Proxy::by_api(&json!({"refresh": {"interval": "1h"}}), 2);
    let steps: [(&str, Vec<&Leaf>, [Option<u64>; 2]); 5] = [
        ("all allowed", vec![&old], [None, None]),
        ("one denied", vec![&old, &forged], [Some(1), None]),
        ("the same", vec![&old, &forged], [None, None]),
        ("another", vec![&old, &other], [Some(0), Some(1)]),
        ("none", vec![&old], [None, Some(0)]),
    ];
    for (what, named, expected) in steps {
        let mut effects = proxy.tick(1, &naming(&named));
        if what == "another" {
            // Worker 0 is gone, and another one knows only what is shared.
            proxy.workers[0] = Proxy::by_api(&json!({"refresh": {"interval": "1h"}}), 1).workers.remove(0);
        }
        effects.extend(proxy.tick(0, &naming(&named)));
        let written = ["bad_signature", "unknown_issuer"].map(|reason| {
            gauged(&effects, &format!("default.announced_but_denied.{reason}.digicert.us-east-1"))
        });
        assert_eq!(written, expected, "{what}");
        proxy.pass(2 * HOUR);
    }
}

/// It cannot be asked.
#[derive(Debug)]
struct Away;

impl SignatureVerifier for Away {
    fn verify(&self, _: Hash, _: &[u8], _: &[u8], _: &[u8]) -> Result<bool, VerifierUnavailable> {
        Err(VerifierUnavailable)
    }
}

#[test]
fn signature_unavailable_gauge_lasts_until_the_verifier_works() {
    let genesys = json!({"genesys": {"ca_certificates": cast().us_ca.pem}});
    let mut proxy = Proxy::new(&json!({"regions": {"us-east-1": genesys}}), 1);
    let client = Shown(Some(us_leaf(&cast().us_ca)));
    for (what, verifier, asks, expected) in [
        ("away", &Away as &dyn SignatureVerifier, true, ("signature_unavailable", Some(1))),
        ("it is written when it changes", &Away, true, ("signature_unavailable", None)),
        ("nothing is asked", &Away, false, ("", None)),
        ("it works again", VERIFIER, false, ("", Some(0))),
        ("and goes on", VERIFIER, true, ("allow", None)),
    ] {
        proxy.pass(SECOND);
        let mut io = Io::new(&mut proxy.store, verifier, &proxy.around);
        proxy.workers[0].on_tick(&mut io);
        let said = if asks { said(&proxy.workers[0].on_request(1, &client, &mut io)) } else { "" };
        assert_eq!((said, gauged(&io.effects, "default.signature_unavailable")), expected, "{what}");
    }
}
