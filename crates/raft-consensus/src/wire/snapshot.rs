//! A snapshot on its way: what it stands for, its bytes in chunks, and its end. A chunk whose checksum does not fit is
//! no chunk.

use bytes::Bytes;

use super::{proto, read_leaders_vote};
use crate::record::{self, RecordError, malformed};
use crate::types::{SnapshotMeta, Vote};

const KIND: &str = "chunk of a snapshot";

/// What begins a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Of the leader that sends it.
    pub(crate) vote: Vote,
    /// What it stands for.
    pub(crate) meta: SnapshotMeta,
}

impl Header {
    pub(super) fn write(&self) -> proto::SnapshotHeader {
        proto::SnapshotHeader {
            vote: Some(record::vote(&self.vote)),
            meta: Some(record::applied(&self.meta)),
        }
    }

    pub(super) fn read(header: proto::SnapshotHeader) -> Result<Self, RecordError> {
        let kind = "snapshot";
        let meta = header.meta.ok_or_else(|| malformed(kind, "it does not say what it stands for"))?;
        Ok(Self { vote: read_leaders_vote(header.vote, kind)?, meta: record::read_applied(meta)? })
    }
}

/// Some of a snapshot's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Where they begin.
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
}

impl Chunk {
    pub(super) fn write(&self) -> proto::SnapshotChunk {
        let checksum = crc32fast::hash(&self.data);
        proto::SnapshotChunk { offset: self.offset, data: self.data.clone(), checksum }
    }

    pub(super) fn read(chunk: proto::SnapshotChunk) -> Result<Self, RecordError> {
        if crc32fast::hash(&chunk.data) != chunk.checksum {
            return Err(malformed(KIND, "its checksum does not fit"));
        }
        Ok(Self { offset: chunk.offset, data: chunk.data })
    }
}

/// What ends a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Its bytes.
    pub(crate) length: u64,
    /// The CRC-32 of all of them.
    pub(crate) checksum: u32,
}

impl End {
    pub(super) fn write(self) -> proto::SnapshotEnd {
        proto::SnapshotEnd { length: self.length, checksum: self.checksum }
    }

    pub(super) fn read(end: proto::SnapshotEnd) -> Self {
        Self { length: end.length, checksum: end.checksum }
    }
}
