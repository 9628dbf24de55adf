//! The files under sled: opened where a panic does no harm, and really synced. Called by the store alone.
//!
//! On Linux sled's `flush` writes and does not sync, and new files are in no synced folder. So its file is
//! held open here a second time, to be synced after each flush; its folders are synced at the start.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::error::{StoreError, guarded, words};

/// Bytes of sled's page cache: what a checkpoint touches. All else is read from the file, which the system caches.
const CACHE_BYTES: u64 = 16 << 20;

/// What is synced.
#[derive(Debug)]
pub(super) struct Disk {
    /// sled's file, opened before anything is written, so that no error of an earlier write is missed.
    file: File,
    path: PathBuf,
    /// Where sled puts pages that are too large for its file, and those of them that are synced.
    blobs: PathBuf,
    synced_blobs: BTreeSet<OsString>,
    #[cfg(feature = "failpoints")]
    skip_sync: bool,
}

/// Times that a lock is tried, and how long after each.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Opens sled in the folder `path`.
pub(super) fn open(path: &Path) -> Result<(sled::Db, Disk), StoreError> {
    fs::create_dir_all(path).map_err(|error| StoreError::io("cannot make the folder", path, error))?;
    let mut opened = open_once(path);
    // The threads of a store that was closed in this process let go of its file a moment later.
    for _ in 1..LOCK_TRIES {
        if !matches!(opened, Err(StoreError::InUse { .. })) {
            break;
        }
        thread::sleep(LOCK_PAUSE);
        opened = open_once(path);
    }
    let db = opened?;
    let disk = Disk::new(path)?;
    Ok((db, disk))
}

fn open_once(path: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    let opening = thread::Builder::new().name("store-open".to_owned()).spawn(move || config.open());
    let opened =
        opening.map_err(|error| StoreError::io("cannot start a thread to open", path, error))?.join();
    match opened {
        Ok(opened) => opened.map_err(|error| cannot_open(path, error)),
        Err(panic) => Err(StoreError::CannotOpen { path: path.to_owned(), reason: words(panic.as_ref()) }),
    }
}

fn cannot_open(path: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) if error.to_string().contains("acquire lock") => {
            StoreError::InUse { path: path.to_owned() }
        }
        // What sled itself finds wrong with its files has no number of the operating system.
        sled::Error::Io(error) if error.raw_os_error().is_some() => {
            StoreError::io("cannot open", path, error)
        }
        error => StoreError::CannotOpen { path: path.to_owned(), reason: error.to_string() },
    }
}

/// Moves a damaged store aside.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    let aside = path.with_file_name(name);
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StoreError::io("cannot remove", &aside, error));
        }
        _ => {}
    }
    fs::rename(path, &aside).map_err(|error| StoreError::io("cannot move away", path, error))?;
    sync_parent(path)?;
    Ok(aside)
}

impl Disk {
    fn new(path: &Path) -> Result<Self, StoreError> {
        let db = path.join("db");
        let file = File::options().read(true).write(true).open(&db);
        let file = file.map_err(|error| StoreError::io("cannot open", &db, error))?;
        let mut disk = Self {
            file,
            path: db,
            blobs: path.join("blobs"),
            synced_blobs: BTreeSet::new(),
            #[cfg(feature = "failpoints")]
            skip_sync: false,
        };
        disk.sync_file()?;
        disk.sync_blobs()?;
        for entry in entries(path)? {
            if entry.is_file() {
                sync_path(&entry)?;
            }
        }
        sync_path(path)?;
        sync_parent(path)?;
        Ok(disk)
    }

    /// Makes all that was written to `db` outlast a power cut.
    pub(super) fn sync(&mut self, db: &sled::Db) -> Result<(), StoreError> {
        guarded(|| db.flush())?;
        #[cfg(feature = "failpoints")]
        if self.skip_sync {
            return Ok(());
        }
        // What lies in files of their own is spoken of by what lies in the one file: first these.
        self.sync_blobs()?;
        self.sync_file()
    }

    #[cfg(feature = "failpoints")]
    pub(super) fn skip_sync(&mut self, skip: bool) {
        self.skip_sync = skip;
    }

    fn sync_file(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| StoreError::io("cannot sync", &self.path, error))
    }

    /// Records are kept so small that there are files of this kind only for keys of many kilobytes. Each is
    /// written once.
    fn sync_blobs(&mut self) -> Result<(), StoreError> {
        let paths = entries(&self.blobs)?;
        let names: BTreeSet<OsString> =
            paths.iter().filter_map(|path| path.file_name()).map(OsString::from).collect();
        let mut new = false;
        for name in names.difference(&self.synced_blobs) {
            new = true;
            match File::open(self.blobs.join(name)).and_then(|file| file.sync_all()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("cannot sync", &self.blobs.join(name), error));
                }
                _ => {}
            }
        }
        if new {
            sync_path(&self.blobs)?;
        }
        self.synced_blobs = names;
        Ok(())
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed =
        || fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>();
    listed().map_err(|error| StoreError::io("cannot list", folder, error))
}

/// Syncs a file or a folder.
pub(super) fn sync_path(path: &Path) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| StoreError::io("cannot sync", path, error))
}

/// Syncs the folder that names `path`.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_path(parent.unwrap_or(Path::new(".")))
}
