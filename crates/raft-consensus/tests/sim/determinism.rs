//! The same seed gives the same run, down to every step of the scheduler.

use crate::run::{run_traced, seeds};

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in seeds().take(3) {
        let first = run_traced(seed, None, true);
        let second = run_traced(seed, None, true);
        assert!(first.1.is_some_and(|hash| hash != 0));
        assert_eq!(first, second, "seed {seed}");
    }
    let (one, other) = (run_traced(1, None, true), run_traced(2, None, true));
    assert_ne!(one.1, other.1, "another seed is another run");
}
