use super::{CertificateList, CrlError, ListEvent, RevocationList, Standing, crl::significant};
use crate::{
    authority::Authority,
    certificate::ClientCertificate,
    config::{ListSource, Policy, load},
    decision::AuthorityKind,
    refresh::{HttpResponse, Now, Store},
    window::Clock,
};
use std::{collections::HashMap, sync::LazyLock, time::Duration};
use testbed::pki::{Ca, KeyType, KeyUsagePurpose, Leaf, Pki, serial_of};
use time::Duration as Span;

static PKI: LazyLock<Pki> = LazyLock::new(Pki::standard);
const URL: &str = "http://crl.example/us.crl";

fn now() -> i64 {
    i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

fn authority(ca: &Ca) -> Authority {
    Authority::parse(&ca.der).unwrap()
}

fn client(leaf: &Leaf) -> ClientCertificate {
    ClientCertificate::parse(&leaf.der).unwrap()
}

fn verify(der: &[u8], authorities: &[Authority]) -> Result<usize, CrlError> {
    let list = CertificateList::verify(der, authorities, now(), 60)?;
    list.serials().try_fold(0, |count, serial| serial.map(|_| count + 1))
}

#[test]
fn a_list_is_believed_only_with_its_issuers_signature_and_in_its_time() {
    let ca = &PKI.us.root;
    let us = [authority(ca)];
    let eu = [authority(&PKI.eu.root)];
    let both = [authority(&PKI.impostor), authority(ca)];
    let fine = ca.crl().revoke(&[1, 2]).revoke(&[3]).der();
    let mut tampered = fine.clone();
    let at = tampered.len() / 2;
    tampered[at] ^= 1;
    let pem = ca.crl().pem();
    let cases: Vec<(&str, Vec<u8>, &[Authority], Result<usize, &str>)> = vec![
        ("signed", fine.clone(), &us, Ok(2)),
        ("empty", ca.crl().der(), &us, Ok(0)),
        ("signed by the second of one name", fine.clone(), &both, Ok(2)),
        ("of another CA", fine.clone(), &eu, Err("crl_other_issuer")),
        ("of a CA with the same name", PKI.impostor.crl().der(), &us, Err("crl_bad_signature")),
        ("PEM", pem.into_bytes(), &us, Err("crl_malformed")),
        ("nothing", Vec::new(), &us, Err("crl_malformed")),
        ("a certificate", ca.der.clone(), &us, Err("crl_malformed")),
        ("cut off", fine[..fine.len() - 1].to_vec(), &us, Err("crl_malformed")),
        ("with bytes behind it", [&fine[..], &[0]].concat(), &us, Err("crl_malformed")),
        (
            "not begun",
            ca.crl().valid_from_now(Span::hours(1), Span::hours(2)).der(),
            &us,
            Err("crl_not_yet_valid"),
        ),
        ("over", ca.crl().valid_from_now(Span::hours(-2), Span::hours(-1)).der(), &us, Err("crl_expired")),
    ];
    for (what, der, authorities, expected) in cases {
        assert_eq!(verify(&der, authorities).map_err(|error| error.code()), expected, "{what}");
    }
    assert!(verify(&tampered, &us).is_err(), "one flipped bit");
}

#[test]
fn the_issuer_must_be_allowed_to_sign_lists() {
    let allowed = Ca::builder("crl-signer").key(KeyType::P256).self_signed();
    let forbidden = Ca::builder("crl-signer")
        .key(KeyType::P256)
        .key_usages(&[KeyUsagePurpose::KeyCertSign])
        .self_signed();
    let list = allowed.crl().der();
    assert_eq!(verify(&list, &[authority(&allowed)]), Ok(0));
    assert_eq!(verify(&list, &[authority(&forbidden)]), Err(CrlError::MayNotSign));
}

/// webpki's own look-up, on the whole list, is the oracle.
#[test]
fn ten_thousand_serial_numbers_are_found_as_webpki_finds_them() {
    let der = PKI.us.root.crl().padding(5_000).der();
    let authorities = [authority(&PKI.us.root)];
    let list = CertificateList::verify(&der, &authorities, now(), 60).unwrap();
    let table = super::Table::collect(list.serials()).unwrap();
    let oracle: webpki::CertRevocationList<'_> =
        webpki::OwnedCertRevocationList::from_der(&der).unwrap().into();
    let mut revoked = 0;
    for n in 0..10_000_u32 {
        // Every other number is one of the list's, in another order.
        let mut serial = vec![0x7f; if n % 2 == 0 { 12 } else { 11 }];
        serial.extend((n.wrapping_mul(2_654_435_761) % 5_000).to_be_bytes());
        let expected = oracle.find_serial(&serial).unwrap().is_some();
        revoked += u32::from(expected);
        let bucket = table.bucket(super::table::bucket_for(&serial));
        assert_eq!(super::table::contains(&bucket, &serial), expected, "{serial:?}");
    }
    assert_eq!(revoked, 5_000);
}

/// Shared data in memory; a key can be spoilt.
#[derive(Default)]
struct Shared(HashMap<String, (Vec<u8>, u32)>);

impl Store for Shared {
    fn get(&self, key: &str) -> (Option<Vec<u8>>, Option<u32>) {
        self.0.get(key).map_or((None, None), |(value, cas)| (Some(value.clone()), Some(*cas)))
    }

    fn set(&mut self, key: &str, value: &[u8], cas: Option<u32>) -> bool {
        // As the host does: a write creates a key that is missing, whatever version it names.
        let current = self.0.get(key).map(|(_, cas)| *cas);
        if cas.zip(current).is_some_and(|(named, current)| named != current) {
            return false;
        }
        self.0.insert(key.to_owned(), (value.to_vec(), current.unwrap_or(0) + 1));
        true
    }
}

fn policy() -> Policy {
    let json = serde_json::json!({
        "regions": {"us-east-1": {"genesys": {"ca_certificates": PKI.us.root.pem}}},
        "revocation": {"mode": "hard", "lists": [
            {"region": "us-east-1", "authority": "genesys", "url": URL, "cluster": "crl"},
        ]},
    });
    load(json.to_string().as_bytes()).unwrap()
}

/// One worker following the list.
struct Worker {
    list: RevocationList,
    authorities: Vec<Authority>,
}

impl Worker {
    fn new(number: u64) -> Self {
        let policy = policy();
        let source: &ListSource = &policy.revocation.lists[0];
        assert_eq!(source.authority, AuthorityKind::Genesys);
        let list = RevocationList::new(&policy, source, None, number).unwrap();
        Self { list, authorities: vec![authority(&PKI.us.root)] }
    }

    fn fetch(&mut self, shared: &mut Shared, at: u64, der: &[u8]) -> Option<ListEvent> {
        let at = moment(at);
        let call = self.list.tick(shared, at).0?;
        assert_eq!(call.headers[1].1, "/us.crl");
        let response = HttpResponse { status: 200, body: Some(der.to_vec()), retry_after: None };
        self.list.answered(Ok(response), &self.authorities, shared, at)
    }

    fn standing(&self, shared: &Shared, leaf: &Leaf, at: i64) -> Option<Standing> {
        self.list.standing(&self.authorities[0], &client(leaf), shared, &mut Clock::at(at))
    }
}

fn moment(seconds: u64) -> Now {
    Now { mono: Duration::from_secs(seconds), wall: now(), roll: 0.5 }
}

fn code(event: Option<ListEvent>) -> &'static str {
    match event {
        Some(ListEvent::Fetched { .. }) => "ok",
        Some(ListEvent::Failed { failure, .. }) => failure.code,
        None => "nothing",
    }
}

