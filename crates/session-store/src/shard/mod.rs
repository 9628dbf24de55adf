//! A shard: the home of all clients whose identifier hashes to it, and of the retained messages of all
//! topics that do. A state machine: a command and a time go in, effects come out. Never reads a clock,
//! draws a random number or does I/O, so that every replica that applies the same commands is equal.

mod attach;
mod check;
mod checkpoint;
mod connect;
mod deliver;
mod digest;
mod down;
mod listing;
mod out;
mod picked;
mod publish;
mod request;
mod routes;
mod scan;
mod sizes;
mod slot;
mod subscribe;
mod tick;

pub use self::checkpoint::{Found, StoredAt, StoredPage};
pub use self::digest::digest_of;
pub use self::listing::{SessionSubscriptions, SessionSummary};
pub use self::scan::{SCAN_PAGE, SCAN_STEPS};
pub(crate) use self::sizes::Counted;
pub use self::sizes::ShardSizes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use topic_index::{FilterIndex, PageEnd, SharedIndex};

use self::checkpoint::Keeper;
use self::out::Out;
use self::publish::Touched;
use self::slot::FilterSlot;
use crate::command::{Connect, FENCES_LEVEL, Input, Will};
use crate::counters::{QueueCounters, ShardCounters};
use crate::effect::Effect;
use crate::failpoint::{self, Mutant};
use crate::ids::{ClientId, ConnectionId, Epoch, Host, Incarnation, Millis, NodeId, SessionKey, ShardId};
use crate::limits::ShardLimits;
use crate::matching::Subscribed;
use crate::message::MessageRef;
use crate::outbox::{Outbox, OutboxItem, OutboxRoom};
use crate::retained::{PageQuery, Retained};
use crate::session::Session;
use crate::stream::{Source, Stream};
use crate::tracked::Tracked;

/// The highest level of `apply` that this binary knows. A level is raised where all replicas of a shard are to
/// change what they do at the same place of the log; a replica whose [`Shard::apply_level`] is above this must
/// not go on. The last one is the cluster group's: in a shard it means what [`FENCES_LEVEL`] does.
pub const APPLY_LEVEL_MAX: u32 = FENCES_LEVEL + 1;

/// Which shard of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardNumber {
    /// Which one.
    pub number: ShardId,
    /// How many there are; fixed when the cluster is created.
    pub of: u16,
}

/// What the home of a client knows about it, connected or not.
#[derive(Debug, Default)]
struct Client {
    epoch: Epoch,
    connection: Option<ConnectionId>,
    /// What the connection was told of its session, for a repeat of its CONNECT.
    session_present: bool,
    session: Option<SessionKey>,
    will: Option<Will>,
    /// When the will is published, once the connection is gone.
    will_due: Option<Millis>,
    /// When the session ends, while its client is away.
    expiry_due: Option<Millis>,
    /// A connection that waits for the one before it to stop.
    waiting: Option<Box<Connect>>,
}

impl Client {
    /// Whether nothing is known that would have to be kept.
    fn forgettable(&self) -> bool {
        self.connection.is_none() && self.session.is_none() && self.will.is_none() && self.waiting.is_none()
    }
}

/// What a client's time can run out for: its will is published, or its session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Will,
    Expiry,
}

/// The state of one shard.
#[derive(Debug)]
pub struct Shard {
    me: ShardNumber,
    limits: ShardLimits,
    now: Millis,
    clients: Tracked<ClientId, Client>,
    sessions: Tracked<SessionKey, Session>,
    /// The clients that have one, in order.
    with_session: BTreeSet<ClientId>,
    next_session: u32,
    /// Sessions created so far.
    generation: u64,
    index: FilterIndex<FilterSlot>,
    groups: SharedIndex<FilterSlot>,
    /// Members of all groups.
    shared_subscriptions: usize,
    retained: Retained,
    due: BTreeSet<(Millis, Timer, ClientId)>,
    /// The clients with a connection, by its host.
    hosted: BTreeSet<(Host, ClientId)>,
    /// What lies below is dead, of each node that has had a run die.
    lowest_live: BTreeMap<NodeId, Incarnation>,
    /// Clients of which a connection waits for the one before it to stop.
    overtaken: BTreeSet<ClientId>,
    /// Nodes with dead runs that still host clients here.
    dying: BTreeSet<NodeId>,
    streams: BTreeMap<Source, Stream>,
    outbox: Outbox,
    apply_level: u32,
    /// What a store has of all this.
    keeper: Keeper,
    /// What its sessions come to, as of when each was last counted.
    counted: Counted,
    counters: ShardCounters,
    queue_counters: QueueCounters,
    /// Memory used again by each publish.
    matches: Vec<(SessionKey, Subscribed)>,
    touched: Touched,
}

