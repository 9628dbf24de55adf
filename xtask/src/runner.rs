//! Runs the programs that the stages are made of: output streamed line by line, a deadline, and no child left behind.
//! Called by every stage. It never runs a program in the foreground's process group, so that it can end all of it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid,
};

/// How often a wait looks at the clock and for an interrupt.
const POLL: Duration = Duration::from_millis(200);
/// After this much silence a line says that the program is still running.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// What an ended program's children may still hold the output open for, and what a signalled group has to end.
const GRACE: Duration = Duration::from_secs(5);
/// Lines read ahead of the one being looked at.
const LINES_AHEAD: usize = 1024;

/// What to do with a line of output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Show {
    /// Print it.
    Yes,
    /// Keep it from the terminal.
    No,
}

/// Starts programs, watches them, and ends them when the run is interrupted or out of time.
pub(crate) struct Runner {
    root: PathBuf,
    deadline: Instant,
    interrupted: Arc<AtomicBool>,
    colour: bool,
}

impl Runner {
    /// Programs run in `root`, and none of them beyond `deadline`.
    pub(crate) fn new(root: &Path, deadline: Instant) -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            signal_hook::flag::register(signal.as_raw(), Arc::clone(&interrupted))
                .context("cannot catch the signals that end this run")?;
        }
        let colour = std::io::stdout().is_terminal();
        Ok(Self { root: root.to_path_buf(), deadline, interrupted, colour })
    }

    /// Whether somebody asked this run to end.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// A program in the repository's root, without what cargo told *this* process about its own package:
    /// build scripts that watch those variables would run again and again.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
                .iter()
                .any(|p| text.starts_with(p))
            {
                command.env_remove(&name);
            }
        }
        command
    }

    /// The cargo that started this task, with its first argument.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = self.command(cargo);
        command.arg(subcommand).env("CARGO_TERM_COLOR", if self.colour { "always" } else { "never" });
        command
    }

    /// Runs a program to its end and prints its output as it comes.
    pub(crate) fn run(&self, command: Command) -> Result<ExitStatus> {
        self.run_with(command, |_| Show::Yes)
    }

    /// Runs a program to its end; `look` sees each line of its output and says whether it is printed.
    ///
    /// # Errors
    /// When it cannot be started, the run is interrupted, or its time is up. Its process group is gone by then.
    pub(crate) fn run_with(
        &self,
        mut command: Command,
        mut look: impl FnMut(&str) -> Show,
    ) -> Result<ExitStatus> {
        let name = command.get_program().to_string_lossy().into_owned();
        let (reader, writer) = std::io::pipe().context("no pipe")?;
        command.stdout(writer.try_clone().context("no pipe")?).stderr(writer).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start `{name}`"))?;
        // The command holds our writing ends of the pipe: while it lives the output never ends.
        drop(command);
        let mut group = Group::new(child)?;
        let (sender, receiver) = sync_channel(LINES_AHEAD);
        let lines = std::thread::spawn(move || forward_lines(reader, &sender));
        let watched = self.watch(&group, &receiver, &mut look);
        drop(receiver);
        let status = group.end();
        if lines.join().is_err() {
            bail!("the thread that reads the output of `{name}` panicked");
        }
        watched.and(status).with_context(|| format!("`{name}`"))
    }

    /// Until the program has ended and its output too, or nobody is expected to close it any more.
    fn watch(
        &self,
        group: &Group,
        lines: &Receiver<String>,
        look: &mut impl FnMut(&str) -> Show,
    ) -> Result<()> {
        let mut last_line_at = Instant::now();
        let mut ended_at: Option<Instant> = None;
        loop {
            match lines.recv_timeout(POLL) {
                Ok(line) => {
                    if look(&line) == Show::Yes {
                        print_line(&line)?;
                        last_line_at = Instant::now();
                    }
                }
                Err(RecvTimeoutError::Disconnected) if group.has_ended()? => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => std::thread::park_timeout(POLL),
                Err(RecvTimeoutError::Timeout) if group.has_ended()? => {
                    // Something it started still holds its output: it is ended with the group.
                    if ended_at.get_or_insert_with(Instant::now).elapsed() > GRACE {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if last_line_at.elapsed() > SILENCE_MAX {
                print_line("  ... still running")?;
                last_line_at = Instant::now();
            }
            self.check()?;
        }
    }

    fn check(&self) -> Result<()> {
        if self.is_interrupted() {
            bail!("interrupted");
        }
        if Instant::now() > self.deadline {
            bail!("ended: the time of the whole run is up");
        }
        Ok(())
    }

    /// Whether a program runs and succeeds; its output is not shown.
    pub(crate) fn succeeds(&self, mut command: Command) -> bool {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Where a program is, on the PATH or in the system folders that an ordinary user's PATH leaves out.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
            .map(|folder| folder.join(program))
            .find(|file| file.is_file())
    }
}

/// A child and everything it starts: its process group. Dropping it ends the group.
struct Group {
    child: Child,
    pid: Pid,
    status: Option<ExitStatus>,
}

impl Group {
    fn new(child: Child) -> Result<Self> {
        let pid =
            i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id that is none")?;
        Ok(Self { child, pid, status: None })
    }

    /// Whether the child has ended. It is not waited for yet: until then its id, which is the group's, is not given away.
    fn has_ended(&self) -> Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), options).context("cannot wait for it")?.is_some())
    }

    /// Asks all of the group to end, makes those end that do not, and waits for the child.
    fn end(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let _nobody_left = kill_process_group(self.pid, Signal::TERM);
        let asked_at = Instant::now();
        let mut status = None;
        while asked_at.elapsed() < GRACE {
            status = self.child.try_wait().context("cannot wait for it")?;
            if status.is_some() && test_kill_process_group(self.pid).is_err() {
                break;
            }
            std::thread::park_timeout(POLL / 20);
        }
        if test_kill_process_group(self.pid).is_ok() {
            let _ended_meanwhile = kill_process_group(self.pid, Signal::KILL);
        }
        let status = match status {
            Some(status) => status,
            None => self.child.wait().context("cannot wait for it")?,
        };
        self.status = Some(status);
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("xtask: a process may be left over: {error:#}");
        }
    }
}

