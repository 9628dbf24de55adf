//! The files that snapshots are on their way: where they lie, how they come from the node's store, and how a received
//! one is checked. Used by both ends of the network. Nothing in it is kept: a start removes what it finds.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use openraft::type_config::TypeConfigExt;
use parking_lot::Mutex;
use session_store::store::{Snapshot, Store};

use crate::disk::Disk;
use crate::record;
use crate::types::{NodeId, SnapshotMeta, Types};
use crate::wal::GroupId;

/// The checkpoints of a node as files. Its calls block.
pub trait SnapshotFiles: Send + Sync + 'static {
    /// Writes the last checkpoint of a group to a file of the node's disk, synced, and says what it stands for.
    ///
    /// # Errors
    /// There is none, it is damaged, or the file cannot be written.
    fn export(&self, group: GroupId, name: &str) -> io::Result<SnapshotMeta>;

    /// Reads all of a file that was received, and says what it stands for.
    ///
    /// # Errors
    /// It cannot be read, or is not what an export wrote.
    fn verify(&self, name: &str) -> io::Result<SnapshotMeta>;

    /// The path under which a machine finds a file of the node's disk.
    fn path(&self, name: &str) -> PathBuf;
}

/// The files of a node whose checkpoints are in a [`Store`].
#[derive(Debug)]
pub struct StoreSnapshots {
    store: Arc<Mutex<Store>>,
    root: PathBuf,
}

impl StoreSnapshots {
    /// Of a store, in the node's data directory.
    #[must_use]
    pub fn new(store: Arc<Mutex<Store>>, root: PathBuf) -> Self {
        Self { store, root }
    }
}

impl SnapshotFiles for StoreSnapshots {
    fn export(&self, group: GroupId, name: &str) -> io::Result<SnapshotMeta> {
        let exported = self.store.lock().export(group, &self.path(name));
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("there is no checkpoint of {group}"));
        let snapshot = exported.map_err(io::Error::other)?.ok_or_else(none)?;
        Ok(record::decode_applied(&snapshot.applied)?)
    }

    fn verify(&self, name: &str) -> io::Result<SnapshotMeta> {
        let snapshot = Snapshot::open(&self.path(name)).map_err(io::Error::other)?;
        Ok(record::decode_applied(&snapshot.applied)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// Where the snapshots of a group lie while they are on their way.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) group: GroupId,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) files: Arc<dyn SnapshotFiles>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", self.group)
    }
}

impl Place {
    pub(super) fn folder(&self) -> String {
        format!("snap/{}", self.group.0)
    }

    /// The file that is sent to a node.
    pub(super) fn outgoing(&self, to: NodeId) -> String {
        format!("{}/to-{to}", self.folder())
    }

    /// The file that is being received, by the number of the attempt.
    pub(super) fn incoming(&self, attempt: u64) -> String {
        format!("{}/received-{attempt}", self.folder())
    }

    /// The file that is sent to whoever fetches it, by a number of its own.
    pub(super) fn fetched_from(&self, number: u64) -> String {
        format!("{}/for-{number}", self.folder())
    }

    /// The file that is fetched.
    pub(super) fn fetched(&self) -> String {
        format!("{}/fetched", self.folder())
    }

    /// Makes the folder, and removes what is left in it of an earlier life.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn clear(&self) -> io::Result<()> {
        let folder = self.folder();
        self.disk.create_dir(&folder)?;
        for name in self.disk.list(&folder)? {
            self.disk.remove(&format!("{folder}/{name}"))?;
        }
        Ok(())
    }
}

/// A file that goes when this is dropped: it serves for one transfer only.
#[derive(Debug)]
pub(super) struct Passing {
    disk: Arc<dyn Disk>,
    name: String,
}

impl Passing {
    pub(super) fn new(disk: Arc<dyn Disk>, name: String) -> Self {
        Self { disk, name }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        match self.disk.remove(&self.name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(file = self.name, %error, "cannot remove a snapshot that has served")
            }
        }
    }
}

/// Runs what blocks on a thread for that, or here on a runtime that has none.
///
/// # Errors
/// What the work says; or that it panicked.
pub(super) async fn blocking<C, R>(work: impl FnOnce() -> io::Result<R> + Send + 'static) -> io::Result<R>
where
    C: Types,
    R: Send + 'static,
{
    let work = Arc::new(Mutex::new(Some(work)));
    let there = Arc::clone(&work);
    let done = C::spawn_blocking(move || take(&there)).await;
    match done {
        Ok(done) => done,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => take(&work),
        Err(error) => Err(error),
    }
}

/// Does the work, once.
fn take<R>(work: &Mutex<Option<impl FnOnce() -> io::Result<R>>>) -> io::Result<R> {
    let work = work.lock().take();
    work.map_or_else(|| Err(io::Error::other("the work was done before")), |work| work())
}
