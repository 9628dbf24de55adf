//! How `quelea dev restart` reaches the cluster that runs: one line each way over a socket in the cluster's data directory.
//! Served by the supervisor.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// Bytes of a line at most.
const LINE_BYTES_MAX: u64 = 1_024;
/// How long the other end may take to say what it wants.
const LINE_WITHIN: Duration = Duration::from_secs(2);
/// The one thing that can be wanted.
const RESTART: &str = "restart ";
/// The answer where it was done.
const DONE: &str = "done";

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("dev.sock")
}

/// Listens for wishes.
///
/// # Errors
/// The socket cannot be made, as where the path is too long for one.
pub(super) fn listen(data_dir: &Path) -> anyhow::Result<UnixListener> {
    let path = path(data_dir);
    // Of a cluster that was killed: the directory's lock says that nobody else has it.
    let _none = fs::remove_file(&path);
    UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))
}

/// Which node somebody wants to be started again.
pub(super) struct Wish {
    /// Its name.
    pub(super) name: String,
    stream: UnixStream,
}

impl Wish {
    /// Reads what somebody wants.
    pub(super) async fn read(stream: UnixStream) -> Option<Self> {
        let mut line = String::new();
        let mut reader = BufReader::new(stream).take(LINE_BYTES_MAX);
        timeout(LINE_WITHIN, reader.read_line(&mut line)).await.ok()?.ok()?;
        let name = line.trim_end().strip_prefix(RESTART)?.to_owned();
        Some(Self { name, stream: reader.into_inner().into_inner() })
    }

    /// Says what came of it.
    pub(super) async fn answer(mut self, result: anyhow::Result<()>) {
        let line = match result {
            Ok(()) => format!("{DONE}\n"),
            Err(error) => format!("{error:#}\n").replace('\n', " ") + "\n",
        };
        // Whoever does not read it has gone.
        let _gone = timeout(LINE_WITHIN, self.stream.write_all(line.as_bytes())).await;
    }
}

/// Has the cluster in a data directory start a node again, and waits until it is ready.
///
/// # Errors
/// There is no such cluster or node, it runs already, or does not start.
pub(super) async fn restart(data_dir: &Path, name: &str) -> anyhow::Result<()> {
    let path = path(data_dir);
    let stream = UnixStream::connect(&path).await;
    let mut stream = stream.with_context(|| format!("no cluster runs in {}", data_dir.display()))?;
    stream.write_all(format!("{RESTART}{name}\n").as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream).take(LINE_BYTES_MAX).read_line(&mut line).await?;
    match line.trim_end() {
        DONE => Ok(()),
        "" => bail!("the cluster has ended"),
        why => bail!("{why}"),
    }
}
