//! A disk in memory that forgets in a crash what was not synced, and fails when told to. Used by tests of every crate
//! and by the deterministic simulation. It has no thread and no clock, and all chance in it comes from a seed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::sim_state::{Chance, EIO, Inode, NameChange, Sim, due};
use super::{Disk, DiskFile};

/// What becomes of writes that were not synced when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// None of them survives.
    LoseAll,
    /// All of them survive: the process died, the machine did not.
    KeepAll,
    /// Each sector of each write, and each change of a name, survives or not, by chance.
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

    /// Cuts the power: unsynced writes and changes of names survive as the mode says. Handles from before are dead; open files anew.
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

    /// Lets the power go before one of the changes to come (writes, syncs, changes of names): 0 means the next one.
    /// From then on everything fails, until [`Self::crash`].
    pub fn cut_power(&self, after: u64) {
        self.sim.lock().power = Some(after);
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

impl Disk for SimDisk {
    fn free_bytes(&self) -> Option<u64> {
        self.sim.lock().free_bytes()
    }

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
        sim.change(NameChange::Add(name.to_owned(), inode))?;
        Ok(Arc::new(SimFile { sim: Arc::clone(&self.sim), inode, life: sim.life }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.sim.lock().change(NameChange::Remove(name.to_owned()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut sim = self.sim.lock();
        if !sim.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        sim.change(NameChange::Move(from.to_owned(), to.to_owned()))
    }

    fn sync_dir(&self, _dir: &str) -> io::Result<()> {
        let mut sim = self.sim.lock();
        sim.powered()?;
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
            sim.powered()?;
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
            sim.powered()?;
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
