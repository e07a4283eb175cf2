//! Row 6: an authority configured for that region vouches.

use super::*;
use crate::{
    test_support::{CA_BEGIN, authority, ca, merged},
    time::Window,
    x509::signature::{Hash, VerifierUnavailable},
};
use testbed_pki::{Ca, KeyType};

use Reason::{BadSignature, NotPinned, UnknownIssuer};

fn denied(reason: Reason) -> Outcome {
    Outcome::Deny(reason)
}

fn us(region: &Value) -> Policy {
    policy(&us_only(region))
}

#[test]
fn a_genesys_ca_vouches_by_name_and_signature() {
    let cast = cast();
    let policy = us(&json!({"genesys": genesys()}));
    for (what, ca, expected) in [
        ("its CA", &cast.us_ca, by_genesys()),
        ("a CA of the same name", &cast.impostor, denied(BadSignature)),
        ("another region's CA", &cast.eu_ca, denied(UnknownIssuer)),
        ("DigiCert", &cast.digicert_ca, denied(UnknownIssuer)),
        ("a stranger's CA", &cast.stranger_ca, denied(UnknownIssuer)),
    ] {
        assert_eq!(outcome(&us_leaf(ca), &policy), expected, "{what}");
    }
}

#[test]
fn the_published_shape_passes_rsa_4096_by_the_root_itself() {
    let pki = testbed_pki::Pki::standard();
    let region = json!({
        "genesys": {"ca_certificates": pki.us.root.pem},
        "digicert": {"pins": [pki.us.digicert.pin()], "issuers": pki.digicert_ca.pem},
    });
    let policy = us(&region);
    let now = ::time::OffsetDateTime::now_utc().unix_timestamp();
    for (what, leaf, expected) in [
        ("by the root", &pki.us.genesys, by_genesys()),
        ("by DigiCert", &pki.us.digicert, by_digicert()),
        ("by a false root", &pki.impostor_leaf, denied(BadSignature)),
        ("by DigiCert, not pinned", &pki.us.digicert_upcoming, denied(NotPinned)),
        ("by DigiCert, a stranger with the same name", &pki.digicert_lookalike, denied(NotPinned)),
        ("by DigiCert, a stranger", &pki.email, denied(Reason::WrongName)),
        ("another region's", &pki.eu.genesys, denied(Reason::WrongRegion)),
    ] {
        let verdict = decide(&client(leaf), &policy, &Trust::default(), &(), VERIFIER, now, Monotonic::ZERO);
        assert_eq!(verdict.outcome, expected, "{what}");
    }
}

/// A root is replaced: both have one name, both are configured for a while.
#[test]
fn two_cas_of_one_name_each_vouch_for_their_own() {
    let (old, new) = (&cast().us_ca, &cast().impostor);
    let both = json!({"genesys": {"ca_certificates": old.pem.clone() + &new.pem}});
    let reversed = json!({"genesys": {"ca_certificates": new.pem.clone() + &old.pem}});
    for policy in [us(&both), us(&reversed)] {
        for ca in [old, new] {
            assert_eq!(outcome(&us_leaf(ca), &policy), by_genesys());
            let keyless = leaf(ca).name(US).no_authority_key_id().issue();
            assert_eq!(outcome(&keyless, &policy), by_genesys());
        }
    }
    let only_new = us(&json!({"genesys": {"ca_certificates": new.pem}}));
    assert_eq!(outcome(&us_leaf(old), &only_new), denied(BadSignature));
}

#[test]
fn expired_ca_vouches_for_no_certificate() {
    let expired = ca("unit-expired-root").valid(date(CA_BEGIN), date(NOW - 1)).self_signed();
    let renewed = ca("unit-expired-root").self_signed();
    let us_by = |pem: String| us(&json!({"genesys": {"ca_certificates": pem}}));
    let leaf = us_leaf(&expired);
    assert_eq!(outcome(&leaf, &us_by(expired.pem.clone())), denied(UnknownIssuer));
    assert_eq!(outcome(&leaf, &us_by(expired.pem.clone() + &renewed.pem)), by_genesys());
}

