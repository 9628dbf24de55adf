//! The sequences of leases and routes. Where a fault can be built in that makes one of them go wrong, it does.

use std::time::Duration;

use raft_consensus::cluster::{Fence, Owner};
use session_store::{ClientId, Epoch, NodeId};

use crate::world::{Id, Mutant, World, ms};

fn world(voters: u32, mutant: Option<Mutant>) -> World {
    World::new(voters, 7, mutant)
}

/// A sequence is sound as it is, and is not with a fault built in.
fn sound_but_with(mutants: &[Mutant], sequence: impl Fn(Option<Mutant>) -> World) {
    let mut world = sequence(None);
    world.assert_sound();
    world.assert_recovers();
    for mutant in mutants {
        let world = sequence(Some(*mutant));
        assert!(!world.check.found.is_empty(), "{mutant:?} was not noticed");
    }
}

fn subscribed(world: &mut World, id: Id, client: u32, filter: &str) -> Duration {
    world.subscribe(id, client, filter);
    world.until("SUBACK", |world| world.subscribed(client, filter))
}

fn acked(world: &mut World, number: u64) -> Duration {
    world.until("PUBACK", |world| world.acked(number))
}

#[test]
fn a1_the_second_subscriber_does_not_overtake_the_barrier() {
    sound_but_with(&[Mutant::SubackAtOnce], |mutant| {
        let mut world = world(3, mutant);
        let (x, y) = (3, 2);
        world.node(x).applies = false;
        world.subscribe(y, 1, "f");
        world.run(ms(60));
        world.subscribe(y, 2, "f");
        world.run(ms(20));
        let number = world.publish(x, "f");
        world.run(ms(100));
        if mutant.is_none() {
            assert!(
                !world.subscribed(2, "f") && !world.subscribed(1, "f"),
                "node 3 still acts without the route"
            );
            assert!(world.acked(number), "it may: nobody was told that the route is in force");
            world.node(x).applies = true;
            world.until("both SUBACKs", |world| world.subscribed(1, "f") && world.subscribed(2, "f"));
        }
        world
    });
}

/// Node 3 is stopped and hears of nothing; another one is subscribed to a filter meanwhile, and a publish for it waits when
/// node 3 wakes up with what it had.
fn stopped_while_others_subscribe(world: &mut World, filter: &str) {
    let (x, y) = (3, 2);
    world.pause(x);
    world.run(ms(5));
    world.cut_off(x, 1..=2);
    world.subscribe(y, 1, filter);
    world.until("SUBACK", |world| world.subscribed(1, filter));
    let number = world.publish(x, filter);
    world.resume(x);
    world.run(ms(60));
    world.cut.clear();
    acked(world, number);
    world.until("leases", World::all_hold);
}

#[test]
fn a2_the_clock_is_read_after_the_match() {
    sound_but_with(&[Mutant::CheckFirst], |mutant| {
        let mut world = world(3, mutant);
        for at in 0..6 {
            // Wherever it is in what it does.
            world.publish(3, "other");
            world.run(ms(5 * at));
            stopped_while_others_subscribe(&mut world, &format!("f{at}"));
        }
        world
    });
}

#[test]
fn a2_a_lease_counts_only_for_views_that_are_not_older() {
    sound_but_with(&[Mutant::AnyIndex], |mutant| {
        let mut world = world(3, mutant);
        let (x, y) = (3, 2);
        // Node 3 is silent until its lease has run out, comes back, and has not applied the route.
        world.pause(x);
        subscribed(&mut world, y, 1, "f");
        world.node(x).applies = false;
        world.resume(x);
        world.run(ms(20));
        let number = world.publish(x, "f");
        world.run(ms(150));
        assert!(mutant.is_some() || !world.acked(number));
        world.node(x).applies = true;
        acked(&mut world, number);
        world
    });
}

fn deposed(mutant: Option<Mutant>, offset: u64) -> World {
    let mut world = world(5, mutant);
    let (old, new, x) = (1, 2, 5);
    // Node 5 hears of the old leader alone, and waits for it.
    world.cut_off(x, 2..=4);
    world.node(x).log.timeout = ms(60_000);
    // The answers of a round wait at the old leader while it is stopped.
    world.run(ms(100 + offset));
    world.pause(old);
    world.run(ms(10));
    world.cut_off(old, 2..=4);
    world.elect(new);
    world.until("node 5 is silent", |world| !world.holds(x));
    subscribed(&mut world, 3, 1, "f");
    world.resume(old);
    let number = world.publish(x, "f");
    world.run(ms(250));
    assert!(mutant.is_some() || !world.acked(number), "it acted on the word of a leader that is none");
    world
}

#[test]
fn a3_a_deposed_leader_renews_no_lease() {
    for offset in (0..60).step_by(3) {
        let mut world = deposed(None, offset);
        world.assert_sound();
        world.assert_recovers();
    }
    let noticed = |offset| !deposed(Some(Mutant::DatedFromReceipt), offset).check.found.is_empty();
    assert!((0..60).step_by(3).any(noticed));
}

