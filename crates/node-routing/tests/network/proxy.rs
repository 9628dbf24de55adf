//! A network between two nodes that can be made bad: it delays, falls silent, or cuts every connection. What chance there
//! is in it comes from a seed.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What happens to bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Faults {
    /// Nothing passes in either direction, and nobody is told: both ends see a connection that is open. What was sent
    /// meanwhile arrives afterwards.
    pub(crate) silent: bool,
    /// Each piece takes so long.
    pub(crate) delay: Option<Range<Duration>>,
    /// Connections that were made before this number was raised are closed.
    pub(crate) cuts: u64,
}

/// One way from a node to another.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    faults: watch::Sender<Faults>,
    _task: JoinSet<()>,
}

impl Proxy {
    pub(crate) fn new(seed: u64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let (target, aim) = watch::channel(None);
        let (faults, state) = watch::channel(Faults::default());
        let mut task = JoinSet::new();
        task.spawn(accept(listener, aim, state, seed));
        Self { address, target, faults, _task: task }
    }

    /// Leads new connections there.
    pub(crate) fn aim(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Faults)) {
        self.faults.send_modify(change);
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        self.change(|faults| faults.cuts += 1);
    }
}

async fn accept(
    listener: TcpListener,
    target: watch::Receiver<Option<SocketAddr>>,
    faults: watch::Receiver<Faults>,
    seed: u64,
) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let (near, _) = listener.accept().await.unwrap();
        while connections.try_join_next().is_some() {}
        connections.spawn(carry(near, target.clone(), faults.clone(), seed.wrapping_add(number << 32)));
    }
}

async fn carry(
    near: TcpStream,
    target: watch::Receiver<Option<SocketAddr>>,
    mut faults: watch::Receiver<Faults>,
    seed: u64,
) {
    let cuts = faults.borrow().cuts;
    let connected = async {
        faults.clone().wait_for(|faults| !faults.silent).await.ok()?;
        let target = (*target.borrow())?;
        TcpStream::connect(target).await.ok()
    };
    let Some(far) = connected.await else { return };
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let (there, back) = (faults.clone(), faults.clone());
    tokio::select! {
        () = pump(near_in, far_out, there, seed) => {}
        () = pump(far_in, near_out, back, !seed) => {}
        _ = faults.wait_for(|faults| faults.cuts > cuts) => {}
    }
}

/// One direction, until either end closes it.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: watch::Receiver<Faults>,
    mut chance: u64,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let drawn = chance >> 33;
        // Frames are torn anywhere.
        let most = 1 + usize::try_from(drawn).unwrap() % buffer.len();
        let Ok(read @ 1..) = from.read(&mut buffer[..most]).await else { return };
        let delay = match faults.wait_for(|faults| !faults.silent).await {
            Ok(faults) => faults.delay.clone(),
            Err(_) => return,
        };
        if let Some(range) = delay {
            let spread = (range.end - range.start).as_micros().max(1);
            sleep(range.start + Duration::from_micros(u64::try_from(u128::from(drawn) % spread).unwrap()))
                .await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
