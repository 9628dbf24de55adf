//! How records lie in a tree: a record is cut into chunks, small enough that sled keeps them in its one file,
//! and a tree has one more entry, which says what its checkpoint stands for. Called by the store and by
//! checkpoints; the forms are versioned and never change.

use sled::{Batch, Tree};

use super::GroupId;
use super::error::{StoreError, guarded};
use super::hash::{self, StateHash};

/// Bytes of a record in one chunk. A leaf of sled's tree holds about sixteen, and what is larger than 128 KiB
/// would become a file of its own.
pub(super) const CHUNK: usize = 4_096;

/// Never the beginning of a chunk's key: no record's key is this long.
pub(super) const META_KEY: &[u8] = b"\xFF\xFF\xFF\xFFmeta";

const META_VERSION: u8 = 1;

/// The key of a chunk: length of the record's key, the key, the chunk's number.
pub(super) fn chunk_key(key: &[u8], chunk: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 8);
    // No key comes near 4 GiB.
    bytes.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&chunk.to_be_bytes());
    bytes
}

/// The record's key and the chunk's number in a chunk's key.
pub(super) fn split_key(bytes: &[u8], group: GroupId) -> Result<(&[u8], u32), StoreError> {
    let damaged = || StoreError::damaged(group, "a key is none");
    let (len, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
    let (key, chunk) = rest.split_last_chunk().ok_or_else(damaged)?;
    if u32::from_be_bytes(*len) as usize != key.len() {
        return Err(damaged());
    }
    Ok((key, u32::from_be_bytes(*chunk)))
}

/// What stands before the first chunk of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The hash of the record's key and value.
    pub(super) hash: u64,
    /// How many chunks there are, at least one.
    pub(super) chunks: u32,
}

impl Head {
    /// Its bytes.
    const LEN: usize = 12;

    /// That of a record.
    pub(super) fn of(key: &[u8], value: &[u8]) -> Self {
        let chunks = value.len().div_ceil(CHUNK).max(1);
        // A value of 16 TiB does not fit into memory.
        Self { hash: hash::of_record(key, value), chunks: u32::try_from(chunks).unwrap_or(u32::MAX) }
    }

    /// Reads it from a first chunk.
    pub(super) fn decode(bytes: &[u8], group: GroupId) -> Result<Self, StoreError> {
        Self::split(bytes, group).map(|(head, _)| head)
    }

    /// Reads it from a first chunk, and gives the rest of that.
    pub(super) fn split(bytes: &[u8], group: GroupId) -> Result<(Self, &[u8]), StoreError> {
        let damaged = || StoreError::damaged(group, "a record is too short");
        let (hash, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
        let (chunks, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        Ok((Self { hash: u64::from_be_bytes(*hash), chunks: u32::from_be_bytes(*chunks) }, rest))
    }
}

/// Puts a record's chunks into a batch; `head` is the record's.
pub(super) fn put(key: &[u8], value: &[u8], head: Head, batch: &mut Batch) {
    cut(key, value, head).for_each(|(key, bytes)| batch.insert(key, bytes));
}

/// Cuts a record into chunks, each with its key.
fn cut<'a>(key: &'a [u8], value: &'a [u8], head: Head) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a {
    let mut parts = value.chunks(CHUNK);
    (0..head.chunks).map(move |chunk| {
        let part = parts.next().unwrap_or_default();
        let mut bytes = Vec::with_capacity(Head::LEN + part.len());
        if chunk == 0 {
            bytes.extend_from_slice(&head.hash.to_be_bytes());
            bytes.extend_from_slice(&head.chunks.to_be_bytes());
        }
        bytes.extend_from_slice(part);
        (chunk_key(key, chunk), bytes)
    })
}

/// What a tree's checkpoint stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// The log position, as the caller gave it.
    pub(super) applied: Vec<u8>,
    /// The hash of all records.
    pub(super) hash: StateHash,
    /// How many records there are.
    pub(super) count: u64,
    /// Grows by one with each checkpoint.
    pub(super) number: u64,
}

impl Meta {
    /// Version, number, hash, count, position, checksum of all before it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![META_VERSION];
        for field in [self.number, self.hash.0, self.count] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(&self.applied);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// `None` for bytes that are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk()?;
        if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
            return None;
        }
        let (version, rest) = body.split_first()?;
        if *version != META_VERSION {
            return None;
        }
        let (number, rest) = rest.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (count, applied) = rest.split_first_chunk()?;
        Some(Self {
            applied: applied.to_vec(),
            hash: StateHash(u64::from_be_bytes(*hash)),
            count: u64::from_be_bytes(*count),
            number: u64::from_be_bytes(*number),
        })
    }
}

/// What the checkpoint in a tree stands for; `None` where none was completed.
pub(super) fn read_meta(tree: &Tree, group: GroupId) -> Result<Option<Meta>, StoreError> {
    let bytes = guarded(|| tree.get(META_KEY)).map_err(|error| error.reading(group))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let meta = Meta::decode(&bytes);
    meta.map(Some).ok_or_else(|| StoreError::damaged(group, "its position is of an unknown form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        for key in [b"".as_slice(), b"k", &[0xFF; 70_000]] {
            let bytes = chunk_key(key, 7);
            assert_eq!(split_key(&bytes, GroupId(1)).unwrap(), (key, 7));
            assert!(split_key(&bytes[1..], GroupId(1)).is_err());
        }
    }

    #[test]
    fn a_record_is_cut_into_chunks_as_ever() {
        let value = [7; CHUNK + 4];
        let cut = cut(b"k", &value, Head::of(b"k", &value));
        let first = [b"\xFC\xC8\xB8\xB7\xD0\xE7\x50\x04\0\0\0\x02".as_slice(), &[7; CHUNK]].concat();
        let expected =
            [(b"\0\0\0\x01k\0\0\0\0".to_vec(), first), (b"\0\0\0\x01k\0\0\0\x01".to_vec(), vec![7; 4])];
        assert_eq!(cut.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_position_of_version_1_is_read_as_ever() {
        let meta = Meta { applied: b"pos".to_vec(), hash: StateHash(1), count: 2, number: 3 };
        let bytes = meta.encode();
        let fixture = b"\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02pos";
        assert_eq!(bytes[..bytes.len() - 4], *fixture);
        assert_eq!(Meta::decode(&bytes), Some(meta));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Meta::decode(&damaged), None, "byte {at}");
        }
    }
}
