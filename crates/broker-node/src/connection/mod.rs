//! The connections of MQTT clients, from the end of the handshakes to the end of the socket.
//! The listeners' worker threads hand each accepted connection over; each is served by one task, which owns
//! everything of it and waits for nothing but its socket, its mailbox and time.

mod acks;
mod authenticate;
mod clear;
mod connect;
mod end;
mod frames;
mod limited;
mod out;
mod publishing;
mod socket;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mqtt_codec::ReasonCode;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

pub(crate) use self::acks::{AckQueue, DueAck, Owed};
pub(crate) use self::clear::{Cleared, clear};
pub(crate) use self::frames::RawPacket;
pub(crate) use self::out::Out;
pub(crate) use self::publishing::{NotPublished, publish};
use self::socket::Socket;
use crate::access::Origin;
use crate::counters::NodeCounters;
use crate::listener::{Accepted, Handler, HandshakeFailure};
use crate::session::{Client, Ending, HIGH_WATER, PageFuture};
use crate::shard::HELD_MAX;
use crate::stop::Stop;
use crate::worker::{Node, READ_BYTES, Worker};

/// How long what a client sent is waited with for a shard, once the broker ends the connection.
const ENDING_MAX: Duration = Duration::from_secs(1);

/// Serves the connections of all worker threads.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    node: Arc<Node>,
    /// One set for each worker thread.
    counters: Arc<[Arc<NodeCounters>]>,
    stop: Stop,
}

impl Connections {
    /// What all connections share.
    pub(crate) fn new(node: Arc<Node>, counters: Arc<[Arc<NodeCounters>]>, stop: Stop) -> Self {
        Self { node, counters, stop }
    }
}

impl Handler for Connections {
    type Worker = (Rc<Worker>, Stop);

    fn worker(&self, number: usize) -> Self::Worker {
        let counters = self.counters.get(number).cloned().unwrap_or_default();
        (Worker::new(Arc::clone(&self.node), counters), self.stop.clone())
    }

    fn trust_changed(&self) {
        self.node.shards.wake_connections();
    }

    fn failed((worker, _): &Self::Worker, failure: HandshakeFailure) {
        worker.counters.count_handshake_failure(failure);
    }

    async fn beside((worker, _): Self::Worker) {
        worker.node.overload.watch_loop().await;
    }

    fn serve((worker, stop): &Self::Worker, accepted: Accepted) -> impl Future<Output = ()> + 'static {
        let worker = Rc::clone(worker);
        // Boxed, so that the task of a connection that is served has no room for what is over.
        let connecting = Box::pin(connecting(Rc::clone(&worker), stop.clone(), accepted));
        async move {
            worker.counters.connections_opened.add(1);
            if let Some(connection) = connecting.await {
                connection.serve().await;
            }
            worker.counters.connections_closed.add(1);
        }
    }
}

/// From the end of the handshakes to the end of CONNECT. `None` where nobody is connected; the socket is
/// closed then.
async fn connecting(worker: Rc<Worker>, mut stop: Stop, accepted: Accepted) -> Option<Box<Connection>> {
    let Accepted { transport, peer, certificate, listener, deadline } = accepted;
    let mut socket = Socket::new(&worker, transport);
    let from = Origin { peer, certificate, listener };
    let connected = tokio::select! {
        connected = connect::connect(&mut socket, &from, deadline) => connected,
        () = stop.requested() => None,
    };
    match connected {
        Some(client) => Some(Connection::new(socket, client)),
        None => {
            socket.close().await;
            None
        }
    }
}

/// What a read tells of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// It held less than was asked for.
    Drained,
    /// It may hold more, or packets wait that were read.
    MoreMayCome,
}

/// A connection whose CONNECT was accepted.
struct Connection {
    socket: Socket,
    client: Box<Client>,
    /// A look-up of retained messages.
    page: Option<PageFuture>,
    timer: Option<Pin<Box<Sleep>>>,
    /// When bytes came last, or reading began again.
    last_read: Instant,
    /// Since when the client has taken none of what waits for it.
    stalled: Option<Instant>,
}

impl Connection {
    fn new(socket: Socket, client: Box<Client>) -> Box<Self> {
        let mut this =
            Self { socket, client, page: None, timer: None, last_read: Instant::now(), stalled: None };
        this.set_timer(Instant::now());
        Box::new(this)
    }

    async fn serve(mut self: Box<Self>) {
        let ending = self.run().await;
        Box::pin(self.end(ending)).await;
    }

    async fn run(&mut self) -> Ending {
        loop {
            if let Err(ending) = poll_fn(|context| self.poll_step(context)).await {
                return ending;
            }
            if !self.client.staged.is_empty() {
                // Boxed, so that a connection that waits for its client has no room for it.
                if let Err(ending) = Box::pin(self.send_staged()).await {
                    return ending;
                }
            }
        }
    }

