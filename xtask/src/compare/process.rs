//! A broker's process: started, waited for, looked at in `/proc`, ended.
//! Called by `broker` and `measure`. It ends no process but its own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Time to accept the first connection, with what it has to read before.
const START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Clock ticks of `/proc/PID/stat` a second: fixed by the kernel's interface (`USER_HZ`).
const TICKS_PER_S: f64 = 100.0;

/// A running broker. Dropping it kills it: its data is thrown away anyhow.
pub(crate) struct Process {
    child: Child,
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// CPU seconds of all its threads, those that ended included.
    pub(crate) cpu_s: f64,
    /// Resident memory in KiB.
    pub(crate) resident_kib: f64,
}

impl Process {
    /// Starts the command with its output in `log`, and waits until `port` accepts connections.
    pub(crate) fn start(command: Command, log: &Path, port: u16) -> Result<Self> {
        let mut process = Self::begin(command, log)?;
        process.until_accepts(log, port)?;
        Ok(process)
    }

    /// Starts the command with its output behind what is in `log`, and does not wait.
    pub(crate) fn begin(mut command: Command, log: &Path) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let output =
            File::options().create(true).append(true).open(log).context("cannot make the log file")?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        Ok(Self { child })
    }

    /// Waits until `port` accepts connections.
    pub(crate) fn until_accepts(&mut self, log: &Path, port: u16) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the broker ended with {status}: {}", last_lines(log));
            }
            if start.elapsed() > START {
                bail!("the broker accepts no connection after {} s: {}", START.as_secs(), last_lines(log));
            }
            wait(POLL);
        }
        Ok(())
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let folder = Path::new("/proc").join(self.child.id().to_string());
        let read = |name| fs::read_to_string(folder.join(name)).context("the broker has ended");
        Ok(Usage { cpu_s: cpu_s(&read("stat")?)?, resident_kib: resident_kib(&read("status")?)? })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a node answers at its HTTP port: head and body.
pub(crate) fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Waits without a runtime.
pub(crate) fn wait(time: Duration) {
    std::thread::park_timeout(time);
}

/// Fields 14 and 15; counted from behind the name, which may hold anything.
fn cpu_s(stat: &str) -> Result<f64> {
    let (_, fields) = stat.rsplit_once(')').context("expected a name in parentheses in /proc/PID/stat")?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
        bail!("expected CPU times in /proc/PID/stat, found {fields:?}");
    };
    Ok((user + system) / TICKS_PER_S)
}

fn resident_kib(status: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let number = line.split_whitespace().next().context("no number after VmRSS")?;
    Ok(number.parse()?)
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cpu_time_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 3 0 1 2 3";
        assert_eq!(cpu_s(stat).unwrap(), 2.0);
        assert!(cpu_s("7 (a) S 1").is_err());
    }

    #[test]
    fn reads_resident_memory() {
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t   12345 kB\n").unwrap(), 12345.0);
    }
}
