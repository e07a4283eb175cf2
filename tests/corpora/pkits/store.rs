//! Shared data in memory.

use genesys_mtls_filter::shared::Store;
use std::collections::HashMap;

#[derive(Debug, Default)]
pub struct Memory(HashMap<String, (Vec<u8>, u32)>);

impl Store for Memory {
    fn get(&self, key: &str) -> (Option<Vec<u8>>, Option<u32>) {
        self.0.get(key).map_or((None, None), |(value, cas)| (Some(value.clone()), Some(*cas)))
    }

    fn set(&mut self, key: &str, value: &[u8], cas: Option<u32>) -> bool {
        let current = self.0.get(key).map(|(_, cas)| *cas);
        if cas.zip(current).is_some_and(|(named, current)| named != current) {
            return false;
        }
        self.0.insert(key.to_owned(), (value.to_vec(), current.unwrap_or(0) + 1));
        true
    }
}
