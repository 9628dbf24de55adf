//! Queues of absent clients that have left memory: what comes back is what was queued, in order, whatever happened in
//! between. Whether they have left is read from the metrics, so that no test depends on what an allocator gives back.

use std::time::{Duration, Instant};

use e2e_tests::wire::{Props, Version, kind, prop};
use e2e_tests::{Broker, Connect, Publish, RawClient, packets, pause, unique};

/// Messages of a queue: some pages of 64 KiB.
const MESSAGES: u32 = 6_000;
/// Publishes that are under way at a time.
const BATCH: u32 = 500;
/// Bytes of a message.
const SIZE: usize = 300;
/// How long anything may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// A broker with metrics; `None` with `BROKER_UNDER_TEST`, which has none of ours.
fn start(settings: &str) -> Option<Broker> {
    let own = std::env::var_os("BROKER_UNDER_TEST").is_none();
    own.then(|| Broker::with_config(&format!("{settings}\n[http]\naddress = \"127.0.0.1:0\"\n")))
}

fn kill_and_restart(broker: &mut Broker) {
    broker.kill();
    broker.restart(&[]);
}

fn persistent(version: Version, id: &str, expiry_s: u32) -> Connect {
    let props = Props::new().four(prop::SESSION_EXPIRY, expiry_s).two(prop::RECEIVE_MAXIMUM, 300);
    Connect::new(version, id).clean(false).props(props)
}

/// Makes a session with a subscription to `q` and leaves it.
fn leave(broker: &Broker, connect: &Connect) {
    let mut client = RawClient::connect(&broker.mqtt(), connect);
    client.subscribe("q", 2);
    client.disconnect();
}

#[track_caller]
fn resume(broker: &Broker, connect: &Connect) -> RawClient {
    let (client, connack) = RawClient::connect_ack(&broker.mqtt(), connect);
    assert!(connack.session_present, "{connack:?}");
    client
}

fn payload(number: u32) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(SIZE, number as u8);
    payload
}

fn number(payload: &[u8]) -> u32 {
    let number = u32::from_be_bytes(payload[..4].try_into().unwrap());
    assert_eq!(payload, self::payload(number), "a message is not what was published");
    number
}

/// QoS 1 and 2 in turn.
fn qos(number: u32) -> u8 {
    1 + (number % 2) as u8
}

/// Publishes messages of these numbers in their order, each to the end of its exchange.
fn fill(broker: &Broker, numbers: std::ops::Range<u32>, props: &Props) {
    let mut publisher = RawClient::v5(&broker.mqtt(), &unique("p"));
    let all: Vec<u32> = numbers.collect();
    for batch in all.chunks(BATCH as usize) {
        let mut bytes = Vec::new();
        for (id, number) in (1..).zip(batch) {
            let publish = Publish::v5("q", payload(*number)).props(props.clone());
            bytes.extend(publish.qos(qos(*number), id).bytes());
        }
        publisher.send(&bytes);
        let mut released = Vec::new();
        for (id, number) in (1..).zip(batch) {
            let kind = if qos(*number) == 1 { kind::PUBACK } else { kind::PUBREC };
            assert_eq!(publisher.expect_ack(kind).packet_id, id);
            if qos(*number) == 2 {
                released.push(id);
            }
        }
        publisher.send(&released.iter().flat_map(|id| packets::ack(kind::PUBREL, *id)).collect::<Vec<_>>());
        released.iter().for_each(|id| assert_eq!(publisher.expect_ack(kind::PUBCOMP).packet_id, *id));
    }
    publisher.disconnect();
}

fn metric(broker: &Broker, name: &str) -> u64 {
    broker.metric(name) as u64
}

/// Waits until so many messages are queued, and none of them is in memory.
fn wait_until_stored(broker: &Broker, messages: u32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let queued = metric(broker, "quelea_queued_messages");
        let stored = metric(broker, "quelea_queued_stored_messages");
        if (queued, stored) == (messages.into(), messages.into()) {
            return;
        }
        assert!(Instant::now() < deadline, "{stored} of {queued} messages have left memory, of {messages}");
        pause(Duration::from_millis(100));
    }
}

/// Takes messages of these numbers, in this order, and nothing else.
#[track_caller]
fn drain(client: &mut RawClient, numbers: impl Iterator<Item = u32>) {
    for expected in numbers {
        let publish = client.receive();
        assert_eq!((number(&publish.payload), publish.qos), (expected, qos(expected)));
    }
}

