//! Tests of checkpoints: whatever happened, a shard that is restored is the one that was written, and goes on
//! like it; and only net changes are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{PacketId, QoS, SharedPublish, Text};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use topic_index::{Cursor, Filter};

use super::*;
use crate::command::{
    Ack, Acks, Command, Connect, EXPIRY_NEVER, End, GroupPick, Input, Publish, PublishItem, Push, Receive,
    Release, RetainedWanted, Scanned, Subscribe, SubscribeTo, Unsubscribe, Will, WillFate,
};
use crate::effect::Effect;
use crate::ids::{ClientId, ConnectionId, Epoch, Host, Incarnation, Millis, NodeId, ShardId};
use crate::limits::{QueueLimits, QueuePolicy, ShardLimits};
use crate::matching::{GroupName, Subscribed};
use crate::message::{Message, MessageRef};
use crate::record::RecordError;
use crate::scan::Ask;
use crate::shard::ShardNumber;
use crate::stream::Request;

const ME: ShardNumber = ShardNumber { number: ShardId(2), of: 3 };
const NODES: u32 = 2;
const CLIENTS: [&str; 4] = ["a", "b", "c", "d"];
const FILTERS: [&str; 5] = ["x/#", "x/+", "y", "$share/g/x/#", "$queue/y"];
const TOPICS: [&str; 4] = ["x/1", "x/2", "y", "z"];

type Records = BTreeMap<Vec<u8>, Bytes>;

/// What happens to a shard; the numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Connect { client: usize, node: u32, clean: bool, expiry_s: u32, receive_maximum: u16, will: Option<u32> },
    End { client: usize, fate: u32, unsent: Vec<u16> },
    Subscribe { client: usize, filter: usize, qos: u8 },
    Unsubscribe { client: usize, filter: usize },
    Publish { topic: usize, count: usize, bytes: usize, qos: u8, retain: bool, expiry_s: Option<u32> },
    Acks { client: usize, acks: Vec<(u8, u16)> },
    AckAll { client: usize },
    Receive { client: usize, id: u16 },
    Release { client: usize, id: u16 },
    Scanned { found: usize, more: bool },
    Time { ms: u64 },
    Down { node: u32 },
    Relayed { items: u64 },
    Repeat,
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS.len();
    let expiry = prop_oneof![Just(0), 1..20_u32, Just(EXPIRY_NEVER)];
    let connect =
        (client.clone(), 0..NODES, any::<bool>(), expiry, 1..30_u16, option::weighted(0.3, 0..9_u32))
            .prop_map(|(client, node, clean, expiry_s, receive_maximum, will)| {
                let clean = clean && receive_maximum % 3 == 0;
                Step::Connect { client, node, clean, expiry_s, receive_maximum, will }
            });
    let end = (client.clone(), 0..4_u32, vec(1..12_u16, 0..3)).prop_map(|(client, fate, unsent)| Step::End {
        client,
        fate,
        unsent,
    });
    let publish = (
        0..TOPICS.len(),
        1..20_usize,
        prop_oneof![4 => 0..40_usize, 2 => 500..900_usize, 1 => 3_000..5_000_usize],
        0..3_u8,
        prop::bool::weighted(0.2),
        option::weighted(0.2, 1..20_u32),
    )
        .prop_map(|(topic, count, bytes, qos, retain, expiry_s)| Step::Publish {
            topic,
            count,
            bytes,
            qos,
            retain,
            expiry_s,
        });
    prop_oneof![
        4 => connect,
        2 => end,
        4 => (client.clone(), 0..FILTERS.len(), 0..3_u8)
            .prop_map(|(client, filter, qos)| Step::Subscribe { client, filter, qos }),
        1 => (client.clone(), 0..FILTERS.len())
            .prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        8 => publish,
        3 => (client.clone(), vec((0..5_u8, 1..30_u16), 1..9)).prop_map(|(client, acks)| Step::Acks { client, acks }),
        3 => client.clone().prop_map(|client| Step::AckAll { client }),
        1 => (client.clone(), 1..5_u16).prop_map(|(client, id)| Step::Receive { client, id }),
        1 => (client, 1..5_u16).prop_map(|(client, id)| Step::Release { client, id }),
        2 => (0..5_usize, any::<bool>()).prop_map(|(found, more)| Step::Scanned { found, more }),
        2 => (0..9_000_u64).prop_map(|ms| Step::Time { ms }),
        1 => (0..NODES).prop_map(|node| Step::Down { node }),
        1 => (0..5_u64).prop_map(|items| Step::Relayed { items }),
        1 => Just(Step::Repeat),
        3 => Just(Step::Checkpoint),
    ]
}

