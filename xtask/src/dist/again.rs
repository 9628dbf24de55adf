//! What a release is built from the second time: a copy of the sources in another folder, and a copy of the program that puts the list
//! of packages in, so that what has their places in it differs. Called by `dist`. It keeps nothing of an earlier copy.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::runner::Runner;

/// A copy.
pub(super) struct Copy {
    /// The repository.
    pub(super) sources: PathBuf,
    /// What it is to be built in.
    pub(super) target: PathBuf,
    /// The program, if there is one.
    pub(super) auditable: Option<PathBuf>,
}

impl Copy {
    /// Copies what git knows of below `root`, or would add, to this folder.
    pub(super) fn new(runner: &Runner, root: &Path, folder: &Path, auditable: Option<&Path>) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        let sources = folder.join("sources");
        let mut git = runner.command("git");
        git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = git.output().context("cannot start git")?;
        ensure!(listed.status.success(), "git: {}", String::from_utf8_lossy(&listed.stderr));
        let names = String::from_utf8(listed.stdout).context("a name that is not UTF-8")?;
        // A file that was deleted is known until that is committed.
        for name in names.split_terminator('\0').filter(|name| root.join(name).is_file()) {
            copy(&root.join(name), &sources.join(name))?;
        }
        let program = auditable.map(|program| {
            let to = folder.join("tools").join(program.file_name().unwrap_or_default());
            copy(program, &to).map(|()| to)
        });
        Ok(Self { sources, target: folder.join("target"), auditable: program.transpose()? })
    }
}

fn copy(file: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("it is in a folder")?)?;
    fs::copy(file, to).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn the_copy_has_what_git_knows_or_would_add() {
        let dir = std::env::temp_dir().join(format!("quelea-again-{}", std::process::id()));
        let (root, folder) = (dir.join("one"), dir.join("another"));
        for (file, text) in
            [("src/main.rs", "one"), ("left", "no"), (".gitignore", "left\n"), ("program", "two")]
        {
            fs::create_dir_all(root.join("src")).unwrap();
            fs::write(root.join(file), text).unwrap();
        }
        let mut git = Command::new("git");
        assert!(git.args(["init", "--quiet"]).current_dir(&root).status().unwrap().success());
        fs::create_dir_all(folder.join("sources/of/earlier")).unwrap();
        let runner = Runner::new(&dir, Instant::now() + Duration::from_secs(600)).unwrap();

        let copy = Copy::new(&runner, &root, &folder, Some(&root.join("program"))).unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&copy.sources.join("src/main.rs")), "one");
        assert!(!copy.sources.join("left").exists() && !copy.sources.join("of").exists());
        let program = copy.auditable.unwrap();
        assert_eq!(read(&program), "two");
        // Neither is in the other: each gets a name of its own in what is built.
        assert!(!copy.target.starts_with(&copy.sources) && !copy.sources.starts_with(&copy.target));
        assert!(program.starts_with(&folder) && !program.starts_with(&copy.sources));
        fs::remove_dir_all(dir).unwrap();
    }
}
