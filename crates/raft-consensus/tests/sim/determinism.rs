//! The same seed gives the same run, down to every step of the scheduler, in any process.

use std::process::Command;

use crate::run::{run_traced, seeds};

/// Set in the process that is asked for the trace of one seed.
const ASKED: &str = "QUELEA_SIM_TRACE";
const ANSWER: &str = "trace of the seed: ";

#[test]
fn the_same_seed_gives_the_same_trace() {
    if let Some(seed) = std::env::var(ASKED).ok().and_then(|seed| seed.parse().ok()) {
        println!("{ANSWER}{:?}", run_traced(seed, None, true));
        return;
    }
    let first = seeds().start;
    let here = run_traced(first, None, true);
    assert!(here.1.is_some_and(|hash| hash != 0));
    assert_eq!(here, run_traced(first, None, true), "seed {first}");
    assert_ne!(here.1, run_traced(first + 1, None, true).1, "another seed is another run");
    let mut other = Command::new(std::env::current_exe().unwrap());
    other.args(["--exact", "determinism::the_same_seed_gives_the_same_trace", "--nocapture"]);
    let told = other.env(ASKED, first.to_string()).output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout);
    let there = told.lines().find_map(|line| line.split_once(ANSWER)).map(|(_, there)| there);
    assert_eq!(there, Some(format!("{here:?}").as_str()), "seed {first} in another process: {told}");
}
