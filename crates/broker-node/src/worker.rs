//! What the connections of one worker thread share, and what all threads share. Built at start, handed to
//! each connection; holds no connection itself.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mqtt_codec::Limits;
use ring::rand::{SecureRandom, SystemRandom};
use session_store::authentication::Method;
use session_store::limits::QueueLimits;
use session_store::{ConnectionId, Host};

use crate::access::{Access, Shown, methods};
use crate::clock::Clock;
use crate::config::Settings;
use crate::counters::NodeCounters;
use crate::drain::Entrance;
use crate::fanout::{Fanout, TopicCache};
use crate::inbox::InboxLimits;
use crate::lease::Lease;
use crate::limits::{Arrivals, Flapping, Overload, Places};
use crate::live::Live;
use crate::roll::Roll;
use crate::shard::Shards;
use crate::sys::SysTopics;
use crate::traces::Traces;

/// Bytes read from a socket by one system call.
pub(crate) const READ_BYTES: usize = 64 * 1024;
/// Of so many publishes that are acknowledged, and of so many times that a mailbox gets something, one is measured: the
/// clock would cost as much as a few per cent of a publish.
pub(crate) const ONE_OF: u32 = 8;

/// Says which of the things that a thread does are measured.
#[derive(Debug, Default)]
pub(crate) struct Samples(Cell<u32>);

impl Samples {
    /// The time, for the first of every [`ONE_OF`].
    pub(crate) fn now(&self) -> Option<Instant> {
        let number = self.0.get();
        self.0.set(number.wrapping_add(1));
        number.is_multiple_of(ONE_OF).then(Instant::now)
    }
}

/// What all threads of a node share.
#[derive(Debug)]
pub(crate) struct Node {
    /// The configuration as it was at start.
    pub(crate) settings: Arc<Settings>,
    /// The keys of it that may change.
    pub(crate) live: Arc<Live>,
    /// Bounds of the packets of connected clients.
    pub(crate) limits: Limits,
    /// Bounds of CONNECT, from a peer that has shown nothing yet.
    pub(crate) connect_limits: Limits,
    /// Bounds of a transient session's queue.
    pub(crate) queue: QueueLimits,
    /// Bounds of a mailbox.
    pub(crate) inbox: InboxLimits,
    /// Who gets a message.
    pub(crate) fanout: Arc<Fanout>,
    /// Who is connected.
    pub(crate) roll: Roll,
    /// The homes of clients and topics.
    pub(crate) shards: Shards,
    /// What the node may acknowledge.
    pub(crate) lease: Lease,
    /// Who may connect, and do what.
    pub(crate) access: Arc<Access>,
    /// Methods of enhanced authentication.
    pub(crate) methods: Vec<Arc<dyn Method<Shown>>>,
    /// Whether it takes new clients.
    pub(crate) entrance: Entrance,
    /// How fast connections come.
    pub(crate) arrivals: Arc<Arrivals>,
    /// How many clients each address and each user has here.
    pub(crate) places: Places,
    /// Who connects too often; `None` where nobody looks.
    pub(crate) flapping: Option<Flapping>,
    /// Whether the node has too much to do.
    pub(crate) overload: Overload,
    /// Who wants to see what packets come and go.
    pub(crate) traces: Traces,
    /// The node's time.
    pub(crate) clock: Clock,
    /// What the node tells of itself.
    pub(crate) sys: Arc<SysTopics>,
    host: Host,
    connections: AtomicU64,
}

impl Node {
    /// The node's shared state, from its parts.
    pub(crate) fn new(
        settings: Arc<Settings>,
        fanout: Arc<Fanout>,
        (shards, lease): (Shards, Lease),
        clock: Clock,
        access: Arc<Access>,
    ) -> Self {
        let limits = settings.codec_limits();
        let connect_limits = settings.connect_limits();
        let queue = settings.queue_limits();
        let inbox = settings.inbox_limits();
        let (host, connections) = (shards.host(), AtomicU64::new(1));
        let (sys, methods) = (Arc::default(), methods(&access));
        let entrance = Entrance::new(&settings.drain.server_reference);
        let arrivals = Arc::new(Arrivals::new(&settings.limits));
        let places = Places::new(&settings.limits);
        let flapping = Flapping::new(&settings.limits.flapping);
        let overload = Overload::new(&settings.limits);
        let live = Arc::new(Live::new(Arc::clone(&settings)));
        Self {
            settings,
            live,
            limits,
            connect_limits,
            queue,
            inbox,
            fanout,
            roll: Roll::default(),
            shards,
            lease,
            access,
            methods,
            entrance,
            arrivals,
            places,
            flapping,
            overload,
            traces: Traces::default(),
            clock,
            sys,
            host,
            connections,
        }
    }

    /// The name of a new connection.
    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId { host: self.host, number: self.connections.fetch_add(1, Ordering::Relaxed) }
    }
}

/// What the connections of one worker thread share.
#[derive(Debug)]
pub(crate) struct Worker {
    /// What all threads share.
    pub(crate) node: Arc<Node>,
    /// What this thread counts; it is the only writer.
    pub(crate) counters: Arc<NodeCounters>,
    /// What is measured of what it does.
    pub(crate) samples: Samples,
    /// What topics match, as this thread last saw it.
    pub(crate) cache: RefCell<TopicCache>,
    /// Where sockets are read into.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    random: SystemRandom,
}

impl Worker {
    /// The shared state of one thread.
    pub(crate) fn new(node: Arc<Node>, counters: Arc<NodeCounters>) -> Rc<Self> {
        Rc::new(Self {
            node,
            counters,
            samples: Samples::default(),
            cache: RefCell::default(),
            scratch: RefCell::new(vec![0; READ_BYTES].into()),
            random: SystemRandom::new(),
        })
    }

    /// A client identifier that nobody else has (`[MQTT-3.1.3-6]`): 128 random bits. `None` where the
    /// system has no random numbers.
    pub(crate) fn unique_client_id(&self) -> Option<String> {
        let mut bits = [0; 16];
        self.random.fill(&mut bits).ok()?;
        Some(format!("auto-{:032x}", u128::from_be_bytes(bits)))
    }
}
