//! A list counts only with its CA's signature; and what the CA signed is the same list to whoever verified it whole and
//! to whoever verified it in pieces.
#![no_main]

use genesys_mtls_filter::{
    crl::{RevocationList, RevocationStatus},
    http::HttpResponse,
    policy::Policy,
    time::{Clock, Now},
    x509::{
        ca::CaCertificate,
        certificate::ClientCertificate,
        crl::{CertificateList, significant},
    },
};
use genesys_mtls_fuzz::{
    NOW,
    cast::{CAST, policy},
    der,
    shared::Shared,
};
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use std::{sync::LazyLock, time::Duration};

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    policy(&json!({
        "regions": {"us-east-1": {"genesys": {"ca_certificates": CAST.us_ca.pem}}},
        "revocation": {"mode": "hard", "lists": [
            {"region": "us-east-1", "authority": "genesys", "url": "http://crl.example/us.crl", "cluster": "crl"},
        ]},
    }))
});
static CA: LazyLock<[CaCertificate; 1]> = LazyLock::new(|| [CAST.us_ca.authority()]);
static LEAVES: LazyLock<Vec<ClientCertificate>> = LazyLock::new(|| {
    CAST.leaves.iter().filter_map(|leaf| ClientCertificate::parse(&leaf.der).ok()).collect()
});

fuzz_target!(|data: &[u8]| {
    let [kind, bytes @ ..] = data else { return };
    if kind % 2 == 0 {
        if CertificateList::verify_signature(bytes, &CA[..]).is_ok() {
            assert!(CAST.lists.iter().any(|known| der::signed(known) == der::signed(bytes)), "forged");
        }
        return;
    }
    let list = der::sign(CAST.us_ca.key(), bytes);
    let now = Now { mono: Duration::from_secs(100), wall: NOW, roll: 0.5 };
    let mut shared = Shared::default();
    let worker =
        |number| RevocationList::new(&POLICY, &POLICY.revocation.lists[0], &CA[..], None, number).unwrap();
    let (mut first, mut second) = (worker(1), worker(2));
    assert!(first.tick(&mut shared, now).0.is_some());
    let response = HttpResponse { status: 200, body: Some(list.clone()), retry_after: None };
    first.answered(Ok(response), &mut shared, now);
    second.learn(&mut shared, now);
    let verified = CertificateList::verify(&list, &CA[..], NOW, 60);
    let serials: Option<Vec<&[u8]>> =
        verified.as_ref().ok().and_then(|list| list.serials().collect::<Result<_, _>>().ok());
    for leaf in LEAVES.iter() {
        let expected = verified.as_ref().ok().zip(serials.as_ref()).and_then(|(list, serials)| {
            let covered = list.terms.cover(&CA[0], leaf);
            let standing = if serials.contains(&significant(&leaf.serial)) {
                RevocationStatus::Revoked
            } else {
                RevocationStatus::Good
            };
            covered.then_some(standing)
        });
        for (worker, who) in [(&first, "who has the list"), (&second, "who has its pieces")] {
            let standing = worker.standing(&CA[0], leaf, &shared, &mut Clock::at(NOW));
            assert_eq!(standing, expected, "{who}, of {}", leaf.summary().subject);
        }
    }
});
