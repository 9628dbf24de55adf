//! A disk in memory that forgets in a crash what was not synced, and fails when told to. Used by tests of every crate
//! and by the deterministic simulation. It has no thread and no clock, and all chance in it comes from a seed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Disk, DiskFile};

/// What a power cut writes or loses as a whole.
const SECTOR: usize = 512;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What becomes of writes that were not synced when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// None of them survives.
    LoseAll,
    /// All of them survive: the process died, the machine did not.
    KeepAll,
    /// Each sector of each write survives or not, by chance.
    Torn,
}

/// A simulated disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    sim: Arc<Mutex<Sim>>,
}

impl SimDisk {
    /// An empty disk without a limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: unsynced writes survive as the mode says, unsynced names as a prefix of what was done with them.
    /// Handles from before are dead; open files anew.
    pub fn crash(&self, mode: CrashMode, seed: u64) {
        self.sim.lock().crash(mode, &mut Chance(seed));
    }

    /// Lets one of the syncs to come fail with EIO: 0 means the next one.
    pub fn fail_sync(&self, after: u64) {
        self.sim.lock().fail_sync = Some(after);
    }

    /// Lets one of the writes to come fail with EIO: 0 means the next one.
    pub fn fail_write(&self, after: u64) {
        self.sim.lock().fail_write = Some(after);
    }

    /// Limits the bytes that all files hold together; growing beyond it fails with ENOSPC. `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.sim.lock().capacity = bytes;
    }

    /// The bytes that all files hold together.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.sim.lock().used()
    }

    /// How many syncs of files have succeeded.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.sim.lock().syncs
    }

    /// Changes a file behind everybody's back, durably: bits that flip, pages that vanish, a tail that is cut.
    /// Returns whether there is such a file.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut sim = self.sim.lock();
        let Some(inode) = sim.names.get(name).copied() else { return false };
        let Some(file) = sim.inodes.get_mut(inode) else { return false };
        change(&mut file.now);
        file.durable.clone_from(&file.now);
        file.pending.clear();
        true
    }

    /// A copy with the content as it is now, as a process that died would leave it.
    #[must_use]
    pub fn fork(&self) -> Self {
        let sim = self.sim.lock();
        let inodes = sim.inodes.iter().map(|i| Inode::of(i.now.clone())).collect();
        let names = sim.names.clone();
        Self {
            sim: Arc::new(Mutex::new(Sim { inodes, durable_names: names.clone(), names, ..Sim::default() })),
        }
    }
}

#[derive(Debug, Default)]
struct Sim {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// What was done with names since they were durable, in order.
    renames: Vec<NameChange>,
    /// Grows with each crash; a handle of an earlier life is dead.
    life: u64,
    capacity: Option<u64>,
    fail_sync: Option<u64>,
    fail_write: Option<u64>,
    syncs: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(String, usize),
    Remove(String),
    Move(String, String),
}

/// `now` is what is read; `durable` with the pending writes, in order, gives `now`.
#[derive(Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

