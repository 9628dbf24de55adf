//! Starting the broker's process so that it cannot outlive the tests, and reading its numbers from /proc.
//! Used by `broker`, and by the tests that run the tools of others; it never reads what a process says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// Spawns by way of `setpriv --pdeathsig`, so that the child gets SIGTERM when this process ends in whatever way.
/// The signal is bound to the *thread* that spawned, hence the one thread here that lives as long as the process.
///
/// # Errors
/// As `Command::spawn`.
pub fn spawn(mut command: Command) -> std::io::Result<Child> {
    static SPAWNER: OnceLock<SyncSender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = sync_channel::<Job>(8);
        std::thread::spawn(move || jobs.iter().for_each(|job| job()));
        sender
    });
    let (sender, answer) = sync_channel(1);
    let job = Box::new(move || drop(sender.send(command.spawn())));
    spawner.send(job).expect("the spawning thread lives as long as the process");
    answer.recv().expect("the spawning thread answers every job")
}

/// `program`, wrapped so that it dies with this process.
pub fn bound_to_us(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

/// The broker's binary: `QUELEA_BIN`, else the newest one that was built in this workspace.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("QUELEA_BIN") {
        return PathBuf::from(path);
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a workspace");
    let mut targets = vec![workspace.join("target")];
    targets.extend(std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from));
    let built = targets
        .iter()
        .flat_map(|target| ["gate", "release", "debug"].map(|profile| target.join(profile).join("quelea")))
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)));
    match built.max() {
        Some((_, path)) => path,
        None => panic!("no quelea binary found in {targets:?}: run `cargo xtask test`, or set QUELEA_BIN"),
    }
}

/// The binary with failpoints: `QUELEA_FAILPOINTS_BIN`, or beside the other one; `None` where there is none, which is said.
pub fn failpoints() -> Option<PathBuf> {
    if std::env::var_os("BROKER_UNDER_TEST").is_some() {
        return None;
    }
    let path = std::env::var_os("QUELEA_FAILPOINTS_BIN")
        .map_or_else(|| binary().with_file_name("quelea-failpoints"), PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    let missing = format!("no binary with failpoints at {}", path.display());
    assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"), "{missing}");
    println!("SKIPPED: {missing}");
    None
}

/// A fresh directory for a broker's data: under `TMPDIR` if that is set, else in memory.
/// Directories of test processes that are gone are removed on the way.
pub fn fresh_dir() -> PathBuf {
    let root = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
    for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner =
            name.strip_prefix("quelea-e2e-").and_then(|rest| rest.split('x').nth(1).map(str::to_owned));
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    let dir = root.join(format!("quelea-e2e-{}", crate::unique("d")));
    fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("cannot create {}: {error}", dir.display()));
    dir
}

/// Resident memory in KiB.
pub(crate) fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the broker runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("status has VmRSS");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("VmRSS is a number")
}

/// Open socket descriptors.
pub(crate) fn open_sockets(pid: u32) -> usize {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("the broker runs");
    let is_socket =
        |path: PathBuf| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
    entries.flatten().filter(|entry| is_socket(entry.path())).count()
}

/// Processor time used so far, user and system, in steps of 10 ms.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the broker runs");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