#[test]
fn a3_a_new_leader_waits_for_the_leases_of_the_old_one() {
    sound_but_with(&[Mutant::NoWait], |mutant| {
        let mut world = world(5, mutant);
        let x = 5;
        world.cut_off(x, 2..=4);
        world.elect(2);
        world.subscribe(3, 1, "f");
        for _ in 0..30 {
            world.publish(x, "f");
            world.run(ms(15));
        }
        world.until("SUBACK", |world| world.subscribed(1, "f"));
        world
    });
}

#[test]
fn a4_a_new_leader_waits_for_members_that_it_does_not_know_yet() {
    sound_but_with(&[Mutant::NoWait], |mutant| {
        let mut world = world(5, mutant);
        let (z, lags) = (5, 2);
        world.kill(z);
        world.until("node 5 is down", |world| !world.check.state().live().any(|run| run.node == NodeId(z)));
        // It joins while the next leader does not apply its log.
        world.node(lags).applies = false;
        world.restart(z);
        world.until("node 5 has joined", |world| world.holds(z));
        world.cut_off(z, 2..=4);
        world.elect(lags);
        world.node(lags).applies = true;
        world.subscribe(3, 1, "f");
        for _ in 0..30 {
            world.publish(z, "f");
            world.run(ms(15));
        }
        world.until("SUBACK", |world| world.subscribed(1, "f"));
        world
    });
}

#[test]
fn a4b_a_leader_that_does_not_know_what_is_committed_grants_nothing() {
    sound_but_with(&[Mutant::NotCommitted], |mutant| {
        let mut world = world(5, mutant);
        let (old, new, x) = (1, 2, 5);
        // Node 5 misses a route, which is in force because its lease has run out.
        world.cut_off(x, 1..=4);
        world.until("node 5 is silent", |world| !world.holds(x));
        world.subscribe(3, 1, "f");
        // The others hold it in their logs, and the next leader does not hear that it is committed.
        world.until("SUBACK", |world| {
            world.subscribed(1, "f") && world.nodes[&new].log.entries.len() as u64 >= world.check.committed()
        });
        let commit = world.nodes[&x].log.commit;
        world.node(new).log.commit = commit;
        world.cut.clear();
        world.cut_off(old, 2..=5);
        world.node(new).log.withholds = true;
        world.elect(new);
        for _ in 0..20 {
            world.publish(x, "f");
            world.run(ms(15));
        }
        world
    });
}

#[test]
fn a5_a_sick_shard_stops_nobody() {
    let mut world = world(3, None);
    subscribed(&mut world, 2, 1, "f");
    // No shard takes part in a lease: there is none here at all, and everything that does not concern one goes on.
    for _ in 0..20 {
        let number = world.publish(3, "f");
        assert!(acked(&mut world, number) < ms(100));
    }
    assert!(world.check.state().owners().all(|owner| matches!(owner, Owner::Host(_))));
    world.assert_recovers();
}

#[test]
fn a6_a_lapsed_lease_silences_and_closes_nobody_for_five_seconds() {
    let mut world = world(3, None);
    let number = {
        // No leader is elected for three seconds.
        for id in 1..=3 {
            world.cut_off(id, 1..=3);
        }
        world.until("silence", |world| (1..=3).all(|id| !world.holds(id)));
        let number = world.publish(3, "f");
        world.run(ms(3_000));
        number
    };
    assert!(!world.acked(number), "it is parked");
    assert_eq!(world.check.closed, 0);
    world.cut.clear();
    acked(&mut world, number);
    assert_eq!(world.check.closed, 0);
    for id in 1..=3 {
        world.cut_off(id, 1..=3);
    }
    world.run(ms(5_600));
    assert_eq!(world.check.closed, 3, "whoever is silent for longer sends its clients elsewhere");
    world.assert_recovers();
}

#[test]
fn a7_a_killed_node_is_out_of_the_way_within_half_a_second() {
    for victim in [3, 1] {
        let mut world = world(3, None);
        let (y, x) = (victim, 2);
        subscribed(&mut world, y, 1, "f");
        let dead = world.run_of(y);
        world.kill(y);
        if y == 1 {
            // It led: the others take over at once, since connections to it are refused.
            world.stand(x);
        }
        let number = world.publish(x, "f");
        world.subscribe(x, 2, "f");
        let fence = Fence { client: ClientId::new("c"), epoch: Epoch(1), host: dead, connection: 1 };
        world.node(x).take_over(fence.clone());
        let took = world.until("everything goes on", |world| {
            world.acked(number) && world.subscribed(2, "f") && world.check.took_over(&fence)
        });
        assert!(took < ms(500), "{took:?} after node {victim}");
        world.assert_recovers();
    }
}

