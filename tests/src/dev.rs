//! `quelea dev` as a user starts it: three nodes that are one cluster, each of which can be killed, frozen and started again.
//! Used by the tests of that command and of the sensor. It stops what it started, and decides nothing about what is right.

use std::fs::{self, File};
use std::net::TcpListener;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::metrics::metric;
use crate::process::{binary, bound_to_us, fresh_dir, spawn};
use crate::{PATIENCE, pause};

/// Starts, of which some may fail since somebody took a port between its choice and its use.
const STARTS: usize = 5;
/// Of a node's log, where a test has failed.
const LOG_LINES: usize = 300;
const LOOK: Duration = Duration::from_millis(50);

/// Holds back all other tests of this process with a cluster of their own: three processes are load enough.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The first of three ports one behind the other that nobody listens on, below those that the system gives to whoever
/// asks for any.
pub fn three_free_ports() -> u16 {
    let first = 10_000 + (std::process::id() % 10_000) as u16;
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let found = (first..first + 12_000).step_by(5).find(|first| (*first..first + 3).all(free));
    found.expect("three free ports")
}

/// Sends a signal by its name, without `SIG`, to a process that is there. Behind `STOP` it stands still.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(pid > 0 && sent.is_ok_and(|status| status.success()), "kill -s {name} {pid}");
    if name == "STOP" {
        let deadline = Instant::now() + PATIENCE;
        while !stands_still(pid) {
            assert!(Instant::now() < deadline, "process {pid} does not stop");
            pause(Duration::from_millis(1));
        }
    }
}

