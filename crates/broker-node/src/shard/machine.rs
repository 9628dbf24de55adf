//! A shard under its log: decodes the entries that are committed, applies them, and has what follows done, where this
//! node leads. Owned by the shard's Raft group; never waits.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::QoS;
use parking_lot::Mutex;
use raft_consensus::machine::{BadEntry, Machine, Weight};
use raft_consensus::snapshot::SnapshotData;
use raft_consensus::storage::{GroupCheckpoints, RestoreError};
use session_store::command::{Input, Members, Publish, RouteChange};
use session_store::counters::{QueueCounters, ShardCounters};
use session_store::limits::ShardLimits;
use session_store::outbox::OutboxItem;
use session_store::picks::{InGroup, Taker};
use session_store::retained::PageQuery;
use session_store::store::{Changes, Checkpoint};
use session_store::{
    APPLY_LEVEL_MAX, ClientId, ConnectionId, Effect, Epoch, Found, Host, Incarnation, Millis, NodeId,
    SessionSubscriptions, SessionSummary, Shard, ShardNumber, ShardSizes, StoredAt, record,
};
use topic_index::Filter;

use super::delivery::Delivery;
use super::{Page, PageWanted, weight};
use crate::clock::Clock;

/// What shards counted, for whoever exports it.
pub(crate) type Totals = Arc<Mutex<(ShardCounters, QueueCounters)>>;

/// A shard and those who carry out what it decides.
pub(crate) struct ShardMachine {
    state: Shard,
    checkpoints: GroupCheckpoints,
    delivery: Delivery,
    clock: Clock,
    totals: Totals,
    effects: Vec<Effect>,
    /// The entry of the log that it is as of.
    index: u64,
    /// A snapshot was installed, whose entry is not known yet.
    installed: bool,
}

impl ShardMachine {
    /// A shard as its checkpoint has it, as of an entry of its log. Its routes are announced at once.
    pub(crate) fn new(
        (state, index): (Shard, u64),
        checkpoints: GroupCheckpoints,
        mut delivery: Delivery,
        clock: Clock,
        totals: Totals,
    ) -> Self {
        for route in state.routes() {
            delivery.announce(&route);
        }
        delivery.routes_as_of(index);
        let (effects, installed) = (Vec::new(), false);
        Self { state, checkpoints, delivery, clock, totals, effects, index, installed }
    }

