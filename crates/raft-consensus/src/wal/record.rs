//! One record of the log: its bytes, and what makes them valid. Used by the committer, the scan of recovery and
//! readers. It never trusts a length whose checksum does not hold, and allocates nothing for one.
//!
//! ```text
//!  0  checksum of the head u32   over segment number u64, offset u64 and the bytes 4..24
//!  4  length of the body u32
//!  8  checksum of the body u32
//! 12  group u32
//! 16  synced u32                 the segment's bytes that were known to be synced when this was written
//! 20  kind u8, three zeros
//! 24  body, then zeros up to a multiple of 8
//! ```
//!
//! The checksum covers where the record lies, so that what an earlier life of a recycled segment left never verifies.

use super::GroupId;

/// Bytes before a record's body.
pub(crate) const HEAD: usize = 24;
/// Records begin at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// Bytes of an entry's record before the entry's body: index and term.
pub(crate) const ENTRY_PREFIX: usize = 16;

/// What a record says. `B` holds the bytes: owned when written, borrowed when read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content<B> {
    /// One entry of the group's Raft log.
    Entry { index: u64, term: u64, body: B },
    /// The group's vote.
    Vote(B),
    /// How far the group's log is known to be committed.
    Committed(B),
    /// Entries from this index on are no more.
    Truncate { from: u64 },
    /// Entries up to this index are in a checkpoint and no more in the log.
    Purge { index: u64, meta: B },
    /// Nothing; it only shows that all before it was synced.
    Empty,
}

impl<B: AsRef<[u8]>> Content<B> {
    fn kind(&self) -> u8 {
        match self {
            Self::Entry { .. } => 1,
            Self::Vote(_) => 2,
            Self::Committed(_) => 3,
            Self::Truncate { .. } => 4,
            Self::Purge { .. } => 5,
            Self::Empty => 6,
        }
    }

    /// The numbers at the front of the body: how many of the two count.
    fn numbers(&self) -> ([u64; 2], usize) {
        match self {
            Self::Entry { index, term, .. } => ([*index, *term], 2),
            Self::Truncate { from } => ([*from, 0], 1),
            Self::Purge { index, .. } => ([*index, 0], 1),
            Self::Vote(_) | Self::Committed(_) | Self::Empty => ([0, 0], 0),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Entry { body: b, .. }
            | Self::Vote(b)
            | Self::Committed(b)
            | Self::Purge { meta: b, .. } => b.as_ref(),
            Self::Truncate { .. } | Self::Empty => &[],
        }
    }

    fn body_len(&self) -> usize {
        self.numbers().1 * 8 + self.bytes().len()
    }

    /// The bytes that the record takes in a segment.
    pub(crate) fn record_len(&self) -> usize {
        align(HEAD + self.body_len())
    }
}

/// Where a record lies, and in which state of the segment it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The segment's number.
    pub(crate) segment: u64,
    /// The record's first byte in it.
    pub(crate) offset: u64,
    /// The segment's bytes that were known to be synced when the record was written.
    pub(crate) synced: u32,
}

/// Appends a record to a buffer.
pub(crate) fn encode<B: AsRef<[u8]>>(buf: &mut Vec<u8>, spot: Spot, group: GroupId, content: &Content<B>) {
    let (numbers, count) = content.numbers();
    let mut prefix = [0; ENTRY_PREFIX];
    let (index, term) = prefix.split_at_mut(8);
    index.copy_from_slice(&numbers[0].to_le_bytes());
    term.copy_from_slice(&numbers[1].to_le_bytes());
    let prefix = prefix.get(..count * 8).unwrap_or(&prefix);
    let mut body_crc = crc32fast::Hasher::new();
    body_crc.update(prefix);
    body_crc.update(content.bytes());
    let mut rest = [0; HEAD - 4];
    put(&mut rest, 0, u32::try_from(content.body_len()).unwrap_or(u32::MAX));
    put(&mut rest, 4, body_crc.finalize());
    put(&mut rest, 8, group.0);
    put(&mut rest, 12, spot.synced);
    put(&mut rest, 16, u32::from(content.kind()));
    buf.extend_from_slice(&head_crc(spot.segment, spot.offset, &rest).to_le_bytes());
    buf.extend_from_slice(&rest);
    buf.extend_from_slice(prefix);
    buf.extend_from_slice(content.bytes());
    let end = align(buf.len());
    buf.resize(end, 0);
}

/// A record that was found, with both checksums in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub(crate) group: GroupId,
    pub(crate) synced: u32,
    pub(crate) content: Content<&'a [u8]>,
    /// Where the next record begins, in the segment.
    pub(crate) end: usize,
}

