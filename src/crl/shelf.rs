//! Where a list is kept for all workers: its table in buckets and, where there is no secret to seal the record of them,
//! the list itself in pieces.
//!
//! Buckets are known again by their digests, so it does not matter who else may write to shared data.

use crate::{
    crl::{
        pieces::{self, Outline},
        table::{self, BUCKETS, BucketDigest, Table},
    },
    x509::crl::{CertificateList, CrlError, CrlMetadata, significant},
};
use crate::{shared::SharedStore, x509::ca::CaCertificate};
use serde::{Deserialize, Serialize};

/// What workers know of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub terms: CrlMetadata,
    /// Digest of what its CA signed, to tell whether an answer is news.
    pub signed: Vec<u8>,
    pub entries: usize,
    /// When it was last fetched with success (monotonic, milliseconds).
    pub fetched: u64,
    buckets: Vec<BucketDigest>,
    /// Which of two places it is in: the next list is written beside it, and whoever has not heard of that one yet
    /// goes on with this one.
    second: bool,
    /// For workers that have to verify the list themselves.
    outline: Option<Outline>,
}

impl Known {
    /// Whether the other is the same list in the same place, whenever it was fetched.
    pub fn is_same(&self, other: &Self) -> bool {
        *self == Self { fetched: self.fetched, ..other.clone() }
    }
}

/// The keys of one list.
#[derive(Debug)]
pub struct Shelf {
    pub key: String,
}

impl Shelf {
    /// Writes a list where all workers look. `sealed`: its record will be, so that nobody has to verify it again.
    pub fn put(
        &self,
        store: &mut dyn SharedStore,
        list: &CertificateList<'_>,
        before: Option<&Known>,
        sealed: bool,
        fetched: u64,
    ) -> Result<Known, CrlError> {
        let table = Table::collect(list.serials())?;
        let second = before.is_some_and(|known| !known.second);
        for bucket in 0..BUCKETS {
            store.set(&self.bucket_key(second, bucket), &table.bucket(bucket), None);
        }
        if !sealed {
            for (number, piece) in pieces::cut(&list.parts).enumerate() {
                store.set(&self.piece_key(second, number), piece, None);
            }
        }
        Ok(Known {
            terms: list.terms.clone(),
            signed: list.signed.clone(),
            entries: table.entries(),
            fetched,
            buckets: table.digests(),
            second,
            outline: (!sealed).then(|| Outline::of(&list.parts)),
        })
    }

    /// Makes sure of a list that somebody claims to have put there. Nothing is taken from the claim but where it is, and
    /// bytes that its CA's signature has to fit.
    pub fn verify(
        &self,
        store: &dyn SharedStore,
        claim: &Known,
        authorities: &[CaCertificate],
        max_size: usize,
    ) -> Result<Known, CrlError> {
        let outline = claim.outline.as_ref().ok_or_else(|| CrlError::Malformed("no outline".to_owned()))?;
        let pieces = (0..).map_while(|number| store.get(&self.piece_key(claim.second, number)).0);
        let verified = outline.verify(pieces, authorities, max_size, claim.entries)?;
        Ok(Known {
            terms: verified.terms,
            signed: verified.signed,
            entries: verified.table.entries(),
            fetched: claim.fetched,
            buckets: verified.table.digests(),
            second: claim.second,
            outline: Some(outline.clone()),
        })
    }

    /// Whether a serial number is on a list; nothing if the bucket that would hold it is not what was put there.
    pub fn holds(&self, store: &dyn SharedStore, known: &Known, serial: &[u8]) -> Option<bool> {
        let number = table::bucket_for(serial);
        let bucket = store.get(&self.bucket_key(known.second, number)).0.unwrap_or_default();
        let is_whole = known.buckets.get(number) == Some(&table::digest(&bucket));
        is_whole.then(|| table::contains(&bucket, significant(serial)))
    }

    fn bucket_key(&self, second: bool, bucket: usize) -> String {
        format!("{}/{}/{bucket:02x}", self.key, place(second))
    }

    fn piece_key(&self, second: bool, number: usize) -> String {
        format!("{}/{}/piece{number}", self.key, place(second))
    }
}

fn place(second: bool) -> char {
    if second { 'b' } else { 'a' }
}
