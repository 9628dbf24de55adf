//! Three processes that are one cluster, under faults that follow from a seed: what many clients were told and got is
//! recorded, and held against the guarantees by set and sequence. Each fault once, or for long by `cargo xtask chaos`. No test
//! asserts speed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

mod barred;
mod best_effort;
mod between;
mod checks;
mod crowd;
mod deaths;
mod excuses;
mod faults;
mod firewall;
mod handshakes;
mod mutants;
mod probes;
mod proxy;
mod publisher;
mod registers;
mod run;
mod sieve;
mod spaces;
mod subscriber;
mod wills;
mod world;

use std::time::{Duration, Instant};

use e2e_tests::random::Random;

use crate::run::{Clients, Cluster};
use crate::spaces::Spaces;

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Each fault once, on one cluster; with `QUELEA_CHAOS_MINUTES` on one cluster after the other for so long.
#[test]
fn what_was_acknowledged_holds_under_every_fault() {
    let minutes = setting("QUELEA_CHAOS_MINUTES").unwrap_or(0);
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    let mut seed = seed();
    loop {
        let mut random = Random::new(seed);
        let cluster = Cluster::started(seed, None);
        holds(cluster, seed, &mut random, &faults::ALL);
        if Instant::now() >= until {
            return;
        }
        seed = random.number() >> 1;
    }
}

/// The same for faults that consist in packets that are lost, where the nodes are in network namespaces.
#[test]
fn what_was_acknowledged_holds_where_packets_are_dropped() {
    let seed = seed();
    let Some(spaces) = Spaces::made() else { return };
    spaces::between(move || {
        let cluster = Cluster::in_spaces(spaces);
        firewall::ends_no_lease(&cluster);
        holds(cluster, seed, &mut Random::new(seed), &faults::OF_PACKETS);
    });
}

#[test]
fn a_node_that_gets_no_lease_leads_nothing() {
    let seed = seed();
    println!("seed {seed}");
    barred::leads_nothing(&Cluster::started(seed, None), &mut Random::new(seed));
}

/// A firewall of the test's own, where there are no namespaces.
#[test]
fn a_refused_connection_ends_no_lease() {
    firewall::ends_no_lease(&Cluster::started(seed(), None));
}

/// The seed that is given, or any; printed.
fn seed() -> u64 {
    setting("QUELEA_SEED").unwrap_or_else(|| u64::from(std::process::id()))
}

/// Clients go through these faults, in an order and with victims that follow from the seed, and everything holds.
fn holds(mut cluster: Cluster, seed: u64, random: &mut Random, faults: &[faults::Fault]) {
    println!("seed {seed}: QUELEA_SEED={seed} gives the same faults in the same order");
    let clients = Clients::begin(&cluster.world, random);
    cluster.until_progress();
    faults::befall(&mut cluster, random, faults);
    let wrong = clients.finish(&cluster, random);
    let some: Vec<_> = wrong.iter().take(20).collect();
    assert!(wrong.is_empty(), "seed {seed}: {} things are wrong: {some:#?}", wrong.len());
}
