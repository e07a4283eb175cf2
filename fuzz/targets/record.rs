//! What other modules write into shared data under a region's record, its lease and its early request allows no certificate
//! that the issuer did not sign for that region; with a secret it changes nothing at all. The three are separated by 0xFF.
#![no_main]

use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    decision::{Outcome, trust::Trust},
    http::HttpResponse,
    pins::{Client, Refresher},
    policy::Policy,
    shared::{MemoryStore, Seal, Secret, SharedStore},
    time::{Monotonic, Now},
};
use genesys_mtls_fuzz::{
    NOW,
    cast::{CAST, by_api, outcome},
};
use libfuzzer_sys::fuzz_target;
use std::{rc::Rc, time::Duration};

thread_local! {
    static POLICY: Rc<Policy> = Rc::new(by_api(true));
}

fuzz_target!(|data: &[u8]| {
    let [kind, bytes @ ..] = data else { return };
    let policy = POLICY.with(Rc::clone);
    let at = policy.regions.iter().position(|region| region.id == "us-east-1").unwrap();
    let region = &policy.regions[at];
    let has_secret = kind % 2 == 1;
    let client = if has_secret {
        Client::Own { id: "id".to_owned(), secret: Secret::new("s3cret".to_owned()) }
    } else {
        Client::Injected
    };
    let mut worker = Refresher::new(policy.clone(), region, client.clone(), 1).unwrap();
    let mut shared = MemoryStore::default();
    // The first tick tells under which keys it looks.
    let mut now = Now { mono: Monotonic::from_millis(1000 * 10), wall: NOW, random: 0.5 };
    assert!(worker.tick(&AwsLcVerifier, &mut shared, now).call.is_some());
    let Some(lease) = shared.key("/lease") else { return };
    let [record, early] = ["/record", "/early"].map(|ending| lease.replace("/lease", ending));
    // Without a secret every module can make the seal.
    let mut parts = bytes.split(|byte| *byte == 0xff);
    for key in [&record, &lease, &early] {
        let Some(part) = parts.next().filter(|part| !part.is_empty()) else { continue };
        shared.set(key, &Seal::new(None, key).unwrap().seal(part), None);
    }
    let mut fresh = Refresher::new(policy.clone(), region, client, 2).unwrap();
    for round in 0..3_u64 {
        for worker in [&mut worker, &mut fresh] {
            worker.sync(&mut shared, now);
            let said = worker.trust().clone();
            assert!(!has_secret || said.pins.is_empty(), "the seal was broken");
            let trust = Trust { version: round, regions: [(region.id.clone(), said.clone())].into() };
            let pinned = |leaf: &&genesys_mtls_fuzz::cast::Leaf| said.pins.contains_key(&leaf.fingerprint());
            for leaf in CAST.leaves.iter().filter(pinned) {
                if let Outcome::Allow { region: id, .. } = outcome(&leaf.der, &policy, &trust) {
                    assert!(
                        id == region.id && leaf.by_digicert && leaf.region == Some("us-east-1"),
                        "{}",
                        leaf.what
                    );
                }
            }
            let _ = (
                worker.pins(),
                worker.next_attempt(now.mono),
                worker.age(now.mono),
                worker.is_starting(),
                worker.failures(),
            );
            worker.request_early(CAST.leaf(*kind).fingerprint(), &mut shared, now);
            let _ = worker.expects_news(now.mono + Duration::from_secs(2), now.mono);
            if worker.tick(&AwsLcVerifier, &mut shared, now).call.is_some() {
                let response = HttpResponse { status: 503, body: Some(Vec::new()), retry_after: None };
                worker.on_response(Ok(response), &AwsLcVerifier, &mut shared, now);
            }
        }
        now.mono += Duration::from_hours(1);
    }
});