/// Why there is no record at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Zeros, or the end of the segment: nothing was written here.
    Nothing,
    /// Bytes that are not the head of a record of this place.
    Head,
    /// A valid head whose body (that would end here) fails its checksum or is cut off.
    Body {
        /// Where the record would have ended.
        end: usize,
        /// What its head says of the segment when it was written.
        synced: u32,
    },
}

/// Reads the record at an offset of a segment, whose bytes from 0 on are given.
pub(crate) fn decode(bytes: &[u8], segment: u64, offset: usize) -> Result<Found<'_>, Missing> {
    decode_at(bytes.get(offset..).unwrap_or_default(), segment, offset)
}

/// Like [`decode`], with bytes that begin at the offset.
pub(crate) fn decode_at(bytes: &[u8], segment: u64, offset: usize) -> Result<Found<'_>, Missing> {
    let Some((head, after)) = bytes.split_at_checked(HEAD) else {
        return Err(if bytes.iter().all(|b| *b == 0) { Missing::Nothing } else { Missing::Head });
    };
    let Some((crc, rest)) = head.split_first_chunk::<4>() else { return Err(Missing::Head) };
    let kind = get(rest, 16);
    // A look at what only a record has, before the checksum: a search tries every offset.
    if !(1..=6).contains(&kind) {
        return Err(if head.iter().all(|b| *b == 0) { Missing::Nothing } else { Missing::Head });
    }
    if head_crc(segment, offset as u64, rest) != u32::from_le_bytes(*crc) {
        return Err(Missing::Head);
    }
    let len = get(rest, 0) as usize;
    let end = align(offset.saturating_add(HEAD).saturating_add(len));
    let synced = get(rest, 12);
    let bad = Missing::Body { end, synced };
    let body = after.get(..len).ok_or(bad)?;
    if crc32fast::hash(body) != get(rest, 4) {
        return Err(bad);
    }
    let content = content(kind, body).ok_or(bad)?;
    Ok(Found { group: GroupId(get(rest, 8)), synced, content, end })
}

fn content(kind: u32, body: &[u8]) -> Option<Content<&[u8]>> {
    Some(match kind {
        1 => {
            let (index, rest) = number(body)?;
            let (term, body) = number(rest)?;
            Content::Entry { index, term, body }
        }
        2 => Content::Vote(body),
        3 => Content::Committed(body),
        4 => Content::Truncate { from: number(body)?.0 },
        5 => {
            let (index, meta) = number(body)?;
            Content::Purge { index, meta }
        }
        6 => Content::Empty,
        _ => return None,
    })
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), rest))
}

fn head_crc(segment: u64, offset: u64, rest: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&segment.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(rest);
    crc.finalize()
}

/// Rounds up to where the next record may begin.
pub(crate) fn align(at: usize) -> usize {
    at.next_multiple_of(ALIGN)
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

fn get(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk::<4>()).map_or(0, |b| u32::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Content<&'static [u8]>> {
        vec![
            Content::Entry { index: 7, term: 3, body: b"an entry" },
            Content::Entry { index: u64::MAX, term: 0, body: b"" },
            Content::Vote(b"vote"),
            Content::Committed(b"committed"),
            Content::Truncate { from: 9 },
            Content::Purge { index: 4, meta: b"meta" },
            Content::Empty,
        ]
    }

    fn written(content: &Content<&[u8]>, segment: u64, offset: u64) -> Vec<u8> {
        let mut buf = Vec::new();
        encode(&mut buf, Spot { segment, offset, synced: 40 }, GroupId(5), content);
        assert_eq!(buf.len(), content.record_len());
        buf
    }

    #[test]
    fn what_is_written_is_read_back() {
        for content in samples() {
            let buf = written(&content, 2, 64);
            let found = decode_at(&buf, 2, 64).unwrap();
            assert_eq!(found, Found { group: GroupId(5), synced: 40, content, end: 64 + buf.len() });
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        for content in samples() {
            let good = written(&content, 2, 64);
            let covered = HEAD + content.body_len();
            for bit in 0..covered * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(decode_at(&bad, 2, 64).is_err(), "bit {bit} of {content:?}");
            }
        }
    }

    #[test]
    fn a_record_is_valid_nowhere_else() {
        for content in samples() {
            let buf = written(&content, 2, 64);
            assert_eq!(decode_at(&buf, 3, 64), Err(Missing::Head));
            assert_eq!(decode_at(&buf, 2, 72), Err(Missing::Head));
        }
    }

    #[test]
    fn zeros_are_nothing_and_a_cut_body_says_where_it_would_end() {
        assert_eq!(decode_at(&[0; 100], 1, 0), Err(Missing::Nothing));
        assert_eq!(decode_at(&[], 1, 0), Err(Missing::Nothing));
        let buf = written(&Content::Vote(b"0123456789"), 1, 8);
        assert_eq!(decode_at(&buf[..30], 1, 8), Err(Missing::Body { end: 48, synced: 40 }));
    }
}
