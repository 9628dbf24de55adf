//! The cluster group under its log: decodes the entries that are committed, applies them, and tells those of this node
//! who follow it. Owned by the group; never waits.

use std::collections::BTreeMap;

use bytes::Bytes;
use session_store::store::{Changes, Checkpoint};
use session_store::{Incarnation, Millis, NodeId};
use tokio::sync::watch;

use super::command::Command;
use super::record;
use super::state::Cluster;
use super::{APPLY_LEVEL_MAX, GROUP};
use crate::machine::{BadEntry, Machine, Weight};
use crate::snapshot::SnapshotData;
use crate::storage::{GroupCheckpoints, RestoreError, Storage, StorageError};
use crate::types::SnapshotMeta;

/// Bytes that a command takes in an entry at most, besides a name.
const COMMAND_BYTES: usize = 64;

/// Of each member the lowest run that is not dead: who hosts something under a lower one is gone.
pub type LowestLive = BTreeMap<NodeId, Incarnation>;

/// The cluster group's state, and who follows it on this node.
#[derive(Debug)]
pub struct ClusterMachine {
    state: Cluster,
    checkpoints: GroupCheckpoints,
    lowest_live: watch::Sender<LowestLive>,
    apply_level: watch::Sender<u32>,
}

impl ClusterMachine {
    /// What the node's storage has of the group, and as of which entry; the state of no cluster where it has nothing.
    ///
    /// # Errors
    /// The checkpoint is damaged or lost, or this binary does not know it.
    pub fn restore(storage: &Storage) -> Result<(Self, SnapshotMeta), StorageError> {
        let (state, checkpoint) = storage.restore(GROUP, restore)?.unwrap_or_default();
        let lowest_live = watch::Sender::new(state.lowest_live().collect());
        let apply_level = watch::Sender::new(state.apply_level());
        let checkpoints = storage.checkpoints(GROUP);
        Ok((Self { state, checkpoints, lowest_live, apply_level }, checkpoint))
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &Cluster {
        &self.state
    }

    /// Follows which runs of nodes are alive, as far as this node has applied the group's log.
    #[must_use]
    pub fn lowest_live(&self) -> watch::Receiver<LowestLive> {
        self.lowest_live.subscribe()
    }

    /// Follows the level of `apply` that holds in the cluster, as far as this node has applied the group's log.
    #[must_use]
    pub fn apply_level(&self) -> watch::Receiver<u32> {
        self.apply_level.subscribe()
    }

    fn tell(&self) {
        self.apply_level.send_if_modified(|told| {
            let now = self.state.apply_level();
            std::mem::replace(told, now) != now
        });
        self.lowest_live.send_if_modified(|told| {
            let now: LowestLive = self.state.lowest_live().collect();
            let changed = *told != now;
            *told = now;
            changed
        });
    }
}

fn restore(records: &mut Checkpoint) -> Result<Cluster, RestoreError> {
    Cluster::restore(records.map(|record| record.map_err(RestoreError::from)))
}

/// A binary that does not know a level does not know what the entries behind it mean.
fn check_level(state: &Cluster) -> Result<(), BadEntry> {
    let found = state.apply_level();
    if found <= APPLY_LEVEL_MAX {
        return Ok(());
    }
    let known = APPLY_LEVEL_MAX;
    Err(BadEntry(format!(
        "the cluster is at apply level {found}, and this binary knows {known}: run a newer one"
    )))
}

impl Machine for ClusterMachine {
    type Command = Command;

    fn weight(command: &Command) -> Weight {
        let name = match command {
            Command::Begin(begin) => begin.name.len(),
            _ => 0,
        };
        Weight { items: 1, bytes: COMMAND_BYTES + name }
    }

    fn tick() -> Command {
        Command::Tick
    }

    fn encode(now_ms: u64, commands: &[Command]) -> Bytes {
        record::encode_entry(Millis(now_ms), commands)
    }

    fn apply(&mut self, body: &Bytes, _leads: bool) -> Result<(), BadEntry> {
        let (now, commands) = record::decode_entry(body.clone()).map_err(|bad| BadEntry(bad.to_string()))?;
        for command in &commands {
            if let Err(refusal) = self.state.apply(now, command) {
                tracing::debug!(?command, %refusal, "the cluster group refused a command");
            }
            check_level(&self.state)?;
        }
        self.tell();
        Ok(())
    }

    fn install(&mut self, snapshot: SnapshotData) -> Result<(), BadEntry> {
        let installed = self.checkpoints.install(&snapshot, restore);
        self.state = installed.map_err(|error| BadEntry(error.to_string()))?;
        self.tell();
        Ok(())
    }

    fn take_changes(&mut self) -> Changes {
        self.state.take_changes()
    }

    /// Nothing here runs out.
    fn next_due_ms(&self) -> Option<u64> {
        None
    }

    fn now_ms(&self) -> u64 {
        self.state.now().0
    }
}
