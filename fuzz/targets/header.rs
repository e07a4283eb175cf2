//! No header value turns a deny into an allow, or passes one certificate off as another: with any header, the verdict is
//! that of the connection's own certificate, or there is no certificate to judge.
//!
//! The first two bytes choose the connection and the place of the header; the rest is the header in shorthand.
#![no_main]

use genesys_mtls_filter::{
    decision::{Outcome, trust::Trust},
    peer::bind::{Shown, bind, from_hop},
    policy::Policy,
    x509::fingerprint::Fingerprint,
};
use genesys_mtls_fuzz::{
    cast::{CAST, Leaf, US_BY_DIGICERT, US_BY_GENESYS, outcome, us_only, written_out},
    text::{pem, percent_decoded},
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static POLICY: LazyLock<Policy> = LazyLock::new(us_only);

/// Verdicts without any header: only the genuine clients are allowed.
static OWN: LazyLock<Vec<Outcome>> = LazyLock::new(|| {
    let outcomes = CAST.leaves.iter().map(|leaf| outcome(&leaf.der, &POLICY, &Trust::default()));
    let outcomes: Vec<Outcome> = outcomes.collect();
    for (number, own) in outcomes.iter().enumerate() {
        let belongs = [US_BY_GENESYS, US_BY_DIGICERT].contains(&number);
        assert_eq!(matches!(own, Outcome::Allow { .. }), belongs, "{}", CAST.leaves[number].what);
    }
    outcomes
});

fuzz_target!(|data: &[u8]| {
    let [connection, place, shorthand @ ..] = data else { return };
    let number = usize::from(*connection) % (CAST.leaves.len() + 1);
    let Some(leaf) = CAST.leaves.get(number) else {
        // An unknown certificate.
        let stranger = Fingerprint::of(b"stranger");
        assert!(bind(&stranger, [Shown::Xfcc(written_out(shorthand))]).is_err());
        return;
    };
    let digest = leaf.fingerprint();
    let bound = match place % 5 {
        0 => bind(&digest, [Shown::Xfcc(written_out(shorthand))]),
        // Envoy has no certificate to show.
        1 => bind(&digest, [Shown::Pem(b"-".to_vec()), Shown::Xfcc(written_out(shorthand))]),
        // It has: then no header can keep it from being found, either.
        2 => {
            let bound =
                bind(&digest, [Shown::Pem(pem(&leaf.der).into_bytes()), Shown::Xfcc(written_out(shorthand))]);
            assert!(bound.is_ok());
            bound
        }
        // Envoy appends its own element to what the client sent.
        3 => {
            let header = [&written_out(shorthand), b",".as_slice(), element(leaf, false).as_bytes()].concat();
            bind(&digest, [Shown::Xfcc(header)])
        }
        // A trusted hop's header, where the caller chose what stands around its own certificate.
        _ => {
            let (before, after) = at_mark(shorthand);
            let own = element(leaf, place & 8 != 0);
            from_hop(&[&written_out(before), own.as_bytes(), &written_out(after)].concat())
        }
    };
    if let Ok(der) = bound {
        assert_eq!(CAST.leaf_of(&der).map(|found| found.what), Some(leaf.what), "passed off as another");
        assert_eq!(outcome(&der, &POLICY, &Trust::default()), OWN[number]);
    }
});

/// What the hop writes of the caller's certificate.
fn element(leaf: &Leaf, json: bool) -> String {
    debug_assert_eq!(percent_decoded(leaf.form(0).as_bytes()), pem(&leaf.der).as_bytes());
    if json {
        format!("{{\"Cert\":\"{}\"}}", leaf.form(2))
    } else {
        format!("Hash={};Cert=\"{}\"", leaf.fingerprint(), leaf.form(0))
    }
}

fn at_mark(shorthand: &[u8]) -> (&[u8], &[u8]) {
    let at = shorthand.iter().position(|byte| *byte == 0xfe).unwrap_or(0);
    (&shorthand[..at], shorthand.get(at + 1..).unwrap_or_default())
}