#[test]
fn a_queue_that_has_left_memory_is_drained_in_order_and_once() {
    for (version, restarted) in [(Version::V5, false), (Version::V3_1_1, true)] {
        let Some(mut broker) = start("") else { return };
        let connect = persistent(version, "c", 3_600);
        leave(&broker, &connect);
        fill(&broker, 0..MESSAGES, &Props::new());
        wait_until_stored(&broker, MESSAGES);
        if restarted {
            kill_and_restart(&mut broker);
            // Nor did the restart bring it to memory.
            wait_until_stored(&broker, MESSAGES);
        }
        let mut client = resume(&broker, &connect);
        drain(&mut client, 0..MESSAGES / 2);
        // What comes meanwhile comes behind it.
        fill(&broker, MESSAGES..MESSAGES + 10, &Props::new());
        drain(&mut client, MESSAGES / 2..MESSAGES + 10);
        client.expect_nothing();
        client.disconnect();
        wait_until_stored(&broker, 0);
        resume(&broker, &connect).expect_nothing();
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_gets_the_rest_when_it_comes_back() {
    let Some(broker) = start("") else { return };
    let connect = persistent(Version::V5, "c", 3_600);
    leave(&broker, &connect);
    fill(&broker, 0..MESSAGES, &Props::new());
    wait_until_stored(&broker, MESSAGES);
    let mut first = 0;
    for part in [1, 700, 1_300] {
        let mut client = resume(&broker, &connect);
        drain(&mut client, first..first + part);
        first += part;
        client.disconnect();
    }
    // By a take-over too, in the middle of what is on its way.
    let mut old = resume(&broker, &connect);
    let again = old.expect_publish();
    assert_eq!(number(&again.payload), first);
    let mut client = resume(&broker, &connect);
    let repeated = client.receive();
    assert_eq!((repeated.packet_id, repeated.dup), (again.packet_id, true));
    drain(&mut client, first + 1..MESSAGES);
    client.expect_nothing();
    client.disconnect();
    wait_until_stored(&broker, 0);
}

/// What was acknowledged and not yet recorded may come again at QoS 1, as a repeat; at QoS 2 nothing does that was
/// released.
#[test]
fn kill_9_in_the_middle_of_a_drain_loses_and_repeats_nothing() {
    let Some(mut broker) = start("") else { return };
    let connect = persistent(Version::V5, "c", 3_600);
    leave(&broker, &connect);
    fill(&broker, 0..MESSAGES, &Props::new());
    wait_until_stored(&broker, MESSAGES);
    let mut next = 0;
    for part in [900, 1_600, 2_100] {
        let mut client = resume(&broker, &connect);
        let end = next + part;
        next = drain_after_kill(&mut client, next, end);
        broker.kill();
        drop(client);
        broker.restart(&[]);
    }
    let mut client = resume(&broker, &connect);
    drain_after_kill(&mut client, next, MESSAGES);
    client.expect_nothing();
    client.disconnect();
    wait_until_stored(&broker, 0);
}

/// Takes messages up to `end` where all below `next` were acknowledged; says which comes next.
#[track_caller]
fn drain_after_kill(client: &mut RawClient, mut next: u32, end: u32) -> u32 {
    while next < end {
        let packet = client.expect_one_of(&[kind::PUBLISH, kind::PUBREL]);
        if packet.kind() == kind::PUBREL {
            // Of an exchange whose PUBCOMP was not recorded.
            client.send(&packets::ack(kind::PUBCOMP, packet.ack(Version::V5).packet_id));
            continue;
        }
        let publish = packet.publish(Version::V5);
        client.answer(&publish);
        let number = number(&publish.payload);
        if number < next {
            assert!(publish.qos == 1 && publish.dup, "message {number} came again, and {next} is next");
            continue;
        }
        assert_eq!((number, publish.qos), (next, qos(next)), "a message is lost");
        next += 1;
    }
    next
}

#[test]
fn a_message_that_expires_in_the_store_is_not_sent() {
    let Some(broker) = start("") else { return };
    let connect = persistent(Version::V5, "c", 3_600);
    leave(&broker, &connect);
    let expiry = |seconds| Props::new().four(prop::MESSAGE_EXPIRY, seconds);
    fill(&broker, 0..1_000, &expiry(2));
    fill(&broker, 1_000..1_500, &expiry(3_600));
    fill(&broker, 1_500..2_500, &expiry(1));
    fill(&broker, 2_500..3_000, &Props::new());
    wait_until_stored(&broker, 3_000);
    pause(Duration::from_millis(2_500));
    let mut client = resume(&broker, &connect);
    for expected in (1_000..1_500).chain(2_500..3_000) {
        let publish = client.receive();
        assert_eq!(number(&publish.payload), expected);
        let left = publish.props.number(prop::MESSAGE_EXPIRY);
        assert!(left.map_or(expected >= 2_500, |left| left < 3_600), "{expected}: {left:?}");
    }
    client.expect_nothing();
    client.disconnect();
    assert_eq!(
        metric(&broker, r#"quelea_messages_dropped_total{session="persistent",reason="expired"}"#),
        2_000
    );
    wait_until_stored(&broker, 0);
}

#[test]
fn a_session_that_expires_takes_its_stored_queue_with_it() {
    let Some(broker) = start("") else { return };
    let (short, long) = (persistent(Version::V5, "short", 4), persistent(Version::V5, "long", 3_600));
    leave(&broker, &long);
    leave(&broker, &short);
    fill(&broker, 0..1_000, &Props::new());
    wait_until_stored(&broker, 1_000);
    let (_, connack) = RawClient::connect_ack(&broker.mqtt(), &short);
    assert!(!connack.session_present, "its time is over");
    let mut client = resume(&broker, &long);
    drain(&mut client, 0..1_000);
    client.expect_nothing();
}

#[test]
fn the_oldest_messages_are_dropped_from_the_store() {
    let settings = "[session]\nqueue_messages_max = 1000\nqueue_policy = \"drop-oldest\"\n";
    let Some(mut broker) = start(settings) else { return };
    let connect = persistent(Version::V5, "c", 3_600);
    leave(&broker, &connect);
    for first in [0, 1_500, 3_000] {
        fill(&broker, first..first + 1_500, &Props::new());
        wait_until_stored(&broker, 1_000);
    }
    kill_and_restart(&mut broker);
    fill(&broker, 4_500..4_600, &Props::new());
    wait_until_stored(&broker, 1_000);
    let mut client = resume(&broker, &connect);
    drain(&mut client, 3_600..4_600);
    client.expect_nothing();
}
