//! A file of zeros in the data directory: on a full disk its space is what lets the node start again. `node` opens its
//! data by way of this, and has the file renewed once it runs. It never holds anything.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use raft_consensus::storage::StorageError;
use session_store::store::StoreError;
use tracing::warn;

/// The file's name.
const FILE: &str = "ballast";
/// Its size in bytes: more than a start writes.
const BYTES: usize = 4 << 20;

/// Opens something; where the disk is full, once more without the file.
///
/// # Errors
/// Those of `open`.
pub(crate) fn with_room<T>(
    directory: &Path,
    mut open: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    match open() {
        Err(error) if is_full(&error) && fs::remove_file(directory.join(FILE)).is_ok() => {
            warn!(target: "quelea", %error, "the disk is full: starts in the space of the ballast file, make room");
            open()
        }
        opened => opened,
    }
}

/// Makes the file where it is missing and there is space for it.
pub(crate) fn renew(directory: &Path) {
    let path = directory.join(FILE);
    if fs::metadata(&path).is_ok_and(|found| found.len() == BYTES as u64) {
        return;
    }
    if let Err(error) = fs::write(&path, vec![0; BYTES]) {
        // What it did get is better left to others.
        drop(fs::remove_file(&path));
        warn!(target: "quelea", %error, "no ballast file: on a full disk the node would not start again");
    }
}

/// Whether a start failed for want of space.
fn is_full(error: &anyhow::Error) -> bool {
    if let Some(StorageError::Store(StoreError::Full)) = error.downcast_ref() {
        return true;
    }
    error.chain().any(|cause| {
        let shared = || cause.downcast_ref::<Arc<io::Error>>().map(AsRef::as_ref);
        let cause: Option<&io::Error> = cause.downcast_ref().or_else(shared);
        cause.is_some_and(|io| matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    })
}

#[cfg(test)]
mod tests {
    use raft_consensus::wal::WalError;

    use super::*;

    fn full() -> io::Error {
        ErrorKind::StorageFull.into()
    }

    #[test]
    fn a_full_disk_is_known_in_every_disguise() {
        let log = WalError::Io { doing: "writing", file: "wal/1".into(), source: Arc::new(full()) };
        assert!(is_full(&anyhow::Error::new(full()).context("start")));
        assert!(is_full(&StorageError::Log(log).into()));
        assert!(is_full(&StorageError::Store(StoreError::Full).into()));
        assert!(!is_full(&anyhow::anyhow!("something else")));
    }

    #[test]
    fn on_a_full_disk_the_ballast_goes_once() {
        let dir = tempfile::tempdir().unwrap();
        renew(dir.path());
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().len(), BYTES as u64);
        let open = || if path.exists() { Err(full().into()) } else { Ok(7) };
        assert_eq!(with_room(dir.path(), open).unwrap(), 7);
        let mut tries = 0;
        let never = || -> anyhow::Result<()> {
            tries += 1;
            Err(full().into())
        };
        assert!(with_room(dir.path(), never).is_err());
        assert_eq!(tries, 1);
    }
}