/// Sends each line on, until the output ends or nobody listens.
fn forward_lines(reader: std::io::PipeReader, lines: &SyncSender<String>) {
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match reader.read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&bytes);
        if lines.send(line.trim_end_matches(['\n', '\r']).to_owned()).is_err() {
            return;
        }
    }
}

/// Prints at once, also into a pipe; a reader that went away ends the run.
fn print_line(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot print")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(seconds: u64) -> Runner {
        Runner::new(Path::new("/"), Instant::now() + Duration::from_secs(seconds)).unwrap()
    }

    fn shell(runner: &Runner, script: &str) -> Command {
        let mut command = runner.command("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_outputs_come_line_by_line_and_in_order() {
        let runner = runner(60);
        let mut lines = Vec::new();
        let command = shell(&runner, "echo one; echo two >&2; printf three; exit 7");
        let status = runner.run_with(command, |line| {
            lines.push(line.to_owned());
            Show::No
        });
        assert_eq!(status.unwrap().code(), Some(7));
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn a_program_is_ended_when_the_time_is_up() {
        let runner = runner(1);
        let started = Instant::now();
        let error = runner.run_with(shell(&runner, "sleep 600"), |_| Show::No).unwrap_err();
        assert!(format!("{error:#}").contains("time"), "{error:#}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn what_a_program_leaves_behind_is_ended() {
        let runner = runner(60);
        let mut pid = String::new();
        let command = shell(&runner, "sleep 600 >&- 2>&- & echo $!");
        runner
            .run_with(command, |line| {
                pid = line.to_owned();
                Show::No
            })
            .unwrap();
        let process = Path::new("/proc").join(&pid).join("stat");
        let state = std::fs::read_to_string(process).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let runner = runner(60);
        let error = runner.run(runner.command("no-such-program")).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program"));
    }
}