impl Shard {
    /// An empty shard.
    #[must_use]
    pub fn new(me: ShardNumber, limits: ShardLimits) -> Self {
        Self {
            me,
            limits,
            now: Millis::default(),
            clients: Tracked::new(),
            sessions: Tracked::new(),
            with_session: BTreeSet::new(),
            next_session: 0,
            generation: 0,
            index: FilterIndex::new(),
            groups: SharedIndex::new(),
            shared_subscriptions: 0,
            retained: Retained::default(),
            due: BTreeSet::new(),
            hosted: BTreeSet::new(),
            lowest_live: BTreeMap::new(),
            overtaken: BTreeSet::new(),
            dying: BTreeSet::new(),
            streams: BTreeMap::new(),
            outbox: Outbox::default(),
            apply_level: 1,
            keeper: Keeper::default(),
            counted: Counted::default(),
            counters: ShardCounters::default(),
            queue_counters: QueueCounters::default(),
            matches: Vec::new(),
            touched: Touched::default(),
        }
    }

    /// Applies one input at the log's time `now`, which never goes back, and appends what is to be done to
    /// `effects`, in the order in which it is to be done. The leader that proposed the input carries that out;
    /// other replicas, and all after a restart, drop it.
    pub fn apply(&mut self, now: Millis, input: Input, effects: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        match input {
            Input::Request(request) => self.request(Arc::unwrap_or_clone(request), effects),
            Input::Tick => self.tick(&mut Out::new(effects)),
            Input::Down(host) => self.down(host, &mut Out::new(effects)),
            Input::Relayed(up_to) => self.relayed(up_to),
            Input::Scanned(scanned) => self.scanned(scanned, &mut Out::new(effects)),
            Input::Picked(items) => self.picked(items, &mut Out::new(effects)),
            Input::GivenBack(from) => self.given_back(&from, &mut Out::new(effects)),
            Input::Fenced(client, epoch) => self.fenced(client, epoch, &mut Out::new(effects)),
            Input::RaiseLevel(level) => self.apply_level = self.apply_level.max(level),
            Input::Limits(limits) => self.limits = limits,
        }
        debug_assert_eq!(self.validate_if_small(), Ok(()));
    }

    /// The level of `apply` that its log has reached. Above [`APPLY_LEVEL_MAX`] this binary does not know what
    /// the entries that follow mean.
    #[must_use]
    pub fn apply_level(&self) -> u32 {
        self.apply_level
    }

    /// Which shard it is.
    #[must_use]
    pub fn number(&self) -> ShardNumber {
        self.me
    }

    /// Its bounds, as its log has them.
    #[must_use]
    pub fn limits(&self) -> &ShardLimits {
        &self.limits
    }

    /// The log's time, as of the last input.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.now
    }

    /// What the shard has to send, until [`Input::Relayed`] says that it was.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// How many QoS 2 messages may be proposed, those included that were and are not applied yet.
    #[must_use]
    pub fn outbox_room(&self) -> OutboxRoom {
        self.outbox.room()
    }

    fn add_to_outbox(&mut self, item: OutboxItem, out: &mut Out<'_>) {
        let last = self.outbox.push(item);
        out.outbox(last);
    }

    /// One page of this shard's retained messages, appended to `found`; says where to go on.
    pub fn retained_page(&self, query: &PageQuery<'_>, found: &mut Vec<MessageRef>) -> PageEnd {
        self.retained.page(query, found)
    }

    /// When the next `Tick` has something to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        if !self.dying.is_empty() {
            return Some(self.now);
        }
        let first = self.due.first().map(|(at, _, _)| *at);
        match (first, self.retained.next_expiry()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// What was counted since the last call.
    pub fn take_counters(&mut self) -> (ShardCounters, QueueCounters) {
        (self.counters.take(), self.queue_counters.take())
    }

    /// The persistent session of a client.
    #[must_use]
    pub fn session(&self, client: &str) -> Option<&Session> {
        let key = self.clients.get(client)?.session?;
        self.sessions.get(&key)
    }

    /// The client's session, if `epoch` is that of its present connection; a request of an older one is
    /// counted and has no effect.
    fn current(&mut self, client: &ClientId, epoch: Epoch) -> Option<SessionKey> {
        let any = failpoint::has(Mutant::SkipEpochCheck);
        let found = self.clients.get(client).filter(|client| client.epoch == epoch || any);
        let key = found.filter(|client| client.connection.is_some()).and_then(|client| client.session);
        if key.is_none() {
            self.counters.stale_epoch += 1;
        }
        key
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
