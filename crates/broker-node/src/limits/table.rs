//! What is known of very many, in as much memory as was set aside at the beginning: who has least to remember makes room. Used where
//! whoever connects chooses the keys.

use std::array;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};

/// Places that a key may have.
const WAYS: usize = 8;

/// What a place holds.
pub(super) trait Remembered: Copy + Default {
    /// How much would be lost with it: of those that have the same places the one with the least makes room for a new one.
    fn weight(&self) -> u64;
}

/// The places. Keys are known by a keyed hash, which nobody outside can make collide.
#[derive(Debug)]
pub(super) struct Table<V> {
    hasher: RandomState,
    sets: Box<[[(u64, V); WAYS]]>,
}

impl<V: Remembered> Table<V> {
    /// With room for so many, and a few more.
    pub(super) fn new(places: usize) -> Self {
        let set = array::from_fn(|_| (0, V::default()));
        Self { hasher: RandomState::new(), sets: vec![set; places.div_ceil(WAYS).max(1)].into() }
    }

    /// What is known of somebody: nothing, if it is new, and then another one is forgotten where there is no room.
    pub(super) fn of(&mut self, key: &impl Hash) -> &mut V {
        let hash = self.hasher.hash_one(key);
        let sets = self.sets.len() as u64;
        let at = usize::try_from(hash % sets).unwrap_or_default();
        let set = self.sets.get_mut(at).expect("the remainder is below the number of sets");
        let known = set.iter().any(|(known, _)| *known == hash);
        let rank =
            |(owner, value): &&mut (u64, V)| if known { u64::from(*owner != hash) } else { value.weight() };
        let place = set.iter_mut().min_by_key(rank).expect("a set has places");
        if !known {
            *place = (hash, V::default());
        }
        &mut place.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Remembered for u64 {
        fn weight(&self) -> u64 {
            *self
        }
    }

    #[test]
    fn whoever_has_room_is_remembered() {
        let mut table = Table::<u64>::new(4_096);
        for key in 0..400_u64 {
            *table.of(&key) = key + 1;
        }
        let kept = (0..400).filter(|key| *table.of(key) == key + 1).count();
        assert_eq!(kept, 400, "a tenth of the places is in use");
    }

    #[test]
    fn it_never_grows_and_the_lightest_goes_first() {
        let mut table = Table::<u64>::new(1);
        (0..8_u64).for_each(|key| *table.of(&key) = 100 + key);
        assert_eq!(*table.of(&"new"), 0, "nothing is known of a new one");
        *table.of(&"new") = 1_000;
        let kept: Vec<u64> = table.sets.iter().flatten().map(|(_, value)| *value).collect();
        assert_eq!(kept.len(), 8);
        assert!(!kept.contains(&100) && kept.contains(&101) && kept.contains(&1_000), "{kept:?}");
        (0..100_000_u64).for_each(|key| *table.of(&key) = 5);
        assert_eq!(table.sets.len(), 1);
    }
}
