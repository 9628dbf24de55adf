//! The image of `deploy/Dockerfile`, built by Debian's buildah and run by Debian's crun: a node in it has no rights and a root that it
//! cannot write to, serves clients, and keeps what it has on its volume. No network, no registry, no container engine.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use e2e_tests::packets::Publish;
use e2e_tests::parse::ConnAck;
use e2e_tests::process::binary;
use e2e_tests::{Connect, RawClient};
use serde_json::{Value, json};

use crate::compose::get;
use crate::container::{Container, LIBRARIES, USER, volume};
use crate::lan::{Lan, run};
use crate::{repository, skipped, until};

/// The folders that volumes are put over, as `cargo xtask dist` makes them for the Dockerfile.
const OWN: [&str; 2] = ["etc/quelea/auth", "var/lib/quelea"];
/// Before what is run in namespaces of its own, with everything in it gone when this ends.
const APART: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
/// A build takes seconds.
const BUILD_S_MAX: &str = "600";
/// What the node is told beyond what the image says: to be there for others than itself.
const TOLD: [&str; 3] = [
    "QUELEA__LISTENER__MQTT__ADDRESS=:1883",
    "QUELEA__HTTP__ADDRESS=:8080",
    "QUELEA__AUTH__PASSWORD__FILE=/etc/quelea/auth/users",
];
const PASSWORD: &str = "of the image";

/// An image as buildah writes it.
struct Built {
    /// What it says of its process.
    config: Value,
    /// The file with its one layer.
    layer: PathBuf,
}

/// The folder that the image is built in, with the tests' own broker.
fn context(dir: &Path) -> PathBuf {
    let context = dir.join("context");
    let place = context.join("usr/bin/quelea");
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(binary(), &place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    OWN.iter().for_each(|own| fs::create_dir_all(context.join(own)).unwrap());
    context
}

/// Runs buildah where it sees no network, and leaves nothing outside of this folder.
fn buildah(dir: &Path, words: &[&str]) -> Result<String, String> {
    let script = "mkdir -p /var/lib/containers; mount -t tmpfs none /var/lib/containers; exec \"$@\"";
    let path = |name: &str| dir.join(name).display().to_string();
    let (root, runs, temporary) = (path("storage"), path("runs"), format!("TMPDIR={}", dir.display()));
    let before = ["--foreground", "--signal=KILL", BUILD_S_MAX];
    let shell = ["--net", "sh", "-ec", script, "sh", "env", &temporary];
    let own = ["buildah", "--root", &root, "--runroot", &runs, "--storage-driver", "vfs"];
    run("timeout", &[&before[..], &APART, &shell, &own, words].concat())
}

impl Built {
    /// Builds it; nothing where that cannot be, which is said.
    fn new(dir: &Path) -> Option<Self> {
        fs::create_dir_all(dir).unwrap();
        if let Err(why) = buildah(dir, &["from", "scratch"]) {
            skipped(&format!("no image can be built here (apt-get install buildah; it takes root): {why}"));
            return None;
        }
        let (file, context) = (repository("deploy/Dockerfile"), context(dir).display().to_string());
        let how = ["build", "--isolation", "chroot", "--timestamp", "0", "--tag", "quelea", "--file"];
        buildah(dir, &[&how[..], &[file.to_str().unwrap(), &context]].concat()).unwrap();
        let layout = dir.join("layout");
        let to = format!("oci:{}:quelea", layout.display());
        buildah(dir, &["push", "--disable-compression", "quelea", &to]).unwrap();
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            layout.join("blobs/sha256").join(digest)
        };
        let parse = |path: PathBuf| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
        let manifest = parse(blob(&parse(layout.join("index.json"))["manifests"][0]));
        assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1), "{manifest}");
        let config = parse(blob(&manifest["config"]))["config"].clone();
        Some(Self { config, layer: blob(&manifest["layers"][0]) })
    }

    fn words(&self, key: &str) -> Vec<String> {
        let words = self.config[key].as_array().unwrap_or_else(|| panic!("no {key}"));
        words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    }

    /// Who its process is: a number each for user and group.
    fn user(&self) -> [u32; 2] {
        let user = self.config["User"].as_str().unwrap();
        let (user, group) = user.split_once(':').expect("numbers: there is no /etc/passwd");
        [user, group].map(|number| number.parse().unwrap())
    }

    /// Unpacks its files.
    fn unpack(&self, root: &Path) {
        fs::create_dir_all(root).unwrap();
        let (layer, root) = (self.layer.to_str().unwrap(), root.to_str().unwrap());
        let how = ["--extract", "--numeric-owner", "--same-owner", "--same-permissions"];
        run("tar", &[&how[..], &["--file", layer, "--directory", root]].concat()).unwrap();
    }
}

