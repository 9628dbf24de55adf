//! What a match costs among 1,000 to 1,000,000 filters, and a scan of retained topics.
//! Run by `cargo bench -p quelea-benches --bench topic_index`; it never checks a result, tests do.
//!
//! `match/working-set` repeats 1,000 topics, as a fleet that publishes does; `match/random` draws from the
//! topics of all filters, so that a match at 1,000,000 filters finds next to nothing in the processor's caches.
//! `floor` is a look-up of the whole topic, for comparison.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use topic_index::{Filter, FilterIndex, PageBounds, PlainFilter, Slot, TopicIndex};

/// The broker's own: it asks for huge pages, without which a match at 1,000,000 filters pays for page tables.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Topics that one measured round matches.
const TOPICS: u32 = 1_000;

/// As large as a slot of one subscriber or a list of them.
#[derive(Default)]
struct Subscribers([u64; 3]);

impl Slot for Subscribers {
    fn is_empty(&self) -> bool {
        self.0 == [0; 3]
    }
}

/// A stream of numbers that looks random and is the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        u32::try_from((u64::from(bound) * (mixed >> 32)) >> 32).unwrap_or_default()
    }
}

/// Four sensors a device, 25 devices a room, ten rooms a floor, ten floors a building.
fn topic(number: u32) -> String {
    let (device, room) = (number / 4, number / 100);
    let kind = ["temperature", "humidity", "state", "battery"].get(number as usize % 4).unwrap_or(&"");
    format!("building/{}/floor/{}/room/{}/device/{device:06}/{kind}", room / 100, room / 10 % 10, room % 10)
}

/// Of twenty filters, eighteen are a topic, one is a device with `#`, one a sensor with `+` for the room.
fn filter(number: u32) -> PlainFilter {
    let topic = topic(number);
    let text = match number % 20 {
        7 => topic.rsplit_once('/').map_or_else(String::new, |(device, _)| format!("{device}/#")),
        13 => {
            let levels: Vec<_> =
                topic.split('/').enumerate().map(|(at, level)| if at == 5 { "+" } else { level }).collect();
            levels.join("/")
        }
        _ => topic,
    };
    plain(&text)
}

fn plain(text: &str) -> PlainFilter {
    Filter::parse(text, 128).expect("a good filter").plain().clone()
}

fn filters(count: u32) -> FilterIndex<Subscribers> {
    let mut index = FilterIndex::new();
    for number in 0..count {
        index.update(&filter(number), |slot: &mut Subscribers| slot.0 = [u64::from(number) + 1; 3]);
    }
    index
}

/// Topics one behind the other, as a reader has them in its buffer: to read them costs no cache miss.
struct Topics {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Topics {
    fn draw(count: u32, from: u32, random: &mut Random) -> Self {
        let mut topics = Self { text: Vec::new(), ends: vec![0] };
        for _ in 0..count {
            topics.text.extend_from_slice(topic(random.below(from)).as_bytes());
            topics.ends.push(topics.text.len());
        }
        topics
    }

    fn round(&self, round: usize) -> impl Iterator<Item = &[u8]> {
        let rounds = (self.ends.len() - 1) / TOPICS as usize;
        let start = round % rounds * TOPICS as usize;
        let ends = self.ends.get(start..=start + TOPICS as usize).unwrap_or_default();
        ends.windows(2).filter_map(|pair| self.text.get(*pair.first()?..*pair.last()?))
    }
}

fn matching(criterion: &mut Criterion) {
    for size in SIZES {
        let index = filters(size);
        let mut random = Random(1);
        let sets = [("working-set", TOPICS), ("random", (4 * size).max(TOPICS))];
        for (name, count) in sets {
            let topics = Topics::draw(count, size, &mut random);
            let mut group = criterion.benchmark_group(format!("match/{name}"));
            group.throughput(Throughput::Elements(u64::from(TOPICS)));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                let mut round = 0;
                bencher.iter(|| {
                    round += 1;
                    let mut sum = 0;
                    for topic in topics.round(round) {
                        index.for_each_match(topic, |slot| sum += slot.0.first().unwrap_or(&0));
                    }
                    black_box(sum)
                });
            });
            group.finish();
        }
    }
}

