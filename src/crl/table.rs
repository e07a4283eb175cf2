//! The serial numbers of a list as it is kept: short hashes in buckets, so that no worker holds a whole list.
//!
//! A list of 200,000 entries is some 8 MB of DER; its table is 1.6 MB, and a look-up reads one bucket of 6 KB. Two
//! serial numbers of one hash (one in 2^64) would make a good certificate a revoked one, never the reverse.

use crate::x509::crl::significant;
use crate::x509::fingerprint::Fingerprint;
use std::hash::{DefaultHasher, Hasher as _};

/// Buckets of a table. Fixed, since keys of shared data cannot be deleted.
pub const BUCKETS: usize = 256;

/// Hashes of serial numbers, by bucket.
#[derive(Debug, Default)]
pub struct Table {
    hashes: Vec<u64>,
}

/// Digest of a bucket's content: the first half of its SHA-256.
pub type BucketDigest = [u8; 16];

impl Table {
    /// Takes the serial numbers of a list.
    pub fn collect<'s, E>(serials: impl Iterator<Item = Result<&'s [u8], E>>) -> Result<Self, E> {
        let mut table = Self::default();
        table.extend(serials)?;
        Ok(table.sorted())
    }

    /// An empty one that need not grow up to so many.
    pub fn with_room(entries: usize) -> Self {
        Self { hashes: Vec::with_capacity(entries) }
    }

    /// Takes some more; [`Table::sorted`] is due after the last.
    pub fn extend<'s, E>(&mut self, serials: impl Iterator<Item = Result<&'s [u8], E>>) -> Result<(), E> {
        for serial in serials {
            self.hashes.push(hash(serial?));
        }
        Ok(())
    }

    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.hashes.sort_unstable();
        self
    }

    pub fn entries(&self) -> usize {
        self.hashes.len()
    }

    /// The content of a bucket, as it is stored.
    pub fn bucket(&self, bucket: usize) -> Vec<u8> {
        let start = self.hashes.partition_point(|hash| bucket_of(*hash) < bucket);
        let end = self.hashes.partition_point(|hash| bucket_of(*hash) <= bucket);
        self.hashes.get(start..end).unwrap_or_default().iter().flat_map(|hash| hash.to_be_bytes()).collect()
    }

    /// The digests of all buckets, by which they are known again.
    pub fn digests(&self) -> Vec<BucketDigest> {
        (0..BUCKETS).map(|bucket| digest(&self.bucket(bucket))).collect()
    }
}

/// The digest by which a bucket is known again.
pub fn digest(bucket: &[u8]) -> BucketDigest {
    Fingerprint::of(bucket).as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The bucket that a serial number would be in.
pub fn bucket_for(serial: &[u8]) -> usize {
    bucket_of(hash(serial))
}

/// Whether a stored bucket holds a serial number.
pub fn contains(bucket: &[u8], serial: &[u8]) -> bool {
    let (entries, _) = bucket.as_chunks::<8>();
    entries.binary_search(&hash(serial).to_be_bytes()).is_ok()
}

/// Changes with what is stored for a serial number: std does not promise that its hash stays what it is.
pub fn form() -> String {
    format!("{:016x}", hash(b"form"))
}

fn bucket_of(hash: u64) -> usize {
    usize::from(hash.to_be_bytes().first().copied().unwrap_or_default())
}

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
        fn a_table_holds_what_was_put_in_and_nothing_else(
            serials in proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 1..20), 0..200),
            others in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..50),
        ) {
            let table = Table::collect(serials.iter().map(|serial| Ok::<_, ()>(serial.as_slice()))).unwrap();
            let known: BTreeSet<&[u8]> = serials.iter().map(|serial| significant(serial)).collect();
            for serial in serials.iter().chain(&others) {
                let bucket = table.bucket(bucket_for(serial));
                prop_assert_eq!(contains(&bucket, serial), known.contains(significant(serial)));
            }
            let stored: usize = (0..BUCKETS).map(|bucket| table.bucket(bucket).len()).sum();
            prop_assert_eq!(stored, 8 * table.entries());
        }
    }

    #[test]
    fn zeros_in_front_do_not_make_another_number() {
        let table = Table::collect([Ok::<_, ()>(&[0_u8, 0x80, 1][..])].into_iter()).unwrap();
        assert!(contains(&table.bucket(bucket_for(&[0x80, 1])), &[0x80, 1]));
        assert!(!contains(&[], &[1]) && !contains(&[1, 2, 3], &[1]));
    }
}
