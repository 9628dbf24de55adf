//! A broker process of the test's own, or one that all tests of a binary share.
//! Used by every test binary; stops what it started, and fails the test when the broker died or panicked.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::{pause, process};

/// How long a start may take: the machine may be busy compiling.
const START: Duration = Duration::from_secs(60);
/// How long a stop may take: a node with peers gives away what it has before.
const STOP: Duration = Duration::from_secs(40);
/// The configuration, in the broker's directory.
const CONFIG: &str = "quelea.toml";
/// Log lines that are kept for failure messages.
const LOG_LINES: usize = 4000;

/// What the log has said so far.
#[derive(Default)]
struct Log {
    lines: VecDeque<String>,
    listeners: Vec<(String, String)>,
    ready: bool,
    panicked: bool,
    ended: bool,
}

type SharedLog = Arc<(Mutex<Log>, Condvar)>;

/// What a broker is started with.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Its configuration, see [`Broker::with_config`].
    pub toml: String,
    /// A program and its arguments, which ends as the binary that it is given.
    pub under: Vec<String>,
    /// More arguments of `run`.
    pub args: Vec<String>,
    /// Another binary than the one that all tests run.
    pub binary: Option<PathBuf>,
    /// Variables of its environment.
    pub env: Vec<(&'static str, String)>,
    /// How long the start may take, where that is longer than usual: other nodes may have to come.
    pub within: Option<Duration>,
}

/// A broker under test.
pub struct Broker {
    child: Option<Mutex<Child>>,
    pid: u32,
    log: SharedLog,
    dir: Option<PathBuf>,
    /// The directory outlives the broker.
    kept: bool,
    binary: Option<PathBuf>,
}

/// Why a broker did not start.
#[derive(Debug)]
pub struct StartFailed {
    /// The exit code, if it ended by itself.
    pub code: Option<i32>,
    /// All it wrote to stderr.
    pub log: String,
}

impl Broker {
    /// Starts a broker with a plain listener `mqtt` and a WebSocket listener `ws` on free ports.
    pub fn start() -> Self {
        Self::with_config("")
    }

    /// The same with more configuration. A section `[listener.mqtt]`, `[listener.ws]` or `[http]` replaces the one
    /// that is there by default (HTTP off). With `BROKER_UNDER_TEST` set it is that broker, whatever its configuration.
    pub fn with_config(toml: &str) -> Self {
        Self::try_with_config(toml)
            .unwrap_or_else(|failed| panic!("the broker did not start: {failed:?}\n{}", failed.log))
    }

    /// The same, for configurations that may be refused.
    ///
    /// # Errors
    /// The process ended, or was not ready within 30 s.
    pub fn try_with_config(toml: &str) -> Result<Self, StartFailed> {
        Self::try_start(Start { toml: toml.to_owned(), ..Start::default() })
    }

    /// Starts a broker that is not like the others.
    ///
    /// # Errors
    /// The process ended, or was not ready within 30 s.
    pub fn try_start(start: Start) -> Result<Self, StartFailed> {
        if let Ok(addr) = std::env::var("BROKER_UNDER_TEST") {
            return Ok(Self::external(&addr));
        }
        let dir = Self::prepare(&start.toml);
        Self::launch((dir, false), &start)
    }

    /// A directory with a configuration, see [`Broker::with_config`], for [`Broker::try_open`]; data goes into `data`.
    pub fn prepare(toml: &str) -> PathBuf {
        let dir = process::fresh_dir();
        fs::write(dir.join(CONFIG), with_defaults(toml)).unwrap();
        dir
    }

    /// Starts a process on what is in `dir`, a directory that [`Broker::into_dir`] gave, or a copy of it; it is not
    /// removed in the end.
    ///
    /// # Errors
    /// The process ended, or was not ready within 30 s.
    pub fn try_open(dir: &Path, start: &Start) -> Result<Self, StartFailed> {
        Self::launch((dir.to_owned(), true), start)
    }

    /// The directory of a broker that was stopped or killed: its configuration, and its data in `data`. Whoever takes
    /// it removes it.
    pub fn into_dir(mut self) -> PathBuf {
        assert!(self.child.is_none(), "the broker still runs");
        self.dir.take().expect("a broker of the test's own has a directory")
    }