/// Whether the tests' broker is what a release has: without the system's libraries.
fn is_static() -> bool {
    run("ldd", &[binary().to_str().unwrap()]).is_ok_and(|says| says.contains("statically linked"))
}

/// What runs the image: a folder with its files, and volumes beside it.
struct Crun<'l> {
    lan: &'l Lan,
    built: Built,
    bundle: PathBuf,
}

impl Crun<'_> {
    /// Says what is to be run: the image's own user, environment and program, these arguments, and the volumes over their places.
    /// The only thing that is not the image's are libraries of this machine, where the broker needs any.
    fn configure(&self, arguments: &[String], namespace: &str) {
        let bind = |source: &Path, target: &str, how: &str| json!({ "destination": target, "type": "bind", "source": source, "options": ["bind", how] });
        let mut mounts = vec![
            json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
            json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] }),
            bind(Path::new("/etc/hosts"), "/etc/hosts", "ro"),
            bind(&self.lan.dir.join("secrets"), "/run/secrets", "ro"),
            bind(&volume(self.lan.dir.join("auth")), "/etc/quelea/auth", "rw"),
        ];
        if !is_static() {
            mounts.extend(LIBRARIES.iter().map(|path| bind(Path::new(path), path, "ro")));
        }
        let volumes = self.built.config["Volumes"].as_object().unwrap().keys();
        mounts.extend(volumes.map(|place| bind(&volume(self.lan.dir.join("data")), place, "rw")));
        let mut namespaces = ["pid", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind })).to_vec();
        namespaces.push(json!({ "type": "network", "path": format!("/run/netns/{namespace}") }));
        let [uid, gid] = self.built.user();
        let arguments = [&self.built.words("Entrypoint"), arguments].concat();
        let told = [&self.built.words("Env"), &TOLD.map(str::to_owned)[..]].concat();
        let process = json!({
            "user": { "uid": uid, "gid": gid }, "cwd": "/", "noNewPrivileges": true, "capabilities": {},
            "args": arguments, "env": told,
        });
        let config = json!({
            "ociVersion": "1.0.2", "process": process, "root": { "path": "root", "readonly": true },
            "mounts": mounts, "linux": { "namespaces": namespaces },
        });
        fs::write(self.bundle.join("config.json"), config.to_string()).unwrap();
    }

    /// Starts a container at this address. Control groups are kept from crun: it knows no mix of their versions, and can do without.
    fn start(&self, address: &str, arguments: &[String]) -> Container {
        let hide = "[ ! -d /sys/fs/cgroup ] || mount -t tmpfs none /sys/fs/cgroup; exec \"$@\"";
        let path = |dir: &Path| dir.display().to_string();
        let (state, bundle) = (path(&self.lan.dir.join("crun")), path(&self.bundle));
        Container::by(self.lan, address, |namespace| {
            self.configure(arguments, namespace);
            let crun = ["crun", "--root", &state, "--cgroup-manager=disabled", "run", "--bundle", &bundle];
            let all = [&APART[..], &["sh", "-ec", hide, "sh"], &crun, &[namespace]].concat();
            all.into_iter().map(str::to_owned).collect()
        })
    }

    /// What a container says that is there for one command, and whether it was done.
    fn once(&self, address: &str, arguments: &[&str]) -> (bool, String) {
        let arguments: Vec<_> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let mut container = self.start(address, &arguments);
        (container.until_ended().success(), container.log())
    }

    /// Starts the node that the image says, and waits until it serves clients.
    fn node(&self, address: &str) -> Container {
        let mut node = self.start(address, &self.built.words("Cmd"));
        let http = format!("{address}:8080");
        for probe in ["/healthz", "/readyz"] {
            until(probe, || {
                assert!(!node.has_ended(), "{}", node.log());
                get(&http, probe)?.starts_with("HTTP/1.1 200").then_some(())
            });
        }
        node
    }
}

