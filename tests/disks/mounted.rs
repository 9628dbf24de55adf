//! File systems of a test's own: an ext4 in a file, and a small one in memory. They need root; where that is missing a
//! test says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use e2e_tests::{BOUND, process};

use crate::shim::skipped;

/// A file system that is mounted as the data directory of a node, until it is dropped.
pub(crate) struct Mounted {
    /// The node's directory, see `Broker::try_open`.
    pub(crate) dir: PathBuf,
    /// The file that an ext4 lies in.
    image: Option<PathBuf>,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    if done.status.success() { Ok(()) } else { Err(format!("{program} {arguments:?}: {said}")) }
}

impl Mounted {
    /// Mounts on `dir/data`; says why the test cannot run where that does not work.
    fn mount(dir: PathBuf, image: Option<PathBuf>, arguments: &[&str]) -> Option<Self> {
        let data = dir.join("data");
        fs::create_dir_all(&data).unwrap();
        let place = data.display().to_string();
        match run("mount", &[arguments, &[&place]].concat()) {
            Ok(()) => Some(Self { dir, image }),
            Err(why) => {
                skipped(&format!("file systems cannot be mounted here: {why}"));
                drop(fs::remove_dir_all(&dir));
                None
            }
        }
    }

    /// An empty file system in memory that holds so many bytes.
    pub(crate) fn small(dir: PathBuf, bytes: u64) -> Option<Self> {
        let size = format!("size={bytes}");
        Self::mount(dir, None, &["-t", "tmpfs", "-o", &size, "tmpfs"])
    }

    /// An empty ext4.
    pub(crate) fn ext4(dir: PathBuf) -> Option<Self> {
        let image = process::fresh_dir().join("image");
        fs::File::create(&image).unwrap().set_len(2 << 30).unwrap();
        if let Err(why) = run("mkfs.ext4", &["-q", "-F", &image.display().to_string()]) {
            skipped(&format!("no ext4 can be made here: {why}"));
            return None;
        }
        Self::of_image(dir, image)
    }

    fn of_image(dir: PathBuf, image: PathBuf) -> Option<Self> {
        let path = image.display().to_string();
        Self::mount(dir, Some(image), &["-o", "loop", &path])
    }

    /// What is on the disk now is what a power cut now would leave: a copy of it, mounted for another node.
    pub(crate) fn cut(&self, dir: PathBuf) -> Option<Self> {
        let copy = process::fresh_dir().join("image");
        let image = self.image.as_ref().expect("it lies in a file");
        let paths = [image, &copy].map(|path| path.display().to_string());
        run("cp", &["--sparse=always", &paths[0], &paths[1]]).unwrap();
        Self::of_image(dir, copy)
    }

    /// Where the node's data is.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let data = self.data().display().to_string();
        let deadline = std::time::Instant::now() + BOUND;
        while run("umount", &[&data]).is_err() && std::time::Instant::now() < deadline {
            e2e_tests::pause(std::time::Duration::from_millis(50));
        }
        drop(fs::remove_dir_all(&self.dir));
        if let Some(folder) = self.image.as_deref().and_then(Path::parent) {
            drop(fs::remove_dir_all(folder));
        }
    }
}
