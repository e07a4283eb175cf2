//! A table of cases per row of the decision table.

use super::*;
use crate::{
    decision::trust::ApiPin,
    test_support::{DAY, EU, NOW, US, VERIFIER, cast, client, date, leaf, policy, us_leaf, us_only},
    x509::{certificate::CertificateError, fingerprint::Fingerprint},
};
use serde_json::{Value, json};
use testbed_pki::{Leaf, LeafBuilder};

mod authorities;
mod missing_trust;
mod naming;
mod revoked;
mod time;

fn by_genesys() -> Outcome {
    Outcome::Allow { region: "us-east-1".to_owned(), authority: Authority::Genesys }
}

fn by_digicert() -> Outcome {
    Outcome::Allow { region: "us-east-1".to_owned(), authority: Authority::Digicert }
}

/// The verdict at [`NOW`], with no word from any API.
fn verdict(leaf: &Leaf, policy: &Policy) -> Verdict {
    decide(&client(leaf), policy, &Trust::default(), &(), VERIFIER, NOW, Monotonic::ZERO)
}

fn outcome(leaf: &Leaf, policy: &Policy) -> Outcome {
    verdict(leaf, policy).outcome
}

/// Us-east-1 by its Genesys CA.
fn genesys() -> Value {
    json!({"ca_certificates": cast().us_ca.pem})
}

fn fingerprint(leaf: &Leaf) -> Fingerprint {
    client(leaf).fingerprint
}

/// What an API has said: these pins, and that it has answered.
fn api_trust(state: ApiState, pins: &[&Leaf]) -> ApiTrust {
    let pin = ApiPin { not_before: 0, not_after: i64::MAX };
    ApiTrust {
        state,
        pins: pins.iter().map(|leaf| (fingerprint(leaf), pin)).collect(),
        ..ApiTrust::default()
    }
}

/// What the APIs of these regions have said.
fn trust<const N: usize>(regions: [(&str, ApiTrust); N]) -> Trust {
    Trust { version: 1, regions: regions.map(|(id, said)| (id.to_owned(), said)).into() }
}

/// What the API of us-east-1 has said.
fn us_trust(said: ApiTrust) -> Trust {
    trust([("us-east-1", said)])
}

#[test]
fn codes_and_statuses_are_those_that_dashboards_rely_on() {
    let table: Vec<String> =
        Reason::ALL.iter().map(|reason| format!("{reason} {}", reason.status())).collect();
    let expected = [
        "no_client_certificate 403",
        "certificate_unavailable 403",
        "certificate_mismatch 403",
        "malformed_certificate 403",
        "not_a_client_certificate 403",
        "wrong_region 403",
        "wrong_name 403",
        "not_yet_valid 403",
        "expired 403",
        "unknown_issuer 403",
        "bad_signature 403",
        "unsupported_algorithm 403",
        "not_pinned 403",
        "revoked 403",
        "revocation_unknown 403",
        "signature_unavailable 503",
        "trust_not_loaded 503",
        "trust_stale 503",
        "trust_unrefreshed 503",
    ];
    assert_eq!(table, expected);
    assert_eq!(Authority::Genesys.code(), "genesys");
    assert_eq!(Authority::Digicert.code(), "digicert");
}

#[test]
fn news_of_another_worker_may_turn_what_they_are_about() {
    use Reason::{NotPinned, RevocationUnknown, TrustNotLoaded, TrustStale, TrustUnrefreshed};
    let turned = [NotPinned, RevocationUnknown, TrustNotLoaded, TrustStale, TrustUnrefreshed];
    for reason in Reason::ALL {
        assert_eq!(Outcome::Deny(reason).may_change_with_news(), turned.contains(&reason), "{reason}");
    }
    assert!(!by_genesys().may_change_with_news());
}

#[test]
fn certificate_that_does_not_parse_has_a_reason_of_row_3() {
    for (error, reason) in [
        (CertificateError::Malformed("x".to_owned()), Reason::MalformedCertificate),
        (CertificateError::NotAClient("x"), Reason::NotAClientCertificate),
    ] {
        assert_eq!(Reason::from(&error), reason);
    }
}

/// Each certificate breaks several rules; the earliest row gives the reason.
#[test]
fn the_reason_is_that_of_the_earliest_row() {
    use Reason::{BadSignature, Expired, NotPinned, NotYetValid, UnknownIssuer, WrongName, WrongRegion};
    let cast = cast();
    let expired = |leaf: LeafBuilder<'static>| leaf.valid(date(NOW - 9 * DAY), date(NOW - DAY));
    let future = |leaf: LeafBuilder<'static>| leaf.valid(date(NOW + DAY), date(NOW + 9 * DAY));
    let stranger = || leaf(&cast.stranger_ca);
    let nobodys_pin = format!("sha256:{}", "0".repeat(64));
    let by_both = policy(&us_only(&json!({"genesys": genesys(), "digicert": {"pins": [nobodys_pin]}})));
    let by_genesys = policy(&us_only(&json!({"genesys": genesys()})));
    for (what, leaf, policy, expected) in [
        ("wrong name, expired, unknown issuer", expired(stranger().name("x.example")), &by_both, WrongName),
        ("names of two regions, expired", expired(stranger().dns(US).dns(EU)), &by_both, WrongName),
        ("another region, not yet valid, not pinned", future(stranger().name(EU)), &by_both, WrongRegion),
        ("not yet valid, not pinned", future(stranger().name(US)), &by_both, NotYetValid),
        ("expired, bad signature", expired(leaf(&cast.impostor).name(US)), &by_both, Expired),
        ("bad signature, not pinned", leaf(&cast.impostor).name(US), &by_both, BadSignature),
        ("unknown issuer, not pinned", stranger().name(US), &by_both, NotPinned),
        ("unknown issuer", stranger().name(US), &by_genesys, UnknownIssuer),
    ] {
        assert_eq!(outcome(&leaf.issue(), policy), Outcome::Deny(expected), "{what}");
    }
}