/// Every kind of trust of one region, and the other region's name.
#[test]
fn trust_of_one_region_vouches_for_no_other() {
    let cast = cast();
    let foreign = |ca: &Ca, name| leaf(ca).name(name).issue();
    let (us_pinned, eu_pinned) = (foreign(&cast.digicert_ca, US), foreign(&cast.digicert_ca, EU));
    // Each region pins the certificate of the other, whose name it does not have.
    let policy = policy(&json!({"regions": {
        "eu-central-1": {
            "genesys": {"ca_certificates": cast.eu_ca.pem},
            "digicert": {"pins": ["api", us_pinned.pin()], "issuers": cast.digicert_ca.pem},
            "refresh": {
                "clusters": {"api": "eu_api", "login": "eu_login"},
                "oauth": {"client_secret_env": "EU_SECRET"},
            },
        },
        "us-east-1": {
            "genesys": {"ca_certificates": cast.us_ca.pem},
            "digicert": {"pins": ["api", eu_pinned.pin()], "issuers": cast.digicert_ca.pem},
        },
    }}));
    let settled = |pins: &[&Leaf]| ApiTrust {
        refreshed: Some(Monotonic::from_millis(1000)),
        ..api_trust(ApiState::Loaded, pins)
    };
    let trust = trust([("eu-central-1", settled(&[&us_pinned])), ("us-east-1", settled(&[&eu_pinned]))]);
    let allow = |region: &str| Outcome::Allow { region: region.to_owned(), authority: Authority::Genesys };
    for (what, leaf, expected) in [
        ("eu by its own CA", foreign(&cast.eu_ca, EU), allow("eu-central-1")),
        ("us by its own CA", foreign(&cast.us_ca, US), allow("us-east-1")),
        ("us by eu's CA", foreign(&cast.eu_ca, US), denied(UnknownIssuer)),
        ("eu by us' CA", foreign(&cast.us_ca, EU), denied(UnknownIssuer)),
        ("us, pinned for eu only", us_pinned, denied(NotPinned)),
        ("eu, pinned for us only", eu_pinned, denied(NotPinned)),
    ] {
        let verdict = decide(&client(&leaf), &policy, &trust, &(), VERIFIER, NOW, Monotonic::ZERO);
        assert_eq!(verdict.outcome, expected, "{what}");
    }
}

#[test]
fn pin_needs_the_issuers_signature_where_configured() {
    let cast = cast();
    let pinned = us_leaf(&cast.digicert_ca);
    let forged = us_leaf(&cast.digicert_impostor);
    let strangers = us_leaf(&cast.stranger_ca);
    let pins = json!({"pins": [pinned.pin(), forged.pin(), strangers.pin()]});
    let alone = us(&json!({"digicert": pins}));
    let issuers = merged(&pins, &json!({"issuers": cast.digicert_ca.pem}));
    let with_issuers = us(&json!({"digicert": issuers}));
    let unpinned = us_leaf(&cast.digicert_ca);
    for (what, leaf, by_pin, with_issuer) in [
        ("pinned", &pinned, by_digicert(), by_digicert()),
        ("pinned, by a false issuer", &forged, by_digicert(), denied(BadSignature)),
        ("pinned, by a stranger", &strangers, by_digicert(), denied(UnknownIssuer)),
        ("not pinned", &unpinned, denied(NotPinned), denied(NotPinned)),
        ("neither", &us_leaf(&cast.stranger_ca), denied(NotPinned), denied(UnknownIssuer)),
        (
            "not pinned, by a false issuer",
            &us_leaf(&cast.digicert_impostor),
            denied(NotPinned),
            denied(BadSignature),
        ),
    ] {
        assert_eq!(outcome(leaf, &alone), by_pin, "{what}");
        assert_eq!(outcome(leaf, &with_issuers), with_issuer, "{what}, issuers configured");
    }
    let detail = verdict(&strangers, &with_issuers).detail;
    assert!(detail.ends_with("it is pinned, but not signed by digicert.issuers"), "{detail}");
}

