//! The sockets of a node: binds them, accepts under the limits, runs the handshakes and hands each connection over.
//! `node` starts it; what is handed over goes to the `Handler` it is given.
//! Nothing here knows what MQTT is: after the handshakes a connection is a stream of bytes with a deadline.

mod acceptor;
mod handshake;
mod permit;
mod proxy;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod trust;
mod websocket;
mod worker;

pub(crate) use handshake::HandshakeFailure;
pub(crate) use permit::Slots;
pub(crate) use socket::{BindError, bind_tcp};
pub(crate) use tls::Tls;
pub(crate) use transport::Transport;

use crate::{
    config::{ListenerSettings, Settings},
    limits::Arrivals,
    pem::TlsError,
    stop::Stop,
};
use acceptor::Acceptor;
use rustls::pki_types::CertificateDer;
use socket::{Socket, bind};
use std::{fmt, io, net::SocketAddr, sync::Arc};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tracing::info;
use worker::Workers;

/// A connection whose handshakes are done: from here on its bytes are MQTT.
pub(crate) struct Accepted {
    /// The bytes. Its place under the limits goes with it.
    pub(crate) transport: Transport,
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// The certificate that it has shown, which was verified; the client's own, without its authorities.
    pub(crate) certificate: Option<CertificateDer<'static>>,
    /// Where it came in.
    pub(crate) listener: Arc<ListenerSettings>,
    /// When CONNECT must have arrived; `limits.connect_timeout` after it was accepted.
    pub(crate) deadline: Instant,
}

/// What a connection is handed to. It is served on the worker thread that did its handshakes, and stays there.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    /// What the connections of one worker thread share.
    type Worker: Clone + 'static;

    /// Makes that, on the thread itself; threads are numbered from 0.
    fn worker(&self, number: usize) -> Self::Worker;

    /// What runs on the thread beside its connections, until it ends.
    fn beside(_worker: Self::Worker) -> impl Future<Output = ()> + 'static {
        std::future::ready(())
    }

    /// Other certificates of clients may be accepted from now on: connections have to look again.
    fn trust_changed(&self) {}

    /// Hears of a connection that ended in its handshakes.
    fn failed(worker: &Self::Worker, failure: HandshakeFailure);

    /// Serves one connection to its end, in a task of its own. May use `tokio::task::spawn_local`.
    fn serve(worker: &Self::Worker, accepted: Accepted) -> impl Future<Output = ()> + 'static;
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A client at this address; the one a trusted load balancer told, where there is one.
    Ip(SocketAddr),
    /// A client on this machine.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Why the listeners cannot be bound.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// A socket cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificates of a listener cannot be used.
    #[error("configuration key \"listener.{name}.tls\": {source}")]
    Tls {
        /// Which listener.
        name: String,
        /// What is wrong with which file.
        source: TlsError,
    },
}

/// What all connections of one listener share.
struct Listener {
    settings: Arc<ListenerSettings>,
    /// Certificates, where it speaks TLS.
    tls: Option<Arc<Tls>>,
    /// Its own limit of connections, where it has one.
    slots: Option<Arc<Semaphore>>,
}

/// The sockets of all listeners, bound but not accepting yet.
pub(crate) struct Bound(Vec<(Arc<Listener>, Vec<Socket>)>);

impl Bound {
    /// Binds the sockets of all listeners, and loads their certificates.
    ///
    /// # Errors
    /// Where a socket or a certificate cannot be used.
    pub(crate) fn new(settings: &Settings) -> Result<Self, ListenError> {
        let listeners = settings.listener.values();
        listeners
            .map(|listener| Ok((Listener::new(listener)?, bind(listener)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What they are called, and where they are.
    pub(crate) fn addresses(&self) -> Vec<(String, String)> {
        let all = self
            .0
            .iter()
            .flat_map(|(listener, sockets)| sockets.iter().map(move |socket| (listener, socket)));
        all.map(|(listener, socket)| (listener.settings.name.clone(), socket.to_string())).collect()
    }
}

/// Loads what the listeners need besides their settings, as `Bound::new` does, but binds nothing.
///
/// # Errors
/// Where a certificate cannot be used.
pub(crate) fn check_files(settings: &Settings) -> Result<(), ListenError> {
    settings.listener.values().try_for_each(|listener| Listener::new(listener).map(drop))
}

/// The running listeners.
pub(crate) struct Listeners {
    acceptors: JoinSet<()>,
    workers: Workers,
    slots: Slots,
}

impl Listeners {
    /// Starts the worker threads and accepts on all sockets. Needs the main runtime.
    ///
    /// # Errors
    /// Where the system refuses a thread or a descriptor; nothing is left running then.
    pub(crate) fn start<H: Handler>(
        bound: Bound,
        settings: &Settings,
        (slots, arrivals): (Slots, Arc<Arrivals>),
        handler: H,
        stop: &Stop,
    ) -> io::Result<Self> {
        let workers = Workers::start(settings.worker_threads(), &handler, stop)?;
        let mut acceptors = JoinSet::new();
        for (listener, sockets) in bound.0 {
            if let Some(tls) = &listener.tls {
                let (name, handler) = (listener.settings.name.clone(), handler.clone());
                acceptors.spawn(Arc::clone(tls).watch(name, stop.clone(), move || handler.trust_changed()));
            }
            for socket in sockets {
                announce(&listener.settings, &socket);
                let acceptor = Acceptor {
                    listener: Arc::clone(&listener),
                    socket,
                    slots: slots.clone(),
                    arrivals: Arc::clone(&arrivals),
                    workers: workers.clone(),
                    connect_timeout: settings.limits.connect_timeout,
                };
                acceptors.spawn(acceptor.run(stop.clone())?);
            }
        }
        Ok(Self { acceptors, workers, slots })
    }

    /// Waits until no socket accepts any more, which `stop` brings about, and all connections have ended, and ends the
    /// worker threads. Dropping the future instead ends the connections as they are.
    pub(crate) async fn finish(mut self) {
        while self.acceptors.join_next().await.is_some() {}
        self.slots.all_free().await;
        drop(self.workers);
    }
}

impl Listener {
    fn new(settings: &ListenerSettings) -> Result<Arc<Self>, ListenError> {
        let tls = settings.tls.as_ref().map(|files| Tls::load(files.clone(), settings.protocol.alpn()));
        let tls =
            tls.transpose().map_err(|source| ListenError::Tls { name: settings.name.clone(), source })?;
        Ok(Arc::new(Self {
            settings: Arc::new(settings.clone()),
            tls: tls.map(Arc::new),
            slots: settings.max_connections.map(|max| Arc::new(Semaphore::new(max as usize))),
        }))
    }
}

/// The line that says where a listener is; tests and scripts read the address from it.
fn announce(settings: &ListenerSettings, socket: &Socket) {
    let (name, protocol) = (settings.name.as_str(), settings.protocol.as_str());
    info!(target: "quelea::listener", listener = name, protocol, address = %socket, "listening");
}
