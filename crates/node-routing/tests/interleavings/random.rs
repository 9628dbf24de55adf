//! Whatever happens: subscribers, publishers and takeovers on all nodes, while nodes are stopped, killed, cut off, elected
//! and slow, as the seed says. Then everything comes back. `QUELEA_SIM_SEEDS` says how many seeds are tried and
//! `QUELEA_SIM_SEED` which is the first; `cargo xtask sim` sets both.

use raft_consensus::cluster::Fence;
use session_store::{ClientId, Epoch};

use crate::world::{Id, Mutant, World, ms};

fn run(seed: u64, mutant: Option<Mutant>) -> World {
    let voters = if seed.is_multiple_of(2) { 3 } else { 5 };
    let mut world = World::new(voters, seed, mutant);
    let mut epoch = 0;
    for client in 0..250 {
        let any = |world: &mut World| Id::try_from(1 + world.chance.below(u64::from(voters))).unwrap();
        let (one, other) = (any(&mut world), any(&mut world));
        let topic = format!("t/{}", world.chance.below(6));
        match world.chance.below(40) {
            0..8 => world.subscribe(one, client, &topic),
            8..9 => world.subscribe(one, client, "t/+"),
            9..21 => drop(world.publish(one, &topic)),
            21..23 => {
                epoch += 1;
                let (old, new) = (world.run_of(one), other);
                world.publish_as(one, "c", epoch, &topic);
                let fence =
                    Fence { client: ClientId::new("c"), epoch: Epoch(epoch), host: old, connection: 1 };
                world.node(new).take_over(fence);
            }
            23..26 => world.pause(one),
            26..29 => world.resume(one),
            29 => world.kill(one),
            30 if !world.nodes[&one].up => world.restart(one),
            31..33 => world.stand(one),
            33 => world.cut_off(one, 1..=voters),
            34 => drop(world.cut.insert((one, other))),
            35 => world.rejected.extend(World::pair(one, other)),
            36 => world.node(one).applies = false,
            37 => world.node(one).applies = true,
            38 => {
                world.cut.clear();
                world.rejected.clear();
            }
            _ if world.chance.one_in(6) => world.heal(),
            _ => {}
        }
        let pause = world.chance.below(60);
        world.run(ms(pause));
    }
    world
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn whatever_happens_nothing_is_missed_and_everything_recovers() {
    let (first, count) = (number("QUELEA_SIM_SEED", 0), number("QUELEA_SIM_SEEDS", 100));
    let mut acknowledged = 0;
    for seed in first..first + count {
        let mut world = run(seed, None);
        assert_eq!(world.check.found, Vec::<String>::new(), "seed {seed}");
        acknowledged += world.check.acknowledged();
        world.assert_recovers();
    }
    assert!(acknowledged as u64 > count * 10, "{acknowledged} publishes were acknowledged");
}

mod mutants {
    use super::*;

    #[test]
    fn faults_that_are_built_in_are_noticed() {
        let mutants = [
            Mutant::CheckFirst,
            Mutant::NoWait,
            Mutant::SubackAtOnce,
            Mutant::AnyIndex,
            Mutant::ClockStops,
            Mutant::NoFence,
        ];
        for mutant in mutants {
            let noticed = (0..400).find(|seed| !run(*seed, Some(mutant)).check.found.is_empty());
            assert!(noticed.is_some(), "{mutant:?}");
        }
    }
}
