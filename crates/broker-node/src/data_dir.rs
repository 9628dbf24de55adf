//! The directory that holds everything a node keeps, and the lock that keeps a second node out of it.
//! `node` opens it before anything else. Knows nothing of what the files in it mean.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// The file that is locked while a node runs.
const LOCK_FILE: &str = "node.lock";

/// The lock of a data directory; held until dropped, and by the system until the process ends.
#[derive(Debug)]
pub(crate) struct DataDir {
    _lock: File,
}

/// A data directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    /// It cannot be made or written.
    #[error(
        "cannot use the data directory {}: {source}; give this node a directory it may write to, with node.data_dir \
         or --data-dir",
        path.display()
    )]
    Unusable {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another node has it.
    #[error(
        "the data directory {} is in use by another node: stop that one, or give this node its own, with \
         node.data_dir or --data-dir",
        path.display()
    )]
    InUse {
        /// Which directory.
        path: PathBuf,
    },
}

impl DataDir {
    /// Makes the directory where it is missing, and locks it.
    ///
    /// # Errors
    /// Where that is not possible or another process has it.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: path.into(), source };
        fs::create_dir_all(path).map_err(unusable)?;
        let options = || File::options().write(true).create(true).truncate(false).open(path.join(LOCK_FILE));
        let lock = options().map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: path.into() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_cannot_have_one_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("a/b") && error.contains("--data-dir"), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = DataDir::open(&file.join("data")).unwrap_err().to_string();
        assert!(error.contains("file/data"), "{error}");
    }
}
