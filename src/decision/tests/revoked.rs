//! Row 7: what each mode makes of what the lists say.

use super::*;
use crate::config::load;

/// Lists that say the same of everybody.
struct Always(RevocationStatus);

impl Revocations for Always {
    fn status(
        &self,
        region: &RegionPolicy,
        authority: Authority,
        signer: &CaCertificate,
        _: &ClientCertificate,
        _: &mut Clock,
    ) -> RevocationStatus {
        assert_eq!(region.id, "us-east-1");
        let signers = match authority {
            Authority::Genesys => &region.genesys,
            Authority::Digicert => &region.digicert.as_ref().unwrap().issuers,
        };
        assert_eq!(signer.name, signers[0].name);
        self.0
    }
}

#[test]
fn each_mode_refuses_what_it_says_it_refuses() {
    let (allowed, revoked, unknown) = (None, Some(Reason::Revoked), Some(Reason::RevocationUnknown));
    for (status, off, soft, hard) in [
        (RevocationStatus::Good, allowed, allowed, allowed),
        (RevocationStatus::Revoked, allowed, revoked, revoked),
        (RevocationStatus::Unknown, allowed, allowed, unknown),
    ] {
        for (mode, expected) in [("off", off), ("soft", soft), ("hard", hard)] {
            let policy = json!({
                "regions": {"us-east-1": {"genesys": genesys()}},
                "revocation": {"mode": mode, "discover": {"crl.example": "crl"}},
            });
            let policy = load(policy.to_string().as_bytes()).unwrap();
            let lists = Always(status);
            let certificate = client(&us_leaf(&cast().us_ca));
            let verdict =
                decide(&certificate, &policy, &Trust::default(), &lists, VERIFIER, NOW, Monotonic::ZERO);
            let reason = match verdict.outcome {
                Outcome::Deny(reason) => Some(reason),
                Outcome::Allow { .. } => None,
            };
            assert_eq!(reason, expected, "{mode}: {status:?}");
            assert_eq!(verdict.needs_pin, None);
            let let_in_unchecked = mode == "soft" && status == RevocationStatus::Unknown;
            assert_eq!(verdict.unchecked, let_in_unchecked, "{mode}: {status:?}");
        }
    }
}

/// The next request looks for a CRL again.
#[test]
fn denial_for_lack_of_a_crl_is_cached_for_a_second() {
    for (status, mode, brief) in [
        (RevocationStatus::Unknown, "hard", true),
        (RevocationStatus::Unknown, "soft", false),
        (RevocationStatus::Revoked, "soft", false),
        (RevocationStatus::Good, "hard", false),
    ] {
        let policy = policy(&json!({
            "regions": {"us-east-1": {"genesys": genesys()}},
            "revocation": {"mode": mode, "discover": {"crl.example": "crl"}},
        }));
        let certificate = client(&us_leaf(&cast().us_ca));
        let verdict =
            decide(&certificate, &policy, &Trust::default(), &Always(status), VERIFIER, NOW, Monotonic::ZERO);
        let expected = if brief { Window { from: NOW, until: NOW + 1 } } else { verdict.window };
        assert_eq!(verdict.cacheable(NOW), expected, "{status:?}, {mode}");
    }
}

#[test]
fn status_is_unknown_without_a_crl() {
    for (mode, expected) in [("soft", by_genesys()), ("hard", Outcome::Deny(Reason::RevocationUnknown))] {
        let policy = policy(&json!({
            "regions": {"us-east-1": {"genesys": genesys()}},
            "revocation": {"mode": mode, "discover": {"crl.example": "crl"}},
        }));
        assert_eq!(outcome(&us_leaf(&cast().us_ca), &policy), expected, "{mode}");
    }
}

/// The configuration demands `issuers` with revocation; this is what would become of a policy without.
#[test]
fn no_list_covers_a_pinned_certificate_whose_signer_is_unknown() {
    let leaf = us_leaf(&cast().digicert_ca);
    let pin = format!("sha256:{}", fingerprint(&leaf));
    let mut policy = policy(&us_only(&json!({"digicert": {"pins": [pin]}})));
    for (mode, expected) in [
        (RevocationMode::Off, by_digicert()),
        (RevocationMode::Soft, by_digicert()),
        (RevocationMode::Hard, Outcome::Deny(Reason::RevocationUnknown)),
    ] {
        policy.revocation.mode = mode;
        let lists = Always(RevocationStatus::Revoked);
        let verdict =
            decide(&client(&leaf), &policy, &Trust::default(), &lists, VERIFIER, NOW, Monotonic::ZERO);
        assert_eq!(verdict.outcome, expected, "{mode:?}");
    }
}

/// No pin would let in what is revoked. Otherwise the missing pin comes first: it may bring the list's answer with it.
#[test]
fn revoked_certificate_does_not_wait_for_its_pin() {
    let (not_pinned, revoked) = (Reason::NotPinned, Reason::Revoked);
    let (not_loaded, unrefreshed) = (Reason::TrustNotLoaded, Reason::TrustUnrefreshed);
    let leaf = client(&us_leaf(&cast().digicert_ca));
    let loaded = Some(Monotonic::ZERO);
    let later = Some(Monotonic::from_millis(1000));
    for (state, refreshed, good, on_the_list) in [
        (ApiState::NotLoaded, None, not_loaded, revoked),
        (ApiState::Stale, loaded, Reason::TrustStale, revoked),
        (ApiState::Loaded, loaded, unrefreshed, revoked),
        // The API was asked since, and did not name it: row 6.
        (ApiState::Loaded, later, not_pinned, not_pinned),
    ] {
        for (status, expected) in [
            (RevocationStatus::Good, good),
            (RevocationStatus::Unknown, good),
            (RevocationStatus::Revoked, on_the_list),
        ] {
            for mode in ["soft", "hard"] {
                let digicert = json!({"pins": ["api"], "issuers": cast().digicert_ca.pem});
                let policy = json!({
                    "regions": {"us-east-1": {"digicert": digicert}},
                    "revocation": {"mode": mode, "discover": {"crl.example": "crl"}},
                });
                let policy = load(policy.to_string().as_bytes()).unwrap();
                let trust = us_trust(ApiTrust { refreshed, ..api_trust(state, &[]) });
                let verdict = decide(&leaf, &policy, &trust, &Always(status), VERIFIER, NOW, Monotonic::ZERO);
                assert_eq!(verdict.outcome, Outcome::Deny(expected), "{state:?}, {status:?}, {mode}");
                assert_eq!(verdict.needs_pin.is_some(), expected.status() == 503, "{state:?}, {status:?}");
            }
        }
    }
}
