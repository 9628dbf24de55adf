//! The header of a segment: which one it is, where the one before ended, and what every group's records before it
//! amounted to, so that old segments can go without taking a vote along. Used by the committer and recovery. It never
//! accepts a header whose checksum does not hold.
//!
//! ```text
//!  0  magic, 8 bytes
//!  8  checksum u32             over the bytes 12..length
//! 12  format version u32
//! 16  length u32               of the header: where the first record begins
//! 20  number of groups u32
//! 24  segment number u64
//! 32  end of the one before u64   where its records end; 0 for the first
//! 40  each group: number u32, flags u32, then what the flags say is there
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

use super::GroupId;
use super::hard::Hard;
use super::record::align;

const MAGIC: &[u8; 8] = b"\x89QUELEA\n";
/// The format that this binary writes and reads.
pub(crate) const VERSION: u32 = 1;
/// Bytes before the groups.
pub(crate) const FIXED: usize = 40;
/// The most that one vote, committed or purge record may hold, in bytes.
pub(crate) const META_BYTES_MAX: usize = 256;
/// The most that one group takes in a header.
pub(crate) const GROUP_BYTES_MAX: usize = 8 + 3 * (4 + META_BYTES_MAX) + 8 + 16;

const VOTE: u32 = 1;
const COMMITTED: u32 = 2;
const PURGED: u32 = 4;
const LIVE: u32 = 8;

/// What a segment's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) segment: u64,
    pub(crate) before_end: u64,
    pub(crate) groups: BTreeMap<GroupId, Hard>,
}

/// Why the first bytes of a file are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// Zeros: never written.
    Blank,
    /// Bytes that are none, or whose checksum fails.
    Damaged,
    /// The header of another format version.
    Version(u32),
}

/// Appends a header to an empty buffer; it takes all of the buffer.
pub(crate) fn encode(buf: &mut Vec<u8>, segment: u64, before_end: u64, groups: &BTreeMap<GroupId, Hard>) {
    buf.clear();
    buf.resize(FIXED, 0);
    for (group, hard) in groups {
        encode_group(buf, *group, hard);
    }
    let end = align(buf.len());
    buf.resize(end, 0);
    set(buf, 0, MAGIC);
    set(buf, 12, &VERSION.to_le_bytes());
    set(buf, 16, &u32::try_from(end).unwrap_or(u32::MAX).to_le_bytes());
    set(buf, 20, &u32::try_from(groups.len()).unwrap_or(u32::MAX).to_le_bytes());
    set(buf, 24, &segment.to_le_bytes());
    set(buf, 32, &before_end.to_le_bytes());
    let crc = crc32fast::hash(buf.get(12..).unwrap_or_default());
    set(buf, 8, &crc.to_le_bytes());
}

fn encode_group(buf: &mut Vec<u8>, group: GroupId, hard: &Hard) {
    let live = hard.live();
    let flag = |there: bool, flag: u32| if there { flag } else { 0 };
    let flags = flag(hard.vote.is_some(), VOTE)
        | flag(hard.committed.is_some(), COMMITTED)
        | flag(hard.purged.is_some(), PURGED)
        | flag(live.is_some(), LIVE);
    buf.extend_from_slice(&group.0.to_le_bytes());
    buf.extend_from_slice(&flags.to_le_bytes());
    for bytes in hard.vote.iter().chain(&hard.committed) {
        put_bytes(buf, bytes);
    }
    if let Some((index, meta)) = &hard.purged {
        buf.extend_from_slice(&index.to_le_bytes());
        put_bytes(buf, meta);
    }
    if let Some((first, last)) = live {
        buf.extend_from_slice(&first.to_le_bytes());
        buf.extend_from_slice(&last.to_le_bytes());
    }
}

/// Reads the header of a file from its bytes; also where its records begin.
pub(crate) fn decode(file: &[u8]) -> Result<(Header, usize), NoHeader> {
    let fixed = file.get(..FIXED).ok_or(NoHeader::Damaged)?;
    if fixed.iter().all(|b| *b == 0) {
        return Err(NoHeader::Blank);
    }
    decode_fields(file).ok_or(NoHeader::Damaged)?
}