    /// Starts the process on what is in `dir`.
    fn launch((dir, kept): (PathBuf, bool), start: &Start) -> Result<Self, StartFailed> {
        let binary = start.binary.clone();
        let program = binary.clone().unwrap_or_else(process::binary);
        let mut command = match start.under.split_first() {
            Some((under, arguments)) => {
                let mut command = process::bound_to_us(Path::new(under));
                command.args(arguments).arg(program);
                command
            }
            None => process::bound_to_us(&program),
        };
        command.arg("run").arg("--config").arg(dir.join(CONFIG)).arg("--data-dir").arg(dir.join("data"));
        command.args(&start.args);
        if std::env::var_os("BROKER_VERBOSE").is_some() {
            command.arg("-v");
        }
        command.envs(start.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = process::spawn(command).expect("setpriv of util-linux can be run");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = SharedLog::default();
        let (pid, writer) = (child.id(), log.clone());
        std::thread::spawn(move || follow(stderr, &writer));
        let broker = Self { child: Some(Mutex::new(child)), pid, log, dir: Some(dir), kept, binary };
        match broker.wait_ready(start.within.unwrap_or(START)) {
            true => Ok(broker),
            false => Err(broker.failed_start()),
        }
    }

    fn wait_ready(&self, within: Duration) -> bool {
        let (log, changed) = &*self.log;
        let log = log.lock().unwrap();
        changed.wait_timeout_while(log, within, |log| !log.ready && !log.ended).unwrap().0.ready
    }

    fn failed_start(mut self) -> StartFailed {
        let code = self.stop().and_then(|status| status.code());
        let log = self.log();
        self.child = None;
        StartFailed { code, log }
    }

    /// A broker that somebody else runs.
    fn external(addr: &str) -> Self {
        let log = SharedLog::default();
        let ws = std::env::var("BROKER_UNDER_TEST_WS").unwrap_or_default();
        log.0.lock().unwrap().listeners = vec![("mqtt".into(), addr.into()), ("ws".into(), ws)];
        Self { child: None, pid: 0, log, dir: None, kept: false, binary: None }
    }

    /// Whether this is `BROKER_UNDER_TEST`: then its configuration is not the test's and there is no pid.
    pub fn is_external(&self) -> bool {
        self.pid == 0
    }

    /// The broker of default configuration that all tests of this process share. Hold what this gives for the whole
    /// test: when it is dropped the broker must be alive and must not have panicked.
    pub fn shared() -> SharedBroker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SharedBroker(SHARED.get_or_init(Self::start))
    }

    /// The address `host:port` (or path) that a listener is bound to; its first where it has two.
    pub fn addr(&self, listener: &str) -> String {
        let found = self.addrs(listener).into_iter().next();
        found.unwrap_or_else(|| panic!("no listener {listener} in the log:\n{}", self.log()))
    }

    /// Every address a listener is bound to.
    pub fn addrs(&self, listener: &str) -> Vec<String> {
        let log = self.log.0.lock().unwrap();
        let of = |(name, addr): &(String, String)| (name == listener).then(|| addr.clone());
        log.listeners.iter().filter_map(of).collect()
    }

    /// The plain MQTT listener's address.
    pub fn mqtt(&self) -> String {
        self.addr("mqtt")
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its configuration and data are; `None` for an external one.
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        process::rss_kib(self.pid)
    }

    /// Open sockets, listeners included.
    pub fn open_sockets(&self) -> usize {
        process::open_sockets(self.pid)
    }

    /// Waits for the number of open sockets to be this low again.
    #[track_caller]
    pub fn expect_sockets_at_most(&self, count: usize) {
        let deadline = Instant::now() + crate::BOUND;
        while self.open_sockets() > count {
            assert!(Instant::now() < deadline, "{} sockets are open, expected {count}", self.open_sockets());
            pause(Duration::from_millis(20));
        }
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Duration {
        process::cpu(self.pid)
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        let log = self.log.0.lock().unwrap();
        log.lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    /// Sends SIGTERM and waits for the end; SIGKILL after 40 s. `None` when it had been stopped before.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        let mut child = self.child.take()?.into_inner().unwrap();
        signal(self.pid, "TERM");
        let deadline = Instant::now() + STOP;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            if Instant::now() > deadline {
                drop(child.kill());
                return child.wait().ok();
            }
            pause(Duration::from_millis(5));
        }
    }

    /// Sends SIGKILL and waits for the end: what it leaves behind is for [`Broker::restart`].
    #[track_caller]
    pub fn kill(&mut self) {
        self.assert_well();
        let Some(child) = self.child.take() else { panic!("the broker had been stopped before") };
        let mut child = child.into_inner().unwrap();
        child.kill().expect("the broker runs");
        child.wait().expect("it is our child");
    }

