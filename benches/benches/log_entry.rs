//! Benchmarks.
//! Entries of a shard's log: what it costs to write a publish down once, and to read it once in each replica.

#![allow(clippy::unwrap_used, missing_docs)] // a benchmark may stop; criterion's macro makes undocumented items

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mqtt_codec::{QoS, SharedPublish, Text};
use session_store::command::{Command, Input, Publish, PublishItem};
use session_store::record::{decode_entry, encode_entry};
use session_store::{ClientId, ConnectionId, Host, Message, Millis, Request, Source};

/// Publishes of 256 B, eight of a connection in a command, as a busy publisher makes them.
fn publishes(count: u64) -> Vec<Input> {
    let item = |number| {
        let topic = Text::from_static("plant/7/line/3/temperature");
        let body = SharedPublish::new(&topic, &Bytes::new(), &Bytes::from(vec![7; 256]));
        let message = Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: false, expires_at: None });
        PublishItem { number, message, sessions: true, store_retained: false, groups: Vec::new() }
    };
    let input = |first: u64| {
        let items = (first..count.min(first + 8)).map(item).collect();
        let reply_to = Some(ConnectionId { host: Host::default(), number: first });
        let publish = Publish { reply_to, publisher: ClientId::new("sensor-17"), epoch: None, items };
        let (source, number) = (Source::Host(Host::default()), first / 8 + 1);
        let command = Command::Publish(publish);
        Input::from(Request { source, number, done_below: number, command })
    };
    (0..count).step_by(8).map(input).collect()
}

fn entries(c: &mut Criterion) {
    let mut group = c.benchmark_group("log_entry");
    for count in [1_u64, 512] {
        let inputs = publishes(count);
        let bytes = encode_entry(Millis(1), &inputs);
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("encode", count), |b| {
            b.iter(|| encode_entry(Millis(1), black_box(&inputs)));
        });
        group.bench_function(BenchmarkId::new("decode", count), |b| {
            b.iter(|| decode_entry(black_box(bytes.clone())).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, entries);
criterion_main!(benches);
