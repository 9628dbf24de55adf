//! A table that knows which of its entries were touched since they were last written to a store, and values
//! that are a replica's own. Used by a shard for its clients and sessions; writes nothing itself.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;

use hashbrown::HashMap;

/// Touched keys beyond those of present entries that are borne before they are sorted out.
const SLACK: usize = 1_024;

#[derive(Debug)]
struct Slot<V> {
    value: V,
    /// Changed since it was written, or never written.
    touched: bool,
    /// Some form of it is written.
    written: bool,
}

/// A table whose changes are known. What is remembered of them is bounded by what the table holds now and what
/// it held when it was last written.
pub(crate) struct Tracked<K, V> {
    map: HashMap<K, Slot<V>>,
    /// Each touched entry at least once, and others.
    touched: Vec<K>,
    /// Written entries that are gone.
    gone: Vec<K>,
}

impl<K: Clone + Eq + Hash, V> Tracked<K, V> {
    pub(crate) fn new() -> Self {
        Self { map: HashMap::new(), touched: Vec::new(), gone: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.map.contains_key(key)
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.map.get(key).map(|slot| &slot.value)
    }

    /// The entry, which counts as changed from now on.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let slot = self.map.get_mut(key)?;
        if !slot.touched {
            slot.touched = true;
            self.touched.push(key.clone());
        }
        Some(&mut slot.value)
    }

    /// The entry, for a change that is not to be written.
    pub(crate) fn peek_mut(&mut self, key: &K) -> Option<&mut V> {
        self.map.get_mut(key).map(|slot| &mut slot.value)
    }

    /// Visits each entry that changed since it was written, at least once. Does not count as a change.
    pub(crate) fn each_touched(&mut self, mut visit: impl FnMut(&mut V)) {
        for key in &self.touched {
            if let Some(slot) = self.map.get_mut(key).filter(|slot| slot.touched) {
                visit(&mut slot.value);
            }
        }
    }

    /// Whether the entry changed since it was written.
    pub(crate) fn is_touched(&self, key: &K) -> bool {
        self.map.get(key).is_some_and(|slot| slot.touched)
    }

    /// The entry, which is made where there is none, and counts as changed from now on.
    pub(crate) fn get_or_default(&mut self, key: &K) -> &mut V
    where
        V: Default,
    {
        self.sort_out();
        let slot = self.map.entry(key.clone()).or_insert_with(|| Slot {
            value: V::default(),
            touched: false,
            written: false,
        });
        if !slot.touched {
            slot.touched = true;
            self.touched.push(key.clone());
        }
        &mut slot.value
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.sort_out();
        let written = self.map.get(&key).is_some_and(|slot| slot.written);
        self.touched.push(key.clone());
        self.map.insert(key, Slot { value, touched: true, written });
    }

    /// Puts in an entry as it was written.
    pub(crate) fn insert_written(&mut self, key: K, value: V) {
        self.map.insert(key, Slot { value, touched: false, written: true });
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let slot = self.map.remove(key)?;
        if slot.written {
            self.gone.push(key.clone());
        }
        Some(slot.value)
    }

    /// Entries that came and went between two writes leave keys behind, which are dropped before they are many.
    fn sort_out(&mut self) {
        if self.touched.len() > 2 * self.map.len() + SLACK {
            let map = &self.map;
            self.touched.retain(|key| map.get(key).is_some_and(|slot| slot.touched));
        }
    }

    /// The keys of what is gone since the last call, then each touched entry: what `write` does not write now,
    /// it will not be asked for again.
    pub(crate) fn take(&mut self, mut gone: impl FnMut(&K), mut write: impl FnMut(&K, &mut V)) {
        self.gone.drain(..).for_each(|key| gone(&key));
        for key in self.touched.drain(..) {
            let Some(slot) = self.map.get_mut(&key).filter(|slot| slot.touched) else { continue };
            slot.touched = false;
            slot.written = true;
            write(&key, &mut slot.value);
        }
    }

    /// All entries, in no order that means anything.
    #[expect(clippy::disallowed_methods, reason = "callers see no order")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.map.iter().map(|(key, slot)| (key, &slot.value))
    }

    /// All values, in no order that means anything.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K, V> fmt::Debug for Tracked<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked").field("len", &self.map.len()).finish_non_exhaustive()
    }
}

/// A value in which replicas may differ: left out of what they are compared by. No decision depends on it.
#[derive(Default)]
pub(crate) struct Local<T>(pub(crate) T);

impl<T> fmt::Debug for Local<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(table: &mut Tracked<u32, u32>) -> (Vec<u32>, Vec<(u32, u32)>) {
        let (mut gone, mut written) = (Vec::new(), Vec::new());
        table.take(|key| gone.push(*key), |key, value| written.push((*key, *value)));
        (gone, written)
    }

    #[test]
    fn each_change_is_given_once_and_what_came_and_went_never() {
        let mut table = Tracked::new();
        table.insert(1, 10);
        table.insert(2, 20);
        table.insert(3, 30);
        table.remove(&3);
        *table.get_or_default(&2) = 21;
        assert_eq!(taken(&mut table), (vec![], vec![(1, 10), (2, 21)]));
        assert_eq!(taken(&mut table), (vec![], vec![]));
        *table.get_mut(&1).unwrap() = 11;
        table.remove(&2);
        assert_eq!(taken(&mut table), (vec![2], vec![(1, 11)]));
        table.insert_written(4, 40);
        table.remove(&1);
        table.insert(1, 12);
        assert_eq!(taken(&mut table), (vec![1], vec![(1, 12)]), "first gone, then written");
        table.remove(&4);
        assert_eq!(taken(&mut table), (vec![4], vec![]));
    }

    #[test]
    fn what_is_remembered_is_bounded_by_what_is_there() {
        let mut table = Tracked::new();
        table.insert(0, 0);
        for key in 1..100_000 {
            table.insert(key, key);
            table.remove(&key);
        }
        assert!(table.touched.len() <= 2 * SLACK && table.gone.is_empty());
        assert_eq!(taken(&mut table), (vec![], vec![(0, 0)]));
    }
}
