//! One run: a world under faults for a while, then in peace until it has settled, then what it kept of its promises.
//! All seeds of a test run are tried once, for all properties.

use std::sync::OnceLock;
use std::time::Duration;

use mqtt_codec::QoS;
use openraft::async_runtime::AsyncRuntime;
use openraft::type_config::TypeConfigExt;
use openraft_rt_sim::{SimJoinHandle, SimRuntime};
use raft_consensus::types::LogId;
use session_store::failpoint::{self, Mutant};
use session_store::{Incarnation, NodeId, Shard};

use crate::clients::{consumer, ending, groups, publisher, retained as registers, willed};
use crate::history::{Facts, Outcome, Promise, Sometimes};
use crate::home::SHARDS;
use crate::replica::{NODES, SimTypes};
use crate::trouble::{befall, deck, heal, keep_running, mend};
use crate::world::World;
use crate::{acknowledged, exactly_once};
use crate::{crash_images, ended, order, phantoms, retained, shared, streams, subscriptions, wills};

const SETTLES_WITHIN: Duration = Duration::from_secs(20);

/// Of simulated time, for a schedule of its own.
const DIRECTED_WITHIN: Duration = Duration::from_secs(120);

/// Everybody who has a session.
pub(crate) const CLIENTS: [&str; 15] = [
    "all", "once", "plain", "exact", "exactly", "willing", "testator", "register", "reader", "sharer",
    "stays", "comes", "goes", "fleeting", "fickle",
];

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

/// A schedule of its own, in a world to which nothing else happens. It has to come to its end.
pub(crate) fn directed<F: Future<Output = ()> + Send + 'static>(
    seed: u64,
    schedule: impl FnOnce(World) -> F + Send + 'static,
) {
    SimRuntime::with_seed(seed).block_on(async move {
        let world = World::begin(seed).await;
        let leads = world.clone();
        until(&world, move || (0..SHARDS).all(|shard| leads.leader(shard).is_some())).await;
        let ended = SimTypes::timeout(DIRECTED_WITHIN, schedule(world.clone())).await;
        assert!(ended.is_ok(), "it did not come to its end");
        assert_eq!(world.history.outcome().broken, std::collections::BTreeMap::new());
    });
}

