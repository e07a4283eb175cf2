use super::*;
use crate::test_support::{
    BEGIN, CA_BEGIN, CA_END, DAY, EU, NOW, US, VERIFIER, ca, cast, date, leaf, policy, us_leaf,
};
use Authority::{Digicert, Genesys};
use serde_json::json;
use std::iter;
use testbed_pki::{Eku, KeyType, Leaf};

fn reader(policy: &Policy, now: UnixSeconds) -> Reader<'_> {
    Reader { policy, region: "us-east-1", verifier: VERIFIER, now }
}

fn forecast(der: Option<&[u8]>, authority: Authority, policy: &Policy, now: UnixSeconds) -> Vec<Forecast> {
    let leaf = der.map(|der| (Fingerprint::of(der), der));
    reader(policy, now).forecasts(iter::once((leaf, authority, ApiStatus::Upcoming)))
}

fn both() -> Policy {
    let cast = cast();
    let eu = json!({"genesys": {"ca_certificates": cast.eu_ca.pem}});
    let us = json!({
        "genesys": {"ca_certificates": cast.us_ca.pem},
        "digicert": {"pins": ["api"], "issuers": cast.digicert_ca.pem},
    });
    policy(&json!({"regions": {"us-east-1": us, "eu-central-1": eu}}))
}

#[test]
fn announced_certificate_is_judged_as_if_it_were_shown() {
    let cast = cast();
    let by_digicert = || leaf(&cast.digicert_ca);
    let ed25519 = ca("unit-us").dn(&[("C", "US"), ("ST", "Indiana"), ("CN", "Unit root us-east-1")]);
    let ed25519 = ed25519.key(KeyType::Ed25519).self_signed();
    let cases: [(&str, Authority, Leaf, Option<&str>); 15] = [
        ("by the configured issuer", Digicert, us_leaf(&cast.digicert_ca), None),
        ("by the configured root", Genesys, us_leaf(&cast.us_ca), None),
        ("by another intermediate", Digicert, us_leaf(&cast.stranger_ca), Some("unknown_issuer")),
        ("by one of its name", Digicert, us_leaf(&cast.digicert_impostor), Some("bad_signature")),
        ("by another root", Genesys, us_leaf(&cast.stranger_ca), Some("unknown_issuer")),
        ("by a root of its name", Genesys, us_leaf(&cast.impostor), Some("bad_signature")),
        ("by another region's root", Genesys, us_leaf(&cast.eu_ca), Some("unknown_issuer")),
        ("with an algorithm that is not verified", Genesys, us_leaf(&ed25519), Some("unsupported_algorithm")),
        ("another name", Digicert, by_digicert().name("x.example").issue(), Some("wrong_name")),
        ("a configured region's name", Digicert, by_digicert().name(EU).issue(), Some("unknown_issuer")),
        ("both names", Digicert, by_digicert().dns(US).dns(EU).issue(), Some("wrong_name")),
        (
            "another region's name",
            Digicert,
            by_digicert().name(crate::regions::by_id("eu-west-1").unwrap().certificate_name.unwrap()).issue(),
            Some("wrong_region"),
        ),
        (
            "a server's",
            Digicert,
            by_digicert().name(US).ekus(&[Eku::ServerAuth]).issue(),
            Some("not_a_client_certificate"),
        ),
        (
            "over",
            Digicert,
            by_digicert().name(US).valid(date(BEGIN), date(NOW - DAY)).issue(),
            Some("expired"),
        ),
        (
            "not begun",
            Genesys,
            leaf(&cast.us_ca).name(US).valid(date(NOW + DAY), date(NOW + 9 * DAY)).issue(),
            None,
        ),
    ];
    let policy = both();
    for (what, authority, leaf, expected) in cases {
        let forecasts = forecast(Some(&leaf.der), authority, &policy, NOW);
        let [forecast] = forecasts.as_slice() else { panic!("{what}: {forecasts:?}") };
        assert_eq!(forecast.denied.map(Reason::code), expected, "{what}");
        assert_eq!(forecast.detail.is_empty(), expected.is_none(), "{what}: {}", forecast.detail);
        assert_eq!(forecast.fingerprint, Some(Fingerprint::of(&leaf.der)), "{what}");
        assert_eq!((forecast.authority, forecast.status), (authority, ApiStatus::Upcoming), "{what}");
        assert_eq!(forecast.is_pin(), authority == Digicert && expected.is_none(), "{what}");
        assert!(expected.is_none_or(|reason| Forecast::REASONS.iter().any(|of| of.code() == reason)));
    }
}

