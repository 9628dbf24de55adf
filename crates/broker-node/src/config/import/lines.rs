//! The lines of a `mosquitto.conf` and of the files that it includes, in the order in which Mosquitto reads them, and the values on
//! them. Used by the import alone; knows no option but `include_dir`.

use std::fs;
use std::path::{Path, PathBuf};

use super::ImportError;

/// Bytes of all files together.
const BYTES_MAX: u64 = 1 << 20;
/// Files.
const FILES_MAX: usize = 256;

/// A line with something on it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Its file and number, for people.
    pub(super) place: String,
    /// The first word.
    pub(super) option: String,
    /// The rest; may be empty.
    pub(super) value: String,
}

impl Line {
    /// That it cannot be used.
    pub(super) fn wrong(&self, problem: impl Into<String>) -> ImportError {
        ImportError::Line { place: self.place.clone(), option: self.option.clone(), problem: problem.into() }
    }

    fn expected(&self, what: &str) -> ImportError {
        self.wrong(format!("the value is {:?}: expected {what}", self.value))
    }

    /// `true` or `false`, in Mosquitto's spellings.
    pub(super) fn boolean(&self) -> Result<bool, ImportError> {
        match self.value.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A number; Mosquitto has -1 for "no bound" in places.
    pub(super) fn number(&self) -> Result<i64, ImportError> {
        self.value.parse().map_err(|_| self.expected("a whole number"))
    }

    /// Something.
    pub(super) fn text(&self) -> Result<&str, ImportError> {
        if self.value.is_empty() { Err(self.expected("something")) } else { Ok(&self.value) }
    }
}

/// All lines of the file at `path`; in the place of each `include_dir` those of the files `*.conf` in it, by name.
pub(super) fn read(path: &Path) -> Result<Vec<Line>, ImportError> {
    let mut reading = Reading::default();
    reading.file(path, true)?;
    Ok(reading.lines)
}

#[derive(Default)]
struct Reading {
    lines: Vec<Line>,
    bytes: u64,
    files: usize,
}

impl Reading {
    fn file(&mut self, path: &Path, includes: bool) -> Result<(), ImportError> {
        let cannot = |source| ImportError::Read { path: path.into(), source };
        self.files += 1;
        self.bytes += fs::metadata(path).map_err(cannot)?.len();
        if self.bytes > BYTES_MAX {
            return Err(ImportError::TooLarge { path: path.into(), max: "1 MiB" });
        }
        if self.files > FILES_MAX {
            return Err(ImportError::TooLarge { path: path.into(), max: "256 files" });
        }
        let text = fs::read_to_string(path).map_err(cannot)?;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (option, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let place = format!("{}, line {number}", path.display());
            let line = Line { place, option: option.to_owned(), value: value.trim().to_owned() };
            match (line.option.as_str(), includes) {
                ("include_dir", true) => self.folder(Path::new(line.text()?))?,
                ("include_dir", false) => return Err(line.wrong("only allowed in the first file")),
                _ => self.lines.push(line),
            }
        }
        Ok(())
    }

    fn folder(&mut self, path: &Path) -> Result<(), ImportError> {
        let cannot = |source| ImportError::Read { path: path.into(), source };
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(path).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.extension().is_some_and(|extension| extension == "conf") {
                files.push(path);
            }
        }
        files.sort();
        files.iter().try_for_each(|path| self.file(path, false))
    }
}
