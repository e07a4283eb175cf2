//! The last row: missing or stale trust that could have changed the verdict, and what is worth asking the API about.

use super::*;
use crate::test_support::{authority, merged};
use std::rc::Rc;

use ApiState::{Loaded, NotLoaded, Stale};
use Reason::{
    BadSignature, Expired, NotPinned, TrustNotLoaded, TrustStale, TrustUnrefreshed, UnknownIssuer, WrongName,
    WrongRegion,
};

const FIRST_SEEN: Monotonic = Monotonic::from_millis(100_000);
/// When the last completed refresh began, seen from a certificate met at [`FIRST_SEEN`].
const NEVER: Option<Monotonic> = None;
const BEFORE: Option<Monotonic> = Some(Monotonic::from_millis(99_000));
const AT_ONCE: Option<Monotonic> = Some(FIRST_SEEN);
const AFTER: Option<Monotonic> = Some(Monotonic::from_millis(100_001));

/// Who issues, and how the filter could know.
#[derive(Clone, Copy, Debug)]
enum Issuer {
    Configured,
    Hinted,
    /// The API's hint has the right name and another key.
    HintedFalsely,
    Nobody,
}

fn digicert_policy(issuer: Issuer) -> Policy {
    let digicert = json!({"pins": ["api"]});
    let issuers = match issuer {
        Issuer::Configured => json!({"issuers": cast().digicert_ca.pem}),
        _ => json!({}),
    };
    policy(&us_only(&json!({"digicert": merged(&digicert, &issuers)})))
}

fn said(state: ApiState, issuer: Issuer, refreshed: Option<Monotonic>) -> Trust {
    let hints = match issuer {
        Issuer::Hinted => vec![authority(&cast().us_ca), authority(&cast().digicert_ca)],
        Issuer::HintedFalsely => vec![authority(&cast().digicert_impostor)],
        Issuer::Configured | Issuer::Nobody => Vec::new(),
    };
    let other = us_leaf(&cast().digicert_ca);
    us_trust(ApiTrust { hints: Rc::new(hints), refreshed, ..api_trust(state, &[&other]) })
}

/// Everything that can be missing, against everything that can be known of the issuer.
#[test]
fn an_unpinned_certificate_waits_for_trust_that_could_name_it() {
    let leaf = client(&us_leaf(&cast().digicert_ca));
    let asks = true;
    for (state, issuers, refreshes, reason, worth_asking) in [
        // An issuer's signature shows that it is no noise: it is worth a question.
        (
            NotLoaded,
            [Issuer::Configured, Issuer::Hinted],
            &[NEVER, BEFORE, AFTER] as &[_],
            TrustNotLoaded,
            asks,
        ),
        (Stale, [Issuer::Configured, Issuer::Hinted], &[NEVER, BEFORE, AFTER], TrustStale, asks),
        (Loaded, [Issuer::Configured, Issuer::Hinted], &[NEVER, BEFORE, AT_ONCE], TrustUnrefreshed, asks),
        // A refresh that began after it was met has settled the question.
        (Loaded, [Issuer::Configured, Issuer::Hinted], &[AFTER], NotPinned, !asks),
        // Nothing shows that it is more than noise. It may still be Genesys', if nothing is known yet.
        (NotLoaded, [Issuer::Nobody, Issuer::HintedFalsely], &[NEVER, BEFORE, AFTER], TrustNotLoaded, !asks),
        (Stale, [Issuer::Nobody, Issuer::HintedFalsely], &[NEVER, BEFORE, AFTER], TrustStale, !asks),
        (Loaded, [Issuer::Nobody, Issuer::HintedFalsely], &[NEVER, BEFORE, AT_ONCE, AFTER], NotPinned, !asks),
    ] {
        for issuer in issuers {
            let policy = digicert_policy(issuer);
            for &refreshed in refreshes {
                let verdict =
                    decide(&leaf, &policy, &said(state, issuer, refreshed), &(), VERIFIER, NOW, FIRST_SEEN);
                let what = format!("{state:?} {issuer:?} refreshed {refreshed:?}");
                assert_eq!(verdict.outcome, Outcome::Deny(reason), "{what}");
                assert_eq!(verdict.needs_pin, worth_asking.then(|| "us-east-1".to_owned()), "{what}");
                let remembered = verdict.cacheable(NOW);
                assert_eq!(remembered.until == NOW + 1 && remembered.from == NOW, worth_asking, "{what}");
            }
        }
    }
}

/// What the configuration demands of the signature, no answer of the API can change.
#[test]
fn certificate_not_signed_by_the_issuers_is_never_held() {
    let policy = digicert_policy(Issuer::Configured);
    for state in [NotLoaded, Stale, Loaded] {
        for refreshed in [NEVER, BEFORE, AFTER] {
            let trust = said(state, Issuer::Hinted, refreshed);
            for (ca, reason) in [
                (&cast().digicert_impostor, BadSignature),
                (&cast().stranger_ca, UnknownIssuer),
                (&cast().us_ca, UnknownIssuer),
            ] {
                let verdict = decide(&client(&us_leaf(ca)), &policy, &trust, &(), VERIFIER, NOW, FIRST_SEEN);
                let what = format!("{} {state:?} {refreshed:?}", ca.name);
                assert_eq!(verdict.outcome, Outcome::Deny(reason), "{what}");
                assert_eq!(verdict.needs_pin, None, "{what}");
            }
        }
    }
}

