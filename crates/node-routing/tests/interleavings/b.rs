//! The sequences of takeovers and dead nodes, as far as routes, fences and leases go.

use raft_consensus::cluster::Fence;
use session_store::{ClientId, Epoch};

use crate::world::{Mutant, World, ms};

/// Node 3 is stopped in the middle of a publish of `c`, whose connection is taken over meanwhile.
fn taken_over(mutant: Option<Mutant>, within: u64) -> World {
    let mut world = World::new(3, 11, mutant);
    let (old, new) = (3, 2);
    world.subscribe(1, 1, "f");
    world.until("SUBACK", |world| world.subscribed(1, "f"));
    let fence = Fence { client: ClientId::new("c"), epoch: Epoch(1), host: world.run_of(old), connection: 1 };
    // Its frame is lost on the way, so that it says it again when it wakes up.
    world.cut.insert((old, 1));
    world.publish_as(old, "c", 1, "f");
    world.run(ms(within));
    world.pause(old);
    world.run(ms(5));
    // It hears of nothing for a while, and others hear it.
    world.cut = [(1, old), (2, old)].into();
    world.node(new).take_over(fence.clone());
    world.until("CONNACK", |world| world.check.took_over(&fence));
    // What c still says on its old socket is read later.
    world.publish_as(old, "c", 1, "f");
    world.publish_as(new, "c", 2, "f");
    world.run(ms(30));
    world.resume(old);
    world.run(ms(150));
    world.cut.clear();
    world.run(ms(500));
    world
}

#[test]
fn b1_a_connection_that_was_taken_over_acknowledges_nothing_and_its_frames_are_empty() {
    for within in (0..60).step_by(5) {
        let mut world = taken_over(None, within);
        world.assert_sound();
        world.assert_recovers();
    }
    let noticed = |within| !taken_over(Some(Mutant::NoFence), within).check.found.is_empty();
    assert!((0..60).step_by(5).any(noticed));
}

#[test]
fn b2_a_new_leader_ends_what_died_without_one() {
    let mut world = World::new(5, 3, None);
    let dead = world.run_of(5);
    world.subscribe(5, 1, "f");
    world.until("SUBACK", |world| world.subscribed(1, "f"));
    // The leader dies with a node, and nobody has said of either that it is down.
    world.kill(5);
    world.kill(1);
    world.until("the dead are known", |world| !world.check.state().live().any(|run| run == dead));
    let number = world.publish(2, "f");
    world.until("PUBACK", |world| world.acked(number));
    world.assert_recovers();
}
