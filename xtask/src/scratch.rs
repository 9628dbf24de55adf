//! The folder that one run keeps its data in, in memory where that can be. Made by the gate and by `compare`, removed when the run ends.
//! It never removes a folder of a run that still lives.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What every such folder's name starts with; the process id of the run follows.
const PREFIX: &str = "quelea-test-";

/// A fresh folder, as for the tests' `TMPDIR`; dropping it removes it.
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// On `/dev/shm` where there is one, else in `fallback`.
    pub(crate) fn new(fallback: &Path) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        Self::below(if memory.is_dir() { memory } else { fallback })
    }

    /// In `parent`, for what is to be on a disk.
    pub(crate) fn below(parent: &Path) -> Result<Self> {
        remove_left_over(parent);
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("xtask: {} is left over: {error}", self.path.display());
        }
    }
}

/// A run that was killed could not remove its folder: the next one does.
fn remove_left_over(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(PREFIX).and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if !Path::new("/proc").join(pid.to_string()).exists() {
            let _another_run_was_faster = fs::remove_dir_all(entry.path());
        }
    }
}
