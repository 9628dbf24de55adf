//! The files of the repository that rules look at: tracked by git, and text. Called by `tidy`.
//! It never follows a link and never looks into the target folder.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A file and what is in it.
pub(super) struct File {
    /// Relative to the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    /// Whether it is Rust.
    pub(super) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// Whether all of it is test code: a test folder's, or a module of tests in a file of its own.
    pub(super) fn is_test(&self) -> bool {
        let in_folder = self.path.starts_with("tests/") || self.path.contains("/tests/");
        in_folder || self.path.ends_with("/tests.rs") || self.path.ends_with("_tests.rs")
    }
}

/// All text files that git tracks or would track (neither ignored nor removed).
pub(super) fn tracked(root: &Path) -> Result<Vec<File>> {
    let mut command = Command::new("git");
    command.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = command.output().context("cannot start git, which lists the files")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let listed = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        let file = root.join(path);
        if !file.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        let bytes = std::fs::read(&file).with_context(|| path.to_owned())?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::File;

    #[test]
    fn test_code_is_known_by_its_place() {
        let is_test = |path: &str| File { path: path.to_owned(), text: String::new() }.is_test();
        assert!(is_test("tests/hostile/b1.rs"));
        assert!(is_test("crates/mqtt-codec/tests/split.rs"));
        assert!(is_test("crates/mqtt-codec/src/packet/tests.rs"));
        assert!(!is_test("crates/broker-node/src/latest.rs"));
    }
}