/// What no index can go below: one look-up of the whole topic in a table of as many topics, without wildcards.
fn floor(criterion: &mut Criterion) {
    for size in SIZES {
        let texts = (0..size).map(|number| (topic(number).into_bytes().into_boxed_slice(), number));
        let table: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState> = texts.collect();
        let mut random = Random(1);
        for (name, count) in [("working-set", TOPICS), ("random", (4 * size).max(TOPICS))] {
            let topics = Topics::draw(count, size, &mut random);
            let mut group = criterion.benchmark_group(format!("floor/{name}"));
            group.throughput(Throughput::Elements(u64::from(TOPICS)));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                let mut round = 0;
                bencher.iter(|| {
                    round += 1;
                    black_box(
                        topics
                            .round(round)
                            .filter_map(|topic| table.get(topic))
                            .fold(0, |sum: u32, value| sum.wrapping_add(*value)),
                    )
                });
            });
            group.finish();
        }
    }
}

fn changing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("subscribe-and-unsubscribe");
    for size in SIZES {
        let mut index = filters(size);
        let mut random = Random(2);
        let others: Vec<_> = (0..1_000).map(|_| plain(&format!("{}/x", topic(random.below(size))))).collect();
        let mut others = others.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                let Some(filter) = others.next() else { return };
                index.update(filter, |slot| slot.0 = [1; 3]);
                index.update(filter, |slot| slot.0 = [0; 3]);
            });
        });
    }
    group.finish();
}

fn scanning(criterion: &mut Criterion) {
    const RETAINED: u32 = 100_000;
    let mut index = TopicIndex::new();
    for number in 0..RETAINED {
        index.insert(topic(number).as_bytes(), number);
    }
    let mut group = criterion.benchmark_group("scan-in-pages-of-64");
    for (name, filter, found) in [
        ("all", "#", RETAINED),
        ("one-of-four", "building/+/floor/+/room/+/device/+/state", RETAINED / 4),
        ("one-room-of-a-thousand", "building/7/floor/3/room/5/#", 100),
        ("one-device", "+/+/+/+/+/+/+/024000/+", 4),
    ] {
        let filter = plain(filter);
        group.throughput(Throughput::Elements(u64::from(found)));
        group.bench_function(name, |bencher| bencher.iter(|| scan(&index, &filter)));
    }
    group.finish();
    retaining(criterion, &mut index);
}

fn scan(index: &TopicIndex<u32>, filter: &PlainFilter) -> u32 {
    let bounds = PageBounds { topics: 64, steps: 4_096 };
    let (mut sum, mut from) = (0_u32, None);
    loop {
        let end = index.scan(filter, from.as_ref(), bounds, |_, value| sum = sum.wrapping_add(*value));
        from = end.next;
        if from.is_none() {
            return sum;
        }
    }
}

fn retaining(criterion: &mut Criterion, index: &mut TopicIndex<u32>) {
    let mut random = Random(3);
    let topics: Vec<_> = (0..1_000).map(|_| topic(random.below(100_000))).collect();
    let mut topics = topics.iter().cycle();
    criterion.bench_function("retain-a-known-topic", |bencher| {
        bencher.iter(|| topics.next().and_then(|topic| index.insert(topic.as_bytes(), 1)));
    });
}

/// Short rounds: the figures of interest are ratios, and the whole set runs in a minute.
fn config() -> Criterion {
    let (warm_up, measurement) = (Duration::from_millis(500), Duration::from_secs(2));
    Criterion::default().warm_up_time(warm_up).measurement_time(measurement).sample_size(20)
}

criterion_group! {
    name = benches;
    config = config();
    targets = matching, floor, changing, scanning
}
criterion_main!(benches);
