//! What other modules write into shared data under a revocation list clears nobody whom the CA's newest list revokes, and
//! revokes nobody whom it does not: neither for a worker that knows the list, nor for one that starts. And it is fetched again.
#![no_main]

use arbitrary::Arbitrary;
use genesys_mtls_filter::{
    crl::{RevocationList, RevocationStatus},
    http::HttpResponse,
    policy::Policy,
    shared::{Seal, Secret, Store},
    time::{Clock, Now},
    x509::{ca::CaCertificate, certificate::ClientCertificate},
};
use genesys_mtls_fuzz::{
    NOW,
    cast::{CAST, US_BY_GENESYS, policy},
    der,
    shared::Shared,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
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
/// One that the newest list names, and one that no list does.
static REVOKED: LazyLock<ClientCertificate> =
    LazyLock::new(|| ClientCertificate::parse(&CAST.leaves[US_BY_GENESYS].der).unwrap());
static GOOD: LazyLock<ClientCertificate> = LazyLock::new(|| {
    let leaf = CAST.leaves.iter().find(|leaf| leaf.what == "us and eu by the Genesys CA").unwrap();
    ClientCertificate::parse(&leaf.der).unwrap()
});

/// Shared data after the first worker fetched a list: the newest one, the one before, and another CA's; with a secret,
/// and without.
static FETCHED: LazyLock<[[Shared; 3]; 2]> = LazyLock::new(|| {
    let newest = CAST.us_ca.list(2, &[&CAST.leaves[US_BY_GENESYS]]);
    let lists = [
        (newest, &*CA),
        (CAST.us_ca.list(1, &[]), &*CA),
        (CAST.eu_ca.list(9, &[]), &[CAST.eu_ca.authority()]),
    ];
    [false, true].map(|secret| {
        // Where there is a secret no one else can number a record, so others are from before the newest.
        let mut moments = if secret { [10, 9, 8] } else { [10; 3] }.into_iter().map(at);
        lists.each_ref().map(|(list, authorities)| {
            let (mut worker, mut shared, now) =
                (worker(1, secret, &authorities[..]), Shared::default(), moments.next().unwrap());
            assert!(worker.tick(&mut shared, now).0.is_some());
            let response = HttpResponse { status: 200, body: Some(list.clone()), retry_after: None };
            worker.answered(Ok(response), &mut shared, now);
            in_place(&authorities[0], &shared)
        })
    })
});

fn worker(number: u64, secret: bool, authorities: &[CaCertificate]) -> RevocationList {
    let secret = secret.then(|| Secret::new("s3cret".to_owned()));
    RevocationList::new(&POLICY, &POLICY.revocation.lists[0], authorities, secret.as_ref(), number).unwrap()
}

/// The same as if it were of the CA that is believed, sealed as whoever has no secret can.
fn in_place(authority: &CaCertificate, shared: &Shared) -> Shared {
    let mut ours = Shared::default();
    worker(1, false, &CA[..]).tick(&mut ours, at(1));
    let turns = |shared: &Shared| shared.key("/lease").unwrap().split('/').nth(5).unwrap().to_owned();
    let mut moved = Shared::default();
    for (key, (value, _)) in &shared.values {
        let there = key.replace(&authority.ca.to_string(), &CA[0].ca.to_string());
        let there = there.replace(&turns(shared), &turns(&ours));
        let [here, seal] = [key, &there].map(|key| Seal::new(None, key).unwrap());
        let value = here.open(value).map_or(value.clone(), |record| seal.seal(record));
        moved.set(&there, &value, None);
    }
    moved
}

fn at(seconds: u64) -> Now {
    Now { mono: Duration::from_secs(seconds), wall: NOW, roll: 0.5 }
}

#[derive(Arbitrary, Debug)]
struct Attack {
    secret: bool,
    /// Whether the worker has read the newest list before.
    informed: bool,
    edits: Vec<Edit>,
}

#[derive(Arbitrary, Debug)]
enum Edit {
    /// A record of these bytes, sealed as whoever has no secret can.
    Record(Record, Vec<u8>),
    Sequence(Record, u64),
    /// A member of the record, and what it becomes.
    Member(u8, Change),
    /// Bytes of the entries, told to be something else.
    Split(Split),
    /// A table without entries.
    Empty,
    Piece(u8, Vec<u8>),
    PieceBit(u8, u16),
    Bucket(u8, Vec<u8>),
    BucketBit(u8, u16),
    Lease(Vec<u8>),
    Damaged(Vec<u8>),
    /// Everything of the list before, if the worker is informed, or of another CA's.
    Other {
        before: bool,
    },
}

/// Of the CA's list, or of whose turn it is to fetch.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Record {
    List,
    Turns,
}

