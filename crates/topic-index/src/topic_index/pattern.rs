//! A filter as a scan over ordered topics needs it: does this topic match, and if not, where to look next.
//! Called by the scan of the topic index, with topics in the form of its keys.
//! It never looks at a topic twice and never goes back.

use smallvec::SmallVec;

use crate::filter::PlainFilter;

/// What stands for `/` in a key: lower than any character of a topic, which never has it. So all topics
/// below a level follow that level at once, in the order of a walk through a tree.
pub(super) const SEPARATOR: u8 = 0;

/// Above [`SEPARATOR`] and no higher than any character: a level with this behind it is behind all that is
/// below the level.
const BEHIND: u8 = 1;

/// The character behind `$` in the order of keys.
const BEHIND_DOLLAR: u8 = b'$' + 1;

/// What a scan does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It matches.
    Match,
    /// It does not, and neither does any other before the target.
    Seek,
    /// It does not, and neither does any behind it.
    End,
}

/// A filter, taken apart once for a scan.
#[derive(Debug)]
pub(super) struct Pattern<'a> {
    /// The levels without a `#` at the end.
    levels: SmallVec<[&'a [u8]; 16]>,
    /// Whether it ends in `#`.
    multi: bool,
}

impl<'a> Pattern<'a> {
    pub(super) fn new(filter: &'a PlainFilter) -> Self {
        let mut levels: SmallVec<[&[u8]; 16]> = filter.levels().map(str::as_bytes).collect();
        let multi = levels.last() == Some(&&b"#"[..]);
        if multi {
            levels.pop();
        }
        Self { levels, multi }
    }

    /// Writes the lowest key that could match into `target`.
    pub(super) fn first(&self, target: &mut Vec<u8>) {
        target.clear();
        self.extend_literals(0, target);
    }

    /// Judges a key; for [`Verdict::Seek`] the key to go on with is written into `target`, always a higher one.
    pub(super) fn judge(&self, key: &[u8], target: &mut Vec<u8>) -> Verdict {
        target.clear();
        if key.first() == Some(&b'$') && self.levels.first().is_none_or(|level| is_single(level)) {
            target.push(BEHIND_DOLLAR);
            return Verdict::Seek;
        }
        // Where the last level that a `+` stands for ends: the next key to look at is behind all below it.
        let mut last_single = None;
        let mut start = 0;
        for (index, level) in self.levels.iter().enumerate() {
            let Some(rest) = key.get(start..) else {
                // All its levels match, and the filter goes on: so do the keys below it.
                target.extend_from_slice(key);
                target.push(SEPARATOR);
                self.extend_literals(index, target);
                return Verdict::Seek;
            };
            let len = rest.iter().position(|byte| *byte == SEPARATOR).unwrap_or(rest.len());
            let name = rest.get(..len).unwrap_or_default();
            if is_single(level) {
                last_single = Some(start + len);
            } else if name < *level {
                target.extend_from_slice(key.get(..start).unwrap_or_default());
                self.extend_literals(index, target);
                return Verdict::Seek;
            } else if name > *level {
                return Self::behind(key, last_single, target);
            }
            start += len + 1;
        }
        if start > key.len() || self.multi { Verdict::Match } else { Self::behind(key, last_single, target) }
    }

    /// Adds the levels from `index` on up to the next wildcard.
    fn extend_literals(&self, index: usize, target: &mut Vec<u8>) {
        let mut separator = false;
        for level in self.levels.iter().skip(index) {
            if separator {
                target.push(SEPARATOR);
            }
            if is_single(level) {
                return;
            }
            target.extend_from_slice(level);
            separator = true;
        }
    }

    fn behind(key: &[u8], last_single: Option<usize>, target: &mut Vec<u8>) -> Verdict {
        let Some(level) = last_single.and_then(|end| key.get(..end)) else { return Verdict::End };
        target.extend_from_slice(level);
        target.push(BEHIND);
        Verdict::Seek
    }
}

fn is_single(level: &[u8]) -> bool {
    level == b"+"
}
