//! What other modules write into shared data under a region's record, its lease and its early refresh lets nobody in whom
//! the issuer did not sign for that region; with a secret it changes nothing at all. The three are separated by 0xFF.
#![no_main]

use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    decision::{
        Outcome,
        trust::{ApiTrust, Trust},
    },
    http::HttpResponse,
    pins::Refresher,
    policy::Policy,
    shared::{Seal, Secret, Store},
    time::Now,
};
use genesys_mtls_fuzz::{
    NOW,
    cast::{CAST, by_api, outcome},
    shared::Shared,
};
use libfuzzer_sys::fuzz_target;
use std::{sync::LazyLock, time::Duration};

static POLICY: LazyLock<Policy> = LazyLock::new(|| by_api(true));

fuzz_target!(|data: &[u8]| {
    let [kind, bytes @ ..] = data else { return };
    let at = POLICY.regions.iter().position(|region| region.id == "us-east-1").unwrap();
    let region = &POLICY.regions[at];
    let (source, digicert) = (region.source.as_ref().unwrap(), region.digicert.as_ref().unwrap());
    let has_secret = kind % 2 == 1;
    let client = has_secret.then(|| ("id".to_owned(), Secret::new("s3cret".to_owned())));
    let mut worker = Refresher::new(&POLICY, source, client.clone(), 1).unwrap();
    let mut shared = Shared::default();
    // The first tick tells under which keys it looks.
    let mut now = Now { mono: Duration::from_secs(10), wall: NOW, roll: 0.5 };
    let (call, _) = worker.tick(&AwsLcVerifier, &mut shared, now);
    assert!(call.is_some());
    let Some(lease) = shared.key("/lease") else { return };
    let record = format!("{}/record", lease.split("/turns/").next().unwrap());
    let wanted = lease.replace("/lease", "/wanted");
    // Without a secret anybody can make the seal.
    let mut parts = bytes.split(|byte| *byte == 0xff);
    for key in [&record, &lease, &wanted] {
        let Some(part) = parts.next().filter(|part| !part.is_empty()) else { continue };
        let sealed = if *key == wanted { part.to_vec() } else { Seal::new(None, key).unwrap().seal(part) };
        shared.set(key, &sealed, None);
    }
    let mut fresh = Refresher::new(&POLICY, source, client, 2).unwrap();
    for round in 0..3_u64 {
        for worker in [&mut worker, &mut fresh] {
            worker.learn(&mut shared, now);
            let mut trust = Trust {
                version: round,
                regions: POLICY.regions.iter().map(|_| ApiTrust::default()).collect(),
            };
            trust.regions[at] = worker.trust(now.mono);
            assert!(!has_secret || trust.regions[at].pins.is_empty(), "the seal was broken");
            let pinned = |leaf: &&genesys_mtls_fuzz::cast::Leaf| {
                trust.regions[at].pins.contains_key(&leaf.fingerprint())
            };
            for leaf in CAST.leaves.iter().filter(pinned) {
                if let Outcome::Allow { region, .. } = outcome(&leaf.der, &POLICY, &trust) {
                    assert!(
                        region == at && leaf.by_digicert && leaf.region == Some("us-east-1"),
                        "{}",
                        leaf.what
                    );
                }
            }
            let _ = (worker.pins(now.mono), worker.age(now.mono), worker.is_starting(), worker.failures());
            worker.ask_early(&mut shared, now.mono);
            let _ = worker.expects_news(now.mono + Duration::from_secs(2), now.mono);
            if let (Some(_), _) = worker.tick(&AwsLcVerifier, &mut shared, now) {
                let response = HttpResponse { status: 503, body: Some(Vec::new()), retry_after: None };
                worker.answered(&Ok(response), digicert, &AwsLcVerifier, &mut shared, now);
            }
        }
        now.mono += Duration::from_hours(1);
    }
});
