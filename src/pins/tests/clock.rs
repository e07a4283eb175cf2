//! A wall clock that jumps, with the refresh and the decision both looking at it. `tests/envoy/clock.rs` does the same to a real
//! Envoy's.

use crate::pins::tests::{PKI, Proxy, fingerprint};
use crate::test_support::VERIFIER;
use crate::{
    decision::{
        Outcome, Reason, Verdict, decide,
        trust::{ApiState, Trust},
    },
    policy::Authority,
    time::UnixSeconds,
    x509::certificate::ClientCertificate,
};
use serde_json::json;
use std::time::Duration;
use testbed_pki::Leaf;
use time::OffsetDateTime;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: UnixSeconds = 24 * 3600;
fn allowed() -> Outcome {
    Outcome::Allow { region: "us-east-1".to_owned(), authority: Authority::Digicert }
}

fn verdict(proxy: &Proxy, worker: usize, leaf: &Leaf) -> Verdict {
    let certificate = ClientCertificate::parse(&leaf.der).unwrap();
    let trust = Trust { version: 1, regions: [("us-east-1".to_owned(), proxy.trust(worker))].into() };
    decide(&certificate, &proxy.policy, &trust, &(), VERIFIER, proxy.wall, proxy.now)
}

#[test]
fn wall_clock_error_of_a_day_leaves_nothing_behind() {
    for jump in [DAY, -DAY] {
        let settings = json!({"interval": "1m", "jitter": "0%", "max_staleness": "5m", "keep_removed": "1h"});
        let mut proxy = Proxy::new(2, &settings);
        let leaf = |from: UnixSeconds, until: UnixSeconds| {
            let at = |seconds| OffsetDateTime::from_unix_timestamp(proxy.wall + seconds).unwrap();
            let leaf = PKI.digicert_ca.leaf().key_name("digicert").name(PKI.us.region.certificate_name);
            leaf.valid(at(from), at(until)).issue()
        };
        // Valid for weeks to either side, about to end, just begun; and one that the API has stopped naming.
        let (usual, ending, begun, removed) = (
            PKI.us.digicert.clone(),
            leaf(-9 * DAY, 6 * 3600),
            leaf(-6 * 3600, 9 * DAY),
            leaf(-9 * DAY, 6 * 3600),
        );
        proxy.api.current = vec![usual.clone(), ending.clone(), begun.clone(), removed.clone()];
        proxy.run(MINUTE);
        proxy.api.current.pop();
        proxy.run(MINUTE * 2);
        let all = [&usual, &ending, &begun, &removed];
        for leaf in all {
            assert_eq!(verdict(&proxy, 1, leaf).outcome, allowed());
        }

        proxy.wall += jump;
        let asked = proxy.api.sets;
        proxy.run(MINUTE * 10);
        assert!((9..=11).contains(&(proxy.api.sets - asked)), "{jump}: the schedule goes on");
        let outside = if jump > 0 { Reason::Expired } else { Reason::NotYetValid };
        let expected = if jump > 0 {
            [None, Some(outside), None, Some(outside)]
        } else {
            [None, None, Some(outside), None]
        };
        for (leaf, expected) in all.into_iter().zip(expected) {
            for worker in 0..2 {
                let verdict = verdict(&proxy, worker, leaf);
                assert_eq!(verdict.outcome, expected.map_or_else(allowed, Outcome::Deny), "{jump}");
                assert_eq!(verdict.needs_pin, None, "{jump}: no request waits");
                assert!(proxy.has_pin(worker, leaf), "{jump}: the pin is there");
            }
        }
        assert_eq!(proxy.trust(0).state, ApiState::Loaded);
        assert!(proxy.failures().is_empty(), "{jump}: {:?}", proxy.failures());

        // The clock is right again, and without any further call so is everything else.
        proxy.wall -= jump;
        for leaf in all {
            assert_eq!(verdict(&proxy, 1, leaf).outcome, allowed(), "{jump}: {}", fingerprint(leaf));
        }
    }
}

#[test]
fn answer_with_only_expired_certificates_is_a_failure() {
    let mut proxy = Proxy::new(1, &json!({"interval": "1m", "jitter": "0%"}));
    proxy.run(MINUTE);
    proxy.wall += 90 * DAY;
    proxy.run(MINUTE * 2);
    assert_eq!(proxy.failures()[0], "no_usable_certificate");
    assert_eq!(verdict(&proxy, 0, &PKI.us.digicert).outcome, Outcome::Deny(Reason::Expired));
    proxy.wall -= 90 * DAY;
    assert_eq!(verdict(&proxy, 0, &PKI.us.digicert).outcome, allowed());
}
