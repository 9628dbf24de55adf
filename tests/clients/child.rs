//! A process of somebody else's: what it says is kept, every wait has a bound, and it is killed when the test lets go.
//! Used by every module here; it knows nothing of MQTT.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use e2e_tests::{pause, process};

/// How long a client may take for what it does: the machine may be busy, and no test asserts speed.
pub(crate) const BOUND: Duration = Duration::from_secs(180);

#[derive(Default)]
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    open: usize,
}

type Shared = Arc<(Mutex<Heard>, Condvar)>;

/// A running process.
pub(crate) struct Tool {
    child: Child,
    name: String,
    heard: Shared,
}

/// What a process said until it ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Whether it ended with exit code 0.
    pub(crate) success: bool,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl Finished {
    /// The lines of its output, after making sure that it succeeded.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<&str> {
        assert!(self.success, "it failed:\n{}\n{}", self.stdout, self.stderr);
        self.stdout.lines().collect()
    }
}

/// Runs a process to its end.
#[track_caller]
pub(crate) fn run(command: Command) -> Finished {
    Tool::start(command).finish()
}

impl Tool {
    /// Starts a process whose output is kept from its first byte on.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        let words = command.get_args().map(|arg| arg.to_string_lossy().chars().take(200).collect());
        let name = words.collect::<Vec<String>>().join(" ");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process::spawn(command).unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
        let heard = Shared::default();
        heard.0.lock().unwrap().open = 2;
        listen(child.stdout.take().unwrap(), &heard, |heard| &mut heard.stdout);
        listen(child.stderr.take().unwrap(), &heard, |heard| &mut heard.stderr);
        Self { child, name, heard }
    }

    /// Writes to its standard input.
    pub(crate) fn say(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// What it has written so far, standard output and standard error.
    pub(crate) fn said(&self) -> (String, String) {
        let heard = self.heard.0.lock().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&heard.stdout), text(&heard.stderr))
    }

    /// Waits until so many whole lines of its output or its error output begin like this.
    #[track_caller]
    pub(crate) fn wait_for(&self, start: &str, count: usize) {
        let begins = |text: &[u8]| {
            let whole = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
            whole.filter(|line| line.starts_with(start.as_bytes())).count()
        };
        let enough = |heard: &Heard| begins(&heard.stdout) + begins(&heard.stderr) >= count;
        if !self.wait(|heard| enough(heard) || heard.open == 0, enough) {
            panic!("{} never said {start:?} {count} times: {:?}", self.name, self.said());
        }
    }

    /// Waits until the one holds, then says whether the other does.
    fn wait(&self, done: impl Fn(&Heard) -> bool, then: impl Fn(&Heard) -> bool) -> bool {
        let (heard, changed) = &*self.heard;
        let heard = heard.lock().unwrap();
        then(&changed.wait_timeout_while(heard, BOUND, |heard| !done(heard)).unwrap().0)
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Finished {
        drop(self.child.stdin.take());
        let ended = self.wait(|heard| heard.open == 0, |heard| heard.open == 0);
        let deadline = Instant::now() + Duration::from_secs(10);
        while ended && Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                let (stdout, stderr) = self.said();
                return Finished { success: status.success(), stdout, stderr };
            }
            pause(Duration::from_millis(2));
        }
        panic!("{} did not end in time: {:?}", self.name, self.said());
    }

    /// Kills it, as a crash would, and waits until it is gone.
    pub(crate) fn kill(mut self) -> String {
        drop(self.child.kill());
        drop(self.child.wait());
        self.said().0
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads a pipe to its end, from a thread of its own.
fn listen(mut pipe: impl Read + Send + 'static, heard: &Shared, part: fn(&mut Heard) -> &mut Vec<u8>) {
    let heard = heard.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        let (heard, changed) = &*heard;
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            part(&mut heard.lock().unwrap()).extend_from_slice(&buffer[..length]);
            changed.notify_all();
        }
        heard.lock().unwrap().open -= 1;
        changed.notify_all();
    });
}
