//! The listeners from a client's side: real sockets on loopback, with a handler that echoes.

mod failures;
mod limits;
mod proxied;
mod sockets;
mod tls;
mod websocket;

use super::*;
use crate::{
    config::Protocol,
    counters::{NodeCounters, NodeTotals},
    stop::{Stopper, stop_pair},
};
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than anything that is expected to happen takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Worker threads.
const THREADS: u16 = 2;

/// Greets with peer and kind, then echoes. Counts what fails, a set for each thread.
#[derive(Clone, Default)]
struct Echo([Arc<NodeCounters>; THREADS as usize]);

impl Handler for Echo {
    type Worker = Arc<NodeCounters>;

    fn worker(&self, number: usize) -> Arc<NodeCounters> {
        Arc::clone(&self.0[number])
    }

    fn failed(counters: &Arc<NodeCounters>, failure: HandshakeFailure) {
        counters.count_handshake_failure(failure);
    }

    fn serve(_: &Arc<NodeCounters>, accepted: Accepted) -> impl Future<Output = ()> + 'static {
        greet_and_echo(accepted)
    }
}

async fn greet_and_echo(mut accepted: Accepted) {
    let greeting = format!("{} {}\n", accepted.peer, accepted.transport.kind().as_str());
    let _ = echo(&mut accepted.transport, greeting.into_bytes()).await;
    accepted.transport.close().await;
}

async fn echo(transport: &mut Transport, mut bytes: Vec<u8>) -> io::Result<()> {
    loop {
        // In two parts, as a connection does it.
        let half = bytes.len() / 2;
        let count = transport
            .write_vectored(&[io::IoSlice::new(&bytes[..half]), io::IoSlice::new(&bytes[half..])])
            .await?;
        transport.write_all(&bytes[count..]).await?;
        transport.flush().await?;
        bytes.resize(100, 0);
        let count = transport.read(&mut bytes).await?;
        bytes.truncate(count);
        if count == 0 {
            return Ok(());
        }
    }
}

/// A node of listeners alone.
struct TestNode {
    addresses: Vec<String>,
    stopper: Stopper,
    listeners: Listeners,
    counters: Echo,
}

impl TestNode {
    /// One listener, called `test`, with a connect timeout that no client of a test comes near.
    fn start(listener: ListenerSettings) -> Self {
        Self::start_with(listener, 100, Duration::from_secs(20))
    }

    fn start_with(mut listener: ListenerSettings, connections_max: u32, connect_timeout: Duration) -> Self {
        listener.name = "test".into();
        let mut settings = Settings::default();
        settings.node.worker_threads = THREADS;
        settings.limits.connect_timeout = connect_timeout;
        settings.listener.insert("test".into(), listener);
        let bound = Bound::new(&settings).unwrap();
        let addresses = bound.addresses().into_iter().map(|(_, address)| address).collect();
        let (stopper, stop) = stop_pair();
        let arrivals = Arc::new(Arrivals::new(&settings.limits));
        let (counters, places) = (Echo::default(), (Slots::new(connections_max), arrivals));
        let listeners = Listeners::start(bound, &settings, places, counters.clone(), &stop).unwrap();
        Self { addresses, stopper, listeners, counters }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.addresses[0]).await.unwrap()
    }

    /// What its threads counted.
    fn totals(&self) -> NodeTotals {
        NodeTotals::of(self.counters.0.iter().map(|set| &**set))
    }

    /// How many more connections there may be.
    fn free(&self) -> usize {
        self.listeners.slots.free().available_permits()
    }

    async fn stop(self) {
        self.stopper.stop();
        timeout(PATIENCE, self.listeners.finish()).await.unwrap();
    }
}

fn on(address: &str, protocol: Protocol) -> ListenerSettings {
    ListenerSettings { address: address.into(), protocol, ..ListenerSettings::default() }
}

/// The greeting's line.
async fn greeting<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut line = Vec::new();
    let read = async {
        while !line.ends_with(b"\n") {
            line.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(PATIENCE, read).await.unwrap();
    String::from_utf8(line).unwrap()
}

/// Sends `bytes` and expects them back.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) {
    let mut back = vec![0; bytes.len()];
    let (mut reader, mut writer) = tokio::io::split(stream);
    let both = async {
        tokio::join!(
            async {
                writer.write_all(bytes).await.unwrap();
                writer.flush().await.unwrap();
            },
            async { reader.read_exact(&mut back).await.unwrap() },
        )
    };
    timeout(PATIENCE, both).await.unwrap();
    assert!(back == bytes);
}

/// Everything until the other side closes or resets.
async fn rest<S: AsyncRead + Unpin>(stream: &mut S) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap();
    all
}

/// Sends a byte each 50 ms until the other side closes; gives how long that took.
async fn trickle<S: AsyncRead + AsyncWrite + Unpin>(stream: S, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let send = async {
        for byte in bytes {
            if writer.write_u8(*byte).await.is_err() || writer.flush().await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = send => {}
        _ = rest(&mut reader) => {}
    }
    start.elapsed()
}