#[derive(Arbitrary, Debug)]
struct Split {
    /// Up to so many bytes from here on, or from the first on and all of them.
    part: Option<(u8, u8)>,
    /// Behind this field of the list, as a field of their own or as they are.
    field: u8,
    as_field: bool,
    /// How long the entries are said to be, if anything else than before.
    length: Option<Option<u8>>,
    /// Where what is left of them is cut in two.
    cut: Option<u8>,
}

#[derive(Arbitrary, Debug)]
enum Change {
    Bit(u16),
    Number(u32),
    Null,
    Truth(bool),
    Bytes(Vec<u8>),
    Text(String),
}

const MEMBERS: [(Record, &str); 15] = [
    (Record::List, "/terms/signer"),
    (Record::List, "/terms/this_update"),
    (Record::List, "/terms/next_update"),
    (Record::List, "/terms/number"),
    (Record::List, "/terms/distribution_points"),
    (Record::List, "/signed"),
    (Record::List, "/entries"),
    (Record::List, "/buckets/97"),
    (Record::List, "/second"),
    (Record::List, "/outline/frame"),
    (Record::List, "/outline/length"),
    (Record::List, "/outline"),
    (Record::Turns, "/failures"),
    (Record::List, "/fetched"),
    (Record::Turns, "/next"),
];

fuzz_target!(|attack: Attack| {
    let honest = &FETCHED[usize::from(attack.secret)];
    let mut shared = honest[0].clone();
    let mut victim = worker(2, attack.secret, &CA[..]);
    if attack.informed {
        victim.learn(&mut shared, at(11));
        assert_eq!(standing(&victim, &REVOKED, &shared), Some(RevocationStatus::Revoked));
    }
    let key = shared.key("/lease").unwrap().split("/turns/").next().unwrap().to_owned();
    for edit in attack.edits.iter().take(8) {
        // With a secret nobody else can seal a record, and a worker that starts can be shown an older one: see SECURITY.md.
        edit.apply(&key, honest, attack.informed && !attack.secret, &mut shared);
    }
    for seconds in [12, 50] {
        victim.learn(&mut shared, at(seconds));
        let _ = victim.tick(&mut shared, at(seconds));
        let (revoked, good) = (standing(&victim, &REVOKED, &shared), standing(&victim, &GOOD, &shared));
        assert!(revoked != Some(RevocationStatus::Good), "a revocation was undone");
        assert!(good != Some(RevocationStatus::Revoked), "somebody was revoked");
        assert!(
            !attack.informed
                || matches!(revoked, Some(RevocationStatus::Revoked | RevocationStatus::Unreadable)),
            "{revoked:?}"
        );
        let _ = victim.gauges(at(seconds));
    }
    // Days later: one tick may go to a call that got lost, or to a record that says it is from then.
    let mut later = (1..=4).map(|day| at(day * 86_400));
    assert!(later.any(|now| victim.tick(&mut shared, now).0.is_some()), "nobody fetches any more");
});

fn standing(
    worker: &RevocationList,
    certificate: &ClientCertificate,
    shared: &Shared,
) -> Option<RevocationStatus> {
    worker.standing(&CA[0], certificate, shared, &mut Clock::at(NOW))
}

