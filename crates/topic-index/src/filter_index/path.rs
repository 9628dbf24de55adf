//! Hashes of the paths in the tree, level by level.
//! Called by the filter index, for filters and topics alike.
//! It never decides that two paths are the same: that takes the levels themselves.

use std::hash::{BuildHasher, Hasher};

use super::label::Level;

/// Spreads the bits of a path over the whole word; odd, and otherwise of no meaning.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15;

/// The hash of the levels from the root down to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path(u64);

impl Path {
    /// The path that has one more level, by the hash of that.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "both halves of the product are taken")]
    pub(super) fn below(self, level_hash: u64) -> Self {
        let product = u128::from(self.0 ^ level_hash) * SPREAD;
        Self((product >> 64) as u64 ^ product as u64)
    }

    /// The half of the hash that links are found by.
    #[inline]
    pub(super) fn short(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or_default()
    }
}

/// Hashes levels with a seed of its own: clients choose the levels, and must not be able to choose collisions.
#[derive(Debug)]
pub(super) struct PathHasher {
    seed: foldhash::fast::RandomState,
    single: u64,
}

impl Default for PathHasher {
    fn default() -> Self {
        let mut hasher = Self { seed: foldhash::fast::RandomState::default(), single: 0 };
        hasher.single = hasher.level(&Level::new(b"+"));
        hasher
    }
}

impl PathHasher {
    /// The path of the root.
    #[inline]
    pub(super) fn root(&self) -> Path {
        Path(0)
    }

    /// The hash of one level.
    #[inline]
    pub(super) fn level(&self, level: &Level<'_>) -> u64 {
        let mut hasher = self.seed.build_hasher();
        hasher.write_u128(level.start);
        if level.is_long() {
            hasher.write(level.text);
        }
        hasher.finish()
    }

    /// The hash of the level `+`.
    #[inline]
    pub(super) fn single(&self) -> u64 {
        self.single
    }
}