fn message(topic: &str, bytes: usize, qos: QoS, retain: bool, expires_at: Option<Millis>) -> MessageRef {
    let body = SharedPublish::new(&Text::new(topic).unwrap(), &Bytes::new(), &Bytes::from(vec![7; bytes]));
    Arc::new(Message { body, qos, retain, expires_at })
}

/// A shard, what a store would have of it, and where its requests come from.
struct World {
    shard: Shard,
    store: Records,
    now: u64,
    connections: u64,
    /// Incarnation and last request of each node.
    nodes: [(u32, u64); NODES as usize],
    last: Option<Request>,
    asked: Vec<(ClientId, Ask)>,
    /// What each connection has to acknowledge.
    pushed: BTreeMap<ConnectionId, Vec<Ack>>,
}

impl World {
    fn new(policy: QueuePolicy) -> Self {
        Self {
            shard: Shard::new(ME, limits(policy)),
            store: Records::new(),
            now: 1_000,
            connections: 0,
            nodes: [(1, 0); NODES as usize],
            last: None,
            asked: Vec::new(),
            pushed: BTreeMap::new(),
        }
    }

    fn checkpoint(&mut self) -> Changes {
        let changes = self.shard.take_changes();
        for (key, value) in changes.iter() {
            match value {
                Some(value) => self.store.insert(key.to_vec(), value.clone()),
                None => self.store.remove(key),
            };
        }
        changes
    }

    fn host(&self, node: u32) -> Host {
        let (incarnation, _) = self.nodes[node as usize];
        Host { node: NodeId(node), incarnation: Incarnation(incarnation) }
    }

    fn request(&mut self, node: u32, command: Command) -> Input {
        let source = Source::Host(self.host(node));
        let (_, last) = &mut self.nodes[node as usize];
        *last += 1;
        let request = Request { source, number: *last, done_below: last.saturating_sub(3), command };
        self.last = Some(request.clone());
        Input::Request(request)
    }

    /// Where a client's connection is, and its epoch.
    fn at(&self, client: usize) -> (ClientId, u32, Epoch) {
        let id = ClientId::new(CLIENTS[client]);
        let known = self.shard.clients.get(&id);
        let node = known.and_then(|client| client.connection).map_or(0, |connection| connection.host.node.0);
        (id, node, known.map(|client| client.epoch).unwrap_or_default())
    }

    fn connect(&mut self, client: usize, node: u32, rest: (bool, u32, u16, Option<u32>)) -> Input {
        let (clean_start, expiry_s, receive_maximum, will) = rest;
        self.connections += 1;
        let connection = ConnectionId { host: self.host(node), number: self.connections };
        let will = will.map(|delay_s| Will {
            body: message("y", 9, QoS::AtLeastOnce, false, None).body.clone(),
            qos: QoS::AtLeastOnce,
            retain: false,
            delay_s,
            expiry_s: Some(5),
        });
        let client = ClientId::new(CLIENTS[client]);
        let connect = Connect { client, connection, clean_start, expiry_s, receive_maximum, will };
        self.request(node, Command::Connect(connect))
    }

    fn publish(&mut self, topic: usize, count: usize, message: &MessageRef) -> Input {
        let item = |number| {
            let group = GroupName { group: "g".into(), filter: plain("x/#") };
            let pick = GroupPick { group: Arc::new(group), choice: number };
            let groups = if TOPICS[topic].starts_with("x/") { vec![pick] } else { Vec::new() };
            let message = Arc::new(Message { body: message.body.clone(), ..**message });
            PublishItem {
                number,
                message,
                sessions: true,
                store_retained: message_is_retained(number),
                groups,
            }
        };
        let items = (0..count as u64).map(item).collect();
        let publish = Publish { reply_to: None, publisher: ClientId::new("a"), items };
        self.request(1, Command::Publish(publish))
    }

