//! What the codec costs a message: PUBLISH of 64 bytes, decoded from a stream and written to a receiver.
//! Run by `cargo bench -p quelea-benches --bench codec`; figures are for one packet of a batch.

#![allow(clippy::unwrap_used, missing_docs)] // a benchmark may stop; criterion's macro makes undocumented items

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mqtt_codec::{
    Limits, Packet, PacketId, Publish, PublishHeader, QoS, SharedPublish, Text, Version, decode, frame,
};

/// As many packets as one read of a busy socket brings.
const BATCH: u64 = 128;

/// The four cases: version and QoS.
const CASES: [(&str, Version, QoS); 4] = [
    ("v3.1.1 QoS 0", Version::V3_1_1, QoS::AtMostOnce),
    ("v3.1.1 QoS 1", Version::V3_1_1, QoS::AtLeastOnce),
    ("v5 QoS 0", Version::V5, QoS::AtMostOnce),
    ("v5 QoS 1", Version::V5, QoS::AtLeastOnce),
];

fn publish(qos: QoS) -> Publish {
    Publish {
        qos,
        topic: Text::from_static("site/7/machine/12/temperature"),
        packet_id: (qos > QoS::AtMostOnce).then_some(PacketId::MIN),
        payload: Bytes::from_static(&[b'x'; 64]),
        ..Publish::default()
    }
}

fn decoding(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("decode publish 64 B");
    group.throughput(Throughput::Elements(BATCH));
    for (name, version, qos) in CASES {
        let mut stream = BytesMut::new();
        for _ in 0..BATCH {
            Packet::Publish(publish(qos)).encode(version, &mut stream).unwrap();
        }
        group.bench_function(name, |b| {
            let fresh = || {
                // As after a read: a buffer that packets are cut off of.
                let mut input = BytesMut::with_capacity(stream.len() + 1);
                input.extend_from_slice(&stream);
                input
            };
            let run = |mut input: BytesMut| {
                while let Some((first_byte, body)) = frame::take(&mut input, &limits).unwrap() {
                    black_box(decode(version, first_byte, body, &limits).unwrap());
                }
                input
            };
            b.iter_batched(fresh, run, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode publish 64 B");
    group.throughput(Throughput::Elements(BATCH));
    for (name, version, qos) in CASES {
        let publish = publish(qos);
        let shared = SharedPublish::new(&publish.topic, &publish.application, &publish.payload);
        let packet = Packet::Publish(publish);
        let mut out = BytesMut::with_capacity(64 * 1024);
        group.bench_function(format!("{name}, shared"), |b| {
            b.iter(|| {
                out.clear();
                for id in 1..=BATCH {
                    let packet_id = PacketId::new(u16::try_from(id).unwrap());
                    let header = PublishHeader {
                        qos,
                        packet_id: packet_id.filter(|_| qos > QoS::AtMostOnce),
                        ..PublishHeader::default()
                    };
                    black_box(shared.encode(version, black_box(&header), &mut out));
                }
                out.len()
            });
        });
        group.bench_function(format!("{name}, packet"), |b| {
            b.iter(|| {
                out.clear();
                for _ in 0..BATCH {
                    black_box(&packet).encode(version, &mut out).unwrap();
                }
                out.len()
            });
        });
    }
    group.finish();
}

fn sharing(c: &mut Criterion) {
    let publish = publish(QoS::AtMostOnce);
    c.bench_function("share publish 64 B", |b| {
        b.iter(|| SharedPublish::new(&publish.topic, &publish.application, black_box(&publish.payload)));
    });
}

criterion_group!(benches, decoding, encoding, sharing);
criterion_main!(benches);
