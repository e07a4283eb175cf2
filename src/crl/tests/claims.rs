//! What somebody claims of a list who can write to shared data and, where there is no secret, seal what he wrote.

use crate::crl::tests::{
    PKI, now,
    workers::{BOTH, Shared, Worker, list},
};
use crate::{
    crl::RevocationStatus,
    shared::{Seal, SharedStore as _},
};
use proptest::{collection, prelude::*, sample};
use serde_json::{Value, json};
use std::sync::LazyLock;
use x509_parser::asn1_rs::{Any, FromDer as _, Sequence, ToDer as _};

/// The one it revokes, and another one.
static NEWEST: LazyLock<Vec<u8>> = LazyLock::new(|| list(5, &[&PKI.us.genesys, &PKI.us.genesys_expired]));

/// The record of a list that workers have to verify, and the pieces of the list, open to changes.
#[derive(Clone)]
struct Claim {
    sequence: u64,
    record: Value,
    /// The fields of the list but its entries; signatureAlgorithm and signatureValue.
    fields: Vec<Vec<u8>>,
    behind: Vec<u8>,
    length: Option<usize>,
    pieces: Vec<Vec<u8>>,
}

fn key(shared: &Shared, ending: &str) -> String {
    shared.0.keys().find(|key| key.ends_with(ending)).unwrap().clone()
}

fn sequence(content: &[u8]) -> Vec<u8> {
    Sequence::new(content.into()).to_der_vec().unwrap()
}

/// The elements that stand side by side, and their contents.
fn elements(mut der: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut all = Vec::new();
    while !der.is_empty() {
        let (rest, element) = Any::from_der(der).unwrap();
        all.push((&der[..der.len() - rest.len()], element.data));
        der = rest;
    }
    all
}

impl Claim {
    fn read(shared: &Shared) -> Self {
        let key_of_record = shared.record();
        let sealed = &shared.0[&key_of_record].0;
        let seal = Seal::new(None, &key_of_record).unwrap();
        let (sequence, json) = seal.open(sealed).unwrap().split_first_chunk::<8>().unwrap();
        let record: Value = serde_json::from_slice(json).unwrap();
        let outline = &record["outline"];
        let frame: Vec<u8> = serde_json::from_value(outline["frame"].clone()).unwrap();
        let parts = elements(elements(&frame)[0].1);
        Self {
            sequence: u64::from_le_bytes(*sequence),
            fields: elements(parts[0].1).iter().map(|(field, _)| field.to_vec()).collect(),
            behind: parts[1..].iter().flat_map(|(part, _)| part.to_vec()).collect(),
            length: serde_json::from_value(outline["length"].clone()).unwrap(),
            pieces: vec![shared.0[&key(shared, "/a/piece0")].0.clone()],
            record,
        }
    }

    /// Writes it down as the newest.
    fn write(mut self, shared: &mut Shared) {
        let frame = sequence(&[sequence(&self.fields.concat()), self.behind].concat());
        self.record["outline"] = json!({"frame": frame, "length": self.length});
        let first = key(shared, "/a/piece0");
        for (number, piece) in self.pieces.iter().enumerate() {
            shared.set(&first.replace("piece0", &format!("piece{number}")), piece, None);
        }
        let key = shared.record();
        let json = self.record.to_string();
        let bytes = [&(self.sequence + 1).to_le_bytes()[..], json.as_bytes()].concat();
        shared.set(&key, &Seal::new(None, &key).unwrap().seal(&bytes), None);
    }
}

/// Two workers know the newest list when somebody changes what is claimed of it and empties its table, and a third one starts. Nobody is
/// cleared, and the worker that leads puts it right.
fn assert_harmless(what: &str, change: impl FnOnce(&mut Claim)) {
    let revoked = &PKI.us.genesys;
    let mut shared = Shared::default();
    let (mut leader, mut follower) = (Worker::new(1, None), Worker::new(2, None));
    assert_eq!(leader.fetch(&mut shared, 100, &NEWEST), "ok");
    follower.learn(&mut shared, 101);
    let mut claim = Claim::read(&shared);
    change(&mut claim);
    claim.write(&mut shared);
    for (bucket, _) in shared.buckets() {
        shared.set(&bucket, b"", None);
    }

    let mut new = Worker::new(3, None);
    for worker in [&mut leader, &mut follower, &mut new] {
        worker.learn(&mut shared, 102);
    }
    for worker in [&leader, &follower] {
        assert_eq!(worker.standing(&shared, revoked, now()), Some(RevocationStatus::Unreadable), "{what}");
    }
    let standing = new.standing(&shared, revoked, now());
    assert!(matches!(standing, None | Some(RevocationStatus::Unreadable)), "{what}: {standing:?}");

    assert_eq!(new.fetch(&mut shared, 103, &NEWEST), "nothing", "{what}: not its turn");
    assert_eq!(leader.fetch(&mut shared, 104, &NEWEST), "ok", "{what}");
    for worker in [&mut leader, &mut follower, &mut new] {
        worker.learn(&mut shared, 105);
        assert_eq!(worker.standing(&shared, revoked, now()), Some(RevocationStatus::Revoked), "{what}");
    }
}

/// Fields of a list: version, algorithm, issuer, thisUpdate, nextUpdate, [entries], extensions.
const ISSUER: usize = 2;
const ENTRIES: usize = 5;

type Change<'c> = &'c dyn Fn(&mut Claim);