    /// Waits for the process to end by itself; `None` when it has not within `time`.
    pub fn wait_end(&mut self, time: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + time;
        loop {
            let child = self.child.as_ref().expect("the broker was not stopped before");
            let ended = child.lock().unwrap().try_wait().expect("it is our child");
            if ended.is_some() {
                self.child = None;
            }
            if ended.is_some() || Instant::now() > deadline {
                return ended;
            }
            pause(Duration::from_millis(5));
        }
    }

    /// Starts a process on the data of one that has ended, with the same configuration, on other ports.
    pub fn restart(&mut self, env: &[(&'static str, String)]) {
        assert!(self.child.is_none(), "the broker still runs");
        let dir = self.dir.take().expect("a broker of the test's own has a directory");
        let before = self.log();
        let start = Start { binary: self.binary.take(), env: env.to_vec(), ..Start::default() };
        let started = Self::launch((dir, self.kept), &start);
        *self = started.unwrap_or_else(|failed| {
            panic!("no restart: {failed:?}\n{}--- before ---\n{before}", failed.log)
        });
    }

    /// Fails when the process has ended by itself or a thread of it panicked.
    #[track_caller]
    pub fn assert_well(&self) {
        let Some(child) = &self.child else { return };
        let ended = child.lock().unwrap().try_wait().ok().flatten();
        let panicked = self.log.0.lock().unwrap().panicked;
        assert!(ended.is_none() && !panicked, "the broker ended ({ended:?}) or panicked:\n{}", self.log());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        if failing {
            eprintln!("--- log of the broker ---\n{}", self.log());
        } else {
            self.assert_well();
        }
        let status = self.stop();
        if let Some(dir) = &self.dir
            && !self.kept
        {
            drop(fs::remove_dir_all(dir));
        }
        if !failing && let Some(status) = status {
            assert!(status.success(), "the broker ended with {status} on SIGTERM:\n{}", self.log());
        }
    }
}

/// The process-wide broker in the hands of one test.
pub struct SharedBroker(&'static Broker);

impl Deref for SharedBroker {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        self.0
    }
}

impl Drop for SharedBroker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the shared broker ---\n{}", self.0.log());
        } else {
            self.0.assert_well();
        }
    }
}

/// Sends a signal by name to a process the harness started.
fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).status();
    sent.expect("kill can be run");
}

fn with_defaults(toml: &str) -> String {
    let mut text = String::from(toml);
    let listener = |name: &str, protocol: &str| {
        format!("\n[listener.{name}]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\n")
    };
    for (header, section) in [
        ("[listener.mqtt]", listener("mqtt", "tcp")),
        ("[listener.ws]", listener("ws", "ws")),
        ("[http]", "\n[http]\naddress = \"off\"\n".to_owned()),
        // Many brokers run at once, and each has two files of its log at least.
        ("[storage]", "\n[storage]\nsegment_size = \"1 MiB\"\n".to_owned()),
    ] {
        if !toml.contains(header) {
            text.push_str(&section);
        }
    }
    text
}

/// Reads the log to its end; wakes whoever waits for the start.
fn follow(stderr: ChildStderr, shared: &SharedLog) {
    let (log, changed) = &**shared;
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut log = log.lock().unwrap();
        log.panicked |= line.contains("panicked at");
        if !log.ready {
            log.listeners.extend(listening(&line));
            log.ready = line.contains(" quelea: ready");
        }
        if log.lines.len() == LOG_LINES {
            log.lines.pop_front();
        }
        log.lines.push_back(line);
        changed.notify_all();
    }
    log.lock().unwrap().ended = true;
    changed.notify_all();
}

/// Name and address of a line `... listening listener="mqtt" protocol="tcp" address=127.0.0.1:43567`.
fn listening(line: &str) -> Option<(String, String)> {
    let (_, fields) = line.split_once(" listening ")?;
    let field = |name: &str| {
        let (_, value) = fields.split_once(name)?;
        Some(value.split_whitespace().next()?.trim_matches('"').to_owned())
    };
    Some((field("listener=")?, field("address=")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_names_listener_and_address() {
        let line = r#"2026-01-01T00:00:00Z  INFO quelea::listener: listening listener="mqtt" protocol="tcp" address=127.0.0.1:43567"#;
        assert_eq!(listening(line), Some(("mqtt".into(), "127.0.0.1:43567".into())));
        assert_eq!(listening("INFO quelea: ready"), None);
    }

    #[test]
    fn sections_of_the_test_replace_the_default_ones() {
        let text = with_defaults("[listener.mqtt]\naddress = \"[::1]:0\"\n");
        assert_eq!(text.matches("[listener.mqtt]").count(), 1);
        assert!(text.contains("[listener.ws]") && text.contains("[http]"));
    }
}
