//! Row 7: what each mode makes of what the lists say.

use super::*;
use crate::config::load;

/// Lists that say the same of everybody.
struct Always(Standing);

impl Revocations for Always {
    fn standing(
        &self,
        region: &RegionPolicy,
        authority: AuthorityKind,
        signer: &Authority,
        _: &ClientCertificate,
        _: &mut Clock,
    ) -> Standing {
        assert_eq!((region.id.as_str(), authority), ("us-east-1", AuthorityKind::Genesys));
        assert_eq!(signer.name, region.genesys[0].name);
        self.0
    }
}

#[test]
fn each_mode_refuses_what_it_says_it_refuses() {
    let (allowed, revoked, unknown) = (None, Some(Reason::Revoked), Some(Reason::RevocationUnknown));
    for (standing, off, soft, hard) in [
        (Standing::Good, allowed, allowed, allowed),
        (Standing::Revoked, allowed, revoked, revoked),
        (Standing::Unknown, allowed, allowed, unknown),
        (Standing::Unreadable, allowed, unknown, unknown),
    ] {
        for (mode, expected) in [("off", off), ("soft", soft), ("hard", hard)] {
            let policy = json!({
                "regions": {"us-east-1": {"genesys": genesys()}},
                "revocation": {"mode": mode, "discover": {"crl.example": "crl"}},
            });
            let policy = load(policy.to_string().as_bytes()).unwrap();
            let lists = Always(standing);
            let certificate = client(&us_leaf(&cast().us_ca));
            let verdict = decide(&certificate, &policy, &Trust::default(), &lists, NOW, Mono::ZERO);
            let reason = match verdict.outcome {
                Outcome::Deny(reason) => Some(reason),
                Outcome::Allow { .. } => None,
            };
            assert_eq!(reason, expected, "{mode}: {standing:?}");
            assert_eq!(verdict.worth_asking, None);
        }
    }
}
