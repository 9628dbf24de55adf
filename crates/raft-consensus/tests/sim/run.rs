//! One run: a world under faults for a while, then in peace until it has settled, then what it kept of its promises.
//! All seeds of a test run are tried once, for all properties.

use std::sync::OnceLock;
use std::time::Duration;

use openraft::async_runtime::AsyncRuntime;
use openraft::type_config::TypeConfigExt;
use openraft_rt_sim::SimRuntime;
use raft_consensus::disk::CrashMode;
use raft_consensus::network::Faults;
use raft_consensus::types::{LogId, NodeId};
use session_store::failpoint::{self, Mutant};

use crate::clients::{Subscriber, publisher};
use crate::history::{Outcome, Promise, Sometimes};
use crate::replica::{NODES, SimTypes};
use crate::world::{HOSTS, World};

/// What befalls the world of a run.
const TROUBLES: usize = 5;
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The seeds that are tried.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    let first = number("QUELEA_SIM_SEED", 0);
    first..first + number("QUELEA_SIM_SEEDS", 200)
}

/// What became of all seeds, tried once in a process.
pub(crate) fn all() -> &'static [(u64, Outcome)] {
    static ALL: OnceLock<Vec<(u64, Outcome)>> = OnceLock::new();
    ALL.get_or_init(|| {
        println!("seeds {:?}", seeds());
        let half = |odd: u64| {
            let seeds = seeds().filter(move |seed| seed % 2 == odd);
            seeds.map(|seed| (seed, run(seed, None))).collect::<Vec<_>>()
        };
        std::thread::scope(|scope| {
            let odd = scope.spawn(|| half(1));
            let mut all = half(0);
            all.extend(odd.join().unwrap());
            all
        })
    })
}

/// No seed may have broken a promise.
pub(crate) fn assert_kept(promise: Promise) {
    for (seed, outcome) in all() {
        if let Some(how) = outcome.broken.get(&promise) {
            panic!("seed {seed}: {how}; again: cargo xtask sim --seeds 1 --seed {seed}");
        }
    }
}

/// One run.
pub(crate) fn run(seed: u64, mutant: Option<Mutant>) -> Outcome {
    run_traced(seed, mutant, false).0
}

/// One run, with a hash over all that the runtime did.
pub(crate) fn run_traced(seed: u64, mutant: Option<Mutant>, trace: bool) -> (Outcome, Option<u32>) {
    let mut runtime = SimRuntime::with_seed(seed);
    runtime.record_trace(trace);
    failpoint::build_in(mutant);
    let outcome = runtime.block_on(live(seed));
    failpoint::build_in(None);
    let hash = trace.then(|| {
        let mut hasher = crc32fast::Hasher::new();
        runtime.take_trace().iter().for_each(|event| hasher.update(event.as_bytes()));
        hasher.finalize()
    });
    (outcome, hash)
}

async fn live(seed: u64) -> Outcome {
    let world = World::begin(seed).await;
    for name in ["s1", "s2"] {
        let _detached = SimTypes::spawn(Subscriber::new(world.clone(), name).run());
    }
    let mut publishers = Vec::new();
    for (number, (name, qos2)) in [("p1", false), ("p2", true), ("p3", true)].into_iter().enumerate() {
        let first = (number as u64 + 1) * 1_000_000;
        publishers.push(SimTypes::spawn(publisher(world.clone(), name.to_owned(), qos2, first)));
    }
    for trouble in deck(&world) {
        SimTypes::sleep(world.chance.millis(50..400)).await;
        befall(&world, trouble).await;
        SimTypes::sleep(world.chance.millis(50..600)).await;
        mend(&world).await;
    }
    heal(&world).await;
    world.stop_publishers();
    settle(&world, publishers).await;
    world.history.check();
    world.history.outcome()
}

fn any_node(world: &World) -> NodeId {
    NODES[world.chance.below(NODES.len() as u64) as usize]
}

fn any_crash(world: &World) -> CrashMode {
    [CrashMode::LoseAll, CrashMode::KeepAll, CrashMode::Torn, CrashMode::Torn, CrashMode::Torn]
        [world.chance.below(5) as usize]
}

/// What can happen to the world.
#[derive(Clone, Copy)]
enum Trouble {
    OneCrashes,
    LeaderCrashes,
    AllLosePower,
    OneIsAlone,
    LeaderIsAlone,
    OneWayIsCut,
    Losses,
    HostDies,
}

/// What happens to one world: each kind comes as often as the others, so that few seeds see all of them.
fn deck(world: &World) -> Vec<Trouble> {
    use Trouble::{
        AllLosePower, HostDies, LeaderCrashes, LeaderIsAlone, Losses, OneCrashes, OneIsAlone, OneWayIsCut,
    };
    let mut deck = vec![
        OneCrashes,
        LeaderCrashes,
        AllLosePower,
        OneIsAlone,
        LeaderIsAlone,
        OneWayIsCut,
        Losses,
        HostDies,
    ];
    for left in (1..deck.len()).rev() {
        deck.swap(left, world.chance.below(left as u64 + 1) as usize);
    }
    deck.truncate(TROUBLES);
    deck
}