impl Inode {
    fn of(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), now: bytes, pending: Vec::new() }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.now, at, bytes);
        self.pending.push((at, bytes.to_vec()));
    }

    fn sync(&mut self) {
        for (at, bytes) in std::mem::take(&mut self.pending) {
            put(&mut self.durable, at, &bytes);
        }
    }

    fn crash(&mut self, mode: CrashMode, chance: &mut Chance) {
        for (at, bytes) in std::mem::take(&mut self.pending) {
            for (from, sector) in sectors(at, &bytes) {
                let survives = match mode {
                    CrashMode::LoseAll => false,
                    CrashMode::KeepAll => true,
                    CrashMode::Torn => chance.next() & 1 == 0,
                };
                if survives {
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
    fn used(&self) -> u64 {
        self.names.values().filter_map(|i| self.inodes.get(*i)).map(|i| i.now.len() as u64).sum()
    }

    fn crash(&mut self, mode: CrashMode, chance: &mut Chance) {
        self.life += 1;
        self.fail_sync = None;
        self.fail_write = None;
        for inode in &mut self.inodes {
            inode.crash(mode, chance);
        }
        let done = std::mem::take(&mut self.renames);
        let survive = match mode {
            CrashMode::LoseAll => 0,
            CrashMode::KeepAll => done.len(),
            CrashMode::Torn => chance.below(done.len() + 1),
        };
        for change in done.into_iter().take(survive) {
            apply(&mut self.durable_names, change);
        }
        self.names.clone_from(&self.durable_names);
    }

    /// Frees the bytes of files that no name leads to any more.
    fn forget_nameless(&mut self) {
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

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, change.clone());
        self.renames.push(change);
    }

    fn grow(&self, name: usize, end: usize) -> io::Result<()> {
        let size = self.inodes.get(name).map_or(0, |i| i.now.len());
        let more = end.saturating_sub(size) as u64;
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => Err(io::Error::from_raw_os_error(ENOSPC)),
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
fn due(fault: &mut Option<u64>) -> bool {
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

impl Disk for SimDisk {
    fn create_dir(&self, _dir: &str) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{dir}/");
        let sim = self.sim.lock();
        Ok(sim.names.keys().filter_map(|n| n.strip_prefix(&prefix)).map(str::to_owned).collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let sim = self.sim.lock();
        let inode = *sim.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { sim: Arc::clone(&self.sim), inode, life: sim.life }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut sim = self.sim.lock();
        if sim.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = sim.inodes.len();
        sim.inodes.push(Inode::default());
        sim.change(NameChange::Add(name.to_owned(), inode));
        Ok(Arc::new(SimFile { sim: Arc::clone(&self.sim), inode, life: sim.life }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.sim.lock().change(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut sim = self.sim.lock();
        if !sim.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        sim.change(NameChange::Move(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _dir: &str) -> io::Result<()> {
        let mut sim = self.sim.lock();
        if due(&mut sim.fail_sync) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        sim.renames.clear();
        sim.durable_names = sim.names.clone();
        sim.forget_nameless();
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    sim: Arc<Mutex<Sim>>,
    inode: usize,
    life: u64,
}

impl SimFile {
    fn with<T>(&self, f: impl FnOnce(&mut Sim, usize) -> io::Result<T>) -> io::Result<T> {
        let mut sim = self.sim.lock();
        if sim.life != self.life {
            return Err(io::Error::other("this handle is of before the crash"));
        }
        f(&mut sim, self.inode)
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|sim, inode| Ok(sim.inodes.get(inode).map_or(0, |i| i.now.len() as u64)))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|sim, inode| {
            let bytes = sim.inodes.get(inode).and_then(|i| i.now.get(from..from + buf.len()));
            buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|sim, inode| {
            if due(&mut sim.fail_write) {
                return Err(io::Error::from_raw_os_error(EIO));
            }
            sim.grow(inode, at + bytes.len())?;
            if let Some(file) = sim.inodes.get_mut(inode) {
                file.write(at, bytes);
            }
            Ok(())
        })
    }

    fn preallocate(&self, size: u64) -> io::Result<()> {
        let end = usize::try_from(size).map_err(io::Error::other)?;
        self.with(|sim, inode| {
            sim.grow(inode, end)?;
            if let Some(file) = sim.inodes.get_mut(inode)
                && file.now.len() < end
            {
                let at = file.now.len();
                file.write(at, &vec![0; end - at]);
            }
            Ok(())
        })?;
        self.fdatasync().map(|_| ())
    }

    fn fdatasync(&self) -> io::Result<Duration> {
        self.with(|sim, inode| {
            if due(&mut sim.fail_sync) {
                return Err(io::Error::from_raw_os_error(EIO));
            }
            sim.syncs += 1;
            if let Some(file) = sim.inodes.get_mut(inode) {
                file.sync();
            }
            Ok(Duration::ZERO)
        })
    }
}

/// Pseudo-random numbers (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap_or(0)
    }
}
