//! The README's example of a cluster, but for times that suit a busy machine.

use e2e_tests::{dev, example};

#[test]
fn the_readme_example_finds_everything_on_another_node() {
    let _alone = dev::alone();
    let zones = [("QUELEA__CLUSTER__PROFILE", "zones")];
    let Some(text) = example::run("failover.sh", dev::three_free_ports(), &zones) else { return };
    assert!(text.ends_with("all 100 messages are there, on another node\n"), "{text}");
}
