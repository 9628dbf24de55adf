//! Power cuts (F17, F18 of a single node): the node's data is on an ext4 in a file. Under load the node is stopped with
//! SIGSTOP and the file copied: the copy has what reached the disk and nothing of what the system still had in memory.
//! A node that is started from it has everything that was acknowledged before. Without root the log's own tests of cuts
//! (`crates/raft-consensus/tests/log/crash.rs`) are all there is.

use std::process::Command;
use std::time::Duration;

use e2e_tests::random::Random;
use e2e_tests::{Broker, Start, pause};

use crate::filled::CONFIG;
use crate::load::{Load, missing, subscribe};
use crate::mounted::Mounted;
use crate::shim::shim;

/// Rounds of the normal run; `QUELEA_POWER_CUTS` sets another number.
const ROUNDS: u64 = 5;
/// Rounds in which a missing sync must show.
const CHANCES: u64 = 6;

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// What a round found.
#[derive(Debug)]
struct Outcome {
    acknowledged: usize,
    /// How much of it is gone, or why the node says that something is.
    lost: Result<usize, String>,
}

/// One power cut at a moment of the seed. `None` where it cannot be tried.
fn round(seed: u64, env: Vec<(&'static str, String)>) -> Option<Outcome> {
    let mut random = Random::new(seed);
    let disk = Mounted::ext4(Broker::prepare(CONFIG))?;
    let start = Start { env, ..Start::default() };
    let mut broker = Broker::try_open(&disk.dir, &start).unwrap_or_else(|failed| panic!("{}", failed.log));
    subscribe(&broker.mqtt());
    let load = Load::begin(&broker.mqtt(), 50 + random.below(500) as usize);
    load.wait_for(300 + random.below(700) as usize);
    // Long enough that checkpoints are made, which is once a second.
    pause(Duration::from_millis(random.below(3_000)));
    signal(broker.pid(), "STOP");
    // What was sent before is read by now.
    pause(Duration::from_millis(500));
    let acknowledged = load.acknowledged();
    let after = disk.cut(Broker::prepare(CONFIG))?;
    broker.kill();
    load.end();
    let count = acknowledged.len();
    let lost = match Broker::try_open(&after.dir, &Start::default()) {
        Ok(broker) => Ok(missing(&broker.mqtt(), acknowledged).len()),
        Err(failed) => Err(failed.log),
    };
    Some(Outcome { acknowledged: count, lost })
}

pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(sent.expect("kill can be run").success());
}

#[test]
fn f17_a_power_cut_loses_nothing_that_was_acknowledged() {
    let mut seed = number("QUELEA_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let rounds = number("QUELEA_POWER_CUTS").unwrap_or(ROUNDS);
    for round_number in 1..=rounds {
        println!("power cut {round_number} of {rounds}: QUELEA_SEED={seed}");
        let Some(outcome) = round(seed, Vec::new()) else { return };
        println!("  {} acknowledged", outcome.acknowledged);
        assert!(outcome.acknowledged >= 300);
        assert_eq!(outcome.lost, Ok(0), "QUELEA_SEED={seed}");
        seed = Random::new(seed).number();
    }
}

/// The same without the syncs of some files: if the rig did not notice, it would prove nothing.
fn must_be_noticed(rule: &str) {
    let mut seed = number("QUELEA_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    for chance in 1..=CHANCES {
        let Some(env) = shim(rule, None) else { return };
        let Some(outcome) = round(seed, env) else { return };
        println!("{rule}, chance {chance}, QUELEA_SEED={seed}: {outcome:?}");
        if !matches!(outcome.lost, Ok(0)) {
            return;
        }
        seed = Random::new(seed).number();
    }
    panic!("{rule}: nothing was lost in {CHANCES} power cuts");
}

#[test]
fn f17_a_log_that_is_not_synced_is_noticed() {
    must_be_noticed("skip:/wal/:1");
}

#[test]
fn f17_checkpoints_that_are_not_synced_are_noticed() {
    must_be_noticed("skip:/sessions/:1");
}
