//! A device: started with a configuration, read by its lines, ended with the test.
//! Used by every scenario. What board it is makes no difference but for how its link is cut.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use e2e_tests::{pause, process};

/// For what must come: retries of a device take up to 30 s each, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a device runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Board {
    /// A process of this machine.
    Host,
    /// QEMU's `virt` machine.
    Emulated,
}

impl Board {
    /// Why there is no such device here.
    pub(crate) fn missing(self) -> Option<String> {
        match self {
            Self::Host => host_device().err(),
            Self::Emulated => image().err().or_else(|| program("qemu-system-riscv32").err()),
        }
    }

    /// What this machine's loopback address is to the device.
    fn host_address(self) -> &'static str {
        match self {
            Self::Host => "127.0.0.1",
            Self::Emulated => "10.0.2.2",
        }
    }
}

/// A program in PATH.
pub(crate) fn program(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| format!("{name} is not installed"))
}

fn host_device() -> Result<PathBuf, String> {
    built("QUELEA_SENSOR", "sensor/debug/sensor-host")
}

fn image() -> Result<PathBuf, String> {
    built("QUELEA_SENSOR_IMAGE", "sensor-rv32/riscv32imac-unknown-none-elf/release/sensor-qemu-virt")
}

/// What the environment names, else what was built into the target folder.
fn built(variable: &str, file: &str) -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(PathBuf::from(path));
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let path = target.unwrap_or_else(|| workspace.join("target")).join(file);
    path.is_file().then_some(path).ok_or_else(|| format!("no {file}: `cargo xtask test --stage sensor`"))
}

/// The lines so far.
#[derive(Default)]
struct Log {
    lines: Vec<String>,
    ended: bool,
}

type SharedLog = Arc<(Mutex<Log>, Condvar)>;

/// A device that runs.
pub(crate) struct Device {
    board: Board,
    child: Child,
    log: SharedLog,
    folder: PathBuf,
}

impl Device {
    /// Starts one with the brokers on these ports of loopback, in this order. `words` are the rest of its configuration.
    pub(crate) fn start(board: Board, ports: &[u16], words: &str) -> Self {
        let brokers: Vec<String> =
            ports.iter().map(|port| format!("{}:{port}", board.host_address())).collect();
        Self::start_with(board, &brokers.join(","), words)
    }

    /// The same with brokers as the device is to be told of them.
    pub(crate) fn start_with(board: Board, brokers: &str, words: &str) -> Self {
        let words = format!("broker={brokers} {words}");
        let folder = process::fresh_dir();
        let mut command = match board {
            Board::Host => host_command(&words),
            Board::Emulated => emulator_command(&folder, &words),
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = process::spawn(command).expect("setpriv of util-linux can be run");
        let (stdout, log) = (child.stdout.take().unwrap(), SharedLog::default());
        let writer = log.clone();
        std::thread::spawn(move || follow(stdout, &writer));
        if board == Board::Emulated {
            // The gate adds them up.
            println!("EMULATED: 1");
        }
        Self { board, child, log, folder }
    }

    /// Waits for so many lines with this text in them.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str, count: usize) {
        let (log, changed) = &*self.log;
        let found = |log: &Log| log.lines.iter().filter(|line| line.contains(text)).count();
        let log = log.lock().unwrap();
        let (log, _) =
            changed.wait_timeout_while(log, PATIENCE, |log| found(log) < count && !log.ended).unwrap();
        assert!(found(&log) >= count, "expected {count} lines with `{text}`:\n{}", log.lines.join("\n"));
    }

    /// Lines with this text.
    pub(crate) fn lines(&self, text: &str) -> Vec<String> {
        let log = self.log.0.lock().unwrap();
        log.lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// The payloads that its readings so far are published as: (temperature, humidity).
    pub(crate) fn readings(&self) -> Vec<(String, String)> {
        let number = |line: &str, name: &str| -> i32 {
            let (_, rest) = line.split_once(name).unwrap();
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        let text = |tenths: i32| format!("{}.{}0", tenths / 10, tenths % 10);
        let read = |line: &String| (text(number(line, "deci_celsius=")), text(number(line, "deci_percent=")));
        self.lines(" read ").iter().map(read).collect()
    }

    /// Waits for it to have done what it was told, and to end well. Nothing was dropped on the way.
    #[track_caller]
    pub(crate) fn finish(&mut self) {
        self.wait_for("finished", 1);
        let status = self.wait_end();
        assert!(status.success(), "{status}:\n{}", self.log());
        assert_eq!(self.lines("dropped"), [""; 0]);
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the device has not ended:\n{}", self.log());
            pause(Duration::from_millis(10));
        }
    }

    /// Plugs the emulator's network cable in or out; `false` for a board that has none of its own.
    pub(crate) fn plug(&self, in_place: bool) -> bool {
        if self.board == Board::Host {
            return false;
        }
        let mut monitor = UnixStream::connect(monitor(&self.folder)).expect("QEMU has opened its monitor");
        let command = format!("set_link n0 {}\n", if in_place { "on" } else { "off" });
        monitor.write_all(command.as_bytes()).unwrap();
        monitor.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut said, mut chunk) = (String::new(), [0; 512]);
        // The second prompt comes when it is done.
        while said.matches("(qemu)").count() < 2 {
            let count = monitor.read(&mut chunk).expect("the monitor answers");
            assert!(count > 0, "the monitor closed: {said}");
            said += &String::from_utf8_lossy(&chunk[..count]);
        }
        true
    }

    /// What its network card saw, if it has one: a file in the form of pcap.
    pub(crate) fn capture(&self) -> PathBuf {
        capture(&self.folder)
    }

    /// Everything it said.
    pub(crate) fn log(&self) -> String {
        self.log.0.lock().unwrap().lines.join("\n")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the device ---\n{}", self.log());
        }
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn host_command(words: &str) -> Command {
    let mut command = process::bound_to_us(&host_device().unwrap());
    command.args(words.split_whitespace());
    command
}

fn emulator_command(folder: &Path, words: &str) -> Command {
    let mut command = process::bound_to_us(&program("qemu-system-riscv32").unwrap());
    command.args(["-M", "virt", "-m", "32M", "-smp", "1", "-bios", "none", "-display", "none"]);
    command.args(["-serial", "stdio", "-netdev", "user,id=n0", "-device", "virtio-net-device,netdev=n0"]);
    let capture = format!("filter-dump,id=f0,netdev=n0,file={}", capture(folder).display());
    let monitor = format!("unix:{},server=on,wait=off", monitor(folder).display());
    command.args(["-object", &capture, "-monitor", &monitor]);
    command.arg("-kernel").arg(image().unwrap()).args(["-append", words]);
    command
}

fn capture(folder: &Path) -> PathBuf {
    folder.join("device.pcap")
}

fn monitor(folder: &Path) -> PathBuf {
    folder.join("monitor")
}

fn follow(stdout: impl Read, shared: &SharedLog) {
    let (log, changed) = &**shared;
    for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
        log.lock().unwrap().lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        changed.notify_all();
    }
    log.lock().unwrap().ended = true;
    changed.notify_all();
}