#[test]
fn a_pin_makes_up_for_neither_name_nor_validity() {
    let ca = &cast().digicert_ca;
    let nameless = leaf(ca).name("x.example").issue();
    let foreign = leaf(ca).name(EU).issue();
    let expired = leaf(ca).name(US).valid(date(NOW - 9 * DAY), date(NOW - DAY)).issue();
    let policy = us(&json!({"digicert": {"pins": [nameless.pin(), foreign.pin(), expired.pin()]}}));
    assert_eq!(outcome(&nameless, &policy), denied(Reason::WrongName));
    assert_eq!(outcome(&foreign, &policy), denied(Reason::WrongRegion));
    assert_eq!(outcome(&expired, &policy), denied(Reason::Expired));
}

#[test]
fn a_pin_of_the_api_counts_where_the_api_does() {
    let leaf = us_leaf(&cast().digicert_ca);
    let other_pin = format!("sha256:{}", "0".repeat(64));
    let decide_with = |pins: Value, state| {
        let trust = us_trust(api_trust(state, &[&leaf]));
        decide(
            &client(&leaf),
            &us(&json!({"digicert": {"pins": pins}})),
            &trust,
            &(),
            VERIFIER,
            NOW,
            Monotonic::ZERO,
        )
        .outcome
    };
    for (what, pins, state, expected) in [
        ("loaded", json!(["api"]), ApiState::Loaded, by_digicert()),
        ("half a success", json!(["api"]), ApiState::NotLoaded, by_digicert()),
        ("stale", json!(["api"]), ApiState::Stale, denied(Reason::TrustStale)),
        ("stale, and pinned by the operator", json!(["api", leaf.pin()]), ApiState::Stale, by_digicert()),
        ("not configured", json!([other_pin]), ApiState::Loaded, denied(NotPinned)),
    ] {
        assert_eq!(decide_with(pins, state), expected, "{what}");
    }
}

#[test]
fn certificate_good_under_one_authority_is_allowed() {
    let cast = cast();
    // Claims to be by the Genesys CA, falsely; pinned all the same.
    let claims = us_leaf(&cast.impostor);
    let both = us(&json!({"genesys": genesys(), "digicert": {"pins": [claims.pin()]}}));
    assert_eq!(outcome(&claims, &both), by_digicert());
    // By the Genesys CA, and not what digicert.issuers wants.
    let digicert = json!({"pins": ["api"], "issuers": cast.digicert_ca.pem});
    let both = us(&json!({"genesys": genesys(), "digicert": digicert}));
    assert_eq!(outcome(&us_leaf(&cast.us_ca), &both), by_genesys());
    assert_eq!(outcome(&claims, &both), denied(BadSignature));
}

#[test]
fn without_the_genesys_authority_its_certificates_need_a_pin() {
    let leaf = us_leaf(&cast().us_ca);
    let pins = json!({"pins": [us_leaf(&cast().digicert_ca).pin()]});
    assert_eq!(outcome(&leaf, &us(&json!({"digicert": pins}))), denied(NotPinned));
    let issuers = merged(&pins, &json!({"issuers": cast().digicert_ca.pem}));
    assert_eq!(outcome(&leaf, &us(&json!({"digicert": issuers}))), denied(UnknownIssuer));
}

#[test]
fn danger_option_trusts_all_of_digicert() {
    let ca = &cast().digicert_ca;
    let policy = us(&json!({"genesys": {"ca_certificates": ca.pem, "danger_public_ca": true}}));
    assert_eq!(outcome(&us_leaf(ca), &policy), by_genesys());
}

