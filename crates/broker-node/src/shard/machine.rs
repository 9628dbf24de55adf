//! A shard under its log: decodes the entries that are committed, applies them, and has what follows done, where this
//! node leads. Owned by the shard's Raft group; never waits.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use raft_consensus::machine::{BadEntry, Machine, Weight};
use raft_consensus::snapshot::SnapshotData;
use session_store::command::{Command, Input};
use session_store::counters::{QueueCounters, ShardCounters};
use session_store::limits::ShardLimits;
use session_store::outbox::OutboxItem;
use session_store::retained::PageQuery;
use session_store::store::Changes;
use session_store::{Effect, Millis, Shard, ShardSizes, record};

use super::delivery::Delivery;
use super::{Page, PageWanted};
use crate::clock::Clock;

/// Bytes that a command takes in an entry besides its messages, roughly.
const COMMAND_BYTES: usize = 64;

/// What shards counted, for whoever exports it.
pub(crate) type Totals = Arc<Mutex<(ShardCounters, QueueCounters)>>;

/// A shard and those who carry out what it decides.
pub(crate) struct ShardMachine {
    state: Shard,
    delivery: Delivery,
    clock: Clock,
    totals: Totals,
    effects: Vec<Effect>,
}

impl ShardMachine {
    /// A shard as its checkpoint has it. Its routes are announced at once.
    pub(crate) fn new(state: Shard, delivery: Delivery, clock: Clock, totals: Totals) -> Self {
        for route in state.routes() {
            delivery.announce(&route);
        }
        Self { state, delivery, clock, totals, effects: Vec::new() }
    }

    /// One page of retained messages.
    pub(crate) fn page(&self, wanted: &PageWanted) -> Page {
        let PageWanted { filter, from, bounds } = wanted;
        let mut messages = Vec::new();
        let query = PageQuery { filter, from: from.as_ref(), bounds: *bounds, now: self.clock.now() };
        let next = self.state.retained_page(&query, &mut messages).next;
        Page { messages, next }
    }

    /// Its bounds, as its log has them.
    pub(crate) fn limits(&self) -> &ShardLimits {
        self.state.limits()
    }

    /// How much it holds.
    pub(crate) fn sizes(&self) -> ShardSizes {
        self.state.sizes()
    }

    /// At most `limit` items of the outbox from a position on.
    pub(crate) fn outbox_from(&self, position: u64, limit: usize) -> Vec<(u64, OutboxItem)> {
        let items = self.state.outbox().from(position).take(limit);
        items.map(|(position, item)| (position, item.clone())).collect()
    }

    /// Passes QoS 0 messages on to the clients that are connected, past the log.
    pub(crate) fn pass_on(&mut self, publish: &session_store::command::Publish) {
        self.state.pass_on(publish, &mut self.effects);
        self.settle(true);
    }

    /// Does what follows from what was applied; where this node does not lead only its own view is kept up.
    fn settle(&mut self, leads: bool) {
        self.delivery.carry_out(&mut self.effects, leads);
        let (shard, queue) = self.state.take_counters();
        let mut totals = self.totals.lock();
        totals.0.add(&shard);
        totals.1.add(&queue);
    }
}

impl Machine for ShardMachine {
    type Command = Input;

    fn weight(input: &Input) -> Weight {
        let Input::Request(request) = input else { return Weight { items: 1, bytes: COMMAND_BYTES } };
        match &request.command {
            Command::Publish(publish) => Weight {
                items: publish.items.len(),
                bytes: publish.items.iter().map(|item| item.message.size() + COMMAND_BYTES).sum(),
            },
            Command::Receive(receive) => Weight { items: 1, bytes: receive.message.size() + COMMAND_BYTES },
            _ => Weight { items: 1, bytes: COMMAND_BYTES },
        }
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
            self.state.apply(entry.now, input, &mut self.effects);
        }
        self.settle(leads);
        Ok(())
    }

    fn install(&mut self, _snapshot: SnapshotData) -> Result<(), BadEntry> {
        Err(BadEntry("a node without peers receives no snapshot".to_owned()))
    }

    fn take_changes(&mut self) -> Changes {
        self.state.take_changes()
    }

    fn next_due_ms(&self) -> Option<u64> {
        self.state.next_due().map(|at| at.0)
    }

    fn now_ms(&self) -> u64 {
        self.state.now().0
    }
}
