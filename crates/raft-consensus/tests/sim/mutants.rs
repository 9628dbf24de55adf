//! Faults built into the production code, each of which has to be noticed: what notices none of them shows nothing.

use session_store::failpoint::Mutant;

use crate::history::Promise;
use crate::minority;
use crate::run::run;

/// Runs until a promise is broken, and not for ever.
fn caught(mutant: Mutant, promises: &[Promise]) -> bool {
    (0..100).any(|seed| {
        let outcome = run(seed, Some(mutant));
        let broken: Vec<_> = promises.iter().filter_map(|promise| outcome.broken.get(promise)).collect();
        if !broken.is_empty() {
            println!("seed {seed}: {broken:?}");
        }
        !broken.is_empty()
    })
}

#[test]
fn an_answer_before_the_commit_is_noticed() {
    assert!(caught(Mutant::ApplyBeforeCommit, &[Promise::Acknowledged, Promise::Agreement]));
}

#[test]
fn an_answer_of_a_leader_that_is_cut_off_is_noticed() {
    let outcome = minority::cut_off(Some(Mutant::ApplyBeforeCommit));
    assert!(outcome.broken.contains_key(&Promise::Minority), "{outcome:?}");
}

#[test]
fn an_older_connection_that_counts_is_noticed() {
    assert!(caught(Mutant::SkipEpochCheck, &[Promise::Acknowledged]));
}

#[test]
fn a_packet_id_in_use_twice_is_noticed() {
    assert!(caught(Mutant::ReusePacketId, &[Promise::PacketIds]));
}