fn leader_of(world: &World) -> NodeId {
    NODES.into_iter().find(|node| world.leads(*node)).unwrap_or(1)
}

/// One thing that happens to the world.
async fn befall(world: &World, trouble: Trouble) {
    match trouble {
        Trouble::OneCrashes => crash(world, &[any_node(world)]).await,
        Trouble::LeaderCrashes => crash(world, &[leader_of(world)]).await,
        Trouble::AllLosePower => {
            world.history.saw(Sometimes::AllLostPower);
            crash(world, &NODES).await;
        }
        Trouble::OneIsAlone => {
            world.history.saw(Sometimes::Partition);
            world.network.isolate(any_node(world), NODES);
        }
        Trouble::LeaderIsAlone => {
            world.history.saw(Sometimes::Partition);
            world.network.isolate(leader_of(world), NODES);
        }
        Trouble::OneWayIsCut => {
            world.history.saw(Sometimes::Partition);
            world.network.cut(any_node(world), any_node(world));
        }
        Trouble::Losses => world.network.set_faults(Faults {
            loss_permille: world.chance.below(60) as u32,
            duplicate_permille: world.chance.below(60) as u32,
            delay: Some(Duration::ZERO..world.chance.millis(1..30)),
        }),
        Trouble::HostDies => world.kill_host(HOSTS[world.chance.below(2) as usize]),
    }
}

/// Some of it is mended, or all, or nothing.
async fn mend(world: &World) {
    match world.chance.below(4) {
        0 => {}
        1 => start_all(world).await,
        2 => world.network.heal(),
        _ => heal(world).await,
    }
}

/// Ends nodes together. Where the power goes it does so between any two changes of the disk, and the process may run on
/// for a moment without one.
async fn crash(world: &World, nodes: &[NodeId]) {
    let modes: Vec<_> = nodes.iter().map(|node| (*node, any_crash(world))).collect();
    for (node, _) in modes.iter().filter(|(_, mode)| *mode != CrashMode::KeepAll) {
        world.cut_power(*node);
    }
    let off = async {
        while !nodes.iter().any(|node| world.is_powerless(*node)) {
            SimTypes::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = SimTypes::timeout(world.chance.millis(20..300), off).await;
    SimTypes::sleep(world.chance.millis(0..20)).await;
    for (node, mode) in modes {
        world.crash(node, mode);
    }
}

async fn start_all(world: &World) {
    for node in NODES {
        if !world.runs(node) {
            world.start(node).await;
        }
    }
}

async fn heal(world: &World) {
    world.network.heal();
    world.network.set_faults(Faults::default());
    start_all(world).await;
}

/// Waits until everything that was acknowledged is delivered and all replicas are the same.
async fn settle(world: &World, publishers: Vec<openraft_rt_sim::SimJoinHandle<()>>) {
    let settled = async {
        for publisher in publishers {
            let _ = publisher.await;
        }
        while !world.history.missing().is_empty() || !is_settled(world).await {
            SimTypes::sleep(Duration::from_millis(50)).await;
        }
    };
    if SimTypes::timeout(SETTLES_WITHIN, settled).await.is_err() {
        let leader = world.leader().map(|(view, _)| view);
        let open: Vec<_> = HOSTS.into_iter().map(|host| world.host(host).open()).collect();
        let (missing, states) = (world.history.missing(), states(world).await);
        let how = format!("not at rest in time; missing {missing:?}; {states:?} under {leader:?}; {open:?}");
        world.history.broken(Promise::Liveness, how);
    }
    for (node, replica) in world.replicas() {
        let Ok((valid, installs)) = replica
            .group
            .look_now(|state| {
                let home = state.machine();
                (home.shard.validate(), home.installs)
            })
            .await
        else {
            world.history.broken(Promise::Agreement, format!("the group of node {node} has ended"));
            continue;
        };
        for _ in 0..installs {
            world.history.saw(Sometimes::SnapshotInstalled);
        }
        if let Err(how) = valid {
            world.history.broken(Promise::Agreement, format!("node {node}: {how}"));
        }
    }
}

/// What a replica has applied, the digest of its state, and how much is on its way in it.
type State = (Option<LogId>, u64, usize);

async fn states(world: &World) -> Vec<State> {
    let mut states = Vec::new();
    for (_, replica) in world.replicas() {
        let looked = replica.group.look_now(|state| {
            let applied = state.applied().last_log_id;
            let shard = &mut state.machine().shard;
            (applied, shard.digest(), shard.sizes().queued_messages + shard.outbox().len())
        });
        states.extend(looked.await);
    }
    states
}

/// Whether nothing is on its way and all replicas have the same state.
async fn is_settled(world: &World) -> bool {
    let states = states(world).await;
    let (Some(first), true) = (states.first(), states.len() == NODES.len()) else { return false };
    let same = states.iter().all(|state| state.0 == first.0);
    if same && states.iter().any(|state| state.1 != first.1) {
        world.history.broken(Promise::Agreement, format!("replicas at {:?} differ: {states:?}", first.0));
    }
    same && first.2 == 0
}
