//! The production shard as a machine. What it decides leaves by an outlet, which a crash closes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use raft_consensus::machine::{BadEntry, Machine, Weight};
use raft_consensus::snapshot::SnapshotData;
use raft_consensus::types::NodeId;
use raft_consensus::wal::GroupId;
use session_store::command::Input;
use session_store::limits::ShardLimits;
use session_store::store::Changes;
use session_store::{
    ConnectionId, Effect, Found, Millis, Outgoing, Shard, ShardId, ShardNumber, StoredAt, StoredPage, record,
};
use tokio::sync::Notify;

use crate::history::{History, Promise, Sometimes};
use crate::store_files::{self, Records, StoreFiles};
use crate::{bounds, expiry, minority};

/// Shards of the simulated cluster: each sends to the other by its outbox.
pub(crate) const SHARDS: u16 = 2;

/// The group of a shard.
pub(crate) fn group_of(shard: u16) -> GroupId {
    GroupId(u32::from(shard) + 1)
}

/// The home of a client, or of a topic.
pub(crate) fn home_of(name: &[u8]) -> u16 {
    name.iter().fold(0, |sum: u16, byte| sum.wrapping_add(u16::from(*byte))) % SHARDS
}

/// What a replica's machine decided, on its way to the hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outlet {
    queue: Arc<Mutex<VecDeque<Effect>>>,
    closed: Arc<Mutex<bool>>,
    filled: Arc<Notify>,
    count: Arc<AtomicUsize>,
}

impl Outlet {
    fn put(&self, effects: &mut Vec<Effect>) {
        if *self.closed.lock() {
            effects.clear();
            return;
        }
        self.count.fetch_add(effects.len(), Ordering::Relaxed);
        self.queue.lock().extend(effects.drain(..));
        self.filled.notify_one();
    }

    /// The next effect; never again once it is closed.
    pub(crate) async fn next(&self) -> Option<Effect> {
        loop {
            if *self.closed.lock() {
                return None;
            }
            if let Some(effect) = self.queue.lock().pop_front() {
                return Some(effect);
            }
            self.filled.notified().await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.lock()
    }

    /// How many effects were put in since the last call.
    pub(crate) fn count(&self) -> usize {
        self.count.swap(0, Ordering::Relaxed)
    }

    /// Whether it is the same outlet.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.queue, &other.queue)
    }

    pub(crate) fn close(&self) {
        *self.closed.lock() = true;
        self.filled.notify_one();
    }
}

pub(crate) struct Home {
    pub(crate) shard: Shard,
    pub(crate) installs: usize,
    node: NodeId,
    store: StoreFiles,
    outlet: Outlet,
    history: History,
    effects: Vec<Effect>,
}

pub(crate) fn restore(shard: u16, records: &Records) -> Result<Shard, Unread> {
    let (me, limits) = (ShardNumber { number: ShardId(shard), of: SHARDS }, ShardLimits::default());
    if records.is_empty() {
        return Ok(Shard::new(me, limits));
    }
    let all = records.iter().map(|(key, value)| Ok((key.clone(), value.clone())));
    Shard::restore(me, limits, all, |key| records.get(key).cloned().ok_or(Unread))
}

/// A record is not in the store now, or makes no sense.
#[derive(Debug)]
pub(crate) struct Unread;

impl From<record::RecordError> for Unread {
    fn from(_: record::RecordError) -> Self {
        Self
    }
}

impl Home {
    /// What to send of an item whose message has left memory; nothing where nobody needs it any more.
    pub(crate) fn fetch(&self, at: &StoredAt, by: ConnectionId) -> Result<Option<Outgoing>, Unread> {
        let mut page = match self.shard.find_stored(at, by) {
            Found::Gone => return Ok(None),
            Found::Here(page) => page,
            Found::Page(start) => {
                let records = self.store.state(self.group()).1;
                StoredPage::read(at, start, |key| records.get(key).cloned().ok_or(Unread))?
            }
        };
        Ok(page.take(at))
    }

    pub(crate) fn new(
        (node, shard): (NodeId, u16),
        store: StoreFiles,
        outlet: Outlet,
        history: History,
    ) -> Self {
        let shard = restore(shard, &store.state(group_of(shard)).1).unwrap();
        Self { shard, installs: 0, node, store, outlet, history, effects: Vec::new() }
    }

    fn group(&self) -> GroupId {
        group_of(self.shard.number().number.0)
    }

    /// What concerns the clients of a host whose way to a leader is new.
    pub(crate) fn begin_to_lead(&mut self) {
        self.shard.ask_again(&mut self.effects);
        self.outlet.put(&mut self.effects);
    }

    /// Holds what was applied against what must hold after every step.
    fn check_step(&mut self) {
        let steps = [
            (Promise::Expiry, expiry::check_step(&self.shard, &self.effects)),
            (Promise::Bounds, bounds::check_step(&self.shard)),
        ];
        for (promise, found) in steps {
            if let Err(how) = found {
                self.history.broken(promise, how);
            }
        }
        let (shard, queues) = self.shard.take_counters();
        for (count, what) in [
            (queues.dropped_expired, Sometimes::ExpiredInQueue),
            (shard.sessions_expired, Sometimes::SessionExpired),
            (shard.wills_cancelled, Sometimes::WillCancelled),
        ] {
            if count > 0 {
                self.history.saw(what);
            }
        }
    }
}

impl Machine for Home {
    type Command = Input;

    /// Larger than it is: the entries are smaller than a broker's, as its files are.
    fn weight(input: &Input) -> Weight {
        let bytes = 24 * record::encode_entry(Millis(0), std::slice::from_ref(input)).len();
        Weight { items: 1, bytes }
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn encode(now_ms: u64, commands: &[Input]) -> Bytes {
        record::encode_entry(Millis(now_ms), commands)
    }

    fn apply(&mut self, body: &Bytes, leads: bool) -> Result<(), BadEntry> {
        let entry = record::decode_entry(body.clone()).map_err(|bad| BadEntry(bad.to_string()))?;
        for input in entry.inputs {
            self.shard.apply(entry.now, input, &mut self.effects);
        }
        self.check_step();
        if leads {
            minority::check(&self.history, self.node, &self.effects);
            self.outlet.put(&mut self.effects);
        }
        self.effects.clear();
        Ok(())
    }

    fn install(&mut self, snapshot: SnapshotData) -> Result<(), BadEntry> {
        let bad = |error: String| BadEntry(error);
        let SnapshotData::Received(path) = snapshot else { return Err(bad("it is the own one".to_owned())) };
        let name = path.to_str().unwrap_or_default();
        let (meta, records) =
            store_files::read(self.store.disk(), name).map_err(|error| bad(error.to_string()))?;
        let (shard, group) = (self.shard.number().number.0, self.group());
        self.shard = restore(shard, &records).map_err(|unread| bad(format!("{unread:?}")))?;
        self.store.replace(group, meta, records).map_err(|error| bad(error.to_string()))?;
        self.installs += 1;
        Ok(())
    }

    fn take_changes(&mut self) -> Changes {
        self.shard.take_changes()
    }

    fn checkpointed(&mut self) {
        self.shard.leave_to_store();
    }

    fn next_due_ms(&self) -> Option<u64> {
        self.shard.next_due().map(|at| at.0)
    }

    fn now_ms(&self) -> u64 {
        self.shard.now().0
    }
}
