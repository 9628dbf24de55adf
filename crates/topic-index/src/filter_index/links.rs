//! One hash table for the whole tree: from a node and the next level of a topic to the child.
//! Called by the filter index for nodes with two children or more.
//! It never reads a node itself, also not when it grows: a link is a hash and an id, eight bytes.

use super::arena::NodeId;

/// The least room of a table that is not empty, in links.
const ROOM_MIN: usize = 16;

/// Links in open addressing with linear probing: most searches touch one cache line.
///
/// A link has the hash in its upper half and the id in its lower; 0 is a free place. The place of a link is
/// given by the upper bits of its hash, so that a table is copied front to back when it grows or shrinks.
#[derive(Debug, Default)]
pub(super) struct Links {
    places: Box<[u64]>,
    len: usize,
}

impl Links {
    /// The first id under this hash that `is_it` accepts.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(NodeId) -> bool) -> Option<NodeId> {
        let mut place = self.home(hash);
        loop {
            let link = *self.places.get(place)?;
            let id = NodeId::new(id_of(link))?;
            if hash_of(link) == hash && is_it(id) {
                return Some(id);
            }
            place = self.after(place);
        }
    }

    /// Adds a link; the caller knows that it is not there yet.
    pub(super) fn insert(&mut self, hash: u32, id: NodeId) {
        if (self.len + 1) * 3 > self.places.len() * 2 {
            self.resize((self.places.len() * 2).max(ROOM_MIN));
        }
        self.len += 1;
        self.put(link(hash, id));
    }

    /// Takes the link to `id` away, which was inserted with `hash`.
    pub(super) fn remove(&mut self, hash: u32, id: NodeId) {
        let link = link(hash, id);
        let mut place = self.home(hash);
        loop {
            match self.places.get(place) {
                None | Some(0) => return,
                Some(found) if *found == link => break,
                Some(_) => place = self.after(place),
            }
        }
        self.close_gap(place);
        self.len -= 1;
        if self.len * 8 < self.places.len() {
            // Half of what it had, twice what it needs: the next insertions do not make it grow again.
            let room = if self.len == 0 { 0 } else { (self.places.len() / 2).max(ROOM_MIN) };
            if room < self.places.len() {
                self.resize(room);
            }
        }
    }

    /// Moves the links behind a place that became free to where a search finds them without it.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.places.len().wrapping_sub(1);
        let mut place = self.after(gap);
        while let Some(&link) = self.places.get(place).filter(|link| **link != 0) {
            let from_home = place.wrapping_sub(self.home(hash_of(link))) & mask;
            if from_home >= place.wrapping_sub(gap) & mask {
                self.set(gap, link);
                gap = place;
            }
            place = self.after(place);
        }
        self.set(gap, 0);
    }

    fn resize(&mut self, room: usize) {
        let old = std::mem::replace(&mut self.places, vec![0; room].into_boxed_slice());
        old.into_iter().filter(|link| *link != 0).for_each(|link| self.put(link));
    }

    /// Writes a link into the first free place; there is one, since a third of the places is free.
    fn put(&mut self, link: u64) {
        let mut place = self.home(hash_of(link));
        while self.places.get(place).is_some_and(|taken| *taken != 0) {
            place = self.after(place);
        }
        self.set(place, link);
    }

    fn set(&mut self, place: usize, link: u64) {
        if let Some(target) = self.places.get_mut(place) {
            *target = link;
        }
    }

    /// Where a search for this hash begins: a number below the (power of two) length, by the upper bits.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        let room = u64::try_from(self.places.len()).unwrap_or(u64::MAX);
        usize::try_from(u64::from(hash).wrapping_mul(room) >> 32).unwrap_or_default()
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        (place + 1) & self.places.len().wrapping_sub(1)
    }
}

fn link(hash: u32, id: NodeId) -> u64 {
    u64::from(hash) << 32 | u64::from(id.get())
}

fn hash_of(link: u64) -> u32 {
    (link >> 32) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn id_of(link: u64) -> u32 {
    link as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::{Links, NodeId};

    proptest! {
        /// Few hashes with long runs of collisions, also at the end of the table where a run wraps around.
        #[test]
        fn it_is_a_set_of_links(steps in proptest::collection::vec((any::<bool>(), 0..6_u32, 1..60_u32), 1..400)) {
            let mut links = Links::default();
            let mut expected = HashSet::new();
            for (insert, hash, id) in steps {
                let hash = u32::MAX - hash * 0x0800_0000;
                let id = NodeId::new(id).expect("from 1");
                if insert && expected.insert((hash, id)) {
                    links.insert(hash, id);
                } else if !insert && expected.remove(&(hash, id)) {
                    links.remove(hash, id);
                }
                prop_assert_eq!(links.len, expected.len());
                prop_assert!(links.places.len() < 16.max(expected.len() * 8 + 1) + 1);
                for (hash, id) in &expected {
                    prop_assert_eq!(links.find(*hash, |found| found == *id), Some(*id));
                }
                prop_assert_eq!(links.find(hash, |found| !expected.contains(&(hash, found))), None);
            }
        }
    }
}
