//! What other modules write into shared data under a CRL clears no certificate that the CA's newest CRL revokes, and revokes
//! none that it does not: neither for a worker that knows the CRL, nor for one that starts. And it is fetched again.
#![no_main]

use arbitrary::Arbitrary;
use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    crl::{CrlFetcher, FetchRecord},
    http::{FailureCode, HttpResponse},
    policy::Policy,
    shared::{MemoryStore, Seal, SealedRecord, Secret, SharedStore as _},
    time::{Clock, Monotonic, Now},
    x509::{ca::CaCertificate, certificate::ClientCertificate, crl::RevocationStatus},
};
use genesys_mtls_fuzz::{
    NOW,
    cast::{CAST, US_BY_GENESYS, policy},
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
static CA: LazyLock<CaCertificate> = LazyLock::new(|| CAST.us_ca.authority());
/// One that the newest CRL names, and one that no CRL does.
static REVOKED: LazyLock<ClientCertificate> =
    LazyLock::new(|| ClientCertificate::parse(&CAST.leaves[US_BY_GENESYS].der).unwrap());
static GOOD: LazyLock<ClientCertificate> = LazyLock::new(|| {
    let leaf = CAST.leaves.iter().find(|leaf| leaf.what == "us and eu by the Genesys CA").unwrap();
    ClientCertificate::parse(&leaf.der).unwrap()
});

/// The newest CRL, the one before, and another CA's.
static CRLS: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    [CAST.us_ca.list(2, &[&CAST.leaves[US_BY_GENESYS]]), CAST.us_ca.list(1, &[]), CAST.eu_ca.list(9, &[])]
});

/// Shared data after a worker fetched the newest CRL, without a secret and with one.
static FETCHED: LazyLock<[MemoryStore; 2]> = LazyLock::new(|| {
    [false, true].map(|secret| {
        let (mut store, mut worker) = (MemoryStore::default(), worker(1, secret));
        assert!(worker.tick(&AwsLcVerifier, &mut store, at(10)).0.is_some());
        let response = HttpResponse { status: 200, body: Some(CRLS[0].clone()), retry_after: None };
        worker.on_response(Ok(response), &AwsLcVerifier, &mut store, at(10));
        store
    })
});

fn worker(number: u64, secret: bool) -> CrlFetcher {
    let secret = secret.then(|| Secret::new("s3cret".to_owned()));
    let policy = POLICY.with(Rc::clone);
    CrlFetcher::new(&policy, policy.revocation.crls[0].clone(), secret.as_ref(), number).unwrap()
}

fn at(seconds: u64) -> Now {
    Now { mono: Monotonic::from_millis(1000 * seconds), wall: NOW, random: 0.5 }
}

#[derive(Arbitrary, Debug)]
struct Attack {
    secret: bool,
    /// Whether the worker has read the newest CRL before.
    informed: bool,
    edits: Vec<Edit>,
}

#[derive(Arbitrary, Debug)]
enum Edit {
    /// A record of these bytes, sealed as a module without the secret can.
    Record(Vec<u8>),
    /// Facts that no worker wrote.
    Facts {
        last_attempt: u64,
        failures: u32,
        failure: Option<u8>,
        random: f64,
        fetched: u64,
        number: Vec<u8>,
        this_update: i64,
    },
    Der(Vec<u8>),
    DerBit(u16),
    Lease(Vec<u8>),
    /// The version moves, and nothing else.
    Version(Vec<u8>),
    /// Another CRL in the place of the newest.
    Other {
        before: bool,
    },
}

fuzz_target!(|attack: Attack| {
    let mut store = FETCHED[usize::from(attack.secret)].clone();
    let mut victim = worker(2, attack.secret);
    if attack.informed {
        victim.sync(&AwsLcVerifier, &mut store, at(11));
        assert_eq!(status(&victim, &REVOKED), Some(RevocationStatus::Revoked));
    }
    for edit in attack.edits.iter().take(8) {
        // A worker that starts may take what is there, if the record is hidden from it: see docs/src/security/shared-data.md.
        edit.apply(attack.informed, &mut store);
    }
    for seconds in [12, 50] {
        victim.sync(&AwsLcVerifier, &mut store, at(seconds));
        let _ = victim.tick(&AwsLcVerifier, &mut store, at(seconds));
        assert!(status(&victim, &REVOKED) != Some(RevocationStatus::Good), "a revocation was undone");
        assert!(status(&victim, &GOOD) != Some(RevocationStatus::Revoked), "a good certificate was revoked");
        assert!(!attack.informed || status(&victim, &REVOKED) == Some(RevocationStatus::Revoked));
        let _ = victim.gauges(at(seconds));
    }
    // Days later: one tick may go to a call that got lost.
    let mut later = (1..=4).map(|day| at(day * 86_400));
    assert!(
        later.any(|now| victim.tick(&AwsLcVerifier, &mut store, now).0.is_some()),
        "it is never fetched again"
    );
});

fn status(worker: &CrlFetcher, certificate: &ClientCertificate) -> Option<RevocationStatus> {
    worker.status(&CA, certificate, &mut Clock::at(NOW))
}

impl Edit {
    fn apply(&self, may_roll_back: bool, store: &mut MemoryStore) {
        let key = |ending: &str| store.key(ending).unwrap();
        let (record, lease, der) = (key("/record"), key("/lease"), key(&format!("/{}", CA.ca)));
        let mut put = |bytes: &[u8]| {
            store.set(&der, bytes, None);
            store.set(&format!("{der}/version"), b"-", None);
        };
        match self {
            Self::Record(bytes) => {
                let sealed = Seal::new(None, &record).unwrap().seal(bytes);
                store.set(&record, &sealed, None);
            }
            Self::Facts { last_attempt, failures, failure, random, fetched, number, this_update } => {
                let mut forged = SealedRecord::<FetchRecord>::new(record, None).unwrap();
                forged.sync(store, at(11).mono);
                let facts = &mut forged.value;
                (facts.last_attempt, facts.failures, facts.random) = (*last_attempt, *failures, *random);
                facts.failure =
                    failure.map(|code| FailureCode::ALL[usize::from(code) % FailureCode::ALL.len()]);
                for (metadata, at) in facts.accepted.values_mut() {
                    (*at, metadata.this_update) = (*fetched, *this_update);
                    metadata.number.clone_from(number);
                }
                forged.write(store, at(11).mono);
            }
            Self::Der(bytes) => put(bytes),
            Self::DerBit(bit) => {
                let mut bytes = CRLS[0].clone();
                let at = usize::from(bit / 8) % bytes.len();
                bytes[at] ^= 1 << (bit % 8);
                put(&bytes);
            }
            Self::Lease(bytes) => {
                store.set(&lease, bytes, None);
            }
            Self::Version(bytes) => {
                store.set(&format!("{der}/version"), bytes, None);
            }
            Self::Other { before } => put(&CRLS[if *before && may_roll_back { 1 } else { 2 }]),
        }
    }
}
