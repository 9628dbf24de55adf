//! Leaderships go to where they belong: no node leads more than one shard more than another, and what a dead one led goes to
//! those that are left.

use std::time::{Duration, Instant};

use e2e_tests::dev::alone;
use e2e_tests::{Dev, PATIENCE, pause};

/// Waits until these nodes lead so many shards each, in whatever order.
fn until_led(dev: &Dev, nodes: &[usize], wanted: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let led = |node: &usize| dev.metric(*node, "quelea_cluster_shards_led").to_string();
        let mut now: Vec<String> = nodes.iter().map(led).collect();
        now.sort_unstable();
        if now == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "the nodes lead {now:?}, and not {wanted:?}");
        pause(Duration::from_millis(100));
    }
}

#[test]
fn leaders_are_spread_and_spread_again_when_a_node_dies_and_comes_back() {
    let _alone = alone();
    let dev = Dev::start(&[]);
    until_led(&dev, &[1, 2, 3], &["2", "2", "2"]);
    dev.kill(2);
    until_led(&dev, &[1, 3], &["3", "3"]);
    assert!(dev.restart("quelea-2").status.success());
    until_led(&dev, &[1, 2, 3], &["2", "2", "2"]);
}
