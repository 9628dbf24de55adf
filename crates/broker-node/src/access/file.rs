//! A file of users or rules that is read again when it changes: what cannot be used leaves what was in force, and is
//! told. Used by `Access`; looks at no content itself.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

/// Bytes of a file at most: some hundred thousand users.
const BYTES_MAX: u64 = 64 << 20;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadFile {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds what cannot be used.
    #[error("{}: {why}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What tells one version of a file from another without reading it; `None` where it is not there.
type Seen = Option<(u64, u64, i64, i64)>;

/// How the text of a file is read; says what is wrong with it.
pub(crate) type Parse<T> = fn(&str) -> Result<T, String>;

/// How the text of a file is got, whole.
pub(crate) type ReadText = fn(&Path) -> Result<Zeroizing<String>, BadFile>;

/// The content of a file as it was when it could be used last.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    path: PathBuf,
    read: ReadText,
    parse: Parse<T>,
    current: RwLock<Arc<T>>,
    looks: Mutex<Looks>,
    stale: AtomicBool,
}

/// What was seen of the file.
#[derive(Debug)]
struct Looks {
    /// When it was read last.
    read: Seen,
    /// At the last look.
    last: Seen,
}

impl<T> Watched<T> {
    /// Reads a file of lines.
    ///
    /// # Errors
    /// It cannot be used.
    pub(crate) fn open(path: &Path, parse: Parse<T>) -> Result<Self, BadFile> {
        Self::open_as(path, read_text, parse)
    }

    /// Reads a file whose text is got in this way.
    ///
    /// # Errors
    /// It cannot be used.
    pub(crate) fn open_as(path: &Path, read: ReadText, parse: Parse<T>) -> Result<Self, BadFile> {
        let seen = look(path);
        let current = RwLock::new(Arc::new(parsed(path, read, parse)?));
        let looks = Mutex::new(Looks { read: seen, last: seen });
        Ok(Self { path: path.into(), read, parse, current, looks, stale: AtomicBool::new(false) })
    }

    /// What is in force.
    pub(crate) fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read())
    }

    /// Whether the file cannot be used now, and what was in it before is in force.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is another one than was read, and nobody has written to it since the last look: who writes in
    /// place needs a moment.
    pub(crate) fn has_changed(&self) -> bool {
        let now = look(&self.path);
        let mut looks = self.looks.lock();
        let settled = now == looks.last;
        looks.last = now;
        settled && now != looks.read
    }

    /// Reads it again.
    ///
    /// # Errors
    /// It cannot be used; what was in force stays.
    pub(crate) fn reload(&self) -> Result<(), BadFile> {
        // Before it is read: what is written meanwhile is another version.
        let seen = look(&self.path);
        let found = parsed(&self.path, self.read, self.parse);
        *self.looks.lock() = Looks { read: seen, last: seen };
        self.stale.store(found.is_err(), Ordering::Relaxed);
        *self.current.write() = Arc::new(found?);
        Ok(())
    }
}

fn look(path: &Path) -> Seen {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

fn parsed<T>(path: &Path, read: ReadText, parse: Parse<T>) -> Result<T, BadFile> {
    let text = read(path)?;
    parse(&text).map_err(|why| BadFile::Content { path: path.into(), why })
}

/// The text of a file of lines, whole: an empty one and one whose last line has no end were cut off, or are being written.
///
/// # Errors
/// It cannot be read, or is no such text.
pub(crate) fn read_text(path: &Path) -> Result<Zeroizing<String>, BadFile> {
    let text = read_document(path)?;
    if text.ends_with('\n') {
        return Ok(text);
    }
    let why = "the last line has no end: the file may be cut off".into();
    Err(BadFile::Content { path: path.into(), why })
}

/// The text of a file that shows by itself whether it is whole, or where that is no matter.
///
/// # Errors
/// It cannot be read, is empty, or is no text.
pub(crate) fn read_document(path: &Path) -> Result<Zeroizing<String>, BadFile> {
    let unreadable = |source| BadFile::Read { path: path.into(), source };
    let unusable = |why: &str| BadFile::Content { path: path.into(), why: why.into() };
    let mut text = Zeroizing::new(String::new());
    let file = fs::File::open(path).map_err(unreadable)?;
    match file.take(BYTES_MAX + 1).read_to_string(&mut text) {
        Ok(_) if text.len() as u64 > BYTES_MAX => Err(unusable("the file is larger than 64 MiB")),
        Ok(_) if text.is_empty() => Err(unusable("the file is empty")),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(unusable("the file is no UTF-8 text"))
        }
        Err(error) => Err(unreadable(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn lines(text: &str) -> Result<usize, String> {
        if text.contains("bad") { Err("a bad line".into()) } else { Ok(text.lines().count()) }
    }

    /// Missing, empty, truncated, unreadable, not text: what was in force stays, and it is told.
    #[test]
    fn what_cannot_be_used_leaves_what_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "one\ntwo\n").unwrap();
        let watched = Watched::open(&path, lines).unwrap();
        let bad: [&[u8]; 5] = [b"", b"one\ntw", b"one\nbad\n", b"one\n\xff\n", b"\0"];
        for content in bad {
            fs::write(&path, content).unwrap();
            assert!(watched.reload().is_err(), "{content:?}");
            assert_eq!((*watched.current(), watched.is_stale()), (2, true));
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(watched.reload(), Err(BadFile::Read { .. })));
        fs::create_dir(&path).unwrap();
        assert!(watched.reload().is_err());
        fs::remove_dir(&path).unwrap();
        assert_eq!((*watched.current(), watched.is_stale()), (2, true));
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        // Who may read everything reads this too.
        if fs::read(&path).is_err() {
            assert!(watched.reload().is_err() && watched.is_stale());
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        watched.reload().unwrap();
        assert_eq!((*watched.current(), watched.is_stale()), (3, false));
        fs::write(&path, "").unwrap();
        assert!(Watched::open(&path, lines).is_err(), "a start needs a file that can be used");
    }

    #[test]
    fn a_change_counts_when_nobody_writes_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "one\n").unwrap();
        let watched = Watched::open(&path, lines).unwrap();
        assert!(!watched.has_changed());
        fs::write(&path, "one\ntwo\n").unwrap();
        assert!(!watched.has_changed(), "seen for the first time");
        assert!(watched.has_changed());
        watched.reload().unwrap();
        assert!(!watched.has_changed());
        fs::remove_file(&path).unwrap();
        assert!(!watched.has_changed());
        assert!(watched.has_changed(), "that it is gone is a change");
        assert!(watched.reload().is_err());
        assert!(!watched.has_changed(), "told once");
    }
}
