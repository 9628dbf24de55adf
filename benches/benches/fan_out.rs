//! Fan-out without sockets: one message encoded for many receivers, and one publish applied by a shard with
//! many persistent sessions.

#![allow(clippy::unwrap_used, missing_docs)] // a benchmark may stop; criterion's macro makes undocumented items

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mqtt_codec::{PacketId, PublishHeader, QoS, SharedPublish, Text, Version};
use session_store::command::{
    Ack, Acks, Command, Connect, EXPIRY_NEVER, Input, Publish, PublishItem, RetainedWanted, Subscribe,
    SubscribeTo,
};
use session_store::limits::ShardLimits;
use session_store::matching::Subscribed;
use session_store::{
    ClientId, ConnectionId, Effect, Epoch, Host, Message, Millis, Request, Shard, ShardId, ShardNumber,
    Source,
};
use std::hint::black_box;
use std::sync::Arc;
use topic_index::Filter;

fn body() -> SharedPublish {
    SharedPublish::new(&Text::from_static("plant/7/line/3"), &Bytes::new(), &Bytes::from(vec![7; 64]))
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan_out_encode");
    let body = body();
    for receivers in [1_u16, 100, 1_000] {
        group.throughput(Throughput::Elements(u64::from(receivers)));
        group.bench_with_input(BenchmarkId::from_parameter(receivers), &receivers, |b, receivers| {
            let mut out = BytesMut::with_capacity(256 * 1024);
            b.iter(|| {
                out.clear();
                for id in 1..=*receivers {
                    let header = PublishHeader {
                        qos: QoS::AtLeastOnce,
                        packet_id: PacketId::new(id),
                        ..PublishHeader::default()
                    };
                    black_box(body.encode(Version::V5, &header, &mut out));
                }
            });
        });
    }
    group.finish();
}

/// A shard, and the requests of its one host.
struct Served {
    shard: Shard,
    requests: u64,
}

impl Served {
    fn apply(&mut self, command: Command, effects: &mut Vec<Effect>) {
        self.requests += 1;
        let (source, number) = (Source::Host(Host::default()), self.requests);
        let request = Request { source, number, done_below: number, command };
        self.shard.apply(Millis(1), Input::from(request), effects);
    }
}

fn shard_with(sessions: u64) -> Served {
    let me = ShardNumber { number: ShardId(0), of: 1 };
    let mut shard = Served { shard: Shard::new(me, ShardLimits::default()), requests: 0 };
    let mut effects = Vec::new();
    for n in 1..=sessions {
        let client = ClientId::new(&format!("client-{n}"));
        shard.apply(
            Command::Connect(Connect {
                client: client.clone(),
                connection: ConnectionId { host: Host::default(), number: n },
                clean_start: false,
                expiry_s: EXPIRY_NEVER,
                receive_maximum: u16::MAX,
                will: None,
            }),
            &mut effects,
        );
        let subscribed =
            Subscribed { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
        let filter = Filter::parse("plant/+/line/#", 9).expect("a filter");
        let filters = vec![(0, SubscribeTo { filter, subscribed, retained: RetainedWanted::Never })];
        let subscribe = Subscribe { client, epoch: Epoch(1), packet_id: PacketId::MIN, filters };
        shard.apply(Command::Subscribe(subscribe), &mut effects);
        effects.clear();
    }
    shard
}

/// A publish to every session and the acknowledgements of all of them.
fn apply(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan_out_shard");
    for sessions in [1, 100, 1_000] {
        group.throughput(Throughput::Elements(sessions));
        group.bench_with_input(BenchmarkId::from_parameter(sessions), &sessions, |b, sessions| {
            let mut shard = shard_with(*sessions);
            let mut effects = Vec::new();
            let mut sent: u64 = 0;
            b.iter(|| {
                let message = Arc::new(Message {
                    body: body(),
                    qos: QoS::AtLeastOnce,
                    retain: false,
                    expires_at: None,
                });
                let item = PublishItem {
                    number: 1,
                    message,
                    sessions: true,
                    store_retained: false,
                    groups: Vec::new(),
                };
                let publisher = ClientId::new("publisher");
                let publish = Publish { reply_to: None, publisher, epoch: None, items: vec![item] };
                shard.apply(Command::Publish(publish), &mut effects);
                let id = u16::try_from(sent % 65_535 + 1).ok().and_then(PacketId::new);
                let ack = Ack::Puback(id.expect("1 to 65,535"));
                for n in 1..=*sessions {
                    let client = ClientId::new(&format!("client-{n}"));
                    let acks = Acks { client, epoch: Epoch(1), acks: vec![ack] };
                    shard.apply(Command::Acks(acks), &mut effects);
                }
                sent += 1;
                effects.clear();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode, apply);
criterion_main!(benches);
