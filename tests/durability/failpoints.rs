//! Faults at a point of the code (F3), and faults built in: the process ends itself there under load, and what it left is
//! held against the guarantees; with a built-in fault the same check must fail. These run a binary with the feature
//! `failpoints`, named by `QUELEA_FAILPOINTS_BIN` or beside the other one; the other one has none of it.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use e2e_tests::process::failpoints;
use e2e_tests::random::Random;
use e2e_tests::{Broker, Start, process};

use crate::checker::Fault;
use crate::load::Load;
use crate::rounds::kill_after;

/// The variable by which the binary is told what to do.
const SWITCH: &str = "QUELEA_FAILPOINT";
/// The signal by which a process ends itself.
const SIGABRT: i32 = 6;
/// How long the load may take to get to a point.
const PATIENCE: Duration = Duration::from_secs(120);
/// Rounds in which a fault that depends on the moment must show.
const CHANCES: u64 = 20;

fn load(binary: PathBuf, switch: &str) -> Load {
    let env = vec![(SWITCH, switch.to_owned())];
    Load::new(Start { binary: Some(binary), env, ..Start::default() })
}

/// The load runs until the process has ended itself at the passage of a point; nothing that was acknowledged may be
/// lost, and nothing doubled.
fn ends_at(point: &str, passages: std::ops::Range<u64>) {
    let Some(binary) = failpoints() else { return };
    let mut random = Random::new(u64::from(std::process::id()));
    for _ in 0..3 {
        let passage = passages.start + random.below(passages.end - passages.start);
        let switch = format!("{point}:{passage}");
        println!("{switch}");
        let mut ended = None;
        let death = |broker: &mut Broker, _: &AtomicU64| {
            ended = broker.wait_end(PATIENCE);
            if ended.is_none() {
                broker.kill();
            }
        };
        let outcome = load(binary.clone(), &switch).run(death, (0, &mut random));
        assert_eq!(ended.and_then(|status| status.signal()), Some(SIGABRT), "{switch}: {ended:?}");
        outcome.assert_good();
        assert!(outcome.acknowledged > 0 && outcome.unanswered > 0, "{switch} was not under load");
    }
}

// Many records are written, and many entries committed, at once: these are passed less often than acknowledgements.
#[test]
fn f3_the_process_ends_after_an_append_that_is_not_synced() {
    ends_at("after-append", 100..300);
}

#[test]
fn f3_the_process_ends_after_a_sync() {
    ends_at("after-sync", 100..300);
}

#[test]
fn f3_the_process_ends_after_a_commit_that_is_not_applied() {
    ends_at("after-commit", 150..400);
}

#[test]
fn f3_the_process_ends_before_an_acknowledgement_leaves() {
    ends_at("before-ack", 200..1_200);
}

#[test]
fn f3_the_process_ends_after_an_acknowledgement_has_left() {
    ends_at("after-ack", 60..300);
}

/// Rounds of kill -9 with a fault built in, until one of its consequences is found.
fn must_be_found(mutant: &str, is_consequence: fn(&Fault) -> bool) {
    let Some(binary) = failpoints() else { return };
    let mut random = Random::new(u64::from(std::process::id()));
    for chance in 1..=CHANCES {
        let moment = Duration::from_micros(random.below(20_000));
        let death = kill_after(1_000, moment);
        let load = load(binary.clone(), mutant).patience(Duration::from_secs(3));
        let outcome = load.run(death, (0, &mut random));
        let found = outcome.faults.iter().filter(|fault| is_consequence(fault)).count();
        println!("{mutant}: {found} of {} faults in round {chance}", outcome.faults.len());
        if found > 0 {
            return;
        }
    }
    panic!("the checker never noticed {mutant}");
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    must_be_found("ack-before-commit", |fault| matches!(fault, Fault::Lost { .. }));
}

#[test]
fn a_packet_id_that_is_used_again_too_early_is_found() {
    must_be_found("reuse-packet-id", |fault| matches!(fault, Fault::Hidden { .. }));
}

#[test]
fn the_ordinary_binary_has_no_failpoints() {
    if std::env::var_os("BROKER_UNDER_TEST").is_some() {
        return;
    }
    let has_switch = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(SWITCH.len()).any(|window| window == SWITCH.as_bytes())
    };
    assert!(!has_switch(process::binary()), "the binary that ships knows of {SWITCH}");
    if let Some(binary) = failpoints() {
        assert!(has_switch(binary), "the search finds the switch where it is");
    }
    // It neither ends nor refuses to start.
    let env = vec![(SWITCH, "before-ack:1".to_owned())];
    let broker = Broker::try_start(Start { env, ..Start::default() }).unwrap();
    let mut client = e2e_tests::RawClient::v5(&broker.mqtt(), "c");
    client.subscribe("t", 1);
    client.publish("t", "x", 1);
    assert_eq!(client.receive().text(), "x");
    broker.assert_well();
}