/// A client that the node knows; it is told that nobody is there (0x88) while the node has no lease yet.
fn client(address: &str, id: &str) -> RawClient {
    until("node that takes the client", || {
        let mut client = RawClient::open(&format!("{address}:1883"));
        client.be_patient();
        let connack: ConnAck = client.handshake(&Connect::v5(id).user("quelea").password(PASSWORD));
        assert!(matches!(connack.reason, 0 | 0x88), "{connack:?}");
        (connack.reason == 0).then_some(client)
    })
}

/// Ends a node as an engine does: SIGTERM for crun, which is the one child of what it is in, and passes it on.
fn stop(mut node: Container) {
    run("pkill", &["-TERM", "--parent", &node.process().to_string()]).unwrap();
    let status = node.until_ended();
    assert!(status.success(), "{status}: {}", node.log());
    assert!(node.log().contains("stopping signal=\"SIGTERM\""), "{}", node.log());
}

/// Whom everything below a folder belongs to.
fn owners(folder: &Path) -> Vec<(PathBuf, u32)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| {
        let data = fs::symlink_metadata(&path).unwrap();
        let mut all = if data.is_dir() { owners(&path) } else { Vec::new() };
        all.push((path, data.uid()));
        all
    };
    entries.flat_map(of).collect()
}

#[test]
fn the_image_is_built_by_buildah_and_run_by_crun() {
    let Some(mut lan) = Lan::new() else { return };
    let Some(built) = Built::new(&lan.dir.join("built")) else { return };
    assert_eq!(built.user(), [USER; 2]);
    let addresses: Vec<_> = (0..5).map(|_| lan.address()).collect();
    fs::create_dir_all(lan.dir.join("secrets")).unwrap();
    fs::write(lan.dir.join("secrets/password"), format!("{PASSWORD}\n")).unwrap();
    let bundle = lan.dir.join("bundle");
    built.unpack(&bundle.join("root"));
    let crun = Crun { lan: &lan, built, bundle };
    let (done, version) = crun.once(&addresses[0], &["--version"]);
    if !done || !version.starts_with("quelea ") {
        return skipped(&format!("no container can be run here (apt-get install crun): {version}"));
    }
    let users = ["passwd", "--password-file", "/run/secrets/password", "/etc/quelea/auth/users", "quelea"];
    let (done, why) = crun.once(&addresses[1], &users);
    assert!(done, "{why}");
    // The folder belongs to the user: it is the root that is not to be written to.
    let (done, why) = crun.once(&addresses[2], &["run", "--data-dir", "/etc/quelea/data"]);
    assert!(!done && why.contains("Read-only file system"), "{why}");

    let node = crun.node(&addresses[3]);
    let mut publisher = client(&addresses[3], "publisher");
    publisher.publish_packet(Publish::v5("kept/state", "by the volume").retain(), 1);
    stop(node);
    let owners = owners(&lan.dir.join("data"));
    assert!(owners.len() > 3 && owners.iter().all(|(_, owner)| *owner == USER), "{owners:?}");

    // Another container has the volume, and all that was acknowledged.
    let node = crun.node(&addresses[4]);
    let mut subscriber = client(&addresses[4], "subscriber");
    assert_eq!(subscriber.subscribe("kept/#", 1).codes, [1]);
    assert_eq!(subscriber.expect_publish().payload, b"by the volume");
    stop(node);
}
