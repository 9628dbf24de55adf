//! One node in one life: the production log, groups and network on a simulated disk, with tasks in the place of the
//! log's threads. A crash takes what was not synced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::EmptyNode;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::InstantOf;
use openraft_rt_sim::SimRuntime;
use parking_lot::Mutex;
use raft_consensus::disk::{CrashMode, SimDisk};
use raft_consensus::floor::Checkpoint;
use raft_consensus::group::{Group, Start, Timing};
use raft_consensus::network::{Dispatcher, Joined, MemoryNetwork, MemoryTransport, Networks};
use raft_consensus::proposer::WallClock;
use raft_consensus::state_machine::Taken;
use raft_consensus::time::GroupClock;
use raft_consensus::types::{Applied, NodeId, Proposal};
use raft_consensus::wal::{Call, Room, Wal, WalOptions};
use tokio::sync::watch;

use crate::chance::Chance;
use crate::floor;
use crate::history::{History, Promise};
use crate::home::{self, Home, Outlet, SHARDS, group_of};
use crate::repair::{NoStart, repair};
use crate::store_files::StoreFiles;

openraft::declare_raft_types!(
    /// The types on the simulated runtime.
    pub(crate) SimTypes:
        D = Proposal,
        R = Applied,
        NodeId = NodeId,
        Node = EmptyNode,
        AsyncRuntime = SimRuntime,
);

pub(crate) const NODES: [NodeId; 3] = [1, 2, 3];

const SEGMENT_BYTES: u64 = 32 << 10;
/// Between two checkpoints of a replica.
const CHECKPOINT_MS: std::ops::Range<u64> = 600..1_500;

/// Milliseconds of the monotonic clock, which is the same on all nodes.
pub(crate) fn monotonic_ms(began: InstantOf<SimTypes>) -> u64 {
    u64::try_from((SimTypes::now() - began).as_millis()).unwrap_or_default()
}

/// Small enough for a run to fill several files.
pub(crate) fn wal_options() -> WalOptions {
    WalOptions {
        segment_bytes: SEGMENT_BYTES,
        log_bytes_max: 16 * SEGMENT_BYTES,
        cache_bytes_max: 16 << 10,
        ..WalOptions::default()
    }
}

/// A node's replica of one shard.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) group: Group<SimTypes, Home>,
    pub(crate) outlet: Outlet,
    ended: Arc<AtomicBool>,
}

#[derive(Clone)]
pub(crate) struct Replica {
    /// Its replica of each shard.
    pub(crate) parts: Arc<[Part]>,
    pub(crate) clock: Arc<Mutex<GroupClock>>,
    pub(crate) wal: Wal,
    disk: SimDisk,
    pub(crate) store: StoreFiles,
    /// The power goes between the next write of the log and its sync.
    cut: Arc<AtomicBool>,
    /// The disk has no space that a checkpoint could count on.
    pub(crate) full: Arc<AtomicBool>,
}

/// What a node is started with.
pub(crate) struct Place<'a> {
    pub(crate) node: NodeId,
    pub(crate) disk: &'a SimDisk,
    pub(crate) network: &'a MemoryNetwork<SimTypes>,
    pub(crate) chance: &'a Chance,
    pub(crate) began: InstantOf<SimTypes>,
    pub(crate) history: &'a History,
    /// The checkpoints of the nodes that run.
    pub(crate) others: &'a [StoreFiles],
}

