//! Accepts on one socket, under the limits, and hands each connection to a worker thread.
//! One task for each bound socket, on the main runtime. Reads no byte of a client.

use super::{
    Listener, Peer,
    permit::{Permit, Slots},
    socket::{Socket, SocketFile},
    worker::{Incoming, RawStream, Workers},
};
use crate::{config::ProxyProtocol, limits::Arrivals, stop::Stop};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};
use tracing::{debug, warn};

/// How long accepting pauses when the process or the machine has no descriptor or memory left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(500);
/// How often one socket says that it is at its limit.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// One bound socket and what accepting on it needs.
pub(super) struct Acceptor {
    pub(super) listener: Arc<Listener>,
    pub(super) socket: Socket,
    pub(super) slots: Slots,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) workers: Workers,
    pub(super) connect_timeout: Duration,
}

impl Acceptor {
    /// Registers the socket and gives the task that accepts until the node stops.
    pub(super) fn run(self, mut stop: Stop) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let socket = AsyncSocket::new(self.socket)?;
        let (listener, arrivals) = (Arc::clone(&self.listener), Arc::clone(&self.arrivals));
        let mut limit = Limit { listener, slots: self.slots, arrivals, warned: None };
        let accept = async move {
            loop {
                match socket.accept().await {
                    Err(error) => limit.failed(&error).await,
                    // Dropped, and closed with that.
                    Ok((_, peer)) if !limit.admits(peer) => self.arrivals.count_refused(),
                    Ok((stream, peer)) => {
                        // Who finds no place waits here, and all who come later wait in the kernel.
                        let permit = limit.take().await;
                        limit.turn().await;
                        let deadline = Instant::now() + self.connect_timeout;
                        let (listener, arrivals) = (Arc::clone(&self.listener), Arc::clone(&self.arrivals));
                        let incoming = Incoming { stream, peer, listener, deadline, permit, arrivals };
                        self.workers.hand_over(incoming).await;
                    }
                }
            }
        };
        Ok(async move {
            tokio::select! {
                () = accept => {}
                () = stop.requested() => {}
            }
        })
    }
}

/// A socket known to the main runtime.
enum AsyncSocket {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "removes the file in the end")] SocketFile),
}

impl AsyncSocket {
    fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            Socket::Unix(socket, file) => Self::Unix(UnixListener::from_std(socket)?, file),
        })
    }

    /// The next connection, taken out of this runtime; it does not wait for more bytes before it sends.
    async fn accept(&self) -> io::Result<(RawStream, Peer)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                let stream = stream.set_nodelay(true).and_then(|()| stream.into_std()).map_err(lost)?;
                let address = (address.ip().to_canonical(), address.port()).into();
                Ok((RawStream::Tcp(stream), Peer::Ip(address)))
            }
            Self::Unix(socket, _) => {
                let (stream, _) = socket.accept().await?;
                Ok((RawStream::Unix(stream.into_std().map_err(lost)?), Peer::Unix))
            }
        }
    }
}

/// The limits of one socket, and when it last complained of them.
struct Limit {
    listener: Arc<Listener>,
    slots: Slots,
    arrivals: Arc<Arrivals>,
    warned: Option<Instant>,
}

impl Limit {
    /// Whether a connection may come from an address; behind a load balancer that says later who the client is, it may.
    fn admits(&self, peer: Peer) -> bool {
        self.listener.settings.proxy_protocol == ProxyProtocol::Accept || self.arrivals.admits(peer)
    }

    /// Waits for the turn of one more connection.
    async fn turn(&mut self) {
        let Some(turn) = self.arrivals.turn() else { return };
        if self.may_warn() {
            let name = self.listener.settings.name.as_str();
            warn!(target: "quelea::listener", listener = name, limit = "limits.connects_per_second_max", "connect rate reached, accepting pauses");
        }
        turn.await;
    }

    async fn take(&mut self) -> Permit {
        let own = match self.listener.slots.clone() {
            Some(slots) => Some(self.one_of(slots, "listener.max_connections").await),
            None => None,
        };
        let node = self.one_of(Arc::clone(self.slots.free()), "limits.connections_max").await;
        Permit::new(node, own)
    }

    async fn one_of(&mut self, slots: Arc<Semaphore>, limit: &'static str) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = Arc::clone(&slots).try_acquire_owned() {
                return permit;
            }
            if self.may_warn() {
                let name = self.listener.settings.name.as_str();
                warn!(target: "quelea::listener", listener = name, limit, "connection limit reached, accepting pauses");
            }
            drop(slots.acquire().await);
        }
    }

    /// Accepting failed: pauses where trying again at once would fail again.
    async fn failed(&mut self, error: &io::Error) {
        let name = self.listener.settings.name.as_str();
        if !is_exhausted(error) {
            debug!(target: "quelea::listener", listener = name, %error, "connection lost before it was accepted");
            return;
        }
        if self.may_warn() {
            let name = self.listener.settings.name.as_str();
            warn!(target: "quelea::listener", listener = name, %error, "cannot accept, accepting pauses");
        }
        sleep(EXHAUSTED_PAUSE).await;
    }

    fn may_warn(&mut self) -> bool {
        let now = Instant::now();
        let may = self.warned.is_none_or(|last| now.duration_since(last) >= WARN_EVERY);
        if may {
            self.warned = Some(now);
        }
        may
    }
}

/// Whether the error is about the state of this process or machine, and not about one connection, of which the kernel
/// reports network errors here too.
fn is_exhausted(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
        TimedOut,
    };
    let one_connection = [
        ConnectionAborted,
        ConnectionReset,
        HostUnreachable,
        Interrupted,
        NetworkDown,
        NetworkUnreachable,
        TimedOut,
    ];
    !one_connection.contains(&error.kind())
}

/// A connection that ended before it could be set up.
fn lost(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}
