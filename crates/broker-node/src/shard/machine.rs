//! A shard under its log: decodes the entries that are committed, applies them, and has what follows done, where this
//! node leads. Owned by the shard's Raft group; never waits.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::PacketId;
use parking_lot::Mutex;
use raft_consensus::machine::{BadEntry, Machine, Weight};
use raft_consensus::snapshot::SnapshotData;
use session_store::command::{Ack, Command, Input, PublishItem};
use session_store::counters::{QueueCounters, ShardCounters};
use session_store::limits::ShardLimits;
use session_store::outbox::OutboxItem;
use session_store::retained::PageQuery;
use session_store::store::Changes;
use session_store::{Effect, Incarnation, Millis, NodeId, Shard, ShardSizes, record};
use topic_index::Filter;

use super::delivery::Delivery;
use super::{Page, PageWanted};
use crate::clock::Clock;

/// Bytes that a command, or one of its parts, takes in an entry besides its messages and filters, roughly.
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

    /// The last run of a node that its log has the beginning of.
    pub(crate) fn last_run(&self, node: NodeId) -> Incarnation {
        self.state.last_run(node)
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
        self.delivery.outbox_is_full(!self.state.outbox_room().is_some());
        let (shard, queue) = self.state.take_counters();
        let mut totals = self.totals.lock();
        totals.0.add(&shard);
        totals.1.add(&queue);
    }
}

/// One command with so many bytes of its own.
fn one(bytes: usize) -> Weight {
    Weight { items: 1, bytes: bytes + COMMAND_BYTES }
}

fn item_bytes(item: &PublishItem) -> usize {
    let names = item.groups.iter().map(|pick| &pick.group);
    let groups = names.map(|name| name.group.len() + name.filter.as_str().len() + COMMAND_BYTES);
    item.message.size() + COMMAND_BYTES + groups.sum::<usize>()
}

fn filter_bytes(filter: &Filter) -> usize {
    let group = match filter {
        Filter::Shared { group, .. } => group.len(),
        Filter::Plain(_) => 0,
    };
    filter.plain().as_str().len() + group + COMMAND_BYTES
}

impl Machine for ShardMachine {
    type Command = Input;

    fn weight(input: &Input) -> Weight {
        let command = match input {
            Input::Request(request) => &request.command,
            Input::Scanned(scanned) => {
                let messages = scanned.messages.iter();
                return one(messages.map(|message| message.size() + COMMAND_BYTES).sum());
            }
            _ => return one(0),
        };
        match command {
            Command::Publish(publish) => {
                Weight { items: publish.items.len(), bytes: publish.items.iter().map(item_bytes).sum() }
            }
            Command::Receive(receive) => one(receive.message.size()),
            Command::Connect(connect) => one(connect.will.as_ref().map_or(0, |will| will.body.size())),
            Command::Subscribe(subscribe) => {
                one(subscribe.filters.iter().map(|(_, to)| filter_bytes(&to.filter)).sum())
            }
            Command::Unsubscribe(unsubscribe) => {
                one(unsubscribe.filters.iter().map(|(_, filter)| filter_bytes(filter)).sum())
            }
            Command::Acks(acks) => one(acks.acks.len() * size_of::<Ack>()),
            Command::End(end) => one(end.unsent.len() * size_of::<PacketId>()),
            Command::Release(_) => one(0),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mqtt_codec::{QoS, SharedPublish, Text};
    use raft_consensus::proposer::ENTRY_BYTES_MAX;
    use session_store::command::{Connect, PublishItem, Scanned, Subscribe, SubscribeTo, Will};
    use session_store::command::{GroupPick, Publish, RetainedWanted, Unsubscribe};
    use session_store::matching::{GroupName, Subscribed};
    use session_store::{ClientId, ConnectionId, Epoch, Host, Message, Request, Source};

    use super::*;

    fn large_body() -> SharedPublish {
        SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &Bytes::from(vec![0; 100_000]))
    }

    fn request(command: Command) -> Input {
        Input::from(Request { source: Source::Host(Host::default()), number: 1, done_below: 1, command })
    }

    /// Commands that a client can make large, at least 100,000 bytes each.
    fn large() -> Vec<Input> {
        let (client, epoch, packet_id) = (ClientId::new("c"), Epoch::default(), PacketId::MIN);
        let message =
            Arc::new(Message { body: large_body(), qos: QoS::AtLeastOnce, retain: true, expires_at: None });
        let filter = Filter::parse(format!("$share/g/{}", "f".repeat(50_000)), 9).unwrap();
        let Filter::Shared { group, filter: plain } = filter.clone() else { panic!("not shared") };
        let group = Arc::new(GroupName { group, filter: plain });
        let subscribed =
            Subscribed { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
        let to = SubscribeTo { filter: filter.clone(), subscribed, retained: RetainedWanted::Never };
        let will =
            Will { body: large_body(), qos: QoS::AtMostOnce, retain: false, delay_s: 0, expiry_s: None };
        let connect = Connect {
            client: client.clone(),
            connection: ConnectionId { host: Host::default(), number: 1 },
            clean_start: true,
            expiry_s: 0,
            receive_maximum: 1,
            will: Some(will),
        };
        let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &Bytes::new());
        let small = Message { body, qos: QoS::AtLeastOnce, retain: false, expires_at: None };
        let groups = vec![GroupPick { group: group.clone(), choice: 0 }, GroupPick { group, choice: 0 }];
        let item = PublishItem {
            number: 1,
            message: Arc::new(small),
            sessions: true,
            store_retained: false,
            groups,
        };
        vec![
            request(Command::Connect(connect)),
            request(Command::Subscribe(Subscribe {
                client: client.clone(),
                epoch,
                packet_id,
                filters: vec![(0, to.clone()), (1, to)],
            })),
            request(Command::Unsubscribe(Unsubscribe {
                client: client.clone(),
                epoch,
                packet_id,
                filters: vec![(0, filter.clone()), (1, filter)],
            })),
            request(Command::Publish(Publish {
                reply_to: None,
                publisher: client.clone(),
                items: vec![item],
            })),
            Input::Scanned(Scanned { client, scan: 1, messages: vec![message], after: None }),
        ]
    }

    #[test]
    fn what_a_client_makes_large_counts_as_large_in_an_entry() {
        for input in large() {
            let weight = ShardMachine::weight(&input).bytes;
            let encoded = ShardMachine::encode(0, std::slice::from_ref(&input)).len();
            assert!(encoded >= 100_000 && weight >= encoded, "{weight} for {encoded} bytes: {input:?}");
            assert!(weight <= ENTRY_BYTES_MAX);
        }
    }
}