impl Replica {
    /// Starts with what is on the disk; says whether a torn end of the log was cut.
    pub(crate) async fn start(place: &Place<'_>) -> Result<(Self, bool), NoStart> {
        let Place { node, disk, network, chance, history, others, .. } = place;
        let options = wal_options();
        let quiet = options.quiet;
        let (wal, recovery) = Wal::open(Arc::new((*disk).clone()), options).map_err(NoStart::fails)?;
        let store = StoreFiles::open(disk, (0..SHARDS).map(group_of)).map_err(NoStart::fails)?;
        repair(&wal, &store, others)?;
        floor::check(&wal, &store, &recovery).unwrap_or_else(|how| history.broken(Promise::Floor, how));
        let clock = Arc::new(Mutex::new(GroupClock::new(NODES)));
        let cut = Arc::<AtomicBool>::default();
        drive(&wal, chance, (quiet, cut_while_writing(&cut, disk, &wal)));
        let joined = joined(place, &store);
        let (mut parts, rooms) = (Vec::new(), rooms(&wal));
        for (shard, room) in (0..SHARDS).zip(rooms) {
            parts.push(start_part(place, (shard, &joined, room), (&wal, &store, &clock)).await?);
        }
        network.join(*node, joined.dispatcher.clone());
        for part in &parts {
            part.group.found(NODES).await.map_err(NoStart::fails)?;
        }
        let full = Arc::default();
        let replica = Self { parts: parts.into(), clock, wal, disk: (*disk).clone(), store, cut, full };
        for shard in 0..SHARDS {
            let checkpoints = replica.clone().checkpoints(shard, (*chance).clone(), (*history).clone());
            let _detached = SimTypes::spawn(checkpoints);
        }
        Ok((replica, recovery.torn_tail.is_some()))
    }

    pub(crate) fn part(&self, shard: u16) -> &Part {
        &self.parts[usize::from(shard)]
    }

    /// Whether the log takes more than what frees space.
    pub(crate) fn has_room(&self) -> bool {
        *self.wal.room().borrow() == Room::Ok
    }

    /// The power goes while something is written to the log, or before one of the next changes of the disk.
    pub(crate) fn cut_power(&self, chance: &Chance) {
        if chance.one_in(2) {
            self.cut.store(true, Ordering::Relaxed);
        } else {
            self.disk.cut_power(chance.below(16));
        }
    }

    /// Whether it has noticed that it has no power, or cannot go on for another reason.
    pub(crate) fn has_ended(&self) -> bool {
        self.wal.ended().is_some() || self.parts.iter().any(|part| part.ended.load(Ordering::Relaxed))
    }

    /// The node ends. Nothing that this life does from here on leaves it.
    pub(crate) fn crash(&self, mode: CrashMode, seed: u64) {
        self.cut.store(false, Ordering::Relaxed);
        self.parts.iter().for_each(|part| part.outlet.close());
        self.disk.crash(mode, seed);
        self.wal.close();
        let parts = Arc::clone(&self.parts);
        let _detached = SimTypes::spawn(async move {
            for part in parts.iter() {
                part.group.stop().await;
            }
        });
    }

    async fn checkpoints(self, shard: u16, chance: Chance, history: History) {
        let (part, group) = (self.part(shard).clone(), group_of(shard));
        loop {
            SimTypes::sleep(chance.millis(CHECKPOINT_MS)).await;
            if self.full.load(Ordering::Relaxed) {
                continue;
            }
            let looked = part.group.look_now(|state| {
                let taken = state.take_changes();
                (taken, state.machine().shard.digest())
            });
            let Ok((taken, digest)) = looked.await else { return };
            let Some(Taken { changes, checkpoint }) = taken else { continue };
            // A snapshot that came meanwhile has put another state in the place of that.
            if !checkpoint.stands() || self.wal.ended().is_some() {
                continue;
            }
            let meta = checkpoint.meta.clone();
            if self.store.write(group, meta.clone(), &changes).is_err() {
                return;
            }
            match home::restore(shard, &self.store.state(group).1).map(|shard| shard.digest()) {
                Ok(restored) if restored == digest => {}
                other => {
                    let at = meta.last_log_id;
                    let how = format!("a checkpoint at {at:?} restores to {other:?} instead of {digest}");
                    history.broken(Promise::Agreement, how);
                }
            }
            let index = meta.last_log_id.map_or(0, |id| id.index);
            self.wal.checkpointed(group, Checkpoint { index, hash: index });
            if part.group.purge_behind(checkpoint).await.is_err() {
                return;
            }
        }
    }
}

fn joined(place: &Place<'_>, store: &StoreFiles) -> Joined<MemoryTransport<SimTypes>> {
    let Place { node, disk, network, .. } = place;
    let (disk, files) = (Arc::new((*disk).clone()), Arc::new(store.clone()));
    let dispatcher = Dispatcher::new(*node, disk.clone(), files.clone());
    Joined { node: *node, transport: Arc::new(network.transport(*node)), disk, files, dispatcher }
}