#[test]
fn what_one_worker_fetched_all_workers_look_up() {
    let (mut shared, mut one, mut two) = (Shared::default(), Worker::new(1), Worker::new(2));
    let (revoked, good) = (&PKI.us.genesys, &PKI.us.genesys_expired);
    assert_eq!(one.standing(&shared, revoked, now()), None);
    let list = PKI.us.root.crl().revoke(&serial_of(&revoked.der)).padding(1000).der();
    assert_eq!(code(one.fetch(&mut shared, 100, &list)), "ok");
    two.list.learn(&mut shared, Duration::from_secs(101));
    for worker in [&one, &two] {
        assert_eq!(worker.standing(&shared, revoked, now()), Some(Standing::Revoked));
        assert_eq!(worker.standing(&shared, good, now()), Some(Standing::Good));
        // Once nextUpdate has passed nobody is cleared any more, and whoever was revoked stays it.
        assert_eq!(worker.standing(&shared, good, now() + 2 * 86_400), Some(Standing::Unknown));
        assert_eq!(worker.standing(&shared, revoked, now() + 2 * 86_400), Some(Standing::Revoked));
    }
    assert_eq!(code(two.fetch(&mut shared, 102, &list)), "nothing", "not its turn");
}

#[test]
fn an_older_list_does_not_undo_a_revocation() {
    let (mut shared, mut worker) = (Shared::default(), Worker::new(1));
    let revoked = &PKI.us.genesys;
    let list = |number, revoke: bool| {
        let crl = PKI.us.root.crl().number(number);
        if revoke { crl.revoke(&serial_of(&revoked.der)).der() } else { crl.der() }
    };
    let mut at = 100;
    let mut fetch = |worker: &mut Worker, shared: &mut Shared, der: &[u8]| {
        at += 4000;
        code(worker.fetch(shared, at, der))
    };
    assert_eq!(fetch(&mut worker, &mut shared, &list(300, true)), "ok");
    assert_eq!(fetch(&mut worker, &mut shared, &list(299, false)), "crl_rollback");
    assert_eq!(fetch(&mut worker, &mut shared, &list(2, false)), "crl_rollback");
    assert_eq!(worker.standing(&shared, revoked, now()), Some(Standing::Revoked));
    assert_eq!(fetch(&mut worker, &mut shared, &list(301, false)), "ok");
    assert_eq!(worker.standing(&shared, revoked, now()), Some(Standing::Good));
}