impl Edit {
    fn apply(&self, key: &str, honest: &[Shared; 3], may_roll_back: bool, shared: &mut Shared) {
        let list = format!("{key}/{}", CA[0].ca);
        let record = match self {
            Self::Record(record, _) | Self::Sequence(record, _) => *record,
            Self::Member(member, _) => MEMBERS[usize::from(*member) % MEMBERS.len()].0,
            _ => Record::List,
        };
        let record_key = match record {
            Record::List => format!("{list}/record"),
            Record::Turns => shared.key("/lease").unwrap().replace("/lease", "/record"),
        };
        let seal = Seal::new(None, &record_key).unwrap();
        match self {
            Self::Record(_, bytes) => {
                shared.set(&record_key, &seal.seal(bytes), None);
            }
            Self::Sequence(..) | Self::Member(..) | Self::Split(_) => {
                let Some(sealed) = shared.value(&record_key) else { return };
                let Some((sequence, json)) = seal.open(sealed).and_then(|open| open.split_first_chunk::<8>())
                else {
                    return;
                };
                let Ok(mut state) = serde_json::from_slice::<Value>(json) else { return };
                let mut sequence = u64::from_le_bytes(*sequence);
                match self {
                    Self::Member(member, change) => {
                        let pointer = MEMBERS[usize::from(*member) % MEMBERS.len()].1;
                        if let Some(value) = state.pointer_mut(pointer) {
                            change.apply(value);
                        }
                        sequence = sequence.saturating_add(1);
                    }
                    Self::Split(split) => {
                        let outline = state.pointer_mut("/outline").and_then(Value::as_object_mut);
                        if let Some(outline) = outline {
                            split.apply(outline, &format!("{list}/a/piece"), shared);
                        }
                        sequence = sequence.saturating_add(1);
                    }
                    Self::Sequence(_, number) => sequence = *number,
                    _ => {}
                }
                let bytes = [&sequence.to_le_bytes()[..], state.to_string().as_bytes()].concat();
                shared.set(&record_key, &seal.seal(&bytes), None);
            }
            Self::Empty => {
                for bucket in 0..=u8::MAX {
                    shared.set(&format!("{list}/a/{bucket:02x}"), b"", None);
                }
            }
            Self::Piece(number, bytes) => {
                shared.set(&format!("{list}/a/piece{}", number % 4), bytes, None);
            }
            Self::PieceBit(number, bit) => flip(shared, &format!("{list}/a/piece{}", number % 4), *bit),
            Self::Bucket(number, bytes) => {
                shared.set(&format!("{list}/a/{number:02x}"), bytes, None);
            }
            Self::BucketBit(number, bit) => flip(shared, &format!("{list}/a/{number:02x}"), *bit),
            Self::Lease(bytes) => {
                let lease = shared.key("/lease").unwrap();
                shared.set(&lease, bytes, None);
            }
            Self::Damaged(bytes) => {
                shared.set(&format!("{key}/damaged"), bytes, None);
            }
            Self::Other { before } => {
                let other = if *before && may_roll_back { &honest[1] } else { &honest[2] };
                for (key, (value, _)) in &other.values {
                    shared.set(key, value, None);
                }
            }
        }
    }
}

impl Split {
    fn apply(&self, outline: &mut Map<String, Value>, pieces: &str, shared: &mut Shared) {
        let frame = outline.get("frame").cloned().unwrap_or_default();
        let Ok(frame) = serde_json::from_value::<Vec<u8>>(frame) else { return };
        let entries = shared.get(&format!("{pieces}0")).0.unwrap_or_default();
        let (from, bytes) = self.part.map_or((0, entries.len()), |(from, bytes)| (from.into(), bytes.into()));
        let moved: Vec<u8> = entries.iter().skip(from).take(bytes).copied().collect();
        let parts = der::children(der::content(&frame));
        let Some((signed, behind)) = parts.split_first() else { return };
        let mut fields = der::children(der::content(signed));
        let moved = if self.as_field { der::element(0x30, &moved) } else { moved };
        fields.insert(usize::from(self.field) % (fields.len() + 1), &moved);
        let signed = der::element(0x30, &fields.concat());
        outline.insert("frame".to_owned(), json!(der::element(0x30, &[signed, behind.concat()].concat())));
        if let Some(length) = self.length {
            outline.insert("length".to_owned(), json!(length));
        }
        if let Some(cut) = self.cut {
            let (first, second) = entries.split_at(usize::from(cut) % (entries.len() + 1));
            shared.set(&format!("{pieces}0"), first, None);
            shared.set(&format!("{pieces}1"), second, None);
        }
    }
}

impl Change {
    fn apply(&self, value: &mut Value) {
        *value = match (self, &*value) {
            (Self::Bit(bit), Value::Array(numbers)) => {
                let mut bytes: Vec<u8> =
                    numbers.iter().filter_map(|number| u8::try_from(number.as_u64()?).ok()).collect();
                turn(&mut bytes, *bit);
                json!(bytes)
            }
            (Self::Bit(bit), Value::Number(number)) => {
                json!(number.as_i64().unwrap_or(0) ^ (1 << (bit % 40)))
            }
            (Self::Bit(_), other) => other.clone(),
            (Self::Number(number), _) => json!(number),
            (Self::Null, _) => Value::Null,
            (Self::Truth(truth), _) => json!(truth),
            (Self::Bytes(bytes), _) => json!(bytes),
            (Self::Text(text), _) => json!(text),
        };
    }
}

fn flip(shared: &mut Shared, key: &str, bit: u16) {
    let mut value = shared.get(key).0.unwrap_or_default();
    turn(&mut value, bit);
    shared.set(key, &value, None);
}

fn turn(bytes: &mut [u8], bit: u16) {
    let at = usize::from(bit / 8) % bytes.len().max(1);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << (bit % 8);
    }
}