async fn start_part(
    place: &Place<'_>,
    (shard, joined, room): (u16, &Joined<MemoryTransport<SimTypes>>, watch::Receiver<Room>),
    (wal, store, clock): (&Wal, &StoreFiles, &Arc<Mutex<GroupClock>>),
) -> Result<Part, NoStart> {
    let Place { node, began, history, .. } = place;
    let (outlet, group) = (Outlet::default(), group_of(shard));
    let started = Group::start(Start {
        node: *node,
        group,
        timing: Timing::LAN,
        log: wal.group(group).map_err(NoStart::fails)?,
        room,
        network: Networks::<SimTypes>::network(joined, group),
        machine: Home::new((*node, shard), store.clone(), outlet.clone(), (*history).clone()),
        checkpoint: store.state(group).0,
        clock: wall_clock(Arc::clone(clock), *began),
    });
    let (group, task) = started.await.map_err(NoStart::fails)?;
    Networks::<SimTypes>::started(joined, &group).map_err(NoStart::fails)?;
    let ended = Arc::<AtomicBool>::default();
    let tell = Arc::clone(&ended);
    let _detached = SimTypes::spawn(async move {
        let _why = task.await;
        tell.store(true, Ordering::Relaxed);
    });
    Ok(Part { group, outlet, ended })
}

/// Whether the log has room, for each group by itself: of several who wait for the same news, who hears it first is left to
/// chance that follows from no seed.
fn rooms(wal: &Wal) -> Vec<watch::Receiver<Room>> {
    let mut news = wal.room();
    let now = *news.borrow_and_update();
    let (tell, rooms): (Vec<_>, Vec<_>) = (0..SHARDS).map(|_| watch::channel(now)).unzip();
    let _detached = SimTypes::spawn(async move {
        while news.changed().await.is_ok() {
            let now = *news.borrow_and_update();
            for tell in &tell {
                let _before = tell.send_replace(now);
            }
        }
    });
    rooms
}

fn wall_clock(clock: Arc<Mutex<GroupClock>>, began: InstantOf<SimTypes>) -> WallClock {
    Arc::new(move || clock.lock().now_ms(monotonic_ms(began)))
}

/// Cuts the power, where that was asked for, when something that can be torn is about to be written.
fn cut_while_writing(cut: &Arc<AtomicBool>, disk: &SimDisk, wal: &Wal) -> impl Fn() + Send + 'static {
    let (cut, disk, wal) = (Arc::clone(cut), disk.clone(), wal.clone());
    move || {
        // More than a sector.
        if wal.bytes_waiting() > 600 && cut.swap(false, Ordering::Relaxed) {
            disk.cut_power(1);
        }
    }
}

/// Tasks that do what the log's threads do.
fn drive(wal: &Wal, chance: &Chance, (quiet, cut): (Duration, impl Fn() + Send + 'static)) {
    let (committing, preparing, noting) = (wal.clone(), wal.clone(), wal.clone());
    let chance = chance.clone();
    let _detached = SimTypes::spawn(async move {
        while committing.ended().is_none() {
            let called = match committing.is_resting() {
                true => committing.called().await,
                false => SimTypes::timeout(quiet, committing.called()).await.unwrap_or(Call::None),
            };
            // As long as a disk takes, and now and then as long as a busy one.
            let slow = chance.one_in(200);
            SimTypes::sleep(if slow { chance.millis(20..120) } else { chance.millis(0..2) }).await;
            match called {
                Call::Now => {
                    cut();
                    committing.step();
                }
                Call::None => drop(committing.quiet()),
                Call::Later => {}
                Call::Stop => return,
            }
        }
    });
    let _detached = SimTypes::spawn(async move {
        loop {
            preparing.prepare_called().await;
            while preparing.ended().is_none() && preparing.prepare() == Room::Full {
                SimTypes::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let _detached = SimTypes::spawn(async move {
        while noting.ended().is_none() {
            noting.floor_called().await;
            noting.write_floor();
            SimTypes::sleep(Duration::from_millis(100)).await;
        }
    });
}
