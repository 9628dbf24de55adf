//! Any input, for property tests: of records, and of shards that are checkpointed and restored.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{ApplicationProperties, PacketId, Property, QoS, SharedPublish, Text};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use topic_index::{Cursor, Filter};

use crate::command::{
    Ack, Acks, Command, Connect, End, GroupPick, Input, Publish, PublishItem, Receive, Release,
    RetainedWanted, Scanned, Subscribe, SubscribeTo, Unsubscribe, Will, WillFate,
};
use crate::ids::{ClientId, ConnectionId, Epoch, Host, Incarnation, Millis, NodeId, ShardId};
use crate::limits::{QueueLimits, QueuePolicy, ShardLimits};
use crate::matching::{GroupName, GroupRef, Subscribed};
use crate::message::{Message, MessageRef};
use crate::picks::{InGroup, Pick, PickedItem, Taker};
use crate::stream::{Request, Source};

fn client() -> impl Strategy<Value = ClientId> {
    "\\PC{0,12}".prop_map(|id| ClientId::new(&id))
}

fn connection() -> impl Strategy<Value = ConnectionId> {
    (host(), any::<u64>()).prop_map(|(host, number)| ConnectionId { host, number })
}

fn host() -> impl Strategy<Value = Host> {
    (any::<u32>(), any::<u32>())
        .prop_map(|(node, incarnation)| Host { node: NodeId(node), incarnation: Incarnation(incarnation) })
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(Epoch)
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn body() -> impl Strategy<Value = SharedPublish> {
    let application = option::of(("[a-z]{0,9}", "[a-z]{0,9}"));
    // Both sides of the size above which a payload is kept apart.
    let payload = prop_oneof![8 => 0..2_000_usize, 1 => 16_000..20_000_usize];
    ("[a-z/]{1,12}", application, payload).prop_map(|(topic, user, payload)| {
        let text = |text: &str| Text::new(text).unwrap();
        let properties = user.as_ref().map(|(name, value)| Property::UserProperty(name, value));
        let application = ApplicationProperties::build(properties.as_slice()).unwrap();
        SharedPublish::new(&text(&topic), &application, &Bytes::from(vec![7; payload]))
    })
}

fn message() -> impl Strategy<Value = MessageRef> {
    let expires = option::of(any::<u64>().prop_map(Millis));
    (body(), qos(), any::<bool>(), expires)
        .prop_map(|(body, qos, retain, expires_at)| Arc::new(Message { body, qos, retain, expires_at }))
}

fn will() -> impl Strategy<Value = Will> {
    (body(), qos(), any::<bool>(), any::<u32>(), option::of(any::<u32>()))
        .prop_map(|(body, qos, retain, delay_s, expiry_s)| Will { body, qos, retain, delay_s, expiry_s })
}

fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof!["[a-z/]{1,12}", "[a-z/]{0,6}/\\+/#", "\\$share/[a-z]{1,3}/[a-z/]{1,6}", "\\$queue/[a-z]{1,6}"]
        .prop_map(|text| Filter::parse(text, u16::MAX).unwrap())
}

fn group() -> impl Strategy<Value = GroupRef> {
    filter().prop_filter_map("a shared filter", |filter| match filter {
        Filter::Shared { group, filter } => Some(Arc::new(GroupName { group, filter })),
        Filter::Plain(_) => None,
    })
}

fn subscribed() -> impl Strategy<Value = Subscribed> {
    (qos(), any::<bool>(), any::<bool>(), option::of(1..=u32::MAX)).prop_map(
        |(qos, no_local, retain_as_published, id)| Subscribed { qos, no_local, retain_as_published, id },
    )
}

fn subscribe_to() -> impl Strategy<Value = SubscribeTo> {
    let wanted = [RetainedWanted::Always, RetainedWanted::IfNew, RetainedWanted::Never];
    (filter(), subscribed(), proptest::sample::select(wanted.to_vec()))
        .prop_map(|(filter, subscribed, retained)| SubscribeTo { filter, subscribed, retained })
}

fn connect() -> impl Strategy<Value = Command> {
    (client(), connection(), any::<bool>(), any::<u32>(), any::<u16>(), option::of(will())).prop_map(
        |(client, connection, clean_start, expiry_s, receive_maximum, will)| {
            Command::Connect(Connect { client, connection, clean_start, expiry_s, receive_maximum, will })
        },
    )
}

fn end() -> impl Strategy<Value = Command> {
    let fate = prop_oneof![
        Just(WillFate::Discard),
        Just(WillFate::Keep),
        any::<u32>().prop_map(WillFate::KeepAtLeast)
    ];
    (client(), epoch(), fate, option::of(any::<u32>()), vec(packet_id(), 0..4)).prop_map(
        |(client, epoch, will, expiry_s, unsent)| Command::End(End { client, epoch, will, expiry_s, unsent }),
    )
}

