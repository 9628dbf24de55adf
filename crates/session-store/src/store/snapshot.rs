//! A checkpoint as a file, to be sent to another replica in chunks. Written and read by the store; whoever
//! sends or receives one never needs to know what is in it. Its form is versioned.
//!
//! Magic and version, number of records, hash, position; then each record with its lengths; at last the
//! checksum of all that.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::changes::Changes;
use super::checkpoint::{Checkpoint, Stored};
use super::disk;
use super::error::StoreError;
use super::hash::{self, StateHash};

/// Bytes of a snapshot that are sent at once.
pub const SNAPSHOT_CHUNK: usize = 1 << 20;

/// The last byte is the version.
const MAGIC: [u8; 8] = *b"QUELEA\x00\x01";

/// Bytes of records that are brought into the store at once.
const BATCH_BYTES: usize = 4 << 20;

/// A snapshot that was found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// The log position that it stands for.
    pub applied: Vec<u8>,
    /// The hash of all records.
    pub hash: StateHash,
    /// How many records there are.
    pub(super) count: u64,
}

/// Writes a checkpoint to a file.
pub(super) fn write(mut checkpoint: Checkpoint, path: &Path) -> Result<Snapshot, StoreError> {
    let failed = |error| StoreError::io("cannot write the snapshot", path, error);
    let written = checkpoint.written();
    let count = checkpoint.len();
    let unfinished = path.with_extension("unfinished");
    let file = File::create(&unfinished).map_err(failed)?;
    let mut out = Summed::new(BufWriter::with_capacity(SNAPSHOT_CHUNK, file));
    out.put(&MAGIC).map_err(failed)?;
    out.put(&count.to_be_bytes()).map_err(failed)?;
    out.put(&written.hash.0.to_be_bytes()).map_err(failed)?;
    out.put_block(&written.applied).map_err(failed)?;
    for record in &mut checkpoint {
        let (key, value) = record?;
        out.put_block(&key).map_err(failed)?;
        out.put_block(&value).map_err(failed)?;
    }
    let bytes = out.finish().map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)?;
    disk::sync_parent(path)?;
    Ok(Snapshot { path: path.to_owned(), bytes, applied: written.applied, hash: written.hash, count })
}

impl Snapshot {
    /// Opens a file that was written or received, and reads all of it once.
    ///
    /// # Errors
    /// [`StoreError::Snapshot`] unless every byte is as it was written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut source = Source::open(path)?;
        let mut found = StateHash::default();
        for _ in 0..source.count {
            let (key, value) = source.record()?;
            found = found.with(hash::of_record(&key, &value));
        }
        let bytes = source.finish()?;
        let Source { applied, hash, count, .. } = source;
        if found != hash {
            return Err(damaged(path, "its records do not fit its hash"));
        }
        Ok(Self { path: path.to_owned(), bytes, applied, hash, count })
    }

    /// Its bytes, [`SNAPSHOT_CHUNK`] at a time.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file cannot be opened; the iterator, if it cannot be read on.
    pub fn chunks(&self) -> Result<impl Iterator<Item = io::Result<Bytes>> + Send + use<>, StoreError> {
        let file = File::open(&self.path);
        let mut file = file.map_err(|error| StoreError::io("cannot open the snapshot", &self.path, error))?;
        Ok(std::iter::from_fn(move || {
            let mut chunk = Vec::with_capacity(SNAPSHOT_CHUNK);
            match Read::take(&mut file, SNAPSHOT_CHUNK as u64).read_to_end(&mut chunk) {
                Ok(0) => None,
                Ok(_) => Some(Ok(chunk.into())),
                Err(error) => Some(Err(error)),
            }
        }))
    }

    /// Calls `bring` with all records, some megabytes at a time.
    pub(super) fn each_batch(
        &self,
        mut bring: impl FnMut(Changes) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut source = Source::open(&self.path)?;
        let (mut changes, mut bytes) = (Changes::default(), 0);
        for _ in 0..self.count {
            let (key, value) = source.record()?;
            bytes += key.len() + value.len();
            changes.put(key.to_vec(), value);
            if bytes >= BATCH_BYTES {
                bring(std::mem::take(&mut changes))?;
                bytes = 0;
            }
        }
        source.finish()?;
        bring(changes)
    }
}

fn damaged(path: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Snapshot { path: path.to_owned(), reason: reason.into() }
}

/// A snapshot while it is read.
struct Source {
    path: PathBuf,
    input: BufReader<File>,
    /// Bytes of the file that were not read yet: no length can be believed beyond these.
    left: u64,
    len: u64,
    checksum: crc32fast::Hasher,
    count: u64,
    hash: StateHash,
    applied: Vec<u8>,
}

impl Source {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| StoreError::io("cannot read the snapshot", path, error);
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let mut source = Self {
            path: path.to_owned(),
            input: BufReader::with_capacity(SNAPSHOT_CHUNK, file),
            left: len,
            len,
            checksum: crc32fast::Hasher::new(),
            count: 0,
            hash: StateHash::default(),
            applied: Vec::new(),
        };
        if source.array()? != MAGIC {
            return Err(damaged(path, "it is no snapshot of a version that is known here"));
        }
        source.count = u64::from_be_bytes(source.array()?);
        source.hash = StateHash(u64::from_be_bytes(source.array()?));
        source.applied = source.block()?;
        Ok(source)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), StoreError> {
        let read = self.input.read_exact(bytes);
        read.map_err(|error| damaged(&self.path, error.to_string()))?;
        self.left = self.left.saturating_sub(bytes.len() as u64);
        self.checksum.update(bytes);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn block(&mut self) -> Result<Vec<u8>, StoreError> {
        let len = u32::from_be_bytes(self.array()?);
        if u64::from(len) > self.left {
            return Err(damaged(&self.path, "a record is longer than the file"));
        }
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn record(&mut self) -> Result<Stored, StoreError> {
        Ok((self.block()?.into(), self.block()?.into()))
    }

    /// Checks that the file ends here; says how long it is.
    fn finish(&mut self) -> Result<u64, StoreError> {
        let expected = self.checksum.clone().finalize();
        if u32::from_be_bytes(self.array()?) != expected {
            return Err(damaged(&self.path, "its checksum does not fit"));
        }
        if self.left != 0 {
            return Err(damaged(&self.path, "it goes on behind its end"));
        }
        Ok(self.len)
    }
}

/// A snapshot while it is written.
struct Summed {
    out: BufWriter<File>,
    checksum: crc32fast::Hasher,
    bytes: u64,
}

impl Summed {
    fn new(out: BufWriter<File>) -> Self {
        Self { out, checksum: crc32fast::Hasher::new(), bytes: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn put_block(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.put(&len.to_be_bytes())?;
        self.put(bytes)
    }

    /// Writes the checksum and syncs; says how long the file is.
    fn finish(mut self) -> io::Result<u64> {
        let checksum = self.checksum.clone().finalize();
        self.put(&checksum.to_be_bytes())?;
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(self.bytes)
    }
}
