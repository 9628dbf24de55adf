//! Where the records of a log file lie, read by a few lines that share nothing with the broker: just enough to damage
//! one on purpose.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes before a record's body.
pub(crate) const HEAD: usize = 24;
/// Kinds of records.
pub(crate) const ENTRY: u8 = 1;
pub(crate) const VOTE: u8 = 2;
pub(crate) const EMPTY: u8 = 6;

/// A record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) kind: u8,
    pub(crate) at: usize,
    /// Bytes of its body.
    pub(crate) len: usize,
}

/// A file of the log that holds something.
#[derive(Clone, Debug)]
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    pub(crate) records: Vec<Record>,
    /// Where its records end.
    pub(crate) end: usize,
}

fn number_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The files of a data directory's log that hold something, oldest first.
pub(crate) fn log_files(data: &Path) -> Vec<LogFile> {
    let entries = fs::read_dir(data.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    paths.sort();
    paths.into_iter().filter_map(read).collect()
}

fn read(path: PathBuf) -> Option<LogFile> {
    let bytes = fs::read(&path).unwrap();
    let number = path.file_stem()?.to_str()?.parse().ok()?;
    let mine = bytes[..8] == *b"\x89QUELEA\n" && bytes[24..32] == u64::to_le_bytes(number);
    let mut at = number_at(&bytes, 16);
    let mut records = Vec::new();
    while at + HEAD <= bytes.len()
        && head_sum(number, at, &bytes[at + 4..at + HEAD]) == number_at(&bytes, at) as u32
    {
        let (kind, len) = (bytes[at + 20], number_at(&bytes, at + 4));
        records.push(Record { kind, at, len });
        at = (at + HEAD + len).next_multiple_of(8);
    }
    mine.then_some(LogFile { path, number, records, end: at })
}

/// The checksum of a head, which covers where it lies.
fn head_sum(segment: u64, at: usize, rest: &[u8]) -> u32 {
    crc32(&[&segment.to_le_bytes(), (at as u64).to_le_bytes().as_slice(), rest].concat())
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

impl LogFile {
    /// The records of a kind.
    pub(crate) fn of_kind(&self, kind: u8) -> Vec<Record> {
        self.records.iter().copied().filter(|record| record.kind == kind).collect()
    }

    /// Writes behind the last record what a write that was cut by a power loss leaves: a whole head, and a part of a
    /// body.
    pub(crate) fn tear(&self) {
        let mut bytes = fs::read(&self.path).unwrap();
        let mut head = [0; HEAD];
        head[4..8].copy_from_slice(&600_u32.to_le_bytes());
        head[8..12].copy_from_slice(&12_345_u32.to_le_bytes());
        head[12..16].copy_from_slice(&1_u32.to_le_bytes());
        head[16..20].copy_from_slice(&(self.end as u32).to_le_bytes());
        head[20] = ENTRY;
        let sum = head_sum(self.number, self.end, &head[4..]);
        head[..4].copy_from_slice(&sum.to_le_bytes());
        bytes[self.end..self.end + HEAD].copy_from_slice(&head);
        bytes[self.end + HEAD..self.end + HEAD + 300].fill(b'x');
        fs::write(&self.path, bytes).unwrap();
    }
}

#[test]
fn the_checksum_is_the_one_of_the_log() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
}
