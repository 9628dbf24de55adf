//! Histories for the tests of checkpoints: steps that happen to a shard, and a world in which they do.
//! Used by the tests beside it; the steps come from proptest or are written out, and nothing here checks anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{PacketId, QoS, SharedPublish, Text};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use topic_index::{Cursor, Filter};

use super::super::*;
use crate::command::{
    Ack, Acks, Command, Connect, EXPIRY_NEVER, End, GroupPick, Input, Publish, PublishItem, Push, Receive,
    Release, RetainedWanted, Scanned, Subscribe, SubscribeTo, Unsubscribe, Will, WillFate,
};
use crate::effect::Effect;
use crate::ids::{ClientId, ConnectionId, Epoch, Host, Incarnation, Millis, NodeId, ShardId};
use crate::limits::{QueueLimits, QueuePolicy, ShardLimits};
use crate::matching::{GroupName, GroupRef, Subscribed};
use crate::message::{Message, MessageRef};
use crate::picks::{InGroup, Pick, PickedItem, Taker};
use crate::record::RecordError;
use crate::scan::Ask;
use crate::shard::ShardNumber;
use crate::stream::Request;

pub(super) const ME: ShardNumber = ShardNumber { number: ShardId(2), of: 3 };
pub(super) const NODES: u32 = 2;
pub(super) const CLIENTS: [&str; 4] = ["a", "b", "c", "d"];
pub(super) const FILTERS: [&str; 5] = ["x/#", "x/+", "y", "$share/g/x/#", "$queue/y"];
pub(super) const TOPICS: [&str; 4] = ["x/1", "x/2", "y", "z"];

pub(super) type Records = BTreeMap<Vec<u8>, Bytes>;

/// What happens to a shard; the numbers are taken modulo what there is.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Connect {
        client: usize,
        node: u32,
        clean: bool,
        expiry_s: u32,
        receive_maximum: u16,
        will: Option<u32>,
    },
    End {
        client: usize,
        fate: u32,
        unsent: Vec<u16>,
    },
    Subscribe {
        client: usize,
        filter: usize,
        qos: u8,
    },
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    Publish {
        topic: usize,
        count: usize,
        bytes: usize,
        qos: u8,
        retain: bool,
        expiry_s: Option<u32>,
    },
    Acks {
        client: usize,
        acks: Vec<(u8, u16)>,
    },
    AckAll {
        client: usize,
    },
    Receive {
        client: usize,
        id: u16,
    },
    Release {
        client: usize,
        id: u16,
    },
    Scanned {
        found: usize,
        more: bool,
    },
    Time {
        ms: u64,
    },
    Down {
        node: u32,
    },
    Relayed {
        items: u64,
    },
    /// Who takes an item of the outbox, by its place there, in so many groups: a shard, or a transient member.
    Picked {
        item: u64,
        groups: usize,
        member: bool,
        more: bool,
    },
    GivenBack {
        item: u64,
    },
    Repeat,
    Checkpoint,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
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
        3 => (0..9_u64, 0..3_usize, any::<bool>(), any::<bool>())
            .prop_map(|(item, groups, member, more)| Step::Picked { item, groups, member, more }),
        1 => (0..9_u64).prop_map(|item| Step::GivenBack { item }),
        1 => Just(Step::Repeat),
        3 => Just(Step::Checkpoint),
    ]
}

pub(super) fn message(
    topic: &str,
    bytes: usize,
    qos: QoS,
    retain: bool,
    expires_at: Option<Millis>,
) -> MessageRef {
    let body = SharedPublish::new(&Text::new(topic).unwrap(), &Bytes::new(), &Bytes::from(vec![7; bytes]));
    Arc::new(Message { body, qos, retain, expires_at })
}

pub(super) fn record(store: &Records, key: &[u8]) -> Result<Bytes, RecordError> {
    store.get(key).cloned().ok_or(RecordError::Missing { field: "record" })
}

/// Reads the messages that are to be sent and are in the store alone, as whoever sends them does.
pub(super) fn read_stored(shard: &Shard, store: &Records, effects: &mut [Effect]) {
    let pushes = effects.iter_mut().filter_map(|effect| match effect {
        Effect::Push(connection, pushes) => Some(pushes.iter_mut().map(|push| (*connection, push))),
        _ => None,
    });
    let mut page = None;
    for (connection, push) in pushes.flatten() {
        let Push::Stored { packet_id, position, dup, at } = push else { continue };
        let page = match &mut page {
            Some(page) if StoredPage::is_of(page, at) => page,
            other => other.insert(found(shard, store, at, connection)),
        };
        let item = page.take(at).expect("the item is in its page");
        *push = Push::Publish { packet_id: Some(*packet_id), position: *position, dup: *dup, item };
    }
}

