//! A process as a container has it: an address and a name of its own, a root that it cannot write to, its mounts, a user without
//! rights. What runtimes do by cgroups and seccomp is left out. It decides nothing about what is right.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use e2e_tests::dev::signal;
use e2e_tests::process::{binary, bound_to_us, spawn};
use e2e_tests::{PATIENCE, pause};

use crate::lan::{Lan, run};

/// Who the image's processes are.
pub(crate) const USER: u32 = 65_532;
/// Folders of the machine that hold the libraries of a binary that is not static.
pub(crate) const LIBRARIES: [&str; 3] = ["/lib", "/lib64", "/usr/lib"];

/// What a container is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// What is mounted: where it is, where the process sees it, and whether it may write there.
    pub(crate) mounts: Vec<(PathBuf, String, bool)>,
    /// Whose rights it has; root's where nobody is named.
    pub(crate) user: Option<u32>,
}

/// A container that runs, or has ended.
pub(crate) struct Container {
    child: Child,
    namespace: String,
    dir: PathBuf,
    /// It was told to end, or has.
    over: bool,
}

impl Container {
    /// Has a runtime start it at this address: the words of a command, for a network namespace of this name. It gets no SIGTERM
    /// that is not meant for it.
    pub(crate) fn by(lan: &Lan, address: &str, words: impl FnOnce(&str) -> Vec<String>) -> Self {
        let namespace = lan.namespace(address);
        let dir = lan.dir.join(&namespace);
        fs::create_dir_all(&dir).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(words(&namespace));
        let log = File::create(dir.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = spawn(command).expect("setpriv of util-linux can be run");
        Self { child, namespace, dir, over: false }
    }

    /// Starts it at this address.
    pub(crate) fn start(lan: &Lan, address: &str, image: &Image) -> Self {
        let namespace = lan.namespace(address);
        let dir = lan.dir.join(&namespace);
        let root = dir.join("root");
        let mut mounts = image.mounts.clone();
        let machine = LIBRARIES.iter().chain(&["/proc", "/dev"]);
        mounts.extend(machine.map(|path| (PathBuf::from(path), (*path).to_owned(), *path == "/dev")));
        mounts.push((binary(), "/usr/bin/quelea".to_owned(), false));
        mounts.push((lan.dir.join("resolv.conf"), "/etc/resolv.conf".to_owned(), false));
        mounts.push((PathBuf::from("/etc/hosts"), "/etc/hosts".to_owned(), false));
        let mut script = format!("mount --bind {0} {0}\n", root.display());
        for (source, target, writable) in &mounts {
            let place = root.join(target.trim_start_matches('/'));
            make_place(source, &place);
            script += &format!("mount --bind {} {}\n", source.display(), place.display());
            if !writable {
                script += &format!("mount -o remount,bind,ro {}\n", place.display());
            }
        }
        script += &format!("mount -o remount,bind,ro {}\nexec \"$@\"\n", root.display());
        let mut command = bound_to_us("ip".as_ref());
        command.args(["netns", "exec", &namespace, "unshare", "--mount", "sh", "-ec", &script, "sh"]);
        command.args(["setpriv", "--pdeathsig", "TERM", "--no-new-privs"]);
        if let Some(user) = image.user.map(|user| user.to_string()) {
            // To change the root it needs one right, and keeps it.
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
            command.args(["--inh-caps=+sys_chroot", "--ambient-caps=+sys_chroot"]);
        }
        command.arg("chroot").arg(&root).args(&image.command);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(image.env.iter().cloned());
        let log = || File::options().create(true).append(true).open(dir.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log()).stderr(log());
        let child = spawn(command).expect("setpriv of util-linux can be run");
        Self { child, namespace, dir, over: false }
    }

    /// The number of the process that it was started by.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// All that it wrote.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("log")).unwrap_or_default()).into_owned()
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        self.until_ended()
    }

    /// SIGKILL, and the address is nobody's any more.
    pub(crate) fn kill(mut self) {
        self.over = true;
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }

    /// Waits until it has ended by itself.
    pub(crate) fn until_ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.over = true;
                return status;
            }
            assert!(Instant::now() < deadline, "it runs on:\n{}", self.log());
            pause(std::time::Duration::from_millis(20));
        }
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.over || self.child.try_wait().expect("it is our child").is_some()
    }

    /// Runs a command beside it, in its network, as `kubectl exec` does; what it says, or why it failed.
    pub(crate) fn exec(&self, arguments: &[&str]) -> Result<String, String> {
        let binary = binary().display().to_string();
        run("ip", &[&["netns", "exec", &self.namespace, &binary], arguments].concat())
    }
}

/// Makes what a mount lies on.
fn make_place(source: &Path, place: &Path) {
    if source.is_dir() {
        fs::create_dir_all(place).unwrap();
    } else {
        fs::create_dir_all(place.parent().expect("it is below a root")).unwrap();
        File::options().create(true).append(true).open(place).unwrap();
    }
}

/// A folder that the image's user may write to.
pub(crate) fn volume(dir: PathBuf) -> PathBuf {
    fs::create_dir_all(&dir).unwrap();
    chown(&dir, Some(USER), Some(USER)).unwrap();
    dir
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.namespace, self.log());
        }
        if !self.over {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        drop(run("ip", &["netns", "delete", &self.namespace]));
    }
}
