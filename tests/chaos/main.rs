//! Three processes that are one cluster, under faults that follow from a seed: what many clients were told and got is
//! recorded, and held against the guarantees by set and sequence. Run by `cargo xtask chaos`, each fault once or for long. No
//! test asserts speed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

mod checks;
mod crowd;
mod faults;
mod handshakes;
mod mutants;
mod probes;
mod proxy;
mod publisher;
mod registers;
mod run;
mod subscriber;
mod wills;
mod world;

use std::time::{Duration, Instant};

use e2e_tests::random::Random;

use crate::run::{Clients, Cluster};

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
    let mut seed = setting("QUELEA_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    loop {
        println!("seed {seed}: QUELEA_SEED={seed} gives the same faults in the same order");
        let mut random = Random::new(seed);
        let mut cluster = Cluster::started(seed, None);
        let clients = Clients::begin(&cluster.world, &mut random);
        cluster.until_progress();
        faults::all(&mut cluster, &mut random);
        let wrong = clients.finish(&cluster, &mut random);
        let some: Vec<_> = wrong.iter().take(20).collect();
        assert!(wrong.is_empty(), "seed {seed}: {} things are wrong: {some:#?}", wrong.len());
        if Instant::now() >= until {
            return;
        }
        seed = random.number() >> 1;
    }
}
