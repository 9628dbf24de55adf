//! The net changes of a checkpoint: what each touched record is now, or that it is gone. Made by whatever owns
//! the state, written by the store; never holds a key twice.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Records that changed since the last checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    records: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl Changes {
    /// The record `key` is `value` now.
    pub fn put(&mut self, key: Vec<u8>, value: Bytes) {
        self.records.insert(key, Some(value));
    }

    /// There is no record `key` any more.
    pub fn remove(&mut self, key: Vec<u8>) {
        self.records.insert(key, None);
    }

    /// Records that changed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The changes in the order of their keys; `None` is a record that is gone.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&Bytes>)> {
        self.records.iter().map(|(key, value)| (key.as_slice(), value.as_ref()))
    }
}