    fn input(&mut self, step: Step) -> Option<Input> {
        Some(match step {
            Step::Connect { client, node, clean, expiry_s, receive_maximum, will } => {
                self.connect(client, node, (clean, expiry_s, receive_maximum, will))
            }
            Step::End { client, fate, unsent } => {
                let (client, node, epoch) = self.at(client);
                let will = match fate {
                    0 => WillFate::Discard,
                    1 => WillFate::Keep,
                    seconds => WillFate::KeepAtLeast(seconds),
                };
                let unsent = unsent.into_iter().filter_map(PacketId::new).collect();
                self.request(node, Command::End(End { client, epoch, will, expiry_s: None, unsent }))
            }
            Step::Subscribe { client, filter, qos } => {
                let (client, node, epoch) = self.at(client);
                let id = (filter == 1).then_some(7);
                let qos = QoS::try_from(qos).unwrap();
                let subscribed = Subscribed { qos, no_local: filter == 2, retain_as_published: true, id };
                let (filter, retained) = (self::filter(FILTERS[filter]), RetainedWanted::Always);
                let filters = vec![(0, SubscribeTo { filter, subscribed, retained })];
                let packet_id = PacketId::MIN;
                self.request(node, Command::Subscribe(Subscribe { client, epoch, packet_id, filters }))
            }
            Step::Unsubscribe { client, filter } => {
                let (client, node, epoch) = self.at(client);
                let (packet_id, filters) = (PacketId::MIN, vec![(0, self::filter(FILTERS[filter]))]);
                self.request(node, Command::Unsubscribe(Unsubscribe { client, epoch, packet_id, filters }))
            }
            Step::Publish { topic, count, bytes, qos, retain, expiry_s } => {
                let expires_at = expiry_s.map(|seconds| Millis(self.now).plus_s(seconds));
                let qos = QoS::try_from(qos).unwrap();
                let message = message(TOPICS[topic], bytes, qos, retain, expires_at);
                self.publish(topic, count, &message)
            }
            Step::Acks { client, acks } => self.acks(client, acks),
            Step::AckAll { client } => {
                let (client, node, epoch) = self.at(client);
                let connection = self.shard.clients.get(&client).and_then(|client| client.connection)?;
                let acks = self.pushed.remove(&connection)?;
                self.request(node, Command::Acks(Acks { client, epoch, acks }))
            }
            other => return self.other_input(other),
        })
    }

    /// What is no SUBSCRIBE, publish or acknowledgement.
    fn other_input(&mut self, step: Step) -> Option<Input> {
        Some(match step {
            Step::Receive { client, id } => {
                let (client, node, epoch) = self.at(client);
                let (packet_id, message) =
                    (PacketId::new(id).unwrap(), message("x/1", 30, QoS::ExactlyOnce, false, None));
                self.request(node, Command::Receive(Receive { client, epoch, packet_id, message }))
            }
            Step::Release { client, id } => {
                let (client, node, epoch) = self.at(client);
                let packet_id = PacketId::new(id).unwrap();
                self.request(node, Command::Release(Release { client, epoch, packet_id }))
            }
            Step::Scanned { found, more } => {
                let (client, ask) = self.asked.pop()?;
                let one = |n| message(&format!("x/{n}"), 20, QoS::AtLeastOnce, true, None);
                let after = more.then(|| Cursor::at(b"x/9"));
                Input::Scanned(Scanned {
                    client,
                    scan: ask.scan,
                    messages: (0..found).map(one).collect(),
                    after,
                })
            }
            Step::Time { ms } => {
                self.now += ms;
                Input::Tick
            }
            Step::Down { node } => {
                let host = self.host(node);
                let (incarnation, last) = &mut self.nodes[node as usize];
                *incarnation += 1;
                *last = 0;
                Input::Down(host)
            }
            Step::Relayed { items } => Input::Relayed(self.shard.outbox().first() + items),
            Step::Repeat => Input::Request(self.last.clone()?),
            _ => return None,
        })
    }

