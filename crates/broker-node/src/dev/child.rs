//! One node of a development cluster, as a process of this machine. Owned by the supervisor.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child as Process, Command};
use tokio::time::{Instant, sleep, timeout};

use super::plan::Place;

/// How long the nodes may take until they are ready.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Between two questions whether one is.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long a node may take to stop by itself.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Replicas with a vote that a group has at most.
const VOTERS_MAX: usize = 3;
/// What a node says of how many there are.
const VOTERS: &str = "quelea_cluster_voters_least ";

/// A node that runs, or did.
pub(super) struct Child {
    process: Process,
    /// What it was called and where it is.
    pub(super) place: Place,
}

impl Child {
    /// Starts a node among the others. It ends with this process.
    ///
    /// # Errors
    /// The system cannot start it.
    pub(super) fn start(mut place: Place, others: &[Place], data_dir: &Path) -> anyhow::Result<Self> {
        let log = data_dir.join(format!("{}.log", place.name));
        let log = OpenOptions::new().create(true).append(true).open(&log);
        let log = log.with_context(|| format!("cannot write the log of {}", place.name))?;
        let seeds: Vec<&str> = others.iter().map(|place| place.cluster.as_str()).collect();
        let mut command = Command::new(std::env::current_exe().context("cannot find this binary")?);
        command
            .args(["run", "--stop-with-parent", "--node-name", &place.name, "--mqtt", &place.mqtt])
            .args(["--http", &place.http, "--admin", &place.admin, "--data-dir"])
            .arg(data_dir.join(&place.name))
            .env("QUELEA__LISTENER__WS__PROTOCOL", "ws")
            .env("QUELEA__LISTENER__WS__ADDRESS", &place.ws)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot write the log")?)
            .stderr(log)
            .kill_on_drop(true);
        if others.len() > 1 {
            command
                .args(["--cluster", &place.cluster, "--join", &seeds.join(",")])
                .env("QUELEA__CLUSTER__EXPECTED_NODES", others.len().to_string());
        }
        let process = command.spawn().with_context(|| format!("cannot start {}", place.name))?;
        place.pid = process.id().unwrap_or_default();
        Ok(Self { process, place })
    }

    /// Waits until the node serves clients, and what it acknowledges is on as many of `nodes` as it is to be.
    ///
    /// # Errors
    /// It ended, or took too long.
    pub(super) async fn ready(&mut self, nodes: usize) -> anyhow::Result<()> {
        let voters = if nodes < VOTERS_MAX { 1 } else { VOTERS_MAX };
        let until = Instant::now() + READY_WITHIN;
        let name = self.place.name.clone();
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("{name} ended before it was ready ({status}): see {name}.log in the data directory");
            }
            if is_ready(&self.place.http).await && voters_at(&self.place.http).await >= Some(voters) {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!(
                    "{name} is not ready after {} s: see {name}.log in the data directory",
                    READY_WITHIN.as_secs()
                );
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        self.process.wait().await.ok()
    }

    /// Tells it to stop.
    pub(super) fn tell_to_stop(&self) {
        let pid = self.process.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Where it is gone there is nobody to be told.
            let _gone = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits until it has stopped; it is killed where that takes too long.
    pub(super) async fn stopped(&mut self) {
        if timeout(STOP_WITHIN, self.process.wait()).await.is_err() {
            let _gone = self.process.kill().await;
        }
    }
}

async fn is_ready(address: &str) -> bool {
    ask(address, "/readyz").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

async fn voters_at(address: &str) -> Option<usize> {
    let metrics = ask(address, "/metrics").await?;
    metrics.lines().find_map(|line| line.strip_prefix(VOTERS))?.trim().parse().ok()
}

async fn ask(address: &str, path: &str) -> Option<String> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    timeout(ANSWER_WITHIN, asked).await.ok()?.ok()
}
