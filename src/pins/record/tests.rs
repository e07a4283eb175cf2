//! A record from shared data stays within its bounds and tells when its pins change.

use super::*;
use crate::test_support::{cast, client, policy, us_leaf, us_only};
use proptest::{collection, option, prelude::*};
use serde_json::json;
use std::sync::OnceLock;

const LATEST: Monotonic = Monotonic::from_millis(10_000_000);

fn ders() -> &'static [Vec<u8>] {
    static DERS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    DERS.get_or_init(|| {
        let leaves = [&cast().digicert_ca, &cast().stranger_ca, &cast().us_ca].map(us_leaf);
        let leaves = leaves.iter().map(|leaf| leaf.der.clone());
        leaves.chain([Vec::new(), b"noise".to_vec(), vec![0; MAX_DER + 1]]).collect()
    })
}

fn instant() -> impl Strategy<Value = Monotonic> {
    prop_oneof![0..20_000_000_u64, Just(u64::MAX)].prop_map(Monotonic::from_millis)
}

fn leaf() -> impl Strategy<Value = Leaf> {
    let der = proptest::sample::select(ders());
    (der, any::<bool>(), option::of(0..1000_u64), instant(), option::of(instant())).prop_map(
        |(der, is_digicert, other, named_since, absent_since)| Leaf {
            fingerprint: Fingerprint::of(other.map_or(der.clone(), |n| n.to_le_bytes().to_vec()).as_slice()),
            der,
            authority: if is_digicert { Authority::Digicert } else { Authority::Genesys },
            status: ApiStatus::Current,
            named_since,
            absent_since,
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let facts = (collection::vec(leaf(), 0..80), option::of((instant(), instant())), any::<f64>());
    let instants = [(); 5].map(|()| option::of(instant()));
    (facts, instants, collection::vec(proptest::sample::select(ders()), 0..8)).prop_map(
        |((mut leaves, complete, random), [attempted, partial, failed, retry_after, token_until], hints)| {
            leaves.sort_by_key(|leaf| leaf.fingerprint);
            leaves.dedup_by_key(|leaf| leaf.fingerprint);
            let complete = complete.map(|(began, ended)| Complete { began, ended, is_first: false });
            let (failures, failing) = (3, None);
            Record {
                leaves,
                hints,
                attempted,
                complete,
                partial,
                failed,
                failures,
                failing,
                retry_after,
                random,
                token_until,
            }
        },
    )
}

proptest! {
    #[test]
    fn bounded_record_is_small_and_has_no_future_times(mut record in record()) {
        record.bound(LATEST);
        prop_assert!(record.leaves.len() <= MAX_LEAVES && record.hints.len() <= MAX_HINTS);
        prop_assert!(record.leaves.iter().filter(|leaf| !leaf.der.is_empty()).count() <= MAX_DERS);
        prop_assert!(record.leaves.iter().all(|leaf| leaf.der.len() <= MAX_DER && leaf.named_since <= LATEST));
        prop_assert!(record.leaves.iter().all(|leaf| leaf.absent_since <= Some(LATEST)));
        prop_assert!(record.ended() <= Some(LATEST) && record.attempted <= Some(LATEST));
        prop_assert!((0.0..1.0).contains(&record.random));
        let bytes = postcard::to_allocvec(&record).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Record>(&bytes).unwrap(), record);
    }

    #[test]
    fn conclusions_hold_until_they_change(mut record in record(), keep in 0..3_u64, stale in option::of(4..9_u64), at in 0..9_u64) {
        record.bound(LATEST);
        let max_staleness = stale.map_or(json!("none"), |hours| json!(format!("{hours}h")));
        let refresh = json!({"keep_removed": format!("{keep}h"), "max_staleness": max_staleness});
        let mut document = us_only(&json!({"digicert": {"pins": ["api"]}}));
        document["refresh"] = refresh;
        let policy = policy(&document);
        let now = LATEST + Duration::from_hours(at);
        let first = record.conclude("us-east-1", &policy, now);
        for pin in first.trust.pins.keys() {
            let leaf = record.leaves.iter().find(|leaf| leaf.fingerprint == *pin).unwrap();
            prop_assert_eq!(leaf.authority, Authority::Digicert);
            prop_assert!(leaf.der.is_empty() || Fingerprint::of(&leaf.der) == *pin);
        }
        let until = first.changes_at.unwrap_or(now + Duration::from_hours(1000));
        prop_assert!(until > now);
        let before = Monotonic::from_millis(until.millis() - 1);
        prop_assert_eq!(&record.conclude("us-east-1", &policy, before).trust, &first.trust);
        if first.changes_at.is_some() {
            let then = record.conclude("us-east-1", &policy, until);
            prop_assert!(then.trust != first.trust);
        }
    }
}

#[test]
fn leaves_beyond_64_are_kept_by_fingerprint_named_ones_first() {
    let der = us_leaf(&cast().digicert_ca).der;
    let leaf = |n: u64, absent: bool| Leaf {
        fingerprint: Fingerprint::of(&n.to_le_bytes()),
        der: der.clone(),
        authority: Authority::Digicert,
        status: ApiStatus::Current,
        named_since: Monotonic::ZERO,
        absent_since: absent.then(|| Monotonic::from_millis(n)),
    };
    let leaves = (0..40).map(|n| leaf(n, true)).chain((40..90).map(|n| leaf(n, false)));
    let mut record = Record { leaves: leaves.collect(), ..Record::default() };
    record.limit();
    let kept = |absent| {
        let leaves = record.leaves.iter().filter(|leaf| leaf.absent_since.is_some() == absent);
        leaves.filter(|leaf| !leaf.der.is_empty()).count()
    };
    assert_eq!((record.leaves.len(), kept(false), kept(true)), (90, 50, 14));
    record.leaves = (0..2000).map(|n| leaf(n, n >= 1000)).collect();
    record.limit();
    assert_eq!(record.leaves.len(), MAX_LEAVES);
    let last = record.leaves.iter().filter_map(|leaf| leaf.absent_since).max();
    assert_eq!(last, Some(Monotonic::from_millis(1023)), "the ones removed last made room");
    assert!(client(&us_leaf(&cast().digicert_ca)).der.len() < MAX_DER);
}