fn subscribe() -> impl Strategy<Value = Command> {
    (client(), epoch(), packet_id(), vec((0..9_usize, subscribe_to()), 0..4)).prop_map(
        |(client, epoch, packet_id, filters)| {
            Command::Subscribe(Subscribe { client, epoch, packet_id, filters })
        },
    )
}

fn unsubscribe() -> impl Strategy<Value = Command> {
    (client(), epoch(), packet_id(), vec((0..9_usize, filter()), 0..4)).prop_map(
        |(client, epoch, packet_id, filters)| {
            Command::Unsubscribe(Unsubscribe { client, epoch, packet_id, filters })
        },
    )
}

fn publish() -> impl Strategy<Value = Command> {
    let pick = (group(), any::<u64>()).prop_map(|(group, choice)| GroupPick { group, choice });
    let item = (any::<u64>(), message(), any::<bool>(), any::<bool>(), vec(pick, 0..3)).prop_map(
        |(number, message, sessions, store_retained, groups)| PublishItem {
            number,
            message,
            sessions,
            store_retained,
            groups,
        },
    );
    (option::of(connection()), client(), vec(item, 0..4)).prop_map(|(reply_to, publisher, items)| {
        Command::Publish(Publish { reply_to, publisher, epoch: None, items })
    })
}

fn acks() -> impl Strategy<Value = Command> {
    let ack = prop_oneof![
        packet_id().prop_map(Ack::Puback),
        (packet_id(), any::<bool>()).prop_map(|(id, refused)| Ack::Pubrec(id, refused)),
        packet_id().prop_map(Ack::Pubcomp),
        any::<u64>().prop_map(Ack::PageTaken),
    ];
    (client(), epoch(), vec(ack, 0..9))
        .prop_map(|(client, epoch, acks)| Command::Acks(Acks { client, epoch, acks }))
}

fn qos2() -> impl Strategy<Value = Command> {
    let receive =
        (client(), epoch(), packet_id(), message()).prop_map(|(client, epoch, packet_id, message)| {
            Command::Receive(Receive { client, epoch, packet_id, message })
        });
    let release = (client(), epoch(), packet_id())
        .prop_map(|(client, epoch, packet_id)| Command::Release(Release { client, epoch, packet_id }));
    prop_oneof![receive, release]
}

fn scanned() -> impl Strategy<Value = Input> {
    let after = option::of("[a-z/]{1,12}".prop_map(|topic| Cursor::from_bytes(topic.as_bytes())));
    (client(), any::<u64>(), vec(message(), 0..4), after)
        .prop_map(|(client, scan, messages, after)| Input::Scanned(Scanned { client, scan, messages, after }))
}

fn limits() -> impl Strategy<Value = ShardLimits> {
    let policy = prop_oneof![
        Just(QueuePolicy::DropNewest),
        Just(QueuePolicy::DropOldest),
        Just(QueuePolicy::Disconnect)
    ];
    (any::<[usize; 6]>(), policy).prop_map(|([a, b, c, d, e, f], policy)| ShardLimits {
        queue: QueueLimits { messages_max: a, bytes_max: b, policy },
        sessions_max: c,
        subscriptions_max: d,
        retained_messages_max: e,
        retained_bytes_max: f,
    })
}

fn picked() -> impl Strategy<Value = Input> {
    let taker = prop_oneof![
        (any::<u16>(), any::<u64>()).prop_map(|(shard, choice)| Taker::Shard(ShardId(shard), choice)),
        connection().prop_map(Taker::Member),
    ];
    let pick = (group(), taker).prop_map(|(group, taker)| Pick { group, taker });
    let item = (any::<u64>(), vec(pick, 0..4), any::<bool>())
        .prop_map(|(position, picks, more)| PickedItem { position, picks, more });
    vec(item, 0..4).prop_map(Input::Picked)
}

fn in_group() -> impl Strategy<Value = InGroup> {
    (any::<u64>(), group()).prop_map(|(position, group)| InGroup { position, group })
}

/// Any command there is, with any values.
fn command() -> impl Strategy<Value = Command> {
    prop_oneof![connect(), end(), subscribe(), unsubscribe(), publish(), acks(), qos2()]
}

fn request() -> impl Strategy<Value = Input> {
    let source = prop_oneof![
        host().prop_map(Source::Host),
        any::<u16>().prop_map(|shard| Source::Outbox(ShardId(shard))),
    ];
    (source, any::<u64>(), any::<u64>(), command()).prop_map(|(source, number, done_below, command)| {
        Input::from(Request { source, number, done_below, command })
    })
}

/// Any input there is, with any values.
pub(crate) fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        7 => request(),
        1 => scanned(),
        1 => Just(Input::Tick),
        1 => host().prop_map(Input::Down),
        1 => any::<u64>().prop_map(Input::Relayed),
        1 => picked(),
        1 => in_group().prop_map(Input::GivenBack),
        1 => (client(), any::<u64>()).prop_map(|(client, epoch)| Input::Fenced(client, Epoch(epoch))),
        1 => any::<u32>().prop_map(Input::RaiseLevel),
        1 => limits().prop_map(Input::Limits),
    ]
}
