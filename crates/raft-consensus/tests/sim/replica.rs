//! One replica in one life: the production log, group and network on a simulated disk, with tasks in the place of the
//! log's threads. A crash takes what was not synced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::EmptyNode;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::InstantOf;
use openraft_rt_sim::SimRuntime;
use raft_consensus::disk::{CrashMode, SimDisk};
use raft_consensus::floor::Checkpoint;
use raft_consensus::group::{Group, Start, Timing};
use raft_consensus::network::{Dispatcher, MemoryNetwork, Network};
use raft_consensus::proposer::WallClock;
use raft_consensus::state_machine::Taken;
use raft_consensus::types::{Applied, NodeId, Proposal};
use raft_consensus::wal::{Call, GroupId, Room, Wal, WalOptions};

use crate::chance::Chance;
use crate::history::{History, Promise};
use crate::home::{self, Home, Outlet};
use crate::store::SimStore;

openraft::declare_raft_types!(
    /// The types on the simulated runtime.
    pub(crate) SimTypes:
        D = Proposal,
        R = Applied,
        NodeId = NodeId,
        Node = EmptyNode,
        AsyncRuntime = SimRuntime,
);

pub(crate) const GROUP: GroupId = GroupId(1);
pub(crate) const NODES: [NodeId; 3] = [1, 2, 3];

const SEGMENT_BYTES: u64 = 32 << 10;
/// Between two checkpoints of a replica.
const CHECKPOINT_MS: std::ops::Range<u64> = 600..1_500;

/// Milliseconds since 1970 as all nodes' clocks have them, at an instant of the simulation.
fn clock(began: InstantOf<SimTypes>) -> WallClock {
    Arc::new(move || 1_000_000 + u64::try_from((SimTypes::now() - began).as_millis()).unwrap_or_default())
}

#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) group: Group<SimTypes, Home>,
    pub(crate) outlet: Outlet,
    disk: SimDisk,
    wal: Wal,
    store: SimStore,
    /// The power goes between the next write of the log and its sync.
    cut: Arc<AtomicBool>,
}

/// What a replica is started with.
pub(crate) struct Place<'a> {
    pub(crate) node: NodeId,
    pub(crate) disk: &'a SimDisk,
    pub(crate) network: &'a MemoryNetwork<SimTypes>,
    pub(crate) chance: &'a Chance,
    pub(crate) began: InstantOf<SimTypes>,
    pub(crate) history: &'a History,
}

impl Replica {
    /// Starts with what is on the disk; says whether a torn end of the log was cut.
    pub(crate) async fn start(place: &Place<'_>) -> Result<(Self, bool), String> {
        let Place { node, disk, network, chance, began, history } = place;
        let options = WalOptions {
            segment_bytes: SEGMENT_BYTES,
            log_bytes_max: 16 * SEGMENT_BYTES,
            cache_bytes_max: 16 << 10,
            ..WalOptions::default()
        };
        let quiet = options.quiet;
        let (wal, recovery) =
            Wal::open(Arc::new((*disk).clone()), options).map_err(|error| error.to_string())?;
        let store = SimStore::open(disk).map_err(|error| error.to_string())?;
        let outlet = Outlet::default();
        let transport = network.transport(*node);
        let (disks, files) = (Arc::new((*disk).clone()), Arc::new(store.clone()));
        let cut = Arc::<AtomicBool>::default();
        let cut_now = {
            let (cut, disk, wal) = (Arc::clone(&cut), (*disk).clone(), wal.clone());
            move || {
                // What is larger than a sector can be torn.
                let torn = wal.bytes_waiting() > 600 && cut.swap(false, Ordering::Relaxed);
                torn.then(|| disk.cut_power(1))
            }
        };
        drive(&wal, chance, (quiet, cut_now));
        let started = Group::start(Start {
            node: *node,
            group: GROUP,
            timing: Timing::LAN,
            log: wal.group(GROUP).map_err(|error| error.to_string())?,
            room: wal.room(),
            network: Network::new((*node, GROUP), transport, disks.clone(), files.clone()),
            machine: Home::new(store.clone(), outlet.clone()),
            checkpoint: store.state().0,
            clock: clock(*began),
        });
        let (group, _task) = started.await.map_err(|error| error.to_string())?;
        let dispatcher = Dispatcher::new(*node, disks, files);
        dispatcher.add(&group).map_err(|error| error.to_string())?;
        network.join(*node, dispatcher);
        group.found(NODES).await.map_err(|error| error.to_string())?;
        let replica = Self { group, outlet, disk: (*disk).clone(), wal, store, cut };
        let _detached = SimTypes::spawn(replica.clone().checkpoints((*chance).clone(), (*history).clone()));
        Ok((replica, recovery.torn_tail.is_some()))
    }

    pub(crate) fn is_powerless(&self) -> bool {
        self.wal.ended().is_some()
    }

    /// The power goes while something is written to the log, or before one of the next changes of the disk.
    pub(crate) fn cut_power(&self, chance: &Chance) {
        if chance.one_in(2) {
            self.cut.store(true, Ordering::Relaxed);
        } else {
            self.disk.cut_power(chance.below(16));
        }
    }

    /// The node ends. Nothing that this life does from here on leaves it.
    pub(crate) fn crash(&self, mode: CrashMode, seed: u64) {
        self.outlet.close();
        self.cut.store(false, Ordering::Relaxed);
        self.disk.crash(mode, seed);
        self.wal.close();
        let group = self.group.clone();
        let _detached = SimTypes::spawn(async move { group.stop().await });
    }

    async fn checkpoints(self, chance: Chance, history: History) {
        loop {
            SimTypes::sleep(chance.millis(CHECKPOINT_MS)).await;
            let looked = self.group.look_now(|state| {
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
            if self.store.write(meta.clone(), &changes).is_err() {
                return;
            }
            match home::restore(&self.store.state().1).map(|shard| shard.digest()) {
                Ok(restored) if restored == digest => {}
                other => history.broken(
                    Promise::Agreement,
                    format!(
                        "a checkpoint restores to {other:?} instead of {digest} at {:?}",
                        meta.last_log_id
                    ),
                ),
            }
            let index = meta.last_log_id.map_or(0, |id| id.index);
            self.wal.checkpointed(GROUP, Checkpoint { index, hash: index });
            if self.group.purge_behind(checkpoint).await.is_err() {
                return;
            }
        }
    }
}

/// Tasks that do what the log's threads do.
fn drive(wal: &Wal, chance: &Chance, (quiet, cut): (Duration, impl Fn() -> Option<()> + Send + 'static)) {
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