    /// Its routes with the highest QoS granted, and the entry of its log that they are as of.
    pub(crate) fn routes(&self) -> (u64, BTreeMap<Filter, QoS>) {
        let routes = self.state.routes().into_iter();
        (self.index, routes.filter_map(|route| Some((route.filter, route.qos?))).collect())
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

    /// A digest of its state: equal on all replicas that have applied the same.
    pub(crate) fn digest(&self) -> u64 {
        self.state.digest()
    }

    /// The level of `apply` that its log has reached.
    pub(crate) fn apply_level(&self) -> u32 {
        self.state.apply_level()
    }

    /// The last run of a node that its log has the beginning of.
    pub(crate) fn last_run(&self, node: NodeId) -> Incarnation {
        self.state.last_run(node)
    }

    /// How much it holds.
    pub(crate) fn sizes(&mut self) -> ShardSizes {
        self.state.sizes()
    }

    /// At most `limit` of the connections of which their hosts have not said that they stopped, though another waits.
    pub(crate) fn overtaken(&self, limit: usize) -> Vec<(ClientId, Epoch, ConnectionId)> {
        let overtaken = self.state.overtaken().take(limit);
        overtaken.map(|(client, epoch, connection)| (client.clone(), epoch, connection)).collect()
    }

    /// Where a message is that was pushed to this connection as one in the store.
    pub(crate) fn find_stored(&self, at: &StoredAt, of: ConnectionId) -> Found {
        self.state.find_stored(at, of)
    }

    /// At most `limit` items of the outbox from a position on.
    pub(crate) fn outbox_from(&self, position: u64, limit: usize) -> Vec<(u64, OutboxItem)> {
        let items = self.state.outbox().from(position).take(limit);
        items.map(|(position, item)| (position, item.clone())).collect()
    }

    /// The sessions of the clients from a bound on, so many at most.
    pub(crate) fn sessions_from(&self, from: Bound<&str>, most: usize) -> Vec<SessionSummary> {
        self.state.sessions_from(from, most)
    }

    /// The subscriptions of the sessions of clients from a bound on, about so many.
    pub(crate) fn subscriptions_from(&self, from: Bound<&str>, most: usize) -> Vec<SessionSubscriptions> {
        self.state.subscriptions_from(from, most)
    }

    /// Whether a client has a persistent session.
    pub(crate) fn has_session(&self, client: &ClientId) -> bool {
        self.state.session(client.as_str()).is_some()
    }

    /// Whether there is room for who takes the item of the outbox that is there from a position on.
    pub(crate) fn takes_picks(&self, position: u64) -> bool {
        self.state.outbox().takes_picks(position)
    }

    /// Who takes an item of the outbox in a group, where that was picked and they are there.
    pub(crate) fn taker(&self, of: &InGroup) -> Option<Taker> {
        self.state.outbox().get(of.position)?.picks.taker(&of.group)
    }

    /// This node leads the shard from now on, as of everything that was committed before.
    pub(crate) fn lead(&mut self) {
        self.state.ask_again(&mut self.effects);
        self.effects.push(Effect::Outbox(self.state.outbox().last()));
        self.settle(true);
    }

    /// A host hears from now on what concerns it, beginning with all that it may have missed.
    pub(crate) fn attach(&mut self, host: Host, number: u64) {
        let mut effects = Vec::new();
        self.state.say_again(host, &mut effects);
        self.delivery.attach(host, number, effects);
    }

    /// A host for which something waits until there is room on its way.
    pub(crate) fn lagging_host(&self) -> Option<Host> {
        self.delivery.lagging().next()
    }

    /// Goes on with what waits for room on the way to hosts.
    pub(crate) fn go_on(&mut self) {
        self.delivery.go_on();
    }

    /// Passes QoS 0 messages on to the clients that are connected, past the log.
    pub(crate) fn pass_on(&mut self, publish: &Publish) {
        self.state.pass_on(publish, &mut self.effects);
        self.settle(true);
    }

    /// The fan-out's view of this shard becomes what the state says, from these routes of a state before it. What is
    /// still there is never withdrawn in between.
    fn announce_instead(&self, before: Vec<RouteChange>) {
        let now = self.state.routes();
        for route in &now {
            self.delivery.announce(route);
        }
        for gone in before {
            if now.binary_search_by(|route| route.filter.cmp(&gone.filter)).is_err() {
                self.delivery.announce(&RouteChange { qos: None, members: Members::default(), ..gone });
            }
        }
    }

    /// Does what follows from what was applied; where this node does not lead only its own view is kept up.
    fn settle(&mut self, leads: bool) {
        // Of what was applied: the entry behind the last one that was done with.
        self.delivery.carry_out(&mut self.effects, self.index + 1, leads);
        self.delivery.outbox_is_full(!self.state.outbox_room().is_some());
        self.delivery.some_are_overtaken(self.state.overtaken().next().is_some());
        let (shard, queue) = self.state.take_counters();
        let mut totals = self.totals.lock();
        totals.0.add(&shard);
        totals.1.add(&queue);
    }
}

/// The shard of a checkpoint's records.
///
/// # Errors
/// They cannot be read, or are not those of this shard.
pub(super) fn restore(me: ShardNumber, records: &mut Checkpoint) -> Result<Shard, RestoreError> {
    let lookup = records.lookup();
    let records = records.map(|record| record.map_err(RestoreError::from));
    Shard::restore(me, ShardLimits::default(), records, |key| Ok(lookup.read(key)?))
}

impl Machine for ShardMachine {
    type Command = Input;

    fn weight(input: &Input) -> Weight {
        weight::of(input)
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
        let (level, known) = (self.state.apply_level(), APPLY_LEVEL_MAX);
        if level > known {
            let newer = format!(
                "the shard is at apply level {level}, and this binary knows {known}: run a newer one"
            );
            return Err(BadEntry(newer));
        }
        self.settle(leads);
        Ok(())
    }

