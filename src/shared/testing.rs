//! Shared data for tests, fuzzing and trials.

use crate::shared::store::SharedStore;
use std::collections::BTreeMap;

/// Shared data as Envoy has it, in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    pub values: BTreeMap<String, (Vec<u8>, u32)>,
    /// One counter for all keys.
    version: u32,
}

impl MemoryStore {
    /// The first key with this ending.
    pub fn key(&self, ending: &str) -> Option<String> {
        self.values.keys().find(|key| key.ends_with(ending)).cloned()
    }

    /// The value of [`Self::key`].
    pub fn value(&self, ending: &str) -> Option<&[u8]> {
        self.values.iter().find(|(key, _)| key.ends_with(ending)).map(|(_, (value, _))| value.as_slice())
    }
}

impl SharedStore for MemoryStore {
    fn get(&self, key: &str) -> (Option<Vec<u8>>, Option<u32>) {
        let Some((value, version)) = self.values.get(key) else { return (None, None) };
        (Some(value.clone()).filter(|value| !value.is_empty()), Some(*version))
    }

    fn set(&mut self, key: &str, value: &[u8], cas: Option<u32>) -> bool {
        let current = self.values.get(key).map(|(_, version)| *version);
        if cas.zip(current).is_some_and(|(named, current)| named != current) {
            return false;
        }
        self.version += 1;
        self.values.insert(key.to_owned(), (value.to_vec(), self.version));
        true
    }
}