    fn acks(&mut self, client: usize, acks: Vec<(u8, u16)>) -> Input {
        let (client, node, epoch) = self.at(client);
        let ack = |(kind, id)| {
            let packet_id = PacketId::new(id).unwrap();
            match kind {
                0 => Ack::Puback(packet_id),
                1 => Ack::Pubrec(packet_id, false),
                2 => Ack::Pubrec(packet_id, true),
                3 => Ack::Pubcomp(packet_id),
                _ => Ack::PageTaken(u64::from(id) % 3 + (1 << 32)),
            }
        };
        let acks = acks.into_iter().map(ack).collect();
        self.request(node, Command::Acks(Acks { client, epoch, acks }))
    }

    fn apply(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.shard.apply(Millis(self.now), input, &mut effects);
        for effect in &effects {
            let Effect::Push(connection, pushes) = effect else { continue };
            let acks = pushes.iter().filter_map(|push| match push {
                Push::Publish { packet_id, item, .. } if item.qos == QoS::ExactlyOnce => {
                    packet_id.map(|id| Ack::Pubrec(id, false))
                }
                Push::Publish { packet_id, .. } => packet_id.map(Ack::Puback),
                Push::Release(id) => Some(Ack::Pubcomp(*id)),
                Push::ReleaseUnknown(_) => None,
                Push::PageEnd(scan) => Some(Ack::PageTaken(*scan)),
            });
            self.pushed.entry(*connection).or_default().extend(acks);
        }
        self.asked.extend(effects.iter().filter_map(|effect| match effect {
            Effect::Scan(client, ask) => Some((client.clone(), ask.clone())),
            _ => None,
        }));
        effects
    }
}

fn message_is_retained(number: u64) -> bool {
    number == 1
}

fn filter(text: &str) -> Filter {
    Filter::parse(text, 9).unwrap()
}

fn plain(text: &str) -> topic_index::PlainFilter {
    filter(text).plain().clone()
}

fn limits(policy: QueuePolicy) -> ShardLimits {
    let queue = QueueLimits { messages_max: 60, bytes_max: 40_000, policy };
    ShardLimits { queue, subscriptions_max: 4, ..ShardLimits::default() }
}

fn restore(records: &Records, policy: QueuePolicy) -> Result<Shard, RecordError> {
    let records = records.iter().map(|(key, value)| Ok((Bytes::copy_from_slice(key), value.clone())));
    Shard::restore(ME, limits(policy), records)
}

fn policy() -> impl Strategy<Value = QueuePolicy> {
    prop_oneof![Just(QueuePolicy::DropNewest), Just(QueuePolicy::DropOldest), Just(QueuePolicy::Disconnect)]
}

