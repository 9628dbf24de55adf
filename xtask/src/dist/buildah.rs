//! What Debian's buildah says of the image: it reads the layout, and makes of `deploy/Dockerfile` the same files, with the same owners,
//! and the same configuration. Only for tests; it needs root, and no network.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::image;

/// What stands for the binary.
const PROGRAM: &[u8] = b"a program";
/// A build takes seconds.
const BUILD_S_MAX: &str = "600";
/// Keeps everything below a folder of the test's, and in namespaces that end with the program.
const APART: [&str; 11] = [
    "timeout",
    "--foreground",
    "--signal=KILL",
    BUILD_S_MAX,
    "unshare",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "sh",
];

/// A place for images.
struct Store(PathBuf);

impl Store {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("quelea-buildah-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn run(&self, words: &[&str]) -> Result<String, String> {
        let script = "mkdir -p /var/lib/containers; mount -t tmpfs none /var/lib/containers; exec \"$@\"";
        let mut command = Command::new(APART[0]);
        command.args(&APART[1..]).args(["-ec", script, "sh", "buildah", "--storage-driver", "vfs"]);
        command.arg("--root").arg(self.0.join("storage")).arg("--runroot").arg(self.0.join("runs"));
        let done = command.args(words).env("TMPDIR", &self.0).output().map_err(|error| error.to_string())?;
        let said = if done.status.success() { &done.stdout } else { &done.stderr };
        let said = String::from_utf8_lossy(said).trim().to_owned();
        if done.status.success() { Ok(said) } else { Err(said) }
    }

    /// Whether images can be made here, which is said if they cannot.
    fn can_build(&self) -> bool {
        let Err(why) = self.run(&["from", "scratch"]) else { return true };
        let why = format!("no image can be built here (apt-get install buildah; it takes root): {why}");
        assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"), "{why}");
        println!("SKIPPED: {why}");
        false
    }

    /// Builds the Dockerfile, and writes the image as a layout.
    fn build(&self) -> PathBuf {
        let (context, layout) = (self.0.join("context"), self.0.join("layout"));
        image::context(&context, PROGRAM).unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/Dockerfile");
        let how = ["build", "--isolation", "chroot", "--timestamp", "0", "--tag", "quelea", "--file"];
        let what = [file.to_str().unwrap(), context.to_str().unwrap()];
        self.run(&[&how[..], &what].concat()).unwrap();
        self.push("quelea", &layout);
        layout
    }

    fn push(&self, image: &str, layout: &Path) {
        let to = format!("oci:{}:quelea", layout.display());
        self.run(&["push", "--disable-compression", image, &to]).unwrap();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What a layout says of the process, without labels, and what `tar` says of its one layer.
fn said(layout: &Path) -> (Value, BTreeSet<String>) {
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        layout.join("blobs/sha256").join(digest)
    };
    let parse = |path: PathBuf| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let manifest = parse(blob(&parse(layout.join("index.json"))["manifests"][0]));
    let mut config = parse(blob(&manifest["config"]))["config"].clone();
    config.as_object_mut().unwrap().remove("Labels");
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1), "{manifest}");
    let mut tar = Command::new("tar");
    tar.args(["--list", "--verbose", "--numeric-owner", "--utc", "--file"]);
    let done = tar.arg(blob(&manifest["layers"][0])).output().unwrap();
    assert!(done.status.success());
    let lines = String::from_utf8(done.stdout).unwrap();
    let plain = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    (config, lines.lines().map(plain).collect())
}

#[test]
fn buildah_makes_the_same_image_of_the_dockerfile_each_time() {
    let (one, other) = (Store::new("one"), Store::new("other"));
    if !one.can_build() {
        return;
    }
    let (layout, again) = (one.build(), other.build());
    let index = |layout: &Path| fs::read_to_string(layout.join("index.json")).unwrap();
    assert_eq!(index(&layout), index(&again));

    let ours = one.0.join("ours");
    image::layout(&ours, PROGRAM, "amd64").unwrap();
    assert_eq!(said(&layout), said(&ours));
    // It reads ours, and finds the same in it.
    let id = one.run(&["pull", &format!("oci:{}", ours.display())]).unwrap();
    let read = one.0.join("read");
    one.push(id.lines().last().unwrap(), &read);
    assert_eq!(said(&read), said(&ours));
}