#[test]
fn missing_trust_is_no_reason_if_it_changes_no_verdict() {
    let cast = cast();
    let region = |digicert: Value| us_only(&json!({"genesys": genesys(), "digicert": digicert}));
    let by_api = policy(&region(json!({"pins": ["api"]})));
    let by_pins = policy(&region(json!({"pins": [format!("sha256:{}", "0".repeat(64))]})));
    let by_ca = policy(&us_only(&json!({"genesys": genesys()})));
    let by_digicert = leaf(&cast.digicert_ca);
    let named = by_digicert.clone().name(US).issue();
    let past = by_digicert.clone().name(US).valid(date(NOW - 9 * DAY), date(NOW - DAY)).issue();
    for (what, leaf, policy, reason) in [
        ("another name", &by_digicert.clone().name("x.example").issue(), &by_api, WrongName),
        ("another region", &by_digicert.name(EU).issue(), &by_api, WrongRegion),
        ("expired", &past, &by_api, Expired),
        ("claims the Genesys CA, falsely", &us_leaf(&cast.impostor), &by_api, BadSignature),
        ("the API is no source", &named, &by_pins, NotPinned),
        ("DigiCert is not enabled", &named, &by_ca, UnknownIssuer),
    ] {
        for state in [NotLoaded, Stale] {
            let verdict = decide(
                &client(leaf),
                policy,
                &said(state, Issuer::Hinted, NEVER),
                &(),
                VERIFIER,
                NOW,
                FIRST_SEEN,
            );
            assert_eq!(verdict.outcome, Outcome::Deny(reason), "{what}, {state:?}");
            assert_eq!(verdict.needs_pin, None, "{what}, {state:?}");
        }
    }
    let unaffected = decide(
        &client(&us_leaf(&cast.us_ca)),
        &by_api,
        &said(Stale, Issuer::Nobody, NEVER),
        &(),
        VERIFIER,
        NOW,
        FIRST_SEEN,
    );
    assert_eq!(unaffected.outcome, by_genesys(), "the Genesys CA needs no API");
}

#[test]
fn an_expired_issuer_or_hint_shows_nothing() {
    use crate::test_support::{CA_BEGIN, ca};
    let expired = ca("unit-expired-issuer").valid(date(CA_BEGIN), date(NOW - 1)).self_signed();
    let leaf = client(&us_leaf(&expired));
    let hints = Rc::new(vec![authority(&expired)]);
    let hinted = us_trust(ApiTrust { hints, ..api_trust(Loaded, &[]) });
    let verdict = decide(&leaf, &digicert_policy(Issuer::Nobody), &hinted, &(), VERIFIER, NOW, FIRST_SEEN);
    assert_eq!((verdict.outcome, verdict.needs_pin), (Outcome::Deny(NotPinned), None));
    let region = json!({"digicert": {"pins": ["api"], "issuers": expired.pem}});
    let verdict = decide(&leaf, &policy(&us_only(&region)), &hinted, &(), VERIFIER, NOW, FIRST_SEEN);
    assert_eq!((verdict.outcome, verdict.needs_pin), (Outcome::Deny(UnknownIssuer), None));
}

#[test]
fn the_region_to_be_asked_is_the_certificates_own() {
    let cast = cast();
    let region = |prefix: &str| {
        json!({
            "digicert": {"pins": ["api"], "issuers": cast.digicert_ca.pem},
            "refresh": {
                "clusters": {"api": format!("{prefix}_api"), "login": format!("{prefix}_login")},
                "oauth": {"client_secret_env": format!("{}_SECRET", prefix.to_ascii_uppercase())},
            },
        })
    };
    let policy = policy(&json!({"regions": {"eu-central-1": region("eu"), "us-east-1": region("us")}}));
    let settled = ApiTrust { refreshed: AFTER, ..api_trust(Loaded, &[]) };
    let trust = trust([("eu-central-1", settled), ("us-east-1", api_trust(NotLoaded, &[]))]);
    let asked = |name: &str| {
        let leaf = client(&leaf(&cast.digicert_ca).name(name).issue());
        let verdict = decide(&leaf, &policy, &trust, &(), VERIFIER, NOW, FIRST_SEEN);
        (verdict.outcome, verdict.needs_pin)
    };
    assert_eq!(asked(US), (Outcome::Deny(TrustNotLoaded), Some("us-east-1".to_owned())));
    assert_eq!(asked(EU), (Outcome::Deny(NotPinned), None));
}

/// Before the first tick there is no word on any region.
#[test]
fn a_region_of_which_nothing_is_known_yet_is_not_loaded() {
    let leaf = us_leaf(&cast().digicert_ca);
    let verdict = verdict(&leaf, &digicert_policy(Issuer::Configured));
    assert_eq!(
        (verdict.outcome, verdict.needs_pin),
        (Outcome::Deny(TrustNotLoaded), Some("us-east-1".to_owned()))
    );
}