/// Every record that a full checkpoint of this shard would have: what is there and should not be is a leak.
fn written_anew(shard: &Shard, policy: QueuePolicy, store: &Records) -> usize {
    let restored = restore(store, policy).unwrap();
    assert_eq!(restored.digest(), shard.digest());
    let pages: usize = restored.sessions.values().map(|session| session.kept.0.pages.len()).sum();
    let sessions = restored.sessions.len();
    let with_subscriptions = store.keys().filter(|key| key.first() == Some(&b'F')).count();
    assert!(with_subscriptions <= sessions);
    1 + restored.clients.len()
        + sessions
        + with_subscriptions
        + pages
        + restored.keeper.bodies.len()
        + restored.retained.len()
        + restored.outbox.len()
        + restored.streams.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_shard_is_the_one_that_was_written_and_goes_on_like_it(
        policy in policy(),
        steps in vec(step(), 1..60),
        later in vec(step(), 0..20),
    ) {
        let mut world = World::new(policy);
        for step in steps {
            match world.input(step) {
                Some(input) => { world.apply(input); }
                None => { world.checkpoint(); }
            }
        }
        world.checkpoint();
        let mut other = restore(&world.store, policy).unwrap();
        prop_assert_eq!(other.digest(), world.shard.digest());
        prop_assert_eq!(written_anew(&world.shard, policy, &world.store), world.store.len(), "a record leaks");
        prop_assert_eq!(other.take_changes().len(), 1, "nothing but the head");
        let mut store = world.store.clone();
        for step in later {
            match world.input(step) {
                Some(input) => {
                    let mut effects = Vec::new();
                    other.apply(Millis(world.now), input.clone(), &mut effects);
                    prop_assert_eq!(format!("{:?}", world.apply(input)), format!("{:?}", effects));
                }
                None => {
                    for (key, value) in other.take_changes().iter() {
                        match value {
                            Some(value) => store.insert(key.to_vec(), value.clone()),
                            None => store.remove(key),
                        };
                    }
                    prop_assert_eq!(restore(&store, policy).unwrap().digest(), world.shard.digest());
                }
            }
        }
        prop_assert_eq!(other.digest(), world.shard.digest());
    }

    #[test]
    fn records_that_do_not_fit_together_are_refused_and_never_panic(
        steps in vec(step(), 1..30),
        at in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bits in 1..=u8::MAX,
    ) {
        let mut world = World::new(QueuePolicy::DropOldest);
        for step in steps {
            if let Some(input) = world.input(step) { world.apply(input); }
        }
        world.checkpoint();
        let (key, value) = world.store.iter().nth(at.index(world.store.len())).unwrap();
        let (key, mut damaged) = (key.clone(), value.to_vec());
        let byte = byte.index(damaged.len());
        damaged[byte] ^= bits;
        world.store.insert(key.clone(), damaged.into());
        let _ = restore(&world.store, QueuePolicy::DropOldest);
        world.store.remove(&key);
        if let Ok(shard) = restore(&world.store, QueuePolicy::DropOldest) {
            prop_assert!(shard.validate().is_ok());
        }
    }
}

/// A world in which "a" is away and subscribes to `x/#` at QoS 1.
fn with_absent_subscriber() -> World {
    let mut world = World::new(QueuePolicy::DropNewest);
    let steps = [
        Step::Connect {
            client: 0,
            node: 0,
            clean: false,
            expiry_s: EXPIRY_NEVER,
            receive_maximum: 10,
            will: None,
        },
        Step::Subscribe { client: 0, filter: 0, qos: 1 },
        Step::End { client: 0, fate: 1, unsent: Vec::new() },
    ];
    run(&mut world, steps);
    world
}

fn run(world: &mut World, steps: impl IntoIterator<Item = Step>) {
    for step in steps {
        if let Some(input) = world.input(step) {
            world.apply(input);
        }
    }
}

fn publish(count: usize, bytes: usize) -> Step {
    Step::Publish { topic: 0, count, bytes, qos: 1, retain: false, expiry_s: None }
}

fn kinds(changes: &Changes) -> BTreeMap<char, usize> {
    let mut kinds = BTreeMap::new();
    for (key, value) in changes.iter() {
        if value.is_some() {
            *kinds.entry(char::from(key[0])).or_insert(0) += 1;
        }
    }
    kinds
}

#[test]
fn what_was_queued_and_acknowledged_in_between_is_never_written() {
    let mut world = with_absent_subscriber();
    world.checkpoint();
    run(
        &mut world,
        [
            Step::Connect {
                client: 0,
                node: 0,
                clean: false,
                expiry_s: EXPIRY_NEVER,
                receive_maximum: 9,
                will: None,
            },
            publish(9, 10_000),
            Step::AckAll { client: 0 },
            Step::Relayed { items: 100 },
            Step::Connect { client: 1, node: 0, clean: true, expiry_s: 0, receive_maximum: 9, will: None },
            Step::End { client: 1, fate: 0, unsent: Vec::new() },
        ],
    );
    assert!(world.shard.session("a").unwrap().outbound().is_empty());
    let changes = world.checkpoint();
    assert_eq!(kinds(&changes), BTreeMap::from([('C', 1), ('H', 1), ('S', 1), ('R', 1), ('T', 2)]));
    let bytes: usize = changes.iter().filter(|(key, _)| key[0] != b'R').map(|(_, v)| v.unwrap().len()).sum();
    assert!(bytes < 10_000, "{bytes} bytes");
}