/// Whether each thread of a process has stopped (proc_pid_stat(5)): one of them has to run to hear of the signal, and the others
/// go on until then.
fn stands_still(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let mut states =
        tasks.flatten().map(|task| fs::read_to_string(task.path().join("stat")).unwrap_or_default());
    states.all(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
}

/// A cluster of three nodes, numbered from 1. It ends with the test, or at the latest with the test's process.
pub struct Dev {
    child: Child,
    data: PathBuf,
    /// All nodes were ready once.
    up: bool,
}

impl Dev {
    /// Starts one, with more arguments, and waits until any one of its nodes may die.
    pub fn start(arguments: &[&str]) -> Self {
        // One at a time: free ports are looked for.
        static STARTING: Mutex<()> = Mutex::new(());
        let _alone = STARTING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut starts = 1;
        loop {
            let mut dev = Self::launch(arguments);
            if dev.is_up() {
                return dev;
            }
            let again = starts < STARTS && dev.logs().contains("in use");
            assert!(again, "`quelea dev` did not start:\n{}", dev.logs());
            starts += 1;
        }
    }

    /// The cluster of all tests of this process that do it no harm.
    pub fn shared() -> SharedDev {
        static SHARED: OnceLock<Dev> = OnceLock::new();
        SharedDev(SHARED.get_or_init(|| Self::start(&[])))
    }

    /// Starts one and waits for nothing: see [`Dev::is_up`].
    pub fn launch(arguments: &[&str]) -> Self {
        let data = fresh_dir();
        let mut command = bound_to_us(&binary());
        command.args(["dev", "--base-port", &three_free_ports().to_string(), "--data-dir"]).arg(&data);
        // Times that suit a busy machine.
        command.args(arguments).env("QUELEA__CLUSTER__PROFILE", "zones");
        let log = File::create(data.join("dev.log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { child: spawn(command).expect("setpriv of util-linux can be run"), data, up: false }
    }

    /// Waits until it says where its nodes are, which it does when they are ready; `false` when it has ended instead.
    pub fn is_up(&mut self) -> bool {
        // It gives up by itself.
        let deadline = Instant::now() + 2 * PATIENCE;
        while self.places().is_none() {
            if self.child.try_wait().expect("it is our child").is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "`quelea dev` hangs:\n{}", self.logs());
            pause(LOOK);
        }
        self.up = true;
        true
    }

    /// What `cluster.json` says.
    fn places(&self) -> Option<Vec<Value>> {
        let text = fs::read(self.data.join("cluster.json")).ok()?;
        let places =
            serde_json::from_slice::<Value>(&text).expect("cluster.json is whole whenever it is read");
        places.as_array().cloned()
    }

    fn place(&self, node: usize) -> Value {
        let mut places = self.places().expect("cluster.json stays");
        assert_eq!(places.len(), 3);
        let name = format!("quelea-{node}");
        places.retain(|place| place["name"] == name.as_str());
        places.pop().expect("nodes are numbered from 1 to 3")
    }

    /// Where clients connect to a node, whether it runs or not.
    pub fn mqtt(&self, node: usize) -> String {
        self.place(node)["mqtt"].as_str().expect("an address").to_owned()
    }

    /// The port of that.
    pub fn port(&self, node: usize) -> u16 {
        self.mqtt(node).rsplit_once(':').expect("host:port").1.parse().expect("a port")
    }

    /// Where clients connect to each of the nodes.
    pub fn all(&self) -> [String; 3] {
        [1, 2, 3].map(|node| self.mqtt(node))
    }

    /// Where a node's metrics are.
    pub fn http(&self, node: usize) -> String {
        self.place(node)["http"].as_str().expect("an address").to_owned()
    }

    /// The value of a metric of a node that runs.
    pub fn metric(&self, node: usize, name: &str) -> f64 {
        metric(self.http(node), name)
    }

    /// A node's process; 0 while there is none.
    pub fn pid(&self, node: usize) -> u32 {
        self.place(node)["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a number")
    }

    /// The process of a node that may not be ready yet: waits for it.
    pub fn starting_pid(&self, node: usize) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let is_it = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == format!("quelea-{node}").as_bytes())
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pids = fs::read_to_string(&children).unwrap_or_default();
            if let Some(pid) = pids.split_whitespace().flat_map(str::parse).find(is_it) {
                return pid;
            }
            assert!(Instant::now() < deadline, "node {node} is not started:\n{}", self.logs());
            pause(LOOK);
        }
    }

    /// Waits until the log of any node says this.
    pub fn until_logged(&self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.logs().contains(what) {
            assert!(Instant::now() < deadline, "nobody has said {what:?}:\n{}", self.logs());
            pause(LOOK);
        }
    }

    /// Sends a signal by name to a node that runs.
    pub fn signal(&self, node: usize, name: &str) {
        signal(self.pid(node), name);
    }

    /// Kill -9, and waits until the word of it is in `cluster.json`.
    pub fn kill(&self, node: usize) {
        self.signal(node, "KILL");
        let deadline = Instant::now() + PATIENCE;
        while self.pid(node) != 0 {
            assert!(Instant::now() < deadline, "node {node} is not said to be dead");
            pause(LOOK);
        }
    }

    /// What `quelea ctl` says that is told of the cluster by its file.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.arg("ctl").args(arguments).arg("--cluster-file").arg(self.data.join("cluster.json"));
        command.output().expect("it can be run")
    }

    /// What `quelea dev restart NAME` says.
    pub fn restart(&self, name: &str) -> Output {
        let mut command = Command::new(binary());
        command.args(["dev", "restart", name, "--data-dir"]).arg(&self.data).output().expect("it can be run")
    }

    /// Tells it to stop, and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().expect("it is our child") {
            return status;
        }
        let pids = self.places().unwrap_or_default().into_iter().filter_map(|place| place["pid"].as_u64());
        for pid in pids.filter(|pid| *pid > 0) {
            // Whoever is frozen hears nothing; whoever has just died is no failure here.
            let mut thaw = Command::new("kill");
            drop(thaw.args(["-s", "CONT", &pid.to_string()]).stderr(Stdio::null()).status());
        }
        signal(self.child.id(), "TERM");
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("it is our child").is_none() && Instant::now() < deadline {
            pause(LOOK);
        }
        drop(self.child.kill());
        self.child.wait().expect("it is our child")
    }

    /// The last lines of all logs.
    pub fn logs(&self) -> String {
        let read = |name: &str| {
            let text = fs::read(self.data.join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {name} ---\n{}\n", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
        };
        ["dev.log", "quelea-1.log", "quelea-2.log", "quelea-3.log"].map(read).concat()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let status = self.stop();
        let logs = look(self);
        drop(fs::remove_dir_all(&self.data));
        let failing = std::thread::panicking() || !self.up;
        assert!(failing || status.success(), "`quelea dev` ended with {status}:\n{logs}");
    }
}

/// Says everything where the test has failed, and fails where a node panicked.
fn look(dev: &Dev) -> String {
    let logs = dev.logs();
    if std::thread::panicking() {
        eprintln!("{logs}");
    } else {
        assert!(!logs.contains("panicked at"), "a node panicked:\n{logs}");
    }
    logs
}

/// The process-wide cluster in the hands of one test.
pub struct SharedDev(&'static Dev);

impl Deref for SharedDev {
    type Target = Dev;

    fn deref(&self) -> &Dev {
        self.0
    }
}

impl Drop for SharedDev {
    fn drop(&mut self) {
        drop(look(self.0));
    }
}
