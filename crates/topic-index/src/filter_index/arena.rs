//! Nodes in chunks of one size, each under an id that stays its own until the node is removed.
//! Called by the filter index alone, which keeps the ids.
//! It never moves a node, and never keeps a chunk that is empty.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

/// The nodes of a chunk: few enough that an empty one is soon given back, enough to keep their table small.
const CHUNK: usize = 256;

/// The words of a chunk's bit set.
const WORDS: usize = CHUNK / 64;

/// Where a node is; never 0, so that an `Option` of it takes no room.
pub(super) type NodeId = NonZeroU32;

/// A set of nodes that grows and shrinks by chunks.
#[derive(Debug)]
pub(super) struct Arena<T> {
    chunks: Vec<Option<Box<[Option<T>; CHUNK]>>>,
    /// A set bit for each free place of each chunk.
    free: Vec<[u64; WORDS]>,
    /// The chunks with a free place. The lowest is filled first, so that the others may empty.
    roomy: BTreeSet<usize>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), roomy: BTreeSet::new() }
    }
}

impl<T> Arena<T> {
    /// Puts a node into the first free place.
    pub(super) fn insert(&mut self, node: T) -> NodeId {
        let chunk = self.roomy.first().copied().unwrap_or_else(|| self.add_chunk());
        let place = self.take_place(chunk).unwrap_or_default();
        if self.free.get(chunk).is_some_and(|words| *words == [0; WORDS]) {
            self.roomy.remove(&chunk);
        }
        if let Some(places) = self.chunks.get_mut(chunk) {
            if places.is_none() {
                *places = empty_chunk();
            }
            if let Some(entry) = places.as_mut().and_then(|places| places.get_mut(place)) {
                *entry = Some(node);
            }
        }
        u32::try_from(chunk * CHUNK + place + 1)
            .ok()
            .and_then(NodeId::new)
            .expect("it is not 0, and four billion nodes are more than 200 GiB: the bounds on subscriptions come first")
    }

    /// Takes a node out, and gives its chunk back when it was the last one there.
    pub(super) fn remove(&mut self, id: NodeId) -> Option<T> {
        let (chunk, place) = position(id);
        let node = self.chunks.get_mut(chunk)?.as_mut()?.get_mut(place)?.take()?;
        let words = self.free.get_mut(chunk)?;
        if let Some(word) = words.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
        let emptied = *words == [u64::MAX; WORDS];
        self.roomy.insert(chunk);
        if emptied {
            self.drop_chunk(chunk);
        }
        Some(node)
    }

    /// The node under this id.
    #[inline]
    pub(super) fn get(&self, id: NodeId) -> Option<&T> {
        let (chunk, place) = position(id);
        self.chunks.get(chunk)?.as_ref()?.get(place)?.as_ref()
    }

    /// The node under this id, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut T> {
        let (chunk, place) = position(id);
        self.chunks.get_mut(chunk)?.as_mut()?.get_mut(place)?.as_mut()
    }

    /// All nodes, by their place.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flat_map(|places| places.iter().flatten())
    }

    fn add_chunk(&mut self) -> usize {
        self.chunks.push(None);
        self.free.push([u64::MAX; WORDS]);
        self.roomy.insert(self.chunks.len() - 1);
        self.chunks.len() - 1
    }

    fn take_place(&mut self, chunk: usize) -> Option<usize> {
        let words = self.free.get_mut(chunk)?;
        let (index, word) = words.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        Some(index * 64 + usize::try_from(bit).ok()?)
    }

    /// Frees an empty chunk, and the rows of the tables behind the last one in use.
    fn drop_chunk(&mut self, chunk: usize) {
        if let Some(places) = self.chunks.get_mut(chunk) {
            *places = None;
        }
        while matches!(self.chunks.last(), Some(None)) {
            self.chunks.pop();
            self.free.pop();
            self.roomy.remove(&self.chunks.len());
        }
        if self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to(self.chunks.len() * 2);
            self.free.shrink_to(self.chunks.len() * 2);
        }
    }
}

/// The chunk of a node, and its place there.
#[inline]
fn position(id: NodeId) -> (usize, usize) {
    let index = usize::try_from(id.get() - 1).unwrap_or(usize::MAX);
    (index / CHUNK, index % CHUNK)
}

/// Always some: as many places as a chunk has, collected on the heap, since they may be much for a small stack.
fn empty_chunk<T>() -> Option<Box<[Option<T>; CHUNK]>> {
    let places: Box<[Option<T>]> = (0..CHUNK).map(|_| None).collect();
    places.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{Arena, CHUNK};

    #[test]
    fn places_are_used_again_and_empty_chunks_are_dropped() {
        let mut arena = Arena::default();
        let ids: Vec<_> = (0..10 * CHUNK).map(|value| arena.insert(value)).collect();
        assert_eq!(arena.chunks.len(), 10);
        for (value, id) in ids.iter().enumerate() {
            assert_eq!(arena.get(*id), Some(&value));
        }
        for (value, id) in
            ids.iter().enumerate().filter(|(value, _)| value / CHUNK != 9 && value % CHUNK != 7)
        {
            assert_eq!(arena.remove(*id), Some(value));
            assert_eq!(arena.remove(*id), None);
        }
        assert_eq!(arena.chunks.iter().flatten().count(), 10, "one node is left in each of nine");
        for id in ids.iter().skip(7).step_by(CHUNK).take(9) {
            assert!(arena.remove(*id).is_some());
        }
        assert_eq!(arena.chunks.iter().flatten().count(), 1);
        let id = arena.insert(77);
        assert_eq!(id.get(), 1, "the lowest place comes first");
        assert_eq!(arena.iter().count(), CHUNK + 1);
        assert!(arena.remove(id).is_some());
        for id in ids.iter().skip(9 * CHUNK) {
            assert!(arena.remove(*id).is_some());
        }
        assert_eq!((arena.chunks.len(), arena.free.len(), arena.roomy.len()), (0, 0, 0));
        assert!(arena.chunks.capacity() <= 4);
    }
}
