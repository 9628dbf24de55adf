//! The files of a simulated disk: what is written, what would survive, and the faults that are due. Used by `sim` alone.

use std::collections::BTreeMap;
use std::io;

use super::CrashMode;

/// What a power cut writes or loses as a whole.
const SECTOR: usize = 512;
pub(super) const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[derive(Debug, Default)]
pub(super) struct Sim {
    pub(super) inodes: Vec<Inode>,
    pub(super) names: BTreeMap<String, usize>,
    pub(super) durable_names: BTreeMap<String, usize>,
    /// What was done with names since they were durable, in order.
    pub(super) renames: Vec<NameChange>,
    /// Grows with each crash; a handle of an earlier life is dead.
    pub(super) life: u64,
    pub(super) capacity: Option<u64>,
    pub(super) fail_sync: Option<u64>,
    pub(super) fail_write: Option<u64>,
    pub(super) power: Option<u64>,
    pub(super) syncs: u64,
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Add(String, usize),
    Remove(String),
    Move(String, String),
}

/// `now` is what is read; `durable` with the pending writes, in order, gives `now`.
#[derive(Debug, Default)]
pub(super) struct Inode {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<(usize, Vec<u8>)>,
}

impl CrashMode {
    /// Whether one more sector or name survives.
    fn survives(self, chance: &mut Chance) -> bool {
        match self {
            Self::LoseAll => false,
            Self::KeepAll => true,
            Self::Torn => chance.next() & 1 == 0,
        }
    }
}

impl Inode {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), now: bytes, pending: Vec::new() }
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.now, at, bytes);
        self.pending.push((at, bytes.to_vec()));
    }

    pub(super) fn sync(&mut self) {
        for (at, bytes) in std::mem::take(&mut self.pending) {
            put(&mut self.durable, at, &bytes);
        }
    }

    fn crash(&mut self, mode: CrashMode, chance: &mut Chance) {
        for (at, bytes) in std::mem::take(&mut self.pending) {
            for (from, sector) in sectors(at, &bytes) {
                if mode.survives(chance) {
                    put(&mut self.durable, from, sector);
                }
            }
        }
        self.now.clone_from(&self.durable);
    }
}

/// Writes into a vector, which grows by zeros where it is too short.
fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(range) = file.get_mut(at..end) {
        range.copy_from_slice(bytes);
    }
}

/// A write cut at the borders of sectors.
fn sectors(at: usize, bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut parts = Vec::new();
    let (mut from, mut rest) = (at, bytes);
    while !rest.is_empty() {
        let (part, after) = rest.split_at((SECTOR - from % SECTOR).min(rest.len()));
        parts.push((from, part));
        from += part.len();
        rest = after;
    }
    parts
}

impl Sim {
    pub(super) fn used(&self) -> u64 {
        self.names.values().filter_map(|i| self.inodes.get(*i)).map(|i| i.now.len() as u64).sum()
    }

    pub(super) fn crash(&mut self, mode: CrashMode, chance: &mut Chance) {
        self.life += 1;
        self.fail_sync = None;
        self.fail_write = None;
        self.power = None;
        for inode in &mut self.inodes {
            inode.crash(mode, chance);
        }
        for change in std::mem::take(&mut self.renames) {
            if mode.survives(chance) {
                apply(&mut self.durable_names, change);
            }
        }
        self.names.clone_from(&self.durable_names);
    }

    /// Frees the bytes of files that no name leads to any more.
    pub(super) fn forget_nameless(&mut self) {
        let mut named = vec![false; self.inodes.len()];
        for inode in self.names.values() {
            if let Some(is) = named.get_mut(*inode) {
                *is = true;
            }
        }
        for (inode, _) in self.inodes.iter_mut().zip(named).filter(|(_, named)| !named) {
            *inode = Inode::default();
        }
    }

    pub(super) fn change(&mut self, change: NameChange) -> io::Result<()> {
        self.powered()?;
        apply(&mut self.names, change.clone());
        self.renames.push(change);
        Ok(())
    }

    /// Counts a change, if there still is power for it.
    pub(super) fn powered(&mut self) -> io::Result<()> {
        match &mut self.power {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.capacity.map(|capacity| capacity.saturating_sub(self.used()))
    }

    pub(super) fn grow(&self, name: usize, end: usize) -> io::Result<()> {
        let size = self.inodes.get(name).map_or(0, |i| i.now.len());
        let more = end.saturating_sub(size) as u64;
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => {
                Err(io::Error::from_raw_os_error(ENOSPC))
            }
            _ => Ok(()),
        }
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: NameChange) {
    match change {
        NameChange::Add(name, inode) => {
            names.insert(name, inode);
        }
        NameChange::Remove(name) => {
            names.remove(&name);
        }
        NameChange::Move(from, to) => {
            if let Some(inode) = names.remove(&from) {
                names.insert(to, inode);
            }
        }
    }
}

/// Whether the fault set for an operation is due now.
pub(super) fn due(fault: &mut Option<u64>) -> bool {
    match fault {
        Some(0) => {
            *fault = None;
            true
        }
        Some(n) => {
            *n -= 1;
            false
        }
        None => false,
    }
}

/// Pseudo-random numbers (splitmix64).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
