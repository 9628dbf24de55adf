//! The production shard as a machine. What it decides leaves by an outlet, which a crash closes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use raft_consensus::machine::{BadEntry, Machine, Weight};
use raft_consensus::snapshot::SnapshotData;
use session_store::command::Input;
use session_store::limits::ShardLimits;
use session_store::store::Changes;
use session_store::{
    ConnectionId, Effect, Found, Millis, Outgoing, Shard, ShardId, ShardNumber, StoredAt, StoredPage, record,
};
use tokio::sync::Notify;

use crate::store::{self, Records, SimStore};

pub(crate) const ME: ShardNumber = ShardNumber { number: ShardId(0), of: 1 };

/// What a replica's machine decided, on its way to the hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outlet {
    queue: Arc<Mutex<VecDeque<Effect>>>,
    closed: Arc<Mutex<bool>>,
    filled: Arc<Notify>,
}

impl Outlet {
    fn put(&self, effects: &mut Vec<Effect>) {
        if *self.closed.lock() {
            effects.clear();
            return;
        }
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

    pub(crate) fn close(&self) {
        *self.closed.lock() = true;
        self.filled.notify_one();
    }
}

pub(crate) struct Home {
    pub(crate) shard: Shard,
    pub(crate) installs: usize,
    store: SimStore,
    outlet: Outlet,
    effects: Vec<Effect>,
}

pub(crate) fn restore(records: &Records) -> Result<Shard, Unread> {
    let limits = ShardLimits::default();
    if records.is_empty() {
        return Ok(Shard::new(ME, limits));
    }
    let all = records.iter().map(|(key, value)| Ok((key.clone(), value.clone())));
    Shard::restore(ME, limits, all, |key| records.get(key).cloned().ok_or(Unread))
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
                let records = self.store.state().1;
                StoredPage::read(at, start, |key| records.get(key).cloned().ok_or(Unread))?
            }
        };
        Ok(page.take(at))
    }

    pub(crate) fn new(store: SimStore, outlet: Outlet) -> Self {
        let shard = restore(&store.state().1).unwrap();
        Self { shard, installs: 0, store, outlet, effects: Vec::new() }
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
        if leads {
            self.outlet.put(&mut self.effects);
        }
        self.effects.clear();
        Ok(())
    }

    fn install(&mut self, snapshot: SnapshotData) -> Result<(), BadEntry> {
        let bad = |error: String| BadEntry(error);
        let SnapshotData::Received(path) = snapshot else { return Err(bad("it is the own one".to_owned())) };
        let name = path.to_str().unwrap_or_default();
        let (meta, records) = store::read(self.store.disk(), name).map_err(|error| bad(error.to_string()))?;
        self.shard = restore(&records).map_err(|unread| bad(format!("{unread:?}")))?;
        self.store.replace(meta, records).map_err(|error| bad(error.to_string()))?;
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