#[test]
fn entries_told_to_be_something_else_clear_nobody() {
    let hide = |claim: &mut Claim, length| {
        claim.fields.insert(ENTRIES, sequence(&claim.pieces.concat()));
        claim.length = length;
    };
    let tell = |claim: &mut Claim, entries: usize| claim.record["entries"] = entries.into();
    let entries = |claim: &Claim| -> Vec<Vec<u8>> {
        elements(&claim.pieces[0]).iter().map(|(entry, _)| entry.to_vec()).collect()
    };
    let cases: [(&str, Change<'_>); 16] = [
        ("nothing but the table", &|_| ()),
        ("a field like others", &|claim| hide(claim, None)),
        ("a field like others, of none", &|claim| {
            hide(claim, None);
            tell(claim, 0);
        }),
        ("a field like others, before an empty one", &|claim| hide(claim, Some(0))),
        ("a field like others, and read as well", &|claim| hide(claim, claim.length)),
        ("a field like others, the first read", &|claim| {
            hide(claim, Some(entries(claim)[0].len()));
            claim.pieces = vec![entries(claim).remove(0)];
        }),
        ("no field", &|claim| claim.length = None),
        ("no entries", &|claim| claim.length = Some(0)),
        ("longer than any list", &|claim| claim.length = Some(usize::MAX)),
        ("one entry less", &|claim| {
            claim.pieces = vec![entries(claim).remove(1)];
            claim.length = Some(claim.pieces[0].len());
        }),
        ("one entry twice", &|claim| claim.pieces = vec![entries(claim).remove(1); 2]),
        ("in another order", &|claim| claim.pieces = entries(claim).into_iter().rev().collect()),
        ("a piece each", &|claim| claim.pieces = entries(claim)),
        ("cut within an entry", &|claim| {
            let (first, second) = claim.pieces[0].split_at(7);
            claim.pieces = vec![first.to_vec(), second.to_vec()];
        }),
        ("the issuer's name for entries", &|claim| {
            let issuer = claim.fields.remove(ISSUER);
            claim.pieces = vec![elements(&issuer)[0].1.to_vec()];
            claim.length = Some(claim.pieces[0].len());
        }),
        ("so many that they take all memory", &|claim| tell(claim, usize::MAX)),
    ];
    for (what, change) in cases {
        assert_harmless(what, change);
    }
}

#[test]
fn no_record_keeps_workers_from_fetching_longer_than_the_configuration_would() {
    for (failures, fetched) in [(1, json!(100_000)), (1, Value::Null), (0, json!(u64::MAX)), (0, Value::Null)]
    {
        let mut shared = Shared::default();
        let mut leader = Worker::new(1, None);
        assert_eq!(leader.fetch(&mut shared, 100, &NEWEST), "ok");
        let mut claim = Claim::read(&shared);
        claim.record["next"] = u64::MAX.into();
        claim.record["failures"] = failures.into();
        claim.record["fetched"] = fetched;
        claim.write(&mut shared);
        let mut new = Worker::new(2, None);
        for worker in [&mut leader, &mut new] {
            worker.learn(&mut shared, 102);
            assert_eq!(worker.fetch(&mut shared, 3000, &NEWEST), "nothing", "{failures}");
        }
        // An hour and its jitter.
        assert_eq!(new.fetch(&mut shared, 102 + 3960, &NEWEST), "ok", "{failures}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn however_a_list_is_split_nobody_is_cleared(
        field in any::<sample::Index>(),
        from in prop_oneof![Just(0), 0_usize..100],
        bytes in prop_oneof![Just(usize::MAX), 0_usize..100],
        as_field in any::<bool>(),
        cut in any::<sample::Index>(),
        length in prop_oneof![Just(None), Just(Some(None)), (0_usize..120).prop_map(|n| Some(Some(n)))],
        entries in 0_usize..4,
    ) {
        assert_harmless("a split", |claim| {
            let whole = claim.pieces.concat();
            // Bytes of the entries, to a field of their own, or to the end of another one.
            let moved: Vec<u8> = whole.iter().skip(from).take(bytes).copied().collect();
            let at = field.index(claim.fields.len());
            if as_field {
                claim.fields.insert(at + 1, sequence(&moved));
            } else {
                claim.fields[at].extend(moved);
            }
            let (first, second) = whole.split_at(cut.index(whole.len() + 1));
            claim.pieces = vec![first.to_vec(), second.to_vec()];
            claim.length = length.unwrap_or(claim.length);
            claim.record["entries"] = entries.into();
        });
    }

    #[test]
    fn nothing_that_is_written_into_shared_data_undoes_a_revocation(
        writes in collection::vec((any::<sample::Index>(), any::<sample::Index>(), any::<u8>()), 1..40),
        secret in sample::select(&BOTH[..]),
    ) {
        let revoked = &PKI.us.genesys;
        let (mut shared, mut one) = (Shared::default(), Worker::new(1, secret));
        prop_assert_eq!(one.fetch(&mut shared, 100, &list(1, &[revoked])), "ok");
        // What says something: the record, the pieces, and the one bucket that holds a serial number.
        let keys = shared.0.iter().filter(|(_, (value, _))| !value.is_empty());
        let keys: Vec<String> = keys.map(|(key, _)| key.clone()).collect();
        for (key, at, byte) in writes {
            let key = key.get(&keys);
            let mut value = shared.0[key].0.clone();
            let at = at.index(value.len() + 1);
            value.resize(value.len().max(at + 1), 0);
            value[at] = byte;
            shared.set(key, &value, None);
        }
        let mut two = Worker::new(2, secret);
        for worker in [&mut one, &mut two] {
            worker.learn(&mut shared, 101);
            prop_assert_ne!(worker.standing(&shared, revoked, now()), Some(RevocationStatus::Good));
        }
    }
}
