//! The real disk: files under a root directory. Made by the node at its start; the only place of this crate's log and
//! floor that touches the file system. It never removes or renames anything by itself.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Disk, DiskFile};

/// How much is written and synced at once when a file is filled with zeros: little enough that the log's own syncs,
/// which wait behind it, do not wait long.
const ZEROS: &[u8] = &[0; 2 << 20];

/// A [`Disk`] under a directory of the machine.
#[derive(Debug)]
pub struct FileDisk {
    root: PathBuf,
}

impl FileDisk {
    /// A disk under a directory, which is made if it is not there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// Bytes that are free where a path is; `None` where the file system does not tell.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

impl Disk for FileDisk {
    fn free_bytes(&self) -> Option<u64> {
        free_bytes(&self.root)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        fs::create_dir_all(self.path(dir))?;
        sync_dir(&self.root)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(dir))? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
        Ok(Arc::new(RealFile { file }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path(name))?;
        Ok(Arc::new(RealFile { file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        sync_dir(&self.path(dir))
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[derive(Debug)]
struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn preallocate(&self, size: u64) -> io::Result<()> {
        let mut at = self.size()?;
        while at < size {
            let piece = usize::try_from(size - at).unwrap_or(usize::MAX).min(ZEROS.len());
            let zeros = ZEROS.get(..piece).unwrap_or(ZEROS);
            self.file.write_all_at(zeros, at)?;
            self.file.sync_data()?;
            at += zeros.len() as u64;
        }
        self.file.sync_all()
    }

    fn fdatasync(&self) -> io::Result<Duration> {
        let began = Instant::now();
        self.file.sync_data()?;
        Ok(began.elapsed())
    }
}