/// Signed by keys of the CA's name, with algorithms that are not verified here: no forgery, and no pin that the API could add.
#[test]
fn signature_of_another_kind_is_unsupported_not_bad() {
    let rsa = ca("unit-pss").key(KeyType::Rsa2048).self_signed();
    let pss = rsa.sign_pss(&us_leaf(&rsa));
    let eddsa_ca = ca("unit-eddsa").key(KeyType::Ed25519).dn(&[("CN", "unit-pss")]).self_signed();
    let eddsa = us_leaf(&eddsa_ca);
    let genesys = json!({"genesys": {"ca_certificates": rsa.pem}});
    let issuers = json!({"digicert": {"pins": ["api", pss.pin(), eddsa.pin()], "issuers": rsa.pem}});
    assert_eq!(outcome(&us_leaf(&rsa), &us(&genesys)), by_genesys());
    for (what, leaf) in [("RSA-PSS", &pss), ("Ed25519", &eddsa)] {
        for authorities in [&genesys, &issuers] {
            let verdict = verdict(leaf, &us(authorities));
            assert_eq!(verdict.outcome, denied(Reason::UnsupportedAlgorithm), "{what}");
            assert_eq!(verdict.needs_pin, None, "{what}");
            assert!(
                verdict.detail.contains("signature algorithm that is not supported"),
                "{}",
                verdict.detail
            );
        }
        // A pin without issuers asks for no signature.
        let pinned = merged(&genesys, &json!({"digicert": {"pins": [leaf.pin()]}}));
        assert_eq!(outcome(leaf, &us(&pinned)), by_digicert(), "{what}");
    }
}

#[derive(Debug)]
struct Refused;

impl SignatureVerifier for Refused {
    fn verify(&self, _: Hash, _: &[u8], _: &[u8], _: &[u8]) -> Result<bool, VerifierUnavailable> {
        Err(VerifierUnavailable)
    }
}

#[test]
fn unavailable_verifier_denies_for_only_a_second() {
    let cast = cast();
    let by_root = us_leaf(&cast.us_ca);
    let by_digicert_ca = us_leaf(&cast.digicert_ca);
    let unknown = us_leaf(&cast.stranger_ca);
    let pin = json!({"pins": ["api", by_digicert_ca.pin()]});
    let issuers = merged(&pin, &json!({"issuers": cast.digicert_ca.pem}));
    let api = json!({"pins": ["api"]});
    let hints = us_trust(ApiTrust {
        hints: vec![authority(&cast.digicert_ca)].into(),
        ..api_trust(ApiState::Loaded, &[])
    });
    let unavailable = denied(Reason::SignatureUnavailable);
    let region = |digicert: &Value| us(&json!({"genesys": genesys(), "digicert": digicert}));
    for (what, leaf, policy, trust, expected) in [
        ("by the Genesys CA", &by_root, us(&json!({"genesys": genesys()})), &Trust::default(), &unavailable),
        ("by issuers, pinned", &by_digicert_ca, region(&issuers), &Trust::default(), &unavailable),
        ("by a hint", &by_digicert_ca, region(&api), &hints, &unavailable),
        ("static pin", &by_digicert_ca, region(&pin), &Trust::default(), &by_digicert()),
        (
            "pin of the API",
            &by_digicert_ca,
            region(&api),
            &us_trust(api_trust(ApiState::Loaded, &[&by_digicert_ca])),
            &by_digicert(),
        ),
        (
            "unknown issuer",
            &unknown,
            us(&json!({"genesys": genesys()})),
            &Trust::default(),
            &denied(UnknownIssuer),
        ),
    ] {
        let verdict = decide(&client(leaf), &policy, trust, &(), &Refused, NOW, Monotonic::ZERO);
        assert_eq!(verdict.outcome, *expected, "{what}");
        if verdict.outcome == unavailable {
            assert_eq!(verdict.cacheable(NOW), Window { from: NOW, until: NOW + 1 }, "{what}");
            assert_eq!(verdict.needs_pin, None, "{what}");
            assert!(verdict.detail.contains("proxy_call_foreign_function"), "{}", verdict.detail);
        }
    }
    assert_eq!(Reason::SignatureUnavailable.status(), 503);
}
