//! One connection of a run, from CONNECT to DISCONNECT: reads, lets its role act, writes, each in batches.
//! Spawned by `worker`. It keeps no results: they go to the worker's stats as they come.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use mqtt_codec::{ConnAck, Packet, PacketKind, ReasonCode, Version};
use tokio::task::LocalSet;
use tokio::time::{Interval, MissedTickBehavior, timeout};

use super::control::{Live, Phase, Window};
use super::pacer::Permits;
use super::plan::{Role as RoleSpec, Spec, SubscriberSpec};
use super::publisher::{self, Publisher};
use super::subscriber::Subscriber;
use super::wire::{ClientError, Wire};
use super::worker::Worker;

/// Reads and writes before other connections of the thread get their turn.
const ROUNDS_MAX: usize = 8;
/// Unsent acknowledgements beyond which nothing more is read.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Time for the last bytes to leave.
const DISCONNECT_TIME: Duration = Duration::from_secs(2);

enum Role {
    Publisher { publisher: Publisher, finished: bool },
    Subscriber(Subscriber),
}

/// Spawns the connections that belong to thread `number`.
pub(super) fn spawn(tasks: &LocalSet, worker: &Rc<Worker>, number: usize) {
    let plan = &worker.shared.plan;
    for (index, spec) in plan.specs.iter().enumerate() {
        if spec.affinity % plan.threads == number {
            let worker = Rc::clone(worker);
            tasks.spawn_local(async move {
                if let Some(spec) = worker.shared.plan.specs.get(index) {
                    run(&worker, spec).await;
                }
            });
        }
    }
}

async fn run(worker: &Worker, spec: &Spec) {
    let live = &worker.shared.live;
    let opened = tokio::select! {
        opened = come(worker, spec) => opened,
        () = worker.shared.control.reached(Phase::Stopping) => return,
    };
    let (mut wire, role) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            Live::add(&live.failed, 1);
            worker.stats().errors.connect += 1;
            return worker.stats().note_error(|| format!("client {}: {error}", spec.identity.client_id));
        }
    };
    if matches!(role, Role::Publisher { .. }) {
        worker.shared.control.reached(Phase::Running).await;
    }
    let mut driver = Driver::new(worker, spec, role);
    let ended = std::future::poll_fn(|cx| driver.poll(&mut wire, cx)).await;
    driver.report();
    match ended {
        // A broker that is slow to take the farewell has taken everything else.
        Ok(()) => drop(timeout(DISCONNECT_TIME, wire.disconnect()).await),
        Err(error) => {
            Live::add(&live.failed, 1);
            worker.stats().errors.connection_lost += 1;
            worker.stats().note_error(|| format!("client {}: {error}", spec.identity.client_id));
        }
    }
}

/// Opens, and where it is a subscriber that is to be absent, leaves and comes back for what has queued up.
async fn come(worker: &Worker, spec: &Spec) -> Result<(Wire, Role), ClientError> {
    let shared = &worker.shared;
    let opened = open(worker, spec).await;
    let subscriber = match opened {
        Ok((wire, Role::Subscriber(subscriber))) if shared.plan.absent => {
            let left = timeout(DISCONNECT_TIME, wire.disconnect()).await;
            Live::add(&shared.live.settled, 1);
            left.unwrap_or(Ok(()))?;
            subscriber
        }
        opened => {
            Live::add(&shared.live.settled, 1);
            return opened;
        }
    };
    shared.control.reached(Phase::Returning).await;
    let back = resume(worker, spec).await;
    Live::add(&shared.live.returned, 1);
    Ok((back?, Role::Subscriber(subscriber)))
}

/// Connects to a session that the broker is to have kept, with its subscription.
async fn resume(worker: &Worker, spec: &Spec) -> Result<Wire, ClientError> {
    let _turn = worker.connecting.acquire().await;
    worker.stats().returns.extend(worker.shared.clock.now_ns());
    let (wire, ack) = connect(worker, spec).await?;
    // MQTT 3.1 cannot say whether there is one.
    let told = worker.shared.plan.version != Version::V3_1;
    if ack.session_present || !told { Ok(wire) } else { Err(ClientError::NoSession) }
}

