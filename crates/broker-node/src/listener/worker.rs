//! The worker threads: each runs its own single-threaded runtime, so that a connection never moves between threads.
//! Acceptors hand sockets over through a bounded channel; the worker does the handshakes and calls the handler.
//! A worker never accepts and never touches the connections of another.

use super::{
    Handler, Listener, Peer,
    handshake::handshake,
    permit::{Load, Permit},
};
use crate::{limits::Arrivals, stop::Stop};
use std::{
    io,
    net::TcpStream,
    os::unix::net::UnixStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use tokio::{
    runtime::Builder,
    sync::mpsc,
    task::{LocalSet, spawn_local},
    time::Instant,
};
use tracing::debug;

/// Sockets on their way to one worker.
const HANDOVER_MAX: usize = 256;

/// A socket as it was accepted; it does not block.
#[derive(Debug)]
pub(super) enum RawStream {
    /// TCP, whatever is spoken on it.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// A socket with all that its handshakes need.
pub(super) struct Incoming {
    pub(super) stream: RawStream,
    pub(super) peer: Peer,
    pub(super) listener: Arc<Listener>,
    pub(super) deadline: Instant,
    pub(super) permit: Permit,
    pub(super) arrivals: Arc<Arrivals>,
}

/// Handles to all worker threads. They end when the last handle is dropped.
#[derive(Clone)]
pub(super) struct Workers {
    workers: Arc<[Worker]>,
    /// Where the search for the least loaded begins, so that equals take turns.
    turn: Arc<AtomicUsize>,
}

struct Worker {
    connections: Arc<AtomicUsize>,
    incoming: mpsc::Sender<Incoming>,
}

impl Workers {
    /// Starts `count` threads.
    pub(super) fn start<H: Handler>(count: usize, handler: &H, stop: &Stop) -> io::Result<Self> {
        let workers: io::Result<Vec<Worker>> =
            (0..count).map(|number| Worker::start(number, handler.clone(), stop.clone())).collect();
        Ok(Self { workers: workers?.into(), turn: Arc::default() })
    }

    /// Hands a socket to the worker with the fewest connections; waits while that one is behind.
    pub(super) async fn hand_over(&self, mut incoming: Incoming) {
        let Some(worker) = self.least_loaded() else { return };
        incoming.permit = incoming.permit.on_worker(Load::add(&worker.connections));
        if worker.incoming.send(incoming).await.is_err() {
            debug!(target: "quelea::listener", "connection dropped: its worker thread has ended");
        }
    }

    /// The connections of each thread.
    #[cfg(test)]
    pub(super) fn loads(&self) -> Vec<usize> {
        self.workers.iter().map(Worker::load).collect()
    }

    fn least_loaded(&self) -> Option<&Worker> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.workers.len().max(1);
        let (before, from) = self.workers.split_at_checked(turn)?;
        from.iter().chain(before).min_by_key(|worker| worker.load())
    }
}

impl Worker {
    fn start<H: Handler>(number: usize, handler: H, stop: Stop) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(HANDOVER_MAX);
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            LocalSet::new().block_on(&runtime, run::<H>(receiver, handler.worker(number), stop));
        })?;
        Ok(Self { connections: Arc::default(), incoming: sender })
    }

    /// Its connections, those in their handshakes included.
    fn load(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn run<H: Handler>(mut receiver: mpsc::Receiver<Incoming>, worker: H::Worker, stop: Stop) {
    spawn_local(H::beside(worker.clone()));
    let worker = Rc::new(worker);
    while let Some(incoming) = receiver.recv().await {
        spawn_local(serve::<H>(incoming, Rc::clone(&worker), stop.clone()));
    }
}

async fn serve<H: Handler>(incoming: Incoming, worker: Rc<H::Worker>, mut stop: Stop) {
    let (peer, listener) = (incoming.peer, Arc::clone(&incoming.listener));
    let done = tokio::select! {
        done = handshake(incoming) => done,
        () = stop.requested() => return,
    };
    match done {
        // A task of its own: this one ends, and with it the memory of the handshakes.
        Ok(accepted) => drop(spawn_local(H::serve(&worker, accepted))),
        Err(error) => {
            let name = listener.settings.name.as_str();
            debug!(target: "quelea::listener", listener = name, %peer, %error, "handshake failed");
            H::failed(&worker, error.failure());
        }
    }
}
