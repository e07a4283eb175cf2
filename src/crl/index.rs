//! The serial numbers of a CRL, as each worker keeps them: 8 bytes an entry.

use crate::x509::crl::{Crl, CrlError, significant};
use std::hash::{DefaultHasher, Hasher as _};

/// Sorted hashes of serial numbers. Two numbers of one hash (one pair in 2^64) would make a good certificate a revoked one,
/// never the reverse.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SerialIndex(Vec<u64>);

impl SerialIndex {
    pub fn of(crl: &Crl<'_>) -> Result<Self, CrlError> {
        let mut hashes = Vec::new();
        crl.for_each_serial(|serial| hashes.push(hash(serial)))?;
        hashes.sort_unstable();
        hashes.shrink_to_fit();
        Ok(Self(hashes))
    }

    pub fn contains(&self, serial: &[u8]) -> bool {
        self.0.binary_search(&hash(serial)).is_ok()
    }

    pub fn entries(&self) -> usize {
        self.0.len()
    }
}

/// `SipHash` without a key: the numbers are the CA's choice, and no attacker's.
fn hash(serial: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(significant(serial));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn index_holds_the_numbers_put_in_and_no_others(
            serials in proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 1..20), 0..200),
            others in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..50),
        ) {
            let mut hashes: Vec<u64> = serials.iter().map(|serial| hash(serial)).collect();
            hashes.sort_unstable();
            let index = SerialIndex(hashes);
            let known: BTreeSet<&[u8]> = serials.iter().map(|serial| significant(serial)).collect();
            for serial in serials.iter().chain(&others) {
                prop_assert_eq!(index.contains(serial), known.contains(significant(serial)));
            }
        }
    }

    #[test]
    fn leading_zeros_make_no_other_number() {
        let index = SerialIndex(vec![hash(&[0, 0x80, 1])]);
        assert!(index.contains(&[0x80, 1]) && index.contains(&[0, 0, 0x80, 1]));
        assert!(!index.contains(&[0x80, 1, 0]) && !SerialIndex::default().contains(&[1]));
    }
}