async fn connect(worker: &Worker, spec: &Spec) -> Result<(Wire, Box<ConnAck>), ClientError> {
    let shared = &worker.shared;
    let plan = &shared.plan;
    let started_ns = shared.clock.now_ns();
    let connecting = async {
        let mut wire = Wire::open(&shared.endpoints, spec.number, plan.version).await?;
        let ack = wire.connect(plan, &spec.identity).await?;
        Ok::<_, ClientError>((wire, ack))
    };
    let connected = timeout(plan.client.connect_timeout, connecting).await;
    let connected = connected.map_err(|_| ClientError::Timeout(PacketKind::Connect))??;
    worker.stats().connect.record(started_ns, shared.clock.now_ns());
    worker.stats().connected += 1;
    Live::add(&shared.live.connected, 1);
    Ok(connected)
}

/// Connects and, where it is a subscriber, subscribes.
async fn open(worker: &Worker, spec: &Spec) -> Result<(Wire, Role), ClientError> {
    let plan = &worker.shared.plan;
    let _turn = worker.connecting.acquire().await;
    let (mut wire, ack) = connect(worker, spec).await?;
    let role = match &spec.role {
        RoleSpec::Publisher(spec) => {
            let publisher = Publisher::new(spec, plan.load, plan.version, &ack)?;
            Role::Publisher { publisher, finished: false }
        }
        RoleSpec::Subscriber(spec) => {
            let mut subscriber = Subscriber::new(spec.hears, plan.version);
            let subscribing = subscribe(worker, spec, &mut wire, &mut subscriber);
            let subscribed = timeout(plan.client.connect_timeout, subscribing).await;
            subscribed.map_err(|_| ClientError::Timeout(PacketKind::Subscribe))??;
            Role::Subscriber(subscriber)
        }
    };
    Ok((wire, role))
}

/// Subscribes; messages that come before SUBACK count as well.
async fn subscribe(
    worker: &Worker,
    spec: &SubscriberSpec,
    wire: &mut Wire,
    subscriber: &mut Subscriber,
) -> Result<(), ClientError> {
    let clock = worker.shared.clock;
    worker.stats().subscribes.extend(clock.now_ns());
    let qos = worker.shared.plan.load.qos;
    wire.send_subscribe(&spec.filter, qos)?;
    loop {
        match wire.answer().await? {
            Packet::SubAck(ack) => {
                let code = ack.codes.first().copied().unwrap_or(ReasonCode::UnspecifiedError);
                return if code as u8 >= 0x80 {
                    Err(ClientError::Refused(PacketKind::Subscribe, code))
                } else if (code as u8) < u8::from(qos) {
                    Err(ClientError::TooLittle(format!("QoS {} to a subscription", code as u8)))
                } else {
                    Ok(())
                };
            }
            Packet::Publish(publish) => {
                let now_ns = clock.now_ns();
                let mut stats = worker.stats();
                if subscriber.receive(&publish, now_ns, &mut wire.output, &mut stats)? {
                    stats.deliveries.extend(now_ns);
                    Live::add(&worker.shared.live.delivered, 1);
                }
            }
            Packet::PubRel(release) => subscriber.release(release.packet_id, &mut wire.output)?,
            other => {
                return Err(ClientError::Unexpected { expected: PacketKind::SubAck, found: other.kind() });
            }
        }
    }
}

/// A connection at work.
struct Driver<'a> {
    worker: &'a Worker,
    role: Role,
    window: Option<&'a Window>,
    permits: Option<&'a Permits>,
    permits_used: u64,
    ping: Option<Interval>,
    registered: bool,
    /// Packets may have come together with the last answer that was awaited: they are taken before more is read.
    read_ahead: bool,
}

