//! A shared group whose messages come from the outboxes of persistent publishers, over kill -9 (G12): whoever was picked
//! for a message before the death is the one who has it after.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::thread::scope;
use std::time::{Duration, Instant};

use e2e_tests::random::Random;
use e2e_tests::wire::Version;
use e2e_tests::{Broker, RawClient, packets};

use crate::history::Message;
use crate::publisher::Publisher;
use crate::rounds::kill_after;
use crate::subscriber::{Bounds, Kind, Subscriber};

/// Enough for several shards.
const MEMBERS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
/// How often the broker dies with something unanswered.
const DEATHS: u32 = 5;
/// Acknowledgements before each death, at least.
const ACKNOWLEDGED_MIN: u64 = 1_000;
/// Deaths at most for each that counts.
const ATTEMPTS: u32 = 5;
/// Time in which what is not to come would come.
const BOUNDS: Bounds = Bounds { quiet: Duration::from_millis(300), patience: Duration::from_secs(1) };
/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

fn absent_member(name: &'static str, addr: &str) -> Subscriber {
    let filter = "$share/g/load/#";
    let member = Subscriber::new(Kind {
        name,
        version: Version::V5,
        filter,
        qos: 2,
        persistent: true,
        absent: true,
        holds: false,
    });
    let mut client = member.subscribe(addr);
    client.send(&packets::disconnect());
    client.expect_closed();
    member
}

/// Lets the publishers work until the broker is killed, and resumes them on what it left. Says whether that counts: there were
/// enough acknowledgements, and a publish was unanswered.
fn die(broker: &mut Broker, publishers: &mut [(Publisher, RawClient)], moment: Duration) -> bool {
    let answered = AtomicU64::new(0);
    scope(|threads| {
        for (publisher, client) in &mut *publishers {
            let answered = &answered;
            threads.spawn(move || publisher.run(client, u32::MAX, answered));
        }
        kill_after(ACKNOWLEDGED_MIN, moment)(broker, &answered);
    });
    let unanswered: usize = publishers.iter().map(|(publisher, _)| publisher.unanswered().0).sum();
    broker.restart(&[]);
    for (publisher, client) in publishers {
        *client = publisher.connect(&broker.mqtt(), true);
        publisher.resume(client);
    }
    answered.into_inner() >= ACKNOWLEDGED_MIN && unanswered > 0
}

/// How often each message was delivered to the members together.
fn delivered(members: &[Subscriber]) -> BTreeMap<Message, usize> {
    let mut delivered = BTreeMap::new();
    for received in members.iter().flat_map(|member| &member.reader.received) {
        let message = Message::parse(&received.payload).unwrap();
        *delivered.entry(message).or_default() += usize::from(!received.repeat);
    }
    delivered
}

#[test]
fn g12_a_group_gets_each_qos_2_message_once_however_often_the_broker_dies() {
    if std::env::var_os("BROKER_UNDER_TEST").is_some() {
        return;
    }
    let mut broker = Broker::start();
    let addr = broker.mqtt();
    let mut members = MEMBERS.map(|name| absent_member(name, &addr));
    let mut publishers: Vec<(Publisher, RawClient)> = (1..=4)
        .map(|number| {
            let publisher = Publisher::new(number, Version::V5, 2);
            let client = publisher.connect(&addr, false);
            (publisher, client)
        })
        .collect();
    let mut random = Random::new(u64::from(std::process::id()));
    let (mut counted, mut attempts) = (0, 0);
    while counted < DEATHS {
        attempts += 1;
        assert!(attempts <= DEATHS * ATTEMPTS, "only {counted} deaths of {attempts} counted");
        let moment = Duration::from_micros(random.below(20_000));
        counted += u32::from(die(&mut broker, &mut publishers, moment));
    }
    for (publisher, client) in &mut publishers {
        assert!(publisher.run(client, 0, &AtomicU64::new(0)), "the broker ended again");
    }
    let sent = publishers.iter().flat_map(|(publisher, _)| &publisher.sent);
    let sent: HashSet<Message> = sent.map(|sent| sent.message).collect();
    let mut clients = members.each_ref().map(|member| member.resume(&broker.mqtt()));
    let deadline = Instant::now() + PATIENCE;
    // Once more after everything came: what comes twice may come late.
    let mut complete = 0;
    while complete < 2 && Instant::now() < deadline {
        for (member, client) in members.iter_mut().zip(&mut clients) {
            member.drain(client, || Some(HashSet::new()), BOUNDS);
        }
        complete += u32::from(delivered(&members).len() == sent.len());
    }
    let delivered = delivered(&members);
    let twice: Vec<_> = delivered.iter().filter(|(_, times)| **times != 1).collect();
    assert!(
        twice.is_empty(),
        "{} of {} not once: {:?}",
        twice.len(),
        sent.len(),
        &twice[..twice.len().min(9)]
    );
    assert_eq!(delivered.into_keys().collect::<HashSet<_>>(), sent);
    assert!(members.iter().all(|member| !member.reader.received.is_empty()), "each takes its turn");
}