    fn install(&mut self, snapshot: SnapshotData) -> Result<(), BadEntry> {
        let (me, before) = (self.state.number(), self.state.routes());
        // Not both states in memory at once.
        self.state = Shard::new(me, ShardLimits::default());
        let installed = self.checkpoints.install(&snapshot, |records| restore(me, records));
        self.state = installed.map_err(|error| BadEntry(error.to_string()))?;
        self.announce_instead(before);
        self.installed = true;
        self.settle(false);
        Ok(())
    }

    fn applied(&mut self, index: u64) {
        self.index = index;
        if std::mem::take(&mut self.installed) {
            self.delivery.routes_as_of(index);
        }
    }

    fn take_changes(&mut self) -> Changes {
        self.state.take_changes()
    }

    fn checkpointed(&mut self) {
        self.state.leave_to_store();
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

    use mqtt_codec::{PacketId, SharedPublish, Text};
    use raft_consensus::proposer::ENTRY_BYTES_MAX;
    use raft_consensus::record::encode_applied;
    use raft_consensus::storage::Storage;
    use raft_consensus::types::SnapshotMeta;
    use raft_consensus::wal::{GroupId, WalOptions};
    use session_store::command::{Command, Connect, PublishItem, Scanned, Subscribe, SubscribeTo, Will};
    use session_store::command::{GroupPick, RetainedWanted, Unsubscribe};
    use session_store::matching::{GroupName, Subscribed};
    use session_store::{Message, Request, ShardId, Source};
    use tempfile::TempDir;

    use super::super::home::Home;
    use super::super::peers::Peers;
    use super::*;
    use crate::config::SharedStrategy;
    use crate::fanout::Fanout;
    use crate::shard::sending::Sending;

    const GROUP: GroupId = GroupId(1);
    /// Of the first connection of a client, when the log has this time.
    const EPOCH: Epoch = Epoch(1_000);

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
                epoch: None,
                items: vec![item],
            })),
            Input::Scanned(Scanned { client, scan: 1, messages: vec![message], after: None }),
        ]
    }

    #[test]
    fn a_level_that_the_binary_does_not_know_is_fatal() {
        let mut replica = Replica::new();
        let raise = |level| ShardMachine::encode(1, &[Input::RaiseLevel(level)]);
        replica.machine.apply(&raise(APPLY_LEVEL_MAX), false).unwrap();
        let error = replica.machine.apply(&raise(APPLY_LEVEL_MAX + 1), false).unwrap_err().to_string();
        let level = format!("apply level {}", APPLY_LEVEL_MAX + 1);
        assert!(error.contains(&level) && error.contains("newer"), "{error}");
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

    /// A shard on a node of its own.
    struct Replica {
        machine: ShardMachine,
        fanout: Arc<Fanout>,
        storage: Storage,
        directory: TempDir,
        requests: u64,
    }

    impl Replica {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let options =
                WalOptions { segment_bytes: 1 << 20, log_bytes_max: 4 << 20, ..WalOptions::default() };
            let storage = Storage::open(directory.path(), options).unwrap();
            let fanout = Arc::new(Fanout::new(SharedStrategy::RoundRobin));
            let (home, _words) =
                Home::new((0, Host::default()), &Arc::default(), (&fanout, &Sending::new(1)));
            let (homes, peers) = (Arc::new([home]) as Arc<[Home]>, Peers::default());
            let delivery = Delivery::new((0, Host::default()), &fanout, (&homes, &peers));
            let me = ShardNumber { number: ShardId(0), of: 1 };
            let state = Shard::new(me, ShardLimits::default());
            let checkpoints = storage.checkpoints(GROUP);
            let machine =
                ShardMachine::new((state, 0), checkpoints, delivery, Clock::start(), Totals::default());
            Self { machine, fanout, storage, directory, requests: 0 }
        }

        fn apply(&mut self, command: Command) {
            self.requests += 1;
            let source = Source::Host(Host::default());
            let request = Request { source, number: self.requests, done_below: self.requests, command };
            let entry = ShardMachine::encode(EPOCH.0, &[Input::from(request)]);
            self.machine.apply(&entry, false).unwrap();
        }

        /// A client with a persistent session that subscribes to these.
        fn subscriber(&mut self, client: &str, filters: &[&str]) {
            let client = ClientId::new(client);
            self.apply(Command::Connect(Connect {
                client: client.clone(),
                connection: ConnectionId { host: Host::default(), number: 1 },
                clean_start: true,
                expiry_s: 3_600,
                receive_maximum: 10,
                will: None,
            }));
            let subscribed =
                Subscribed { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
            let filter = |filter: &&str| Filter::parse(*filter, 9).unwrap();
            let to = |filter| SubscribeTo { filter, subscribed, retained: RetainedWanted::Never };
            let filters = (0..).zip(filters.iter().map(filter).map(to)).collect();
            let packet_id = PacketId::MIN;
            self.apply(Command::Subscribe(Subscribe { client, epoch: EPOCH, packet_id, filters }));
        }

        fn publish(&mut self, topic: &str) {
            let topic = Text::new(topic).unwrap();
            let body = SharedPublish::new(&topic, &Bytes::new(), &Bytes::from(vec![7; 5_000]));
            let message = Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: true, expires_at: None });
            let items = vec![PublishItem {
                number: 0,
                message,
                sessions: true,
                store_retained: true,
                groups: Vec::new(),
            }];
            let publisher = ClientId::new("p");
            self.apply(Command::Publish(Publish { reply_to: None, publisher, epoch: None, items }));
        }

        fn checkpoint(&mut self) {
            let changes = self.machine.take_changes();
            let applied = encode_applied(&SnapshotMeta::default());
            self.storage.store().lock().write(GROUP, &changes, &applied).unwrap();
        }

        /// The digest of what its store has.
        fn stored(&self) -> u64 {
            let mut records = self.storage.store().lock().load(GROUP).unwrap().unwrap();
            restore(self.machine.state.number(), &mut records).unwrap().digest()
        }

        /// Shards and groups that a topic's messages go to.
        fn routes(&self, topic: &str) -> (usize, usize) {
            let matched = self.fanout.match_now(topic.as_bytes());
            (matched.shards.len(), matched.groups.len())
        }
    }

    #[test]
    fn a_shard_becomes_what_a_snapshot_has() {
        let (mut leader, mut follower) = (Replica::new(), Replica::new());
        leader.subscriber("a", &["new/#", "both", "$share/g/shared"]);
        for _ in 0..100 {
            leader.publish("new/1");
        }
        leader.checkpoint();
        follower.subscriber("b", &["old/#", "both", "$share/g/gone"]);
        follower.publish("old/1");
        follower.checkpoint();
        follower.subscriber("c", &["later"]);

        let path = follower.directory.path().join("snapshot");
        leader.storage.store().lock().export(GROUP, &path).unwrap().unwrap();
        follower.machine.install(SnapshotData::Received(path)).unwrap();
        assert_eq!(follower.machine.state.digest(), leader.machine.state.digest());
        assert_eq!(follower.stored(), leader.machine.state.digest(), "the store has it too");
        let routes = |replica: &Replica| {
            ["new/1", "both", "shared", "old/1", "gone", "later"].map(|topic| replica.routes(topic))
        };
        assert_eq!(routes(&follower), [(1, 0), (1, 0), (0, 1), (0, 0), (0, 0), (0, 0)]);
        // Queues stay in the store.
        let sizes = ShardSizes { queued_stored_messages: 100, ..leader.machine.sizes() };
        assert_eq!(follower.machine.sizes(), sizes);

        follower.requests = leader.requests;
        for replica in [&mut leader, &mut follower] {
            replica.publish("new/2");
            replica.subscriber("d", &["old/#"]);
            replica.checkpoint();
        }
        assert_eq!(follower.machine.state.digest(), leader.machine.state.digest());
        assert_eq!(follower.stored(), leader.machine.state.digest(), "only what changed was written");
        assert_eq!(routes(&follower), routes(&leader));
    }

    #[test]
    fn a_snapshot_that_is_damaged_is_not_installed() {
        let (mut leader, mut follower) = (Replica::new(), Replica::new());
        leader.subscriber("a", &["new/#"]);
        leader.checkpoint();
        follower.checkpoint();
        let (before, path) = (follower.stored(), follower.directory.path().join("snapshot"));
        leader.storage.store().lock().export(GROUP, &path).unwrap().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(follower.machine.install(SnapshotData::Received(path)).is_err());
        assert_eq!(follower.stored(), before, "the store is as it was");
    }
}
