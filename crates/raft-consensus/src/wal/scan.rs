//! Reads one segment at start: its records one after the other, and, where they end, whether what follows shows that
//! more had been synced. Used by recovery. It changes nothing.

use super::record::{self, ALIGN, Found, HEAD, Missing};

/// What follows the last valid record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Whether a head behind the end says that bytes behind the end had been synced.
    pub(crate) synced_beyond: bool,
    /// Where the last thing ends that could be taken for a record of this segment; the end itself where there is none.
    pub(crate) remnants_end: usize,
}

/// The records of a segment from an offset on, until one is missing.
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    segment: u64,
    at: usize,
}

impl<'a> Records<'a> {
    pub(crate) fn new(bytes: &'a [u8], segment: u64, at: usize) -> Self {
        Self { bytes, segment, at }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (usize, Found<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let found = record::decode(self.bytes, self.segment, at).ok()?;
        self.at = found.end;
        Some((at, found))
    }
}

/// Looks for heads of this segment's records behind an offset where its records end.
///
/// A write that was cut by a power loss may leave any of its sectors, so valid records behind an invalid one say
/// nothing by themselves. But each says how much of the segment was synced when it was written, and a record that was
/// synced can only be missing because of damage.
pub(crate) fn tail(bytes: &[u8], segment: u64, end: usize) -> Tail {
    let mut tail = Tail { synced_beyond: false, remnants_end: end };
    let mut at = record::align(end);
    while at + HEAD <= bytes.len() {
        let (next, synced) = match record::decode(bytes, segment, at) {
            Ok(found) => (found.end, found.synced),
            // Its body may hide the next record.
            Err(Missing::Body { end, synced }) => {
                tail.remnants_end = tail.remnants_end.max(end);
                (at + ALIGN, synced)
            }
            Err(Missing::Nothing | Missing::Head) => {
                at += ALIGN;
                continue;
            }
        };
        tail.remnants_end = tail.remnants_end.max(next);
        tail.synced_beyond |= synced as usize > end;
        at = next;
    }
    tail.remnants_end = tail.remnants_end.min(bytes.len());
    tail
}

#[cfg(test)]
mod tests {
    use super::super::GroupId;
    use super::super::record::{Content, Spot, encode};
    use super::*;

    /// Three records of 40 bytes from 64 on, written in one go after `synced` bytes.
    fn segment(synced: [u32; 3]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        for synced in synced {
            let spot = Spot { segment: 1, offset: bytes.len() as u64, synced };
            encode(&mut bytes, spot, GroupId(1), &Content::Vote([7; 16]));
        }
        bytes.resize(512, 0);
        bytes
    }

    #[test]
    fn records_end_where_one_is_invalid() {
        let mut bytes = segment([64; 3]);
        let offsets = |bytes: &[u8]| Records::new(bytes, 1, 64).map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(offsets(&bytes), [64, 104, 144]);
        bytes[110] ^= 1;
        assert_eq!(offsets(&bytes), [64]);
    }

    #[test]
    fn what_was_written_in_one_go_may_be_torn_in_any_way() {
        let mut bytes = segment([64; 3]);
        bytes[110] ^= 1;
        assert_eq!(tail(&bytes, 1, 104), Tail { synced_beyond: false, remnants_end: 184 });
    }

    #[test]
    fn a_later_write_shows_what_had_been_synced() {
        let mut bytes = segment([64, 64, 144]);
        bytes[110] ^= 1;
        assert!(tail(&bytes, 1, 104).synced_beyond);
        bytes[180] ^= 1;
        assert!(tail(&bytes, 1, 104).synced_beyond, "its head alone says so");
    }

    #[test]
    fn zeros_and_leftovers_of_another_segment_are_no_tail() {
        let bytes = segment([64; 3]);
        assert_eq!(tail(&bytes, 1, 184), Tail { synced_beyond: false, remnants_end: 184 });
        assert_eq!(tail(&bytes, 2, 64), Tail { synced_beyond: false, remnants_end: 64 });
    }
}
