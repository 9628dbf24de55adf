//! What befalls a world: each kind of trouble comes as often as the others, so that few seeds see all of them.

use std::time::Duration;

use openraft::type_config::TypeConfigExt;
use raft_consensus::disk::CrashMode;
use raft_consensus::network::Faults;
use raft_consensus::types::NodeId;

use crate::history::Sometimes;
use crate::home::{SHARDS, group_of};
use crate::replica::{NODES, SimTypes};
use crate::store_files::StoreFiles;
use crate::world::{HOSTS, World};

/// How many befall one world.
const TROUBLES: usize = 5;
/// By how much a clock is wrong.
const HOUR_MS: i64 = 3_600_000;

/// What can happen to the world.
#[derive(Clone, Copy)]
pub(crate) enum Trouble {
    OneCrashes,
    LeaderCrashes,
    AllLosePower,
    OneIsAlone,
    LeaderIsAlone,
    EachIsAlone,
    OneWayIsCut,
    Losses,
    HostDies,
    DiskIsFull,
    ClockJumps,
    CheckpointsAreLost,
}

/// What happens to one world, in its order.
pub(crate) fn deck(world: &World) -> Vec<Trouble> {
    use Trouble::{
        AllLosePower, CheckpointsAreLost, ClockJumps, DiskIsFull, EachIsAlone, HostDies, LeaderCrashes,
        LeaderIsAlone, Losses, OneCrashes, OneIsAlone, OneWayIsCut,
    };
    let mut deck = vec![
        OneCrashes,
        LeaderCrashes,
        AllLosePower,
        OneIsAlone,
        LeaderIsAlone,
        EachIsAlone,
        OneWayIsCut,
        Losses,
        HostDies,
        HostDies,
        DiskIsFull,
        ClockJumps,
        CheckpointsAreLost,
    ];
    for left in (1..deck.len()).rev() {
        deck.swap(left, world.chance.below(left as u64 + 1) as usize);
    }
    deck.truncate(TROUBLES);
    deck
}

fn any_node(world: &World) -> NodeId {
    NODES[world.chance.below(NODES.len() as u64) as usize]
}

/// Who leads one of the shards.
fn leader_of(world: &World) -> NodeId {
    let leads = world.views().into_iter().flatten().map(|view| view.node).next();
    leads.unwrap_or(1)
}

fn any_crash(world: &World) -> CrashMode {
    [CrashMode::LoseAll, CrashMode::KeepAll, CrashMode::Torn, CrashMode::Torn, CrashMode::Torn]
        [world.chance.below(5) as usize]
}

/// One thing that happens to the world.
pub(crate) async fn befall(world: &World, trouble: Trouble) {
    match trouble {
        Trouble::OneCrashes => crash(world, &[any_node(world)]).await,
        Trouble::LeaderCrashes => crash(world, &[leader_of(world)]).await,
        Trouble::AllLosePower => {
            world.history.saw(Sometimes::AllLostPower);
            crash(world, &NODES).await;
        }
        Trouble::OneIsAlone => {
            world.isolate(any_node(world));
        }
        Trouble::LeaderIsAlone => {
            world.isolate(leader_of(world));
        }
        Trouble::EachIsAlone => NODES.into_iter().for_each(|node| world.isolate(node)),
        Trouble::OneWayIsCut => {
            world.history.saw(Sometimes::Partition);
            world.network.cut(any_node(world), any_node(world));
        }
        Trouble::Losses => world.network.set_faults(Faults {
            loss_permille: world.chance.below(60) as u32,
            duplicate_permille: world.chance.below(60) as u32,
            delay: Some(Duration::ZERO..world.chance.millis(1..30)),
        }),
        Trouble::HostDies => match world.chance.one_in(2) {
            true => HOSTS.into_iter().for_each(|host| world.kill_host(host)),
            false => world.kill_host(HOSTS[world.chance.below(2) as usize]),
        },
        Trouble::DiskIsFull => {
            world.history.saw(Sometimes::DiskFull);
            match world.chance.below(3) {
                0 => world.set_full(any_node(world), true),
                1 => world.set_full(leader_of(world), true),
                _ => NODES.into_iter().for_each(|node| world.set_full(node, true)),
            }
        }
        Trouble::CheckpointsAreLost => {
            world.history.saw(Sometimes::CheckpointsLost);
            let node = any_node(world);
            crash(world, &[node]).await;
            StoreFiles::lose(world.disk(node), (0..SHARDS).map(group_of));
        }
        Trouble::ClockJumps => {
            world.history.saw(Sometimes::ClockJumped);
            let off_ms = if world.chance.one_in(2) { HOUR_MS } else { -HOUR_MS };
            world.set_clock(leader_of(world), off_ms);
        }
    }
}

/// Ends nodes together. Where the power goes it does so between any two changes of the disk, and the process may run on
/// for a moment without one.
async fn crash(world: &World, nodes: &[NodeId]) {
    let modes: Vec<_> = nodes.iter().map(|node| (*node, any_crash(world))).collect();
    for (node, _) in modes.iter().filter(|(_, mode)| *mode != CrashMode::KeepAll) {
        world.cut_power(*node);
    }
    let has_ended = |node: &NodeId| world.replica(*node).is_some_and(|replica| replica.has_ended());
    let off = async {
        while !nodes.iter().any(has_ended) {
            SimTypes::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = SimTypes::timeout(world.chance.millis(20..300), off).await;
    SimTypes::sleep(world.chance.millis(0..20)).await;
    for (node, mode) in modes {
        world.crash(node, mode);
    }
}

/// Starts whoever does not run, or could not go on: again and again where that needs another.
pub(crate) async fn keep_running(world: World) {
    loop {
        start_all(&world).await;
        SimTypes::sleep(Duration::from_millis(200)).await;
    }
}

/// Starts whoever does not run, or could not go on.
async fn start_all(world: &World) {
    for node in NODES {
        match world.replica(node) {
            Some(replica) if !replica.has_ended() => continue,
            Some(_) => world.crash(node, CrashMode::KeepAll),
            None => {}
        }
        world.start(node).await;
    }
}

fn make_space(world: &World) {
    NODES.into_iter().for_each(|node| world.set_full(node, false));
}

/// Some of it is mended, or all, or nothing.
pub(crate) async fn mend(world: &World) {
    match world.chance.below(5) {
        0 => {}
        1 => start_all(world).await,
        2 => world.reconnect(),
        3 => make_space(world),
        _ => heal(world).await,
    }
}

/// All is well again, but for a clock.
pub(crate) async fn heal(world: &World) {
    world.reconnect();
    world.network.set_faults(Faults::default());
    make_space(world);
    start_all(world).await;
}
