//! A value that all workers of a proxy share: one writes it, the others read it when its version moves.

use crate::{
    shared::{
        seal::{Seal, Secret},
        store::{CALLBACK, SharedStore},
    },
    time::Monotonic,
};
use serde::{Serialize, de::DeserializeOwned};

/// The largest record that is read, in bytes.
const MAX_SIZE: usize = 2 * 1024 * 1024;

/// This worker's copy, and where the shared one is kept, sealed: see [`Seal`].
#[derive(Debug)]
pub struct SealedRecord<T> {
    key: String,
    seal: Seal,
    /// Grows with every write, in any worker, so that an older copy put back is recognised.
    sequence: u64,
    /// The version in shared data that this copy was last compared with.
    seen: Option<u32>,
    pub value: T,
}

impl<T: Default + PartialEq + Serialize + DeserializeOwned> SealedRecord<T> {
    /// `None` if the secret cannot be a key.
    pub fn new(key: String, secret: Option<&Secret>) -> Option<Self> {
        Some(Self { seal: Seal::new(secret, &key)?, key, sequence: 0, seen: None, value: T::default() })
    }

    /// Takes over what another worker wrote; true if the value is another one. A damaged or older copy is replaced by
    /// this worker's.
    pub fn sync(&mut self, store: &mut dyn SharedStore, now: Monotonic) -> bool {
        let (sealed, version) = store.get(&self.key);
        if version.is_some() && version == self.seen {
            return false;
        }
        self.seen = version;
        // Numbers are milliseconds of the clock that all workers share, or hardly more: none comes from the future.
        let stored = sealed.as_deref().and_then(|sealed| self.open(sealed));
        let stored = stored.filter(|(sequence, _)| Monotonic::from_millis(*sequence) <= now + CALLBACK);
        if let Some((sequence, value)) = stored.filter(|(sequence, _)| *sequence >= self.sequence) {
            self.sequence = sequence;
            let is_news = value != self.value;
            self.value = value;
            return is_news;
        }
        if self.sequence > 0 {
            // Under its own number: a worker that knows more replaces it in turn.
            store.set(&self.key, &self.sealed(), version);
        }
        self.seen = None;
        false
    }

    /// Shares this worker's copy. The clock numbers it above all copies before it, read or not.
    pub fn write(&mut self, store: &mut dyn SharedStore, now: Monotonic) {
        self.sequence = self.sequence.saturating_add(1).max(now.millis());
        store.set(&self.key, &self.sealed(), None);
    }

    fn open(&self, sealed: &[u8]) -> Option<(u64, T)> {
        let sealed = Some(sealed).filter(|sealed| sealed.len() <= MAX_SIZE)?;
        let (sequence, value) = self.seal.open(sealed)?.split_first_chunk::<8>()?;
        Some((u64::from_le_bytes(*sequence), postcard::from_bytes(value).ok()?))
    }

    fn sealed(&self) -> Vec<u8> {
        let value = postcard::to_allocvec(&self.value).unwrap_or_default();
        self.seal.seal(&[&self.sequence.to_le_bytes()[..], &value].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::MemoryStore;
    use proptest::prelude::*;

    fn record(secret: &str) -> SealedRecord<Vec<u32>> {
        SealedRecord::new("record".to_owned(), Some(&Secret::new(secret.to_owned()))).unwrap()
    }

    const NOW: Monotonic = Monotonic::from_millis(100_000);

    fn wrote(value: u32, now: Monotonic) -> (MemoryStore, SealedRecord<Vec<u32>>) {
        let (mut store, mut record) = (MemoryStore::default(), record("secret"));
        record.value = vec![value];
        record.write(&mut store, now);
        (store, record)
    }

    #[test]
    fn a_record_is_news_once_to_each_other_worker() {
        let (mut store, mut writer) = wrote(7, NOW);
        let mut reader = record("secret");
        assert!(reader.sync(&mut store, NOW) && reader.value == [7]);
        assert!(!reader.sync(&mut store, NOW) && !writer.sync(&mut store, NOW));
        writer.write(&mut store, NOW);
        assert!(!reader.sync(&mut store, NOW), "the same again is no news");
        let mut stranger = record("another");
        assert!(!stranger.sync(&mut store, NOW) && stranger.value.is_empty());
        assert_eq!(store.values["record"].1, 2, "a worker that knows nothing writes nothing");
    }

    #[test]
    fn a_damaged_older_or_future_copy_is_replaced_by_what_is_known() {
        let (older, _) = wrote(1, NOW);
        let future = NOW + CALLBACK + std::time::Duration::from_millis(1);
        let (future, _) = wrote(3, future);
        let (mut store, mut known) = wrote(2, NOW + CALLBACK / 2);
        let good = store.values["record"].0.clone();
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let huge = vec![0; MAX_SIZE + 1];
        let copies =
            [&older.values["record"].0[..], &future.values["record"].0, &flipped, b"", b"noise", &huge];
        for (row, copy) in copies.into_iter().enumerate() {
            store.set("record", copy, None);
            assert!(!known.sync(&mut store, NOW), "{row}");
            assert_eq!((&store.values["record"].0, known.value.as_slice()), (&good, &[2][..]), "{row}");
        }
    }

    #[test]
    fn a_worker_that_missed_the_newest_copy_does_not_outrank_it() {
        let (mut store, mut behind) = wrote(1, NOW);
        let mut ahead = record("secret");
        ahead.sync(&mut store, NOW);
        ahead.value = vec![2];
        ahead.write(&mut store, NOW);
        store.set("record", b"noise", None);
        let later = NOW + CALLBACK;
        behind.sync(&mut store, later);
        ahead.sync(&mut store, later);
        assert!(behind.sync(&mut store, later) && behind.value == [2] && ahead.value == [2]);
    }

    proptest! {
        #[test]
        fn any_bytes_in_shared_data_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut store = MemoryStore::default();
            let mut reader: SealedRecord<Vec<(String, Option<u64>)>> =
                SealedRecord::new("record".to_owned(), None).unwrap();
            let sealed = Seal::new(None, "record").unwrap().seal(&bytes);
            for bytes in [&bytes, &sealed] {
                store.set("record", bytes, None);
                reader.sync(&mut store, NOW);
            }
        }
    }
}
