//! A table that is written down in chunks: what changes costs a checkpoint one small record, and not one for each entry of
//! the table. Used for routes, fences and bans; knows nothing of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Entries of a chunk at most.
pub(super) const CHUNK_ENTRIES_MAX: usize = 64;

/// A chunk with so many bytes takes no further entry; the one that brought it there may be larger by itself.
pub(super) const CHUNK_BYTES_MAX: usize = 16 << 10;

/// A key of such a table.
pub(super) trait Key: Ord + Clone {
    /// Bytes that it is counted as.
    fn bytes(&self) -> usize;
}

#[derive(Clone, Debug)]
struct Chunk<K> {
    keys: Vec<K>,
    bytes: usize,
}

impl<K> Chunk<K> {
    fn has_room(&self) -> bool {
        self.keys.len() < CHUNK_ENTRIES_MAX && self.bytes < CHUNK_BYTES_MAX
    }
}

/// The table. Which entry is in which chunk follows from what was done since it was empty, and means nothing.
#[derive(Clone, Debug)]
pub(super) struct Chunked<K, V> {
    entries: BTreeMap<K, (V, u32)>,
    chunks: BTreeMap<u32, Chunk<K>>,
    /// Chunks with room.
    open: BTreeSet<u32>,
    bytes: usize,
    /// Chunks that changed since the last checkpoint.
    touched: BTreeSet<u32>,
}

impl<K, V> Default for Chunked<K, V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            chunks: BTreeMap::new(),
            open: BTreeSet::new(),
            bytes: 0,
            touched: BTreeSet::new(),
        }
    }
}

impl<K: Key, V: Clone + PartialEq> Chunked<K, V> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all keys.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.entries.get(key).map(|(value, _)| value.clone())
    }

    /// All entries in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (value, _))| (key, value))
    }

    /// The entries behind a key, or all.
    pub(super) fn behind(&self, key: Option<&K>) -> impl Iterator<Item = (&K, &V)> {
        let first = key.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.entries.range((first, Bound::Unbounded));
        range.map(|(key, (value, _))| (key, value))
    }

    /// Adds or replaces; says whether that changed anything.
    pub(super) fn insert(&mut self, key: K, value: V) -> bool {
        if let Some((known, chunk)) = self.entries.get_mut(&key) {
            let changed = *known != value;
            *known = value;
            if changed {
                self.touched.insert(*chunk);
            }
            return changed;
        }
        let behind = self.chunks.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        let chunk = self.open.first().copied().unwrap_or(behind);
        self.put(chunk, key, value);
        self.touched.insert(chunk);
        true
    }

    /// Removes; says whether it was there.
    pub(super) fn remove(&mut self, key: &K) -> bool {
        let Some((_, number)) = self.entries.remove(key) else { return false };
        self.bytes -= key.bytes();
        self.touched.insert(number);
        let Some(chunk) = self.chunks.get_mut(&number) else { return true };
        chunk.bytes -= key.bytes();
        if let Some(at) = chunk.keys.iter().position(|known| known == key) {
            chunk.keys.swap_remove(at);
        }
        if chunk.keys.is_empty() {
            self.chunks.remove(&number);
            self.open.remove(&number);
        } else if chunk.has_room() {
            self.open.insert(number);
        }
        true
    }

    /// Takes over an entry that a checkpoint has; says whether the key was new, as it must be.
    pub(super) fn restore(&mut self, chunk: u32, key: K, value: V) -> bool {
        let new = !self.entries.contains_key(&key);
        if new {
            self.put(chunk, key, value);
        }
        new
    }

    fn put(&mut self, number: u32, key: K, value: V) {
        let bytes = key.bytes();
        self.bytes += bytes;
        self.entries.insert(key.clone(), (value, number));
        let chunk = self.chunks.entry(number).or_insert_with(|| Chunk { keys: Vec::new(), bytes: 0 });
        chunk.keys.push(key);
        chunk.bytes += bytes;
        if chunk.has_room() {
            self.open.insert(number);
        } else {
            self.open.remove(&number);
        }
    }

    /// Takes a chunk out with its keys; `None` where nothing is left.
    pub(super) fn pop(&mut self) -> Option<(u32, Vec<K>)> {
        let (number, chunk) = self.chunks.pop_first()?;
        self.open.remove(&number);
        self.touched.remove(&number);
        self.bytes -= chunk.bytes;
        for key in &chunk.keys {
            self.entries.remove(key);
        }
        Some((number, chunk.keys))
    }

    /// The chunks that changed since the last call, with what they have now; nothing for one that is gone.
    pub(super) fn take_touched(&mut self) -> impl Iterator<Item = (u32, Vec<(K, V)>)> {
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().map(|number| (number, self.chunk(number)))
    }

    fn chunk(&self, number: u32) -> Vec<(K, V)> {
        let keys = self.chunks.get(&number).map_or(&[][..], |chunk| &chunk.keys);
        let mut entries: Vec<(K, V)> =
            keys.iter().filter_map(|key| Some((key.clone(), self.get(key)?))).collect();
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        entries
    }

    /// Checks what must always hold.
    ///
    /// # Errors
    /// Names the rule that does not hold.
    pub(super) fn validate(&self) -> Result<(), &'static str> {
        if self.chunks.values().map(|chunk| chunk.keys.len()).sum::<usize>() != self.entries.len() {
            return Err("an entry is in no chunk or in two");
        }
        for (number, chunk) in &self.chunks {
            if chunk.keys.is_empty() || chunk.keys.len() > CHUNK_ENTRIES_MAX {
                return Err("a chunk is empty or too full");
            }
            if chunk.has_room() != self.open.contains(number) {
                return Err("it is not known that a chunk has room, or has none");
            }
            let bytes: usize = chunk.keys.iter().map(Key::bytes).sum();
            let of_chunk = |key: &K| self.entries.get(key).is_some_and(|(_, of)| of == number);
            if bytes != chunk.bytes || !chunk.keys.iter().all(of_chunk) {
                return Err("a chunk does not have what its entries say");
            }
        }
        if self.chunks.values().map(|chunk| chunk.bytes).sum::<usize>() != self.bytes {
            return Err("the bytes of a table are not those of its chunks");
        }
        if self.open.iter().any(|number| !self.chunks.contains_key(number)) {
            return Err("a chunk that is gone has room");
        }
        Ok(())
    }
}
