//! A CRL counts only with its CA's signature, and says the same to the worker that fetched it as to one that read it in
//! shared data. What it says is what webpki's own parser reads.
#![no_main]

use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    crl::CrlFetcher,
    http::HttpResponse,
    policy::Policy,
    shared::MemoryStore,
    time::{Clock, Monotonic, Now},
    x509::{
        ca::CaCertificate,
        certificate::ClientCertificate,
        crl::{Crl, RevocationStatus, significant},
    },
};
use genesys_mtls_fuzz::{
    NOW,
    cast::{CAST, policy},
    der,
};
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use std::{rc::Rc, sync::LazyLock};

thread_local! {
    static POLICY: Rc<Policy> = Rc::new(policy(&json!({
        "regions": {"us-east-1": {"genesys": {"ca_certificates": CAST.us_ca.pem}}},
        "revocation": {"mode": "hard", "lists": [
            {"region": "us-east-1", "authority": "genesys", "url": "http://crl.example/us.crl", "cluster": "crl"},
        ]},
    })));
}
static CA: LazyLock<[CaCertificate; 1]> = LazyLock::new(|| [CAST.us_ca.authority()]);
static LEAVES: LazyLock<Vec<ClientCertificate>> = LazyLock::new(|| {
    CAST.leaves.iter().filter_map(|leaf| ClientCertificate::parse(&leaf.der).ok()).collect()
});

fuzz_target!(|data: &[u8]| {
    let [kind, bytes @ ..] = data else { return };
    if kind % 2 == 0 {
        if let Ok(crl) = Crl::verify(bytes, &CA[..], &AwsLcVerifier) {
            assert!(CAST.lists.iter().any(|known| der::signed(known) == der::signed(crl.der())), "forged");
        }
        return;
    }
    let list = der::sign(|message| CAST.us_ca.key().signature(message), bytes);
    let now = Now { mono: Monotonic::from_millis(100_000), wall: NOW, random: 0.5 };
    let mut store = MemoryStore::default();
    let policy = POLICY.with(Rc::clone);
    let worker = |number| CrlFetcher::new(&policy, policy.revocation.crls[0].clone(), None, number).unwrap();
    let (mut first, mut second) = (worker(1), worker(2));
    assert!(first.tick(&AwsLcVerifier, &mut store, now).0.is_some());
    let response = HttpResponse { status: 200, body: Some(list.clone()), retry_after: None };
    first.on_response(Ok(response), &AwsLcVerifier, &mut store, now);
    second.sync(&AwsLcVerifier, &mut store, now);
    let verified = Crl::verify(&list, &CA[..], &AwsLcVerifier).ok();
    let current = verified.filter(|crl| crl.metadata.check_time(NOW, 60).is_ok());
    let whole = current.and_then(|crl| {
        let mut serials = Vec::new();
        crl.for_each_serial(|serial| serials.push(serial.to_vec())).ok()?;
        Some((crl.metadata, serials))
    });
    for leaf in LEAVES.iter() {
        let expected =
            whole.as_ref().filter(|(metadata, _)| metadata.covers(&CA[0], leaf)).map(|(_, serials)| {
                let is_listed = serials.iter().any(|serial| serial == significant(&leaf.serial));
                if is_listed { RevocationStatus::Revoked } else { RevocationStatus::Good }
            });
        for (worker, who) in [(&first, "the worker that fetched it"), (&second, "another worker")] {
            let status = worker.status(&CA[0], leaf, &mut Clock::at(NOW));
            assert_eq!(status, expected, "{who}, of {}", leaf.summary().subject);
        }
    }
});
