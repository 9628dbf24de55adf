//! Syncs that fail or take long (F19, F20).

use std::path::Path;
use std::time::{Duration, Instant};

use e2e_tests::random::Random;
use e2e_tests::{BOUND, Broker, RawClient, Start, pause, process};

use crate::filled::CONFIG;
use crate::load::{Load, missing, subscribe};
use crate::shim::shim;

/// Rounds of each test.
const ROUNDS: u64 = 3;

fn wait_for(mark: &Path) {
    let deadline = Instant::now() + 6 * BOUND;
    while !mark.exists() {
        assert!(Instant::now() < deadline, "the sync never came");
        pause(Duration::from_millis(2));
    }
}

/// A node under load whose `n`th sync of a file of `place` is not like the others; gives it a moment after that
/// has begun, with a client that does nothing.
fn at_the_sync(rule: &str) -> Option<(Broker, Load, RawClient)> {
    let mark = process::fresh_dir().join("mark");
    let env = shim(rule, Some(&mark))?;
    let started = Broker::try_start(Start { toml: CONFIG.to_owned(), env, ..Start::default() });
    let broker = started.unwrap_or_else(|failed| panic!("{}", failed.log));
    subscribe(&broker.mqtt());
    let idle = RawClient::v5(&broker.mqtt(), "idle");
    let load = Load::begin(&broker.mqtt(), 100);
    wait_for(&mark);
    // What was sent before the sync began is read by now.
    pause(Duration::from_secs(1));
    Some((broker, load, idle))
}

/// The line that says why a node has ended. It may be read a moment after the end is known.
fn last_word(broker: &Broker) -> String {
    let deadline = Instant::now() + BOUND;
    loop {
        if let Some(line) = broker.log().lines().find(|line| line.starts_with("quelea: ")) {
            return line.to_owned();
        }
        assert!(Instant::now() < deadline, "no line says why: {}", broker.log());
        pause(Duration::from_millis(10));
    }
}

#[test]
fn f19_a_failed_sync_of_the_log_stops_the_node_and_acknowledges_nothing() {
    let mut random = Random::new(u64::from(std::process::id()));
    for _ in 0..ROUNDS {
        let rule = format!("error:/wal/:{}", 100 + random.below(100));
        let Some((mut broker, load, _)) = at_the_sync(&rule) else { return };
        let before = load.count();
        let status =
            broker.wait_end(6 * BOUND).unwrap_or_else(|| panic!("{rule}: it goes on\n{}", broker.log()));
        assert_eq!(status.code(), Some(1), "{rule}: {}", broker.log());
        let error = last_word(&broker);
        assert!(error.contains("wal/") && error.contains("os error 5"), "{error}");
        let acknowledged = load.end();
        println!("{rule}: {} acknowledged, {error}", acknowledged.len());
        assert_eq!(acknowledged.len(), before, "{rule}: acknowledged after the sync that failed");
        broker.restart(&[]);
        assert_eq!(missing(&broker.mqtt(), acknowledged), [].into(), "{rule}");
    }
}

#[test]
fn f19_a_failed_sync_of_the_checkpoints_or_the_floor_stops_the_node() {
    for rule in ["error:/sessions/:12", "error:/floor:6"] {
        let Some((mut broker, load, _)) = at_the_sync(rule) else { return };
        let status =
            broker.wait_end(6 * BOUND).unwrap_or_else(|| panic!("{rule}: it goes on\n{}", broker.log()));
        assert_eq!(status.code(), Some(1), "{rule}: {}", broker.log());
        let acknowledged = load.end();
        println!("{rule}: {} acknowledged", acknowledged.len());
        broker.restart(&[]);
        assert_eq!(missing(&broker.mqtt(), acknowledged), [].into(), "{rule}");
    }
}

/// While it lasts nothing is acknowledged, and a client that only pings does not notice.
#[test]
fn f20_a_sync_of_three_seconds_delays_acknowledgements_and_loses_nothing() {
    let mut random = Random::new(u64::from(std::process::id()));
    let rule = format!("slow:/wal/:{}", 100 + random.below(100));
    let Some((broker, load, mut idle)) = at_the_sync(&rule) else { return };
    let before = load.count();
    idle.ping();
    pause(Duration::from_millis(1_000));
    assert_eq!(load.count(), before, "{rule}: acknowledged before it was synced");
    load.wait_for(before + 500);
    let acknowledged = load.end();
    assert_eq!(missing(&broker.mqtt(), acknowledged), [].into(), "{rule}");
}