/// Small checkpoints of a long queue write each item a few times and leave few pages.
#[test]
fn a_queue_that_grows_slowly_is_not_written_again_and_again() {
    let mut world = with_absent_subscriber();
    world.shard.limits.queue.messages_max = usize::MAX;
    world.shard.limits.queue.bytes_max = usize::MAX;
    world.checkpoint();
    let mut written = 0;
    for _ in 0..1_000 {
        run(&mut world, [publish(2, 200)]);
        let changes = world.checkpoint();
        let pages = changes.iter().filter(|(key, _)| key[0] == b'Q');
        written += pages.filter_map(|(_, value)| value).map(Bytes::len).sum::<usize>();
    }
    let queued = world.shard.session("a").unwrap().outbound().bytes();
    assert!(written < 10 * queued, "{written} bytes written for {queued} queued");
    let pages = world.store.keys().filter(|key| key[0] == b'Q').count();
    assert!(pages <= 2 * queued / pages::PAGE_BYTES + 9, "{pages} pages for {queued} bytes");
    run(
        &mut world,
        (0..9).flat_map(|_| {
            let (client, expiry_s) = (0, EXPIRY_NEVER);
            let connect =
                Step::Connect { client, node: 0, clean: false, expiry_s, receive_maximum: 199, will: None };
            [connect, Step::AckAll { client }, Step::End { client, fate: 1, unsent: Vec::new() }]
        }),
    );
    world.checkpoint();
    let left = world.shard.session("a").unwrap().outbound().len();
    let pages_left = world.store.keys().filter(|key| key[0] == b'Q').count();
    assert!(left < 2_000 && pages_left < pages, "{left} items in {pages_left} pages");
}

#[test]
fn a_large_message_for_many_sessions_is_written_once() {
    let mut world = World::new(QueuePolicy::DropNewest);
    for client in 0..CLIENTS.len() {
        run(
            &mut world,
            [
                Step::Connect {
                    client,
                    node: 0,
                    clean: false,
                    expiry_s: EXPIRY_NEVER,
                    receive_maximum: 9,
                    will: None,
                },
                Step::Subscribe { client, filter: 0, qos: 1 },
                Step::End { client, fate: 1, unsent: Vec::new() },
            ],
        );
    }
    world.checkpoint();
    run(&mut world, [publish(1, 20_000), Step::Relayed { items: 100 }]);
    let changes = world.checkpoint();
    assert_eq!(kinds(&changes).get(&'B'), Some(&1));
    let bytes: usize = changes.iter().filter_map(|(_, value)| value).map(Bytes::len).sum();
    assert!(bytes < 25_000, "{bytes} bytes");
    for client in 0..CLIENTS.len() {
        assert!(world.store.keys().any(|key| key[0] == b'B'));
        run(
            &mut world,
            [Step::Connect { client, node: 0, clean: true, expiry_s: 0, receive_maximum: 9, will: None }],
        );
        world.checkpoint();
    }
    assert!(!world.store.keys().any(|key| key[0] == b'B'), "nobody waits for it any more");
}

#[test]
fn a_shard_is_not_restored_as_another_one() {
    let mut world = with_absent_subscriber();
    world.checkpoint();
    let records = world.store.iter().map(|(key, value)| (Bytes::copy_from_slice(key), value.clone()));
    let me = ShardNumber { number: ShardId(1), of: 3 };
    let restored = Shard::restore(me, ShardLimits::default(), records.map(Ok::<_, RecordError>));
    assert_eq!(restored.map(|_| ()), Err(RecordError::Invalid { field: "number of the shard" }));
    let nothing = std::iter::empty::<Result<_, RecordError>>();
    assert!(Shard::restore(ME, ShardLimits::default(), nothing).is_err());
}

fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// What a shard holds, in words of its own that no change of the code changes.
fn told(shard: &Shard) -> String {
    let mut lines = vec![format!("now {}, outbox from {}", shard.now.0, shard.outbox.first())];
    for id in CLIENTS {
        let Some(client) = shard.clients.get(id) else { continue };
        let connected = client.connection.map(|connection| (connection.host.to_string(), connection.number));
        let dues = (client.will_due.map(|at| at.0), client.expiry_due.map(|at| at.0));
        let will = client.will.as_ref().map(|will| (will.delay_s, will.expiry_s, will.body.size()));
        lines.push(format!("{id}: {} {connected:?} {dues:?} {will:?}", client.epoch.0));
        let Some(session) = shard.session(id) else { continue };
        for (filter, subscribed) in session.subscriptions() {
            lines.push(format!("    {filter} {} {:?}", u8::from(subscribed.qos), subscribed.id));
        }
        let ids: Vec<u16> = session.inbound.ids().map(PacketId::get).collect();
        lines.push(format!("    {} in flight, received {ids:?}", session.outbound.in_flight()));
        for (serial, message, shape) in session.outbound.contents_from(0) {
            let topic = String::from_utf8_lossy(message.body.topic());
            let payload = message.body.payload().len();
            let expires = message.expires_at.map(|at| at.0);
            let ids = shape.subscription_ids();
            let qos = u8::from(shape.qos());
            lines.push(format!("    {serial}: {topic} {payload} {qos} {expires:?} {ids:?}"));
        }
    }
    for (position, item) in shard.outbox.from(0) {
        lines.push(format!("outbox {position}: {} {}", item.publisher, item.message.body.size()));
    }
    for (source, stream) in &shard.streams {
        lines.push(format!("{source:?}: {} {}", stream.last(), stream.answers().count()));
    }
    lines.push(format!("{} retained, {} bytes", shard.retained.len(), shard.retained.bytes()));
    lines.join("\n") + "\n"
}

/// The fixture is a snapshot: its form and those of all records are read for ever.
#[test]
fn a_checkpoint_of_version_1_means_what_it_meant() {
    if std::env::var_os("QUELEA_WRITE_FIXTURES").is_some() {
        write_fixtures();
    }
    let folder = tempfile::TempDir::new().unwrap();
    let mut store = crate::store::Store::open(folder.path()).unwrap();
    let group = crate::store::GroupId(2);
    let written = store.import(group, &fixture("checkpoint-v1.snapshot")).unwrap();
    assert_eq!(written.applied, b"position 7");
    let records = store.load(group).unwrap().unwrap().map(|record| record.map_err(|e| e.to_string()));
    let records: Vec<_> = records.collect::<Result<_, _>>().unwrap();
    let records = records.into_iter().map(Ok::<_, RecordError>);
    let shard = Shard::restore(ME, limits(QueuePolicy::DropNewest), records).unwrap();
    assert_eq!(told(&shard), std::fs::read_to_string(fixture("checkpoint-v1.txt")).unwrap());
}

/// To be used when a version is added, never to change a fixture that was released.
fn write_fixtures() {
    let mut world = with_absent_subscriber();
    let connect = |client, will| Step::Connect {
        client,
        node: 1,
        clean: false,
        expiry_s: 1_000,
        receive_maximum: 5,
        will,
    };
    run(
        &mut world,
        [
            connect(1, Some(7)),
            Step::Subscribe { client: 1, filter: 1, qos: 2 },
            Step::Subscribe { client: 1, filter: 3, qos: 1 },
            Step::Publish { topic: 0, count: 3, bytes: 900, qos: 2, retain: false, expiry_s: Some(60) },
            Step::Acks { client: 1, acks: vec![(1, 1), (2, 2)] },
            Step::Receive { client: 1, id: 4 },
            connect(2, Some(3)),
            Step::End { client: 2, fate: 1, unsent: Vec::new() },
            connect(1, None),
            publish(2, 40),
        ],
    );
    world.checkpoint();
    let folder = tempfile::TempDir::new().unwrap();
    let mut store = crate::store::Store::open(folder.path()).unwrap();
    let mut changes = Changes::default();
    world.store.iter().for_each(|(key, value)| changes.put(key.clone(), value.clone()));
    let group = crate::store::GroupId(2);
    store.write(group, &changes, b"position 7").unwrap();
    store.export(group, &fixture("checkpoint-v1.snapshot")).unwrap();
    std::fs::write(fixture("checkpoint-v1.txt"), told(&world.shard)).unwrap();
}
