//! What the tests of the log share: a log on a simulated disk that is driven step by step, and what was acknowledged.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use raft_consensus::disk::{Disk, SimDisk};
use raft_consensus::wal::{GroupId, GroupLog, LogRecord, Recovery, Wal, WalError, WalOptions};

/// A small log: segments of 16 KiB, at most 32 of them.
pub(crate) fn small() -> WalOptions {
    WalOptions {
        segment_bytes: 16 << 10,
        log_bytes_max: 512 << 10,
        cache_bytes_max: 256,
        ..WalOptions::default()
    }
}

/// Opens the log of a simulated disk.
pub(crate) fn open(disk: &SimDisk, options: WalOptions) -> Result<(Wal, Recovery), WalError> {
    Wal::open(Arc::new(disk.clone()) as Arc<dyn Disk>, options)
}

/// The same where it has to succeed.
pub(crate) fn opened(disk: &SimDisk) -> Wal {
    open(disk, small()).unwrap().0
}

/// The results of callbacks, in the order in which they ran.
#[derive(Clone, Default)]
pub(crate) struct Acks(Arc<Mutex<Vec<(u64, bool)>>>);

impl Acks {
    /// A callback that notes its number.
    pub(crate) fn note(&self, number: u64) -> raft_consensus::wal::Callback {
        let acks = Arc::clone(&self.0);
        Box::new(move |result| acks.lock().push((number, result.is_ok())))
    }

    /// The numbers that were acknowledged.
    pub(crate) fn good(&self) -> Vec<u64> {
        self.0.lock().iter().filter(|a| a.1).map(|a| a.0).collect()
    }

    /// The numbers that were refused.
    pub(crate) fn bad(&self) -> Vec<u64> {
        self.0.lock().iter().filter(|a| !a.1).map(|a| a.0).collect()
    }
}

/// An entry whose body says which it is, `len` bytes long.
pub(crate) fn entry(index: u64, term: u64, len: usize) -> LogRecord {
    let mut body = format!("{index}@{term} ").into_bytes();
    body.resize(len.max(body.len()), b'.');
    LogRecord { index, term, body: Bytes::from(body) }
}

/// Appends entries of a term and drives the log until it is done.
pub(crate) fn append(wal: &Wal, log: &GroupLog, indexes: std::ops::Range<u64>, len: usize) {
    let acks = Acks::default();
    log.append(indexes.map(|i| entry(i, 1, len)).collect(), acks.note(0)).unwrap();
    settle(wal);
    assert_eq!(acks.good(), [0]);
}

/// Drives the log, with segments prepared as they are needed.
pub(crate) fn settle(wal: &Wal) {
    while wal.step() == raft_consensus::wal::Progress::Blocked {
        wal.prepare();
    }
    wal.prepare();
}

/// Drops entries with the purge durable, and its segments reusable.
pub(crate) fn purge(wal: &Wal, log: &GroupLog, index: u64) {
    log.purge(index, Bytes::from_static(b"purged")).unwrap();
    wal.quiet();
    wal.prepare();
}

/// All entries of a group.
pub(crate) fn all(log: &GroupLog) -> Vec<LogRecord> {
    log.read(0..u64::MAX, usize::MAX).unwrap()
}

/// The indexes of all entries of a group.
pub(crate) fn indexes(log: &GroupLog) -> Vec<u64> {
    all(log).iter().map(|r| r.index).collect()
}

/// The group of most tests.
pub(crate) const G: GroupId = GroupId(1);

/// Pseudo-random numbers (splitmix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