fn decode_fields(file: &[u8]) -> Option<Result<(Header, usize), NoHeader>> {
    let mut fields = Fields(file);
    let magic = fields.take(8)?;
    let crc = fields.u32()?;
    let version = fields.u32()?;
    let len = usize::try_from(fields.u32()?).ok()?;
    if magic != MAGIC || crc32fast::hash(file.get(12..len)?) != crc {
        return None;
    }
    if version != VERSION {
        return Some(Err(NoHeader::Version(version)));
    }
    let count = fields.u32()?;
    let segment = fields.u64()?;
    let before_end = fields.u64()?;
    let mut groups = BTreeMap::new();
    for _ in 0..count {
        let (group, hard) = decode_group(&mut fields, segment)?;
        groups.insert(group, hard);
    }
    Some(Ok((Header { segment, before_end, groups }, len)))
}

fn decode_group(fields: &mut Fields<'_>, segment: u64) -> Option<(GroupId, Hard)> {
    let group = GroupId(fields.u32()?);
    let flags = fields.u32()?;
    let vote = fields.bytes_if(flags & VOTE != 0)?;
    let committed = fields.bytes_if(flags & COMMITTED != 0)?;
    let purged = match flags & PURGED {
        0 => None,
        _ => Some((fields.u64()?, fields.bytes()?)),
    };
    let live = match flags & LIVE {
        0 => None,
        _ => Some((fields.u64()?, fields.u64()?)),
    };
    let mut hard = Hard::before(segment, live);
    (hard.vote, hard.committed, hard.purged) = (vote, committed, purged);
    Some((group, hard))
}

fn set(buf: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = buf.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

fn put_bytes(buf: &mut Vec<u8>, bytes: &[u8]) {
    buf.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    buf.extend_from_slice(bytes);
}

/// The bytes that are left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|b| u32::from_le_bytes(*b))
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.first_chunk().map(|b| u64::from_le_bytes(*b))
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.take(len).map(Bytes::copy_from_slice)
    }

    /// `Some(None)` where the flags say that there are none.
    fn bytes_if(&mut self, there: bool) -> Option<Option<Bytes>> {
        if there { self.bytes().map(Some) } else { Some(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Content;
    use super::*;

    fn groups() -> BTreeMap<GroupId, Hard> {
        let mut full = Hard::before(7, Some((4, 9)));
        full.apply(7, &Content::Vote(b"vote")).unwrap();
        full.apply(7, &Content::Committed(b"committed")).unwrap();
        full.apply(7, &Content::Purge { index: 3, meta: b"meta" }).unwrap();
        BTreeMap::from([(GroupId(0), Hard::default()), (GroupId(9), full)])
    }

    fn written() -> Vec<u8> {
        let mut buf = vec![1, 2, 3];
        encode(&mut buf, 7, 4096, &groups());
        buf
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut file = written();
        let len = file.len();
        file.resize(len + 100, 0);
        let header = Header { segment: 7, before_end: 4096, groups: groups() };
        assert_eq!(decode(&file), Ok((header, len)));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let good = written();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad), Err(NoHeader::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_blank_and_another_version_is_named() {
        assert_eq!(decode(&[0; 64]), Err(NoHeader::Blank));
        let mut next = written();
        next[12] = 2;
        let crc = crc32fast::hash(&next[12..]);
        next[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode(&next), Err(NoHeader::Version(2)));
    }

    #[test]
    fn a_group_never_takes_more_than_its_bound() {
        let mut hard = Hard::before(2, Some((0, u64::MAX)));
        let meta = [7; META_BYTES_MAX];
        hard.apply(2, &Content::Vote(&meta)).unwrap();
        hard.apply(2, &Content::Committed(&meta)).unwrap();
        hard.purged = Some((1, Bytes::copy_from_slice(&meta)));
        let mut buf = Vec::new();
        encode_group(&mut buf, GroupId(1), &hard);
        assert!(buf.len() <= GROUP_BYTES_MAX, "{} bytes", buf.len());
    }
}
