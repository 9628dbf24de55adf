//! A shard: the home of all clients whose identifier hashes to it, and of the retained messages of all
//! topics that do. A state machine: a command and a time go in, effects come out. Never reads a clock,
//! draws a random number or does I/O, so that every replica that applies the same commands is equal.

mod connect;
mod deliver;
mod publish;
mod scan;
mod slot;
mod subscribe;
mod tick;

pub use self::scan::SCAN_PAGE;

use std::collections::BTreeSet;

use hashbrown::HashMap;
use topic_index::{FilterIndex, SharedIndex};

use self::publish::Touched;
use self::slot::FilterSlot;
use crate::command::{Command, Connect, Effect, Reply, Will};
use crate::counters::{QueueCounters, ShardCounters};
use crate::ids::{ClientId, ConnectionId, Epoch, Millis, SessionKey};
use crate::limits::ShardLimits;
use crate::matching::Subscribed;
use crate::message::MessageRef;
use crate::retained::{PageQuery, Retained};
use crate::session::Session;

/// Which shard of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardNumber {
    /// Its number, from 0.
    pub number: u16,
    /// How many there are; fixed when the cluster is created.
    pub of: u16,
}

/// What the home of a client knows about it, connected or not.
#[derive(Debug, Default)]
struct Client {
    epoch: Epoch,
    connection: Option<ConnectionId>,
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
    clients: HashMap<ClientId, Client>,
    sessions: HashMap<SessionKey, Session>,
    next_session: u32,
    /// Sessions created so far.
    generation: u64,
    index: FilterIndex<FilterSlot>,
    groups: SharedIndex<FilterSlot>,
    retained: Retained,
    due: BTreeSet<(Millis, Timer, ClientId)>,
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
            clients: HashMap::new(),
            sessions: HashMap::new(),
            next_session: 0,
            generation: 0,
            index: FilterIndex::new(),
            groups: SharedIndex::new(),
            retained: Retained::default(),
            due: BTreeSet::new(),
            counters: ShardCounters::default(),
            queue_counters: QueueCounters::default(),
            matches: Vec::new(),
            touched: Touched::default(),
        }
    }

    /// Applies one command at the log's time `now`, which never goes back, and appends what is to be done
    /// to `effects`, in the order in which it is to be done.
    pub fn apply(&mut self, now: Millis, command: Command, effects: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        match command {
            Command::Connect(connect) => self.connect(connect, effects),
            Command::End(end) => self.end(&end, effects),
            Command::Subscribe(subscribe) => self.subscribe(subscribe, effects),
            Command::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe, effects),
            Command::Publish(publish) => self.publish(publish, effects),
            Command::Acks(acks) => self.acks(&acks, effects),
            Command::Receive(receive) => self.receive(receive, effects),
            Command::Release(release) => self.release(&release, effects),
            Command::Scanned(scanned) => self.scanned(scanned, effects),
            Command::Tick => self.tick(effects),
        }
        debug_assert_eq!(self.validate_if_small(), Ok(()));
    }

    /// [`Self::validate`], where that takes no longer than a step may take in a debug build.
    #[expect(clippy::disallowed_methods, reason = "a check sees no order")]
    fn validate_if_small(&self) -> Result<(), &'static str> {
        let small = self.clients.len() <= 64
            && self
                .sessions
                .values()
                .all(|session| session.outbound.len() <= 256 && session.subscriptions.len() <= 64);
        if small { self.validate() } else { Ok(()) }
    }

    /// One page of this shard's retained messages.
    #[must_use]
    pub fn retained_page(&self, query: &PageQuery<'_>, found: &mut Vec<MessageRef>) -> Option<Box<[u8]>> {
        self.retained.page(query, found)
    }

    /// When the next `Tick` has something to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
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

    /// Sizes for gauges.
    #[expect(clippy::disallowed_methods, reason = "a sum has no order")]
    #[must_use]
    pub fn sizes(&self) -> ShardSizes {
        let connected = self.sessions.values().filter(|session| session.connection.is_some()).count();
        ShardSizes {
            sessions: self.sessions.len(),
            sessions_connected: connected,
            subscriptions: self.sessions.values().map(|session| session.subscriptions.len()).sum(),
            shared_subscriptions: self.groups.iter().map(|(_, _, slot)| slot.len()).sum(),
            queued_messages: self.sessions.values().map(|session| session.outbound.len()).sum(),
            queued_bytes: self.sessions.values().map(|session| session.outbound.bytes()).sum(),
            retained_messages: self.retained.len(),
            retained_bytes: self.retained.bytes(),
        }
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
        let found = self.clients.get(client).filter(|client| client.epoch == epoch);
        let key = found.filter(|client| client.connection.is_some()).and_then(|client| client.session);
        if key.is_none() {
            self.counters.stale_epoch += 1;
        }
        key
    }

    fn reply(connection: Option<ConnectionId>, reply: Reply, effects: &mut Vec<Effect>) {
        if let Some(connection) = connection {
            effects.push(Effect::Reply(connection, reply));
        }
    }

    /// Checks what must always hold. Costs as much as there is state: for tests.
    ///
    /// # Errors
    /// Names the rule that does not hold.
    #[expect(clippy::disallowed_methods, reason = "a check sees no order")]
    pub fn validate(&self) -> Result<(), &'static str> {
        for (key, session) in &self.sessions {
            session.outbound.validate()?;
            let client = self.clients.get(&session.client).ok_or("a session without a client")?;
            if client.session != Some(*key) || client.connection != session.connection {
                return Err("a session and its client disagree");
            }
        }
        let held: usize = self.index.iter().map(|(_, slot)| slot.len()).sum::<usize>()
            + self.groups.iter().map(|(_, _, slot)| slot.len()).sum::<usize>();
        let wanted: usize = self.sessions.values().map(|session| session.subscriptions.len()).sum();
        if held != wanted {
            return Err("the index is not the union of the sessions' subscriptions");
        }
        if self.clients.values().any(Client::forgettable) {
            return Err("a client of which nothing is known is kept");
        }
        let due = self.clients.values().filter(|c| c.will_due.is_some()).count()
            + self.clients.values().filter(|c| c.expiry_due.is_some()).count();
        if due != self.due.len() {
            return Err("the deadlines do not belong to the clients");
        }
        Ok(())
    }
}

/// How much a shard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSizes {
    /// Persistent sessions.
    pub sessions: usize,
    /// Those whose client is connected.
    pub sessions_connected: usize,
    /// Their subscriptions.
    pub subscriptions: usize,
    /// Those of them that are shared.
    pub shared_subscriptions: usize,
    /// Messages in their queues.
    pub queued_messages: usize,
    /// Bytes of these.
    pub queued_bytes: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Bytes of these.
    pub retained_bytes: usize,
}

impl ShardSizes {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.sessions_connected += other.sessions_connected;
        self.subscriptions += other.subscriptions;
        self.shared_subscriptions += other.shared_subscriptions;
        self.queued_messages += other.queued_messages;
        self.queued_bytes += other.queued_bytes;
        self.retained_messages += other.retained_messages;
        self.retained_bytes += other.retained_bytes;
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
