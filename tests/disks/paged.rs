//! A page of a queue that is damaged while the node runs, when its messages are nowhere else: whoever needs it gets
//! nothing wrong, and the node ends and says why.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::wire::{Version, kind};
use e2e_tests::{BOUND, Broker, Publish, RawClient, pause};

use crate::filled::{CONFIG, persistent};

/// Messages of the queue, and bytes of each: more in all than the store has in its cache.
const MESSAGES: usize = 800;
const PAYLOAD: usize = 60_000;
/// What of the queue is damaged: some messages of its first half. Which of them the store still has in its cache is its
/// affair, and nothing is wrong with those that it has.
const DAMAGED: std::ops::Range<usize> = 5..400;
const DAMAGED_EACH: usize = 8;
/// How long anything may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the text of a message begins with.
const MARK: &[u8] = b"<message ";

/// Text that is nowhere but in one message.
fn mark(number: usize) -> String {
    format!("<message {number:04} of a queue>")
}

fn payload(number: usize) -> Vec<u8> {
    mark(number).bytes().cycle().take(PAYLOAD).collect()
}

/// Changes some messages wherever they lie in a file; says at how many places.
fn damage(path: &Path) -> usize {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let bytes = fs::read(path).unwrap();
    let starts = bytes.windows(MARK.len() + 4).enumerate().filter(|(_, at)| at.starts_with(MARK));
    let number = |at: &[u8]| std::str::from_utf8(&at[MARK.len()..]).ok()?.parse::<usize>().ok();
    let damaged = |number: usize| DAMAGED.contains(&number) && number % DAMAGED_EACH == DAMAGED.start;
    let found: Vec<usize> =
        starts.filter(|(_, at)| number(at).is_some_and(damaged)).map(|(at, _)| at).collect();
    found.iter().for_each(|at| file.write_all_at(b"{", *at as u64).unwrap());
    found.len()
}

fn wait_until_stored(broker: &Broker) {
    let deadline = Instant::now() + PATIENCE;
    while broker.metric("quelea_queued_stored_messages") < MESSAGES as f64 {
        assert!(Instant::now() < deadline, "the queue is still in memory");
        pause(Duration::from_millis(50));
    }
}

#[test]
fn f22_a_page_of_a_queue_that_is_damaged_while_the_node_runs_ends_it() {
    if std::env::var_os("BROKER_UNDER_TEST").is_some() {
        return;
    }
    let mut broker = Broker::with_config(&format!("{CONFIG}[http]\naddress = \"127.0.0.1:0\"\n"));
    let connect = persistent(Version::V5, "c");
    let mut client = RawClient::connect(&broker.mqtt(), &connect);
    client.subscribe("t", 1);
    client.disconnect();
    let mut publisher = RawClient::v5(&broker.mqtt(), "p");
    for number in 0..MESSAGES {
        publisher.publish_packet(Publish::v5("t", payload(number)), 1);
    }
    wait_until_stored(&broker);
    let damaged = damage(&broker.dir().unwrap().join("data/sessions/db"));
    assert!(damaged > 10_000, "the messages are in the store at {damaged} places");
    let mut client = RawClient::connect(&broker.mqtt(), &connect);
    let mut got = 0;
    while let Read::Packet(packet) = client.read(BOUND) {
        assert_eq!(packet.kind(), kind::PUBLISH);
        assert!(
            packet.publish(Version::V5).payload == payload(got),
            "message {got} is not what was published"
        );
        got += 1;
    }
    assert!(got < DAMAGED.end, "{got} messages came");
    let status = broker.wait_end(PATIENCE).expect("the node ends");
    assert_eq!(status.code(), Some(1), "{}", broker.log());
    let log = broker.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("the checkpoint of group") && last.contains("restore the backup"), "{log}");
}