#[test]
fn a7_a_refused_reconnect_does_not_end_the_lease_of_a_living_node() {
    let mut world = world(3, None);
    let before = world.run_of(3);
    subscribed(&mut world, 3, 1, "f");
    // A firewall between two followers, for less than anybody complains of.
    world.rejected.extend(World::pair(2, 3));
    world.run(ms(2_500));
    assert!(world.all_hold());
    // And from the leader to one, whose words still come.
    world.rejected = [(1, 3)].into();
    world.run(ms(100));
    world.rejected.clear();
    world.run(ms(1_000));
    assert_eq!(world.run_of(3), before);
    assert!(world.check.state().live().any(|run| run == before));
    world.assert_recovers();
}

#[test]
fn a8_clocks_that_run_apart_by_a_tenth_do_no_harm_and_go_on_while_a_node_is_stopped() {
    sound_but_with(&[Mutant::ClockStops], |mutant| {
        let mut world = world(3, mutant);
        // The slowest holder under the fastest leader.
        world.node(1).rate = 1_000;
        world.node(3).rate = if mutant.is_none() { 915 } else { 1_000 };
        world.until("leases", World::all_hold);
        for at in 0..4 {
            world.run(ms(3 * at));
            stopped_while_others_subscribe(&mut world, &format!("f{at}"));
        }
        world
    });
}

#[test]
fn a9_a_node_that_lags_loses_its_lease_and_holds_up_nobody() {
    let mut world = world(3, None);
    world.node(3).applies = false;
    let took = subscribed(&mut world, 2, 1, "f");
    assert!(took < ms(1_000), "{took:?}");
    assert!(!world.holds(3), "what was committed a lease ago is not applied there");
    for client in 2..12 {
        let took = subscribed(&mut world, 2, client, &format!("f{client}"));
        assert!(took < ms(200), "{took:?}: it is waited for no more");
    }
    world.assert_recovers();
}

#[test]
fn a10_of_two_that_do_not_reach_each_other_one_goes_and_takeovers_pass_by_the_log() {
    let mut world = world(3, None);
    let (a, b, c) = (1, 2, 3);
    subscribed(&mut world, a, 1, "f");
    subscribed(&mut world, c, 2, "f");
    let (of_a, of_c) = (world.run_of(a), world.run_of(c));
    // Neither leads: the leader is between them.
    world.elect(b);
    world.until("leases", World::all_hold);
    world.cut.extend(World::pair(a, c));
    let fence = Fence { client: ClientId::new("c"), epoch: Epoch(4), host: of_a, connection: 1 };
    world.node(c).take_over(fence.clone());
    let took = world.until("CONNACK", |world| world.check.took_over(&fence));
    assert!(took < ms(300), "{took:?}: the host that is not reached is fenced by the log");
    assert!(world.holds(a), "and lives on");
    let number = world.publish(a, "f");
    world.run(ms(1_000));
    assert!(!world.acked(number), "a frame for node 3 does not come there");
    world.until("PUBACK", |world| world.acked(number));
    let live: Vec<_> = world.check.state().live().collect();
    assert!(live.contains(&of_a) && !live.contains(&of_c), "the higher number goes: {live:?}");
    world.run(ms(3_000));
    assert!(!world.holds(c), "it gets no lease before all reach it");
    let live = world.run_of(c);
    world.run(ms(2_000));
    assert_eq!(world.run_of(c), live, "and its next run is not taken for dead again");
    world.cut.clear();
    world.until("node 3 is back", |world| world.holds(c));
    world.assert_recovers();
}

#[test]
fn a11_what_is_parked_is_matched_again_and_acknowledged_when_the_lease_is_back() {
    let mut world = world(3, None);
    let x = 3;
    world.cut_off(x, 1..=2);
    world.until("silence", |world| !world.holds(x));
    let parked: Vec<u64> = (0..5).map(|_| world.publish(x, "f")).collect();
    subscribed(&mut world, 2, 1, "f");
    let after = world.publish(x, "f");
    world.run(ms(1_000));
    assert!(!parked.iter().any(|number| world.acked(*number)));
    world.cut.clear();
    acked(&mut world, after);
    assert!(parked.iter().all(|number| world.acked(*number)), "in order of arrival");
    world.assert_sound();
}

#[test]
fn a12_routes_that_wait_hold_up_no_fence_and_no_death() {
    let mut world = world(3, None);
    // Far more changes than one entry takes, one entry at a time.
    for number in 0..20_000 {
        world.subscribe(2, number, &format!("many/{number}"));
    }
    let fence = Fence { client: ClientId::new("c"), epoch: Epoch(1), host: world.run_of(3), connection: 1 };
    world.node(2).take_over(fence.clone());
    let took = world.until("CONNACK", |world| world.check.took_over(&fence));
    assert!(took < ms(500), "{took:?}");
    assert!(!world.subscribed(19_999, "many/19999"));
    world.until("the last SUBACK", |world| world.subscribed(19_999, "many/19999"));
    world.assert_recovers();
}