/// Waits until all replicas of a shard have applied the same entries.
pub(crate) async fn agree(world: &World, shard: u16) {
    loop {
        let states = states(world, shard).await;
        if states.len() == NODES.len() && states.iter().all(|state| state.0 == states[0].0) {
            return;
        }
        SimTypes::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until something holds.
pub(crate) async fn until(world: &World, holds: impl Fn() -> bool + Send + Sync) {
    let waits = async {
        while !holds() {
            SimTypes::sleep(Duration::from_millis(10)).await;
        }
    };
    let held = SimTypes::timeout(SETTLES_WITHIN, waits).await;
    assert!(held.is_ok(), "it did not happen, with {:?} leading", world.views());
}

async fn live(seed: u64) -> Outcome {
    let world = World::begin(seed).await;
    let clients = cast(&world);
    for trouble in deck(&world) {
        SimTypes::sleep(world.chance.millis(50..400)).await;
        NODES.into_iter().for_each(|node| crash_images::check(&world, world.disk(node)));
        befall(&world, trouble).await;
        SimTypes::sleep(world.chance.millis(50..600)).await;
        mend(&world).await;
    }
    heal(&world).await;
    let _detached = SimTypes::spawn(keep_running(world.clone()));
    world.stop_clients();
    settle(&world, clients).await;
    check(&world).await;
    world.history.outcome()
}

/// Who takes part: two who get all messages, their publishers, and some of the others. Returns who comes to an end.
fn cast(world: &World) -> Vec<SimJoinHandle<()>> {
    let of = || world.clone();
    for (name, qos) in [("all", QoS::ExactlyOnce), ("once", QoS::AtLeastOnce)] {
        let _detached = SimTypes::spawn(consumer::subscriber(of(), name, qos));
    }
    let mut ends = vec![
        SimTypes::spawn(publisher::publisher(of(), "plain", "t/1", 1_000_000)),
        SimTypes::spawn(publisher::publisher(of(), "exact", "t/2", 2_000_000)),
        SimTypes::spawn(willed::willed(of(), "willing", 4_000_000)),
        SimTypes::spawn(willed::willed(of(), "testator", 5_000_000)),
    ];
    if world.chance.one_in(2) {
        ends.push(SimTypes::spawn(publisher::publisher(of(), "exactly", "t/3", 3_000_000)));
    }
    if world.chance.one_in(2) {
        ends.push(SimTypes::spawn(registers::writer(of(), 6_000_000)));
        ends.push(SimTypes::spawn(registers::reader(of())));
    }
    if world.chance.one_in(2) {
        for member in [groups::STAYS, "comes", "goes"] {
            let _detached = SimTypes::spawn(groups::member(of(), member));
        }
        ends.push(SimTypes::spawn(groups::publisher(of(), 7_000_000)));
    }
    if world.chance.one_in(2) {
        let _detached = SimTypes::spawn(ending::fickle(of()));
        ends.push(SimTypes::spawn(ending::fleeting(of())));
    }
    ends
}

/// Waits until everything that was acknowledged is delivered and all replicas are the same.
async fn settle(world: &World, clients: Vec<SimJoinHandle<()>>) {
    let settled = async {
        for client in clients {
            let _ = client.await;
        }
        while !world.history.look(Facts::missing).is_empty() || !is_settled(world).await {
            SimTypes::sleep(Duration::from_millis(50)).await;
        }
    };
    if SimTypes::timeout(SETTLES_WITHIN, settled).await.is_err() {
        let open: Vec<_> = world.hosts().iter().map(crate::hosts::HostRun::open).collect();
        let missing = world.history.look(Facts::missing);
        let mut all = Vec::new();
        for shard in 0..SHARDS {
            all.push(states(world, shard).await);
        }
        let how =
            format!("not at rest in time; missing {missing:?}; {all:?} under {:?}; {open:?}", world.views());
        world.history.broken(Promise::Liveness, how);
    }
}

/// Holds what happened against what was promised.
async fn check(world: &World) {
    type Check = fn(&Facts) -> Result<(), String>;
    let checks: [(Promise, Check); 8] = [
        (Promise::Acknowledged, acknowledged::check),
        (Promise::ExactlyOnce, exactly_once::check),
        (Promise::Phantoms, phantoms::check),
        (Promise::Order, order::check),
        (Promise::Streams, streams::check),
        (Promise::Shared, shared::check),
        (Promise::Wills, wills::check),
        (Promise::Ended, ended::check),
    ];
    for (promise, check) in checks {
        if let Err(how) = world.history.look(check) {
            world.history.broken(promise, how);
        }
    }
    if world.history.look(wills::seen_after_host_death) {
        world.history.saw(Sometimes::WillAfterHostDeath);
    }
    if let Err(how) = retained::check_replicas(world).await {
        world.history.broken(Promise::Retained, how);
    }
    for (node, replica) in world.replicas() {
        for shard in 0..SHARDS {
            let looked = replica.part(shard).group.look_now(|state| {
                let home = state.machine();
                (home.shard.validate(), subscriptions::check(&home.shard), home.installs)
            });
            let Ok((valid, routes, installs)) = looked.await else {
                world.history.broken(Promise::Agreement, format!("shard {shard} of node {node} has ended"));
                continue;
            };
            (0..installs).for_each(|_| world.history.saw(Sometimes::SnapshotInstalled));
            for (promise, found) in
                [(Promise::Agreement, valid.map_err(str::to_owned)), (Promise::Subscriptions, routes)]
            {
                if let Err(how) = found {
                    world.history.broken(promise, format!("shard {shard} of node {node}: {how}"));
                }
            }
        }
    }
}

/// What a replica has applied, the digest of its state, and how much is on its way in it or to come by itself.
type State = (Option<LogId>, u64, usize);

async fn states(world: &World, shard: u16) -> Vec<State> {
    let mut states = Vec::new();
    for (_, replica) in world.replicas() {
        let live = world.live();
        let looked = replica.part(shard).group.look_now(move |state| {
            let applied = state.applied().last_log_id;
            let shard = &mut state.machine().shard;
            (applied, shard.digest(), waiting(shard) + unheard(shard, &live))
        });
        states.extend(looked.await);
    }
    states
}

fn waiting(shard: &mut Shard) -> usize {
    shard.sizes().queued_messages + shard.outbox().len() + usize::from(shard.next_due().is_some())
}

/// Hosts that died, and the shard does not know.
fn unheard(shard: &Shard, live: &[(NodeId, Incarnation)]) -> usize {
    live.iter().filter(|(node, lowest)| *lowest > Incarnation(1) && shard.last_run(*node) < *lowest).count()
}

/// Whether nothing is on its way and all replicas have the same state.
async fn is_settled(world: &World) -> bool {
    if !world.hosts().iter().all(crate::hosts::HostRun::is_idle) {
        return false;
    }
    for shard in 0..SHARDS {
        let states = states(world, shard).await;
        let (Some(first), true) = (states.first(), states.len() == NODES.len()) else { return false };
        let same = states.iter().all(|state| state.0 == first.0);
        if same && states.iter().any(|state| state.1 != first.1) {
            let how = format!("replicas of shard {shard} at {:?} differ: {states:?}", first.0);
            world.history.broken(Promise::Agreement, how);
        }
        if !same || first.2 > 0 {
            return false;
        }
    }
    true
}
