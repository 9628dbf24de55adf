//! What the write-ahead log and the floor need of a disk, in terms of named files under one root. Used by `wal` and
//! `floor`, which call no file system themselves. It never hides an error and never retries.

mod file;
mod sim;
mod sim_state;
mod space;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use file::FileDisk;
pub(crate) use file::free_bytes;
pub use sim::{CrashMode, SimDisk};
pub use space::{Claim, Space};

/// A directory of files. Names are relative, with `/` between the parts.
///
/// What survives a power cut: the content of a file up to its last [`DiskFile::fdatasync`] (of
/// [`DiskFile::preallocate`] too), and names up to the last [`Disk::sync_dir`] of their directory.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a directory, if it is not there.
    ///
    /// # Errors
    /// What the file system says.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// The names of the files in a directory, sorted.
    ///
    /// # Errors
    /// What the file system says; `NotFound` where there is no such directory.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// What the file system says; `NotFound` where there is no such file.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes an empty file.
    ///
    /// # Errors
    /// What the file system says; `AlreadyExists` where there is one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name; a file that had it is gone.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the file system says. After an error nothing is known about what is durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Bytes that are free; `None` where the file system does not tell.
    fn free_bytes(&self) -> Option<u64>;
}

/// An open file, shared by all who read and the one who writes.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// The file's size in bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn size(&self) -> io::Result<u64>;

    /// Fills the buffer from an offset.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends before the buffer is full.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of the bytes at an offset. Not durable before [`DiskFile::fdatasync`].
    ///
    /// # Errors
    /// What the file system says; part of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Grows the file to a size by writing zeros, and makes that durable with the file's metadata, so that later
    /// writes within the size need no space and no journal. A file that is large enough is left alone.
    ///
    /// # Errors
    /// [`is_full`] tells whether it was for want of space.
    fn preallocate(&self, size: u64) -> io::Result<()>;

    /// Makes all writes so far durable. Returns how long it took (zero where time is simulated).
    ///
    /// # Errors
    /// After an error nothing is known about what is durable, and asking again would be told "done" about bytes that
    /// are lost: it is final.
    fn fdatasync(&self) -> io::Result<Duration>;
}

/// Whether an error says that the disk is full, which passes, and not that it is broken, which is final.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reads a whole file.
///
/// # Errors
/// What the disk says.
pub fn read_whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.size()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}