#[test]
fn future_certificate_is_judged_on_its_first_day() {
    let named = ca("unit-late").dn(&[("CN", "Unit late")]);
    let begins_later = named.clone().valid(date(NOW + DAY), date(CA_END)).self_signed();
    let ends_before = named.valid(date(CA_BEGIN), date(NOW + DAY)).self_signed();
    for (what, ca, expected) in [
        ("its issuer begins before it", &begins_later, None),
        ("its issuer ends before it", &ends_before, Some(Reason::UnknownIssuer)),
    ] {
        let digicert = json!({"pins": ["api"], "issuers": ca.pem});
        let policy = policy(&json!({"regions": {"us-east-1": {"digicert": digicert}}}));
        let leaf = leaf(ca).name(US).valid(date(NOW + 2 * DAY), date(NOW + 9 * DAY)).issue();
        for now in [NOW, NOW + 2 * DAY] {
            let denied = forecast(Some(&leaf.der), Digicert, &policy, now)[0].denied;
            assert_eq!(denied, expected, "{what}, {now}");
        }
    }
}

#[test]
fn unreadable_certificate_is_foretold_as_malformed() {
    for der in [None, Some(&b"no DER"[..])] {
        let forecasts = forecast(der, Digicert, &both(), NOW);
        assert_eq!(forecasts[0].denied, Some(Reason::MalformedCertificate));
        assert_eq!(forecasts[0].fingerprint, der.map(Fingerprint::of));
        assert!(!forecasts[0].detail.is_empty());
    }
}

#[test]
fn authority_that_is_not_enabled_is_not_judged() {
    let stranger = us_leaf(&cast().stranger_ca);
    let digicert = policy(&json!({"regions": {"us-east-1": {"digicert": {"pins": ["api"]}}}}));
    let genesys = json!({"genesys": {"ca_certificates": cast().us_ca.pem}});
    let genesys = policy(&json!({"regions": {"us-east-1": genesys}}));
    for (policy, authority, judged) in
        [(&digicert, Genesys, 0), (&digicert, Digicert, 1), (&genesys, Digicert, 0), (&genesys, Genesys, 1)]
    {
        assert_eq!(forecast(Some(&stranger.der), authority, policy, NOW).len(), judged);
    }
    let nowhere = Reader { region: "eu-west-1", ..reader(&digicert, NOW) };
    let named = (Some((Fingerprint::of(&stranger.der), &stranger.der[..])), Digicert, ApiStatus::Current);
    assert!(nowhere.forecasts(iter::once(named)).is_empty());
}

/// Lists that are missing have gauges and alerts of their own.
#[test]
fn missing_crl_is_no_forecast() {
    let digicert = json!({"pins": ["api"], "issuers": cast().digicert_ca.pem});
    let policy = policy(&json!({
        "regions": {"us-east-1": {"digicert": digicert}},
        "revocation": {"mode": "hard", "discover": {"crl.example": "crl"}},
    }));
    let leaf = us_leaf(&cast().digicert_ca);
    assert_eq!(forecast(Some(&leaf.der), Digicert, &policy, NOW)[0].denied, None);
}

#[test]
fn status_has_its_code() {
    assert_eq!([ApiStatus::Current, ApiStatus::Upcoming].map(ApiStatus::code), ["current", "upcoming"]);
}

/// Without issuers, a certificate of another root lacks a pin.
#[test]
fn certificate_by_another_root_is_not_called_unnamed() {
    let genesys = json!({"ca_certificates": cast().us_ca.pem});
    let policy =
        policy(&json!({"regions": {"us-east-1": {"genesys": genesys, "digicert": {"pins": ["api"]}}}}));
    let forecast = &forecast(Some(&us_leaf(&cast().stranger_ca).der), Genesys, &policy, NOW)[0];
    assert_eq!(forecast.denied, Some(Reason::NotPinned));
    assert_eq!(forecast.detail, "no CA of genesys.ca_certificates signed it");
}