impl<'a> Driver<'a> {
    fn new(worker: &'a Worker, spec: &Spec, role: Role) -> Self {
        let shared = &worker.shared;
        let (window, permits) = match &spec.role {
            RoleSpec::Publisher(spec) => (spec.window, shared.permits.get(spec.index)),
            RoleSpec::Subscriber(spec) => (spec.window, None),
        };
        let half = Duration::from_millis(u64::from(shared.plan.client.keep_alive) * 500);
        let ping = (!half.is_zero()).then(|| {
            let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + half, half);
            ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ping
        });
        Self {
            worker,
            role,
            window: window.and_then(|index| shared.windows.get(index)),
            permits,
            permits_used: 0,
            ping,
            registered: false,
            read_ahead: true,
        }
    }

    /// Goes on as far as it can; ready when the run is stopping or the connection has ended.
    fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        self.register(cx);
        for _ in 0..ROUNDS_MAX {
            let phase = self.worker.shared.control.phase();
            if phase == Phase::Stopping {
                return Poll::Ready(Ok(()));
            }
            self.ping(wire, cx)?;
            let mut progress = wire.output.len() < OUTPUT_BYTES_MAX && self.read(wire, cx)?;
            progress |= self.publish(wire, phase)?;
            let written = wire.poll_flush(cx)?.is_ready();
            if written {
                self.note_finished();
            }
            if !progress {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Registers with everything that may wake it, once: a task's waker stays the same.
    fn register(&mut self, cx: &Context<'_>) {
        if self.registered {
            return;
        }
        self.registered = true;
        self.worker.shared.control.register(cx.waker());
        if let Role::Publisher { .. } = self.role {
            if let Some(window) = self.window {
                window.register(cx.waker());
            }
            if let Some(permits) = self.permits {
                permits.register(cx.waker());
            }
        }
    }

    fn ping(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Result<(), ClientError> {
        if let Some(ping) = &mut self.ping
            && ping.poll_tick(cx).is_ready()
        {
            wire.send(&Packet::PingReq)?;
        }
        Ok(())
    }

    /// Reads once and takes all packets that are complete; false where nothing was there.
    fn read(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Result<bool, ClientError> {
        if !std::mem::take(&mut self.read_ahead) {
            let Poll::Ready(read) = wire.poll_read(cx) else { return Ok(false) };
            read?;
        }
        let shared = &self.worker.shared;
        let now_ns = shared.clock.now_ns();
        let mut stats = self.worker.stats();
        let mut delivered = 0;
        while let Some(packet) = wire.next_packet()? {
            match (&mut self.role, &packet) {
                (Role::Subscriber(subscriber), Packet::Publish(publish)) => {
                    delivered +=
                        u64::from(subscriber.receive(publish, now_ns, &mut wire.output, &mut stats)?);
                }
                (Role::Subscriber(subscriber), Packet::PubRel(release)) => {
                    subscriber.release(release.packet_id, &mut wire.output)?;
                }
                (_, Packet::PingResp) => {}
                (_, Packet::Disconnect(disconnect)) => {
                    return Err(ClientError::Disconnected(disconnect.reason));
                }
                (Role::Publisher { publisher, .. }, packet) => {
                    publisher.acknowledge(packet, now_ns, &mut wire.output, &mut stats)?;
                }
                (Role::Subscriber(_), other) => {
                    stats.errors.protocol += 1;
                    stats.note_error(|| format!("a subscriber got {}", other.kind()));
                }
            }
        }
        if delivered > 0 {
            stats.deliveries.extend(now_ns);
            Live::add(&shared.live.delivered, delivered);
            if let Some(window) = self.window {
                window.deliver(delivered);
            }
        }
        Ok(true)
    }

    /// Publishes what rate and windows allow; false where that is nothing.
    fn publish(&mut self, wire: &mut Wire, phase: Phase) -> Result<bool, ClientError> {
        let Role::Publisher { publisher, .. } = &mut self.role else { return Ok(false) };
        if phase >= Phase::Draining {
            publisher.stop();
        }
        let mut most = publisher.ready();
        if let Some(permits) = self.permits {
            most = most.min(permits.granted() - self.permits_used);
        }
        if most > 0
            && let Some(window) = self.window
        {
            most = most.min(window.room());
        }
        if most == 0 || wire.output.len() >= publisher::OUTPUT_BYTES_MAX {
            return Ok(false);
        }
        let shared = &self.worker.shared;
        let now_ns = shared.clock.now_ns();
        let sent = publisher.publish(most, now_ns, &mut wire.output)?;
        self.permits_used += sent;
        if let Some(window) = self.window {
            window.publish(sent);
        }
        Live::add(&shared.live.published, sent);
        let mut stats = self.worker.stats();
        stats.published += sent;
        stats.payload_bytes_sent += sent * shared.plan.load.size as u64;
        stats.publishes.extend(now_ns);
        Ok(true)
    }

    /// Tells the coordinator once that this publisher has nothing left to do.
    fn note_finished(&mut self) {
        if let Role::Publisher { publisher, finished, .. } = &mut self.role
            && !*finished
            && publisher.finished()
        {
            *finished = true;
            Live::add(&self.worker.shared.live.publishers_done, 1);
        }
    }

    /// Hands the results over; a publisher that was cut off is done as well.
    fn report(self) {
        match self.role {
            Role::Subscriber(subscriber) => {
                Live::add(&self.worker.shared.live.subscribers_gone, 1);
                subscriber.report(&mut self.worker.stats());
            }
            Role::Publisher { finished: false, .. } => Live::add(&self.worker.shared.live.publishers_done, 1),
            Role::Publisher { .. } => {}
        }
    }
}
