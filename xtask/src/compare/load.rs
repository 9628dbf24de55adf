//! Runs `quelea bench` against a broker and reads its result.
//! Called by `measure`. It knows nothing of what the broker used meanwhile.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::broker::Running;

/// All brokers speak it in full, rumqttd on a listener of its own.
const PROTOCOL: &str = "3.1.1";

/// What a load has shown: the JSON that `quelea bench --json` printed.
pub(crate) struct Shown(Value);

impl Shown {
    /// A number, at a path such as `latency_us.p99`.
    pub(crate) fn number(&self, path: &str) -> Result<f64> {
        let found = path.split('.').try_fold(&self.0, |value, name| value.get(name));
        found.and_then(Value::as_f64).with_context(|| format!("expected the number {path} in the result"))
    }
}

/// A load that is running. Dropping it kills it.
pub(crate) struct Load {
    child: Child,
}

impl Load {
    /// Starts `quelea bench` with these arguments against the broker.
    pub(crate) fn start(quelea: &Path, arguments: &[String], broker: &Running) -> Result<Self> {
        let mut command = bench(quelea, arguments, &format!("127.0.0.1:{}", broker.port));
        if let Some(authority) = &broker.authority {
            // The certificate is for this name; both addresses behind it are the loopback's.
            command.args(["--tls", "--server-name", "localhost", "--ca"]).arg(authority);
        }
        Self::run(command)
    }

    /// The same against several nodes, whose addresses are separated by commas: connections take them in turn.
    pub(crate) fn over(quelea: &Path, arguments: &[String], hosts: &str) -> Result<Self> {
        Self::run(bench(quelea, arguments, hosts))
    }

    fn run(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self { child: command.spawn().context("cannot start quelea bench")? })
    }

    /// Waits for the line that says that all connections are accepted.
    pub(crate) fn accepted(&mut self) -> Result<()> {
        let stderr = self.child.stderr.as_mut().context("no standard error")?;
        for line in BufReader::with_capacity(256, stderr).lines() {
            if line?.contains("connections accepted") {
                return Ok(());
            }
        }
        bail!("quelea bench ended before all connections were accepted")
    }

    /// Waits for its end and reads the result. A load with errors has no result that counts.
    pub(crate) fn finish(self) -> Result<Shown> {
        let (shown, failure) = self.end()?;
        match failure {
            Some(failure) => bail!("quelea bench: {failure}"),
            None => Ok(shown),
        }
    }

    /// Waits for its end and reads the result, and what makes it a failure. `quelea bench` bounds its own time.
    pub(crate) fn end(mut self) -> Result<(Shown, Option<String>)> {
        let mut stdout = self.child.stdout.take().context("no standard output")?;
        let mut stderr = self.child.stderr.take().context("no standard error")?;
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            // Without it only the words of the failure are missing.
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut text = String::new();
        stdout.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        let errors = errors.join().unwrap_or_default();
        let last = || errors.lines().last().unwrap_or("failed without a word").to_owned();
        let failure = (!status.success()).then(last);
        let shown = serde_json::from_str(&text);
        let shown = shown.with_context(|| format!("expected JSON from quelea bench, found {}", last()))?;
        Ok((Shown(shown), failure))
    }
}

fn bench(quelea: &Path, arguments: &[String], hosts: &str) -> Command {
    let mut command = Command::new(quelea);
    command.arg("bench").args(arguments).args(["--json", "--progress", "--protocol", PROTOCOL]);
    command.args(["--host", hosts]);
    command
}

impl Drop for Load {
    fn drop(&mut self) {
        // It has ended already, but for a failure on the way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