#[test]
fn a_partition_is_about_the_certificates_that_name_it() {
    let (mut shared, mut worker) = (Shared::default(), Worker::new(1));
    let leaf = |url: &str| {
        let leaf = PKI.us.root.leaf().key_name("crl").name(PKI.us.region.certificate_name);
        if url.is_empty() { leaf.issue() } else { leaf.crl(url).issue() }
    };
    let list = PKI.us.root.crl().distribution_point(URL, None).der();
    assert_eq!(code(worker.fetch(&mut shared, 100, &list)), "ok");
    assert_eq!(worker.standing(&shared, &leaf(URL), now()), Some(Standing::Good));
    assert_eq!(worker.standing(&shared, &leaf("http://crl.example/other.crl"), now()), None);
    assert_eq!(worker.standing(&shared, &leaf(""), now()), None);
}

#[test]
fn damaged_tables_clear_nobody_and_are_fetched_again() {
    let (mut shared, mut worker) = (Shared::default(), Worker::new(1));
    let list = PKI.us.root.crl().der();
    assert_eq!(code(worker.fetch(&mut shared, 100, &list)), "ok");
    assert_eq!(worker.standing(&shared, &PKI.us.genesys, now()), Some(Standing::Good));
    let older: Vec<(String, Vec<u8>)> = shared
        .0
        .iter()
        .filter(|(key, _)| !key.ends_with("lease") && !key.ends_with("record"))
        .map(|(key, (value, _))| (key.clone(), value.clone()))
        .collect();
    assert_eq!(older.len(), super::table::BUCKETS);
    for (key, _) in &older {
        shared.set(key, b"garbage", None);
    }
    assert_eq!(worker.standing(&shared, &PKI.us.genesys, now()), Some(Standing::Unknown));
    assert_eq!(code(worker.fetch(&mut shared, 110, &list)), "nothing", "not more than once in a while");
    assert_eq!(worker.standing(&shared, &PKI.us.genesys, now()), Some(Standing::Unknown));
    assert_eq!(code(worker.fetch(&mut shared, 140, &list)), "ok");
    assert_eq!(worker.standing(&shared, &PKI.us.genesys, now()), Some(Standing::Good));
    // An older version put back is not believed either.
    for (key, value) in &older {
        shared.set(key, value, None);
    }
    assert_eq!(worker.standing(&shared, &PKI.us.genesys, now()), Some(Standing::Unknown));
}

#[test]
fn numbers_are_compared_without_leading_zeros() {
    assert_eq!(significant(&[0, 0, 1, 0]), &[1, 0]);
    assert_eq!(significant(&[0]), &[] as &[u8]);
}