    /// Gives the shards what was staged; waits while one is behind, which slows this client alone. A log without space
    /// is not waited for for ever: what was not given is lost, and nothing of it was acknowledged.
    async fn send_staged(&mut self) -> Result<(), Ending> {
        let (commands, hosts) = self.client.staged.take();
        let worker = Rc::clone(&self.client.worker);
        let (shards, inbox) = (&worker.node.shards, &self.client.inbox);
        let mut sending = pin!(async {
            for command in commands {
                shards.send(command, inbox).await;
            }
            let dropped = shards.send_to_hosts(hosts, inbox).await;
            worker.counters.dropped_streams_full.add(dropped);
        });
        loop {
            tokio::select! {
                biased;
                () = &mut sending => return Ok(()),
                reason = inbox.ended() => {
                    let _without_space = timeout(ENDING_MAX, &mut sending).await;
                    return Err(Ending::by_server(reason));
                }
                () = sleep(HELD_MAX) => if shards.is_full() {
                    return Err(Ending::told(ReasonCode::QuotaExceeded, "the log has no space"));
                }
            }
        }
    }

    /// Does everything that can be done without waiting. Ready when there are commands for shards, or at
    /// the end. After a read that may have left bytes behind others get their turn, so that no client keeps
    /// the thread.
    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        self.client.look_at_trust(self.socket.is_trusted())?;
        loop {
            self.client.look_again()?;
            if let Poll::Ready(spoke) = self.client.poll_silence(context) {
                spoke?;
            }
            if let Poll::Ready(authenticated) = self.client.poll_auth(context) {
                authenticated?;
            }
            let _goes_on = (self.client.poll_gate(context), self.client.poll_parked(context));
            self.poll_mail(context)?;
            if !self.client.staged.is_empty() {
                // Before look-ups and writes: they come after what the client published.
                return Poll::Ready(Ok(()));
            }
            self.poll_page(context);
            self.client.poll_stored(context)?;
            self.poll_write(context)?;
            if !self.client.staged.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.client.wants_stored() || self.page.is_none() && self.client.wants_page() {
                // The write made room, and nothing else would wake the look-up.
                continue;
            }
            let Poll::Ready(read) = self.poll_read(context)? else {
                self.poll_timer(context)?;
                if let Poll::Ready(spoke) = self.client.poll_silence(context) {
                    spoke?;
                    continue;
                }
                if self.client.poll_gate(context).is_ready() || self.client.poll_parked(context).is_ready() {
                    continue;
                }
                if self.client.poll_throttle(context).is_ready() {
                    self.last_read = Instant::now();
                    continue;
                }
                return Poll::Pending;
            };
            // Acknowledgements have made room for what waits, whether or not anything is written.
            self.client.send_queued();
            if read == Read::MoreMayCome && self.client.staged.is_empty() {
                self.poll_write(context)?;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn poll_mail(&mut self, context: &Context<'_>) -> Result<(), Ending> {
        while let Poll::Ready(taken) = self.client.inbox.poll_take(context) {
            // All of it is taken before the connection ends: a shared group's messages go to others then.
            let received = self.client.receive_mail(taken.mail);
            if let Some(since) = taken.since {
                self.client.worker.counters.deliveries.record(since.elapsed());
            }
            if let Some(reason) = taken.end {
                return Err(Ending::by_server(reason));
            }
            if taken.overflow {
                return Err(Ending::queue_full());
            }
            received?;
        }
        Ok(())
    }

    fn poll_page(&mut self, context: &mut Context<'_>) {
        loop {
            if self.page.is_none() {
                self.page = self.client.next_page();
            }
            let Some(page) = &mut self.page else { return };
            let Poll::Ready(page) = page.as_mut().poll(context) else { return };
            self.page = None;
            self.client.take_page(page);
        }
    }

    /// Writes what waits, and encodes more as long as the socket takes it.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Result<(), Ending> {
        while self.socket.has_to_write(&self.client.out) {
            let mut written = 0;
            let result = self.socket.poll_write(&mut self.client.out, context, &mut written);
            if written > 0 {
                self.stalled = None;
            }
            match result {
                Poll::Ready(Ok(())) => self.client.refill(),
                Poll::Ready(Err(error)) => return Err(Ending::lost(error)),
                Poll::Pending if self.client.out.len() < HIGH_WATER && written > 0 => {
                    self.client.refill();
                    self.note_stall();
                    return Ok(());
                }
                Poll::Pending => {
                    self.note_stall();
                    return Ok(());
                }
            }
        }
        self.stalled = None;
        Ok(())
    }

    fn note_stall(&mut self) {
        if self.stalled.is_none() {
            let now = Instant::now();
            self.stalled = Some(now);
            self.set_timer(now);
        }
    }

    /// Handles the packets that are there; reads once where there is none.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Result<Poll<Read>, Ending> {
        if !self.client.wants_read() {
            return Ok(Poll::Pending);
        }
        if self.handle_packets()? {
            return Ok(Poll::Ready(Read::MoreMayCome));
        }
        match self.socket.poll_read(context) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Err(error)) => Err(Ending::lost(error)),
            Poll::Ready(Ok(0)) => Err(Ending::lost("the client closed the connection")),
            Poll::Ready(Ok(bytes)) => {
                self.last_read = Instant::now();
                self.handle_packets()?;
                Ok(Poll::Ready(if bytes < READ_BYTES { Read::Drained } else { Read::MoreMayCome }))
            }
        }
    }

    /// Handles complete packets until there is none, the client has to wait, or what it publishes is enough to be
    /// passed on first; says whether there was one.
    fn handle_packets(&mut self) -> Result<bool, Ending> {
        let mut handled = false;
        let mut result = Ok(());
        let worker = Rc::clone(&self.client.worker);
        while result.is_ok() && self.client.wants_read() && !self.client.has_much_to_pass_on() {
            if let Some(ack) = self.socket.frames.next_short_ack() {
                handled = true;
                result = self.client.handle(ack);
                continue;
            }
            match self.socket.frames.next(&worker.node.limits) {
                Ok(None) => break,
                Ok(Some(raw)) => {
                    handled = true;
                    self.client.meter(raw.first_byte, raw.body.len());
                    result = self.client.decode(raw).and_then(|packet| self.client.handle(packet));
                }
                Err(offence) => result = Err(offence.into()),
            }
        }
        // Publishes that were accepted are delivered, whatever the packet behind them was.
        self.client.flush_run();
        result.map(|()| handled)
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Result<(), Ending> {
        if std::mem::take(&mut self.client.ends.have_moved) {
            self.set_timer(Instant::now());
        }
        loop {
            let Some(timer) = &mut self.timer else { return Ok(()) };
            let Poll::Ready(()) = timer.as_mut().poll(context) else { return Ok(()) };
            self.client.look_again()?;
            let now = Instant::now();
            if !self.client.wants_read() {
                // Silence counts only while we listen.
                self.last_read = now;
            }
            if self.keep_alive_end().is_some_and(|end| end <= now) {
                self.client.worker.counters.keep_alive_timeouts.add(1);
                return Err(Ending::told(ReasonCode::KeepAliveTimeout, "keep alive timeout"));
            }
            if self.write_end().is_some_and(|end| end <= now) {
                self.client.worker.counters.write_timeouts.add(1);
                return Err(Ending::lost("the client does not read what it is sent"));
            }
            self.set_timer(now);
        }
    }

    /// 1.5 times the keep alive after the last bytes: a large packet on a slow line is no silence
    /// (`[MQTT-3.1.2-22]`).
    fn keep_alive_end(&self) -> Option<Instant> {
        let keep_alive_s = self.client.terms.keep_alive_s;
        (keep_alive_s > 0).then(|| self.last_read + Duration::from_millis(u64::from(keep_alive_s) * 1_500))
    }

    fn write_end(&self) -> Option<Instant> {
        Some(self.stalled? + self.client.worker.node.live.now().limits.write_timeout)
    }

    fn set_timer(&mut self, now: Instant) {
        let ends = [self.keep_alive_end(), self.write_end(), self.client.standing_end()];
        let next = ends.into_iter().flatten().min();
        match (next.map(|at| at.max(now)), &mut self.timer) {
            (None, _) => self.timer = None,
            (Some(at), Some(timer)) => timer.as_mut().reset(at),
            (Some(at), None) => self.timer = Some(Box::pin(sleep_until(at))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;
    use crate::inbox::Inbox;

    #[test]
    fn what_each_connection_holds_stays_small() {
        let sizes = [size_of::<Connection>(), size_of::<Client>(), size_of::<Inbox>()];
        assert!(sizes.iter().sum::<usize>() <= 2_048, "connection, client, inbox: {sizes:?} bytes");
        println!("{sizes:?}");
    }

    /// The task of a connection keeps the size of the largest thing it ever waits for.
    #[test]
    fn a_served_connection_waits_in_little_room() {
        fn size_of_output<T, F: Future>(_: impl Fn(T) -> F) -> usize {
            size_of::<F>()
        }
        let serving = size_of_output(Connection::serve);
        assert!(serving <= 128, "{serving} bytes");
    }
}