fn found(shard: &Shard, store: &Records, at: &StoredAt, of: ConnectionId) -> StoredPage {
    match shard.find_stored(at, of) {
        Found::Page(start) => StoredPage::read(at, start, |key| record(store, key)).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A shard, what a store would have of it, and where its requests come from.
pub(super) struct World {
    pub(super) shard: Shard,
    /// The same, with all of it in memory always.
    pub(super) twin: Shard,
    pub(super) store: Records,
    pub(super) now: u64,
    connections: u64,
    /// Incarnation and last request of each node.
    nodes: [(u32, u64); NODES as usize],
    last: Option<Request>,
    asked: Vec<(ClientId, Ask)>,
    /// What each connection has to acknowledge.
    pushed: BTreeMap<ConnectionId, Vec<Ack>>,
}

impl World {
    pub(super) fn new(policy: QueuePolicy) -> Self {
        Self {
            shard: Shard::new(ME, limits(policy)),
            twin: Shard::new(ME, limits(policy)),
            store: Records::new(),
            now: 1_000,
            connections: 0,
            nodes: [(1, 0); NODES as usize],
            last: None,
            asked: Vec::new(),
            pushed: BTreeMap::new(),
        }
    }

    pub(super) fn checkpoint(&mut self) -> Changes {
        let changes = self.shard.take_changes();
        for (key, value) in changes.iter() {
            match value {
                Some(value) => self.store.insert(key.to_vec(), value.clone()),
                None => self.store.remove(key),
            };
        }
        self.shard.leave_to_store();
        changes
    }

    fn host(&self, node: u32) -> Host {
        let (incarnation, _) = self.nodes[node as usize];
        Host { node: NodeId(node), incarnation: Incarnation(incarnation) }
    }

    pub(super) fn request(&mut self, node: u32, command: Command) -> Input {
        let source = Source::Host(self.host(node));
        let (_, last) = &mut self.nodes[node as usize];
        *last += 1;
        let request = Request { source, number: *last, done_below: last.saturating_sub(3), command };
        self.last = Some(request.clone());
        Input::from(request)
    }

    /// Where a client's connection is, and its epoch.
    pub(super) fn at(&self, client: usize) -> (ClientId, u32, Epoch) {
        let id = ClientId::new(CLIENTS[client]);
        let known = self.shard.clients.get(&id);
        let node = known.and_then(|client| client.connection).map_or(0, |connection| connection.host.node.0);
        (id, node, known.map(|client| client.epoch).unwrap_or_default())
    }

    pub(super) fn connect(&mut self, client: usize, node: u32, rest: (bool, u32, u16, Option<u32>)) -> Input {
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
        let publish = Publish { reply_to: None, publisher: ClientId::new("a"), epoch: None, items };
        self.request(1, Command::Publish(publish))
    }

    pub(super) fn input(&mut self, step: Step) -> Option<Input> {
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
            Step::Picked { item, groups, member, more } => self.picked(item, (groups, more), member),
            Step::GivenBack { item } => {
                let position = self.shard.outbox().first() + item;
                Input::GivenBack(InGroup { position, group: group(0) })
            }
            Step::Repeat => Input::from(self.last.clone()?),
            _ => return None,
        })
    }

    fn picked(&self, item: u64, (groups, more): (usize, bool), member: bool) -> Input {
        let taker = |(at, node): (usize, u32)| match member {
            true => Taker::Member(ConnectionId { host: self.host(node), number: 1 }),
            false => Taker::Shard(ShardId(1), at as u64),
        };
        let takers = (0..groups).zip((0..NODES).cycle());
        let picks = takers.map(|at| Pick { group: group(at.0), taker: taker(at) }).collect();
        Input::Picked(vec![PickedItem { position: self.shard.outbox().first() + item, picks, more }])
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

    pub(super) fn apply(&mut self, input: Input) -> Vec<Effect> {
        let (mut effects, mut expected) = (Vec::new(), Vec::new());
        self.twin.apply(Millis(self.now), input.clone(), &mut expected);
        self.shard.apply(Millis(self.now), input, &mut effects);
        self.shard.validate().unwrap();
        read_stored(&self.shard, &self.store, &mut effects);
        assert!(format!("{effects:?}") == format!("{expected:?}"), "it matters what is in memory");
        for effect in &effects {
            let Effect::Push(connection, pushes) = effect else { continue };
            let acks = pushes.iter().filter_map(|push| match push {
                Push::Publish { packet_id, item, .. } if item.qos == QoS::ExactlyOnce => {
                    packet_id.map(|id| Ack::Pubrec(id, false))
                }
                Push::Publish { packet_id, .. } => packet_id.map(Ack::Puback),
                Push::Release(id) => Some(Ack::Pubcomp(*id)),
                Push::ReleaseUnknown(_) | Push::Stored { .. } => None,
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

/// A group, in the order of their names.
fn group(at: usize) -> GroupRef {
    Arc::new(GroupName { group: ["g", "h"][at % 2].into(), filter: plain("x/#") })
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

pub(super) fn limits(policy: QueuePolicy) -> ShardLimits {
    let queue = QueueLimits { messages_max: 60, bytes_max: 40_000, policy };
    ShardLimits { queue, subscriptions_max: 4, ..ShardLimits::default() }
}

pub(super) fn policy() -> impl Strategy<Value = QueuePolicy> {
    prop_oneof![Just(QueuePolicy::DropNewest), Just(QueuePolicy::DropOldest), Just(QueuePolicy::Disconnect)]
}

/// A world in which "a" is away and subscribes to `x/#` at QoS 1.
pub(super) fn with_absent_subscriber() -> World {
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

pub(super) fn run(world: &mut World, steps: impl IntoIterator<Item = Step>) {
    for step in steps {
        if let Some(input) = world.input(step) {
            world.apply(input);
        }
    }
}

pub(super) fn publish(count: usize, bytes: usize) -> Step {
    Step::Publish { topic: 0, count, bytes, qos: 1, retain: false, expiry_s: None }
}
