//! What the records written so far amount to for one group: what has to survive when old segments go, and which
//! segments its entries lie in. Kept by the committer, rebuilt by recovery. It holds no entry.

use std::collections::VecDeque;

use bytes::Bytes;

use super::record::Content;

/// The state of a group as of a position of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hard {
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
    pub(crate) purged: Option<(u64, Bytes)>,
    /// Where the group's entries are, in their order; each segment at most once.
    spans: VecDeque<Span>,
}

/// Entries of a group that lie in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    segment: u64,
    first: u64,
    last: u64,
}

/// An entry that does not follow the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    /// The index that should come next.
    pub(crate) expected: u64,
    /// The index that came.
    pub(crate) found: u64,
}

impl Hard {
    /// A group of which a segment's header says that entries are `live`, which lie in segments before that one.
    pub(crate) fn before(segment: u64, live: Option<(u64, u64)>) -> Self {
        let spans = live.map(|(first, last)| Span { segment: segment.saturating_sub(1), first, last });
        Self { spans: spans.into_iter().collect(), ..Self::default() }
    }

    /// The index that the next entry must have; none where the log is empty and nothing was ever purged.
    pub(crate) fn next(&self) -> Option<u64> {
        let last = self.spans.back().map(|s| s.last).or(self.purged.as_ref().map(|p| p.0));
        last.map(|l| l.saturating_add(1))
    }

    /// Whether both say the same, but for where the entries lie.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        let said =
            |hard: &Self| (hard.vote.clone(), hard.committed.clone(), hard.purged.clone(), hard.live());
        said(self) == said(other)
    }

    /// First and last index of the entries in the log.
    pub(crate) fn live(&self) -> Option<(u64, u64)> {
        Some((self.spans.front()?.first, self.spans.back()?.last))
    }

    /// The oldest segment that an entry lies in.
    pub(crate) fn oldest_segment(&self) -> Option<u64> {
        self.spans.front().map(|s| s.segment)
    }

    /// Takes over what a record says that lies in a segment.
    ///
    /// # Errors
    /// [`Hole`] for an entry that does not follow the last one.
    pub(crate) fn apply<B: AsRef<[u8]>>(&mut self, segment: u64, content: &Content<B>) -> Result<(), Hole> {
        match content {
            Content::Entry { index, .. } => return self.entry(segment, *index),
            Content::Vote(vote) => self.vote = Some(copy(vote)),
            Content::Committed(committed) => self.committed = Some(copy(committed)),
            Content::Truncate { from } => self.truncate(*from),
            Content::Purge { index, meta } => self.purge(*index, copy(meta)),
            Content::Empty => {}
        }
        Ok(())
    }

    fn entry(&mut self, segment: u64, index: u64) -> Result<(), Hole> {
        if let Some(expected) = self.next()
            && expected != index
        {
            return Err(Hole { expected, found: index });
        }
        match self.spans.back_mut() {
            Some(span) if span.segment == segment => span.last = index,
            _ => self.spans.push_back(Span { segment, first: index, last: index }),
        }
        Ok(())
    }

    fn truncate(&mut self, from: u64) {
        while self.spans.back().is_some_and(|s| s.first >= from) {
            self.spans.pop_back();
        }
        if let Some(span) = self.spans.back_mut() {
            span.last = span.last.min(from.saturating_sub(1));
        }
    }

    fn purge(&mut self, index: u64, meta: Bytes) {
        if self.purged.as_ref().is_some_and(|p| p.0 > index) {
            return;
        }
        self.purged = Some((index, meta));
        while self.spans.front().is_some_and(|s| s.last <= index) {
            self.spans.pop_front();
        }
        if let Some(span) = self.spans.front_mut() {
            span.first = span.first.max(index.saturating_add(1));
        }
    }
}

fn copy<B: AsRef<[u8]>>(bytes: &B) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64) -> Content<&'static [u8]> {
        Content::Entry { index, term: 1, body: b"" }
    }

    #[test]
    fn entries_follow_each_other() {
        let mut hard = Hard::default();
        assert_eq!(hard.next(), None);
        hard.apply(1, &entry(3)).unwrap();
        assert_eq!(hard.apply(1, &entry(5)), Err(Hole { expected: 4, found: 5 }));
        hard.apply(2, &entry(4)).unwrap();
        assert_eq!((hard.live(), hard.oldest_segment()), (Some((3, 4)), Some(1)));
    }

    #[test]
    fn a_purge_frees_the_segments_before_it() {
        let mut hard = Hard::default();
        for index in 0..6 {
            hard.apply(1 + index / 2, &entry(index)).unwrap();
        }
        hard.apply(3, &Content::Purge { index: 2, meta: b"" }).unwrap();
        assert_eq!((hard.live(), hard.oldest_segment()), (Some((3, 5)), Some(2)));
        hard.apply(3, &Content::Purge { index: 9, meta: b"" }).unwrap();
        assert_eq!((hard.live(), hard.oldest_segment(), hard.next()), (None, None, Some(10)));
        hard.apply(3, &Content::Purge { index: 4, meta: b"" }).unwrap();
        assert_eq!(hard.next(), Some(10), "a purge never goes back");
    }

    #[test]
    fn a_truncation_takes_entries_from_the_end() {
        let mut hard = Hard::default();
        for index in 0..6 {
            hard.apply(1 + index / 2, &entry(index)).unwrap();
        }
        hard.apply(3, &Content::<&[u8]>::Truncate { from: 3 }).unwrap();
        assert_eq!((hard.live(), hard.next()), (Some((0, 2)), Some(3)));
        hard.apply(4, &entry(3)).unwrap();
        hard.apply(4, &Content::<&[u8]>::Truncate { from: 0 }).unwrap();
        assert_eq!((hard.live(), hard.next()), (None, None));
    }
}
