//! The cluster group under its log: decodes the entries that are committed, applies them, and tells those of this node
//! who follow it. Owned by the group; never waits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use session_store::store::{Changes, Checkpoint};
use session_store::{Host, Incarnation, Millis, NodeId};
use tokio::sync::watch;

use super::command::Command;
use super::follow::Follow;
use super::record;
use super::route::{Change, Routes};
use super::state::{Cluster, Member};
use super::{APPLY_LEVEL_MAX, GROUP};
use crate::machine::{BadEntry, Machine, Weight};
use crate::snapshot::SnapshotData;
use crate::storage::{GroupCheckpoints, RestoreError, Storage, StorageError};
use crate::types::SnapshotMeta;

/// Bytes that a command takes in an entry at most, besides names, ids and filters.
const COMMAND_BYTES: usize = 64;

/// Bytes that a filter takes besides its text.
const FILTER_BYTES: usize = 16;

/// Chunks of what dead runs had that each entry cleans up, so that none takes long.
const CLEAN_UP_CHUNKS: usize = 16;

/// Of each member the lowest run that is not dead: who hosts something under a lower one is gone.
pub type LowestLive = BTreeMap<NodeId, Incarnation>;

/// The runs that live, in the order of their nodes.
pub type Live = Vec<Host>;

/// The members and what is known of them.
pub type Roster = BTreeMap<NodeId, Member>;

/// The cluster group's state, and who follows it on this node.
#[derive(Debug)]
pub struct ClusterMachine {
    state: Cluster,
    checkpoints: GroupCheckpoints,
    /// As of which entry the state is.
    index: u64,
    /// What the entry that is being applied changed.
    changes: Vec<Change>,
    /// A snapshot has come, of which the follower does not know.
    installed: bool,
    follower: Option<Arc<dyn Follow>>,
    lowest_live: watch::Sender<LowestLive>,
    live: watch::Sender<Live>,
    roster: watch::Sender<Roster>,
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
        let live = watch::Sender::new(state.live().collect());
        let roster = watch::Sender::new(state.members.clone());
        let apply_level = watch::Sender::new(state.apply_level());
        let machine = Self {
            state,
            checkpoints: storage.checkpoints(GROUP),
            index: checkpoint.last_log_id.map_or(0, |id| id.index),
            changes: Vec::new(),
            installed: false,
            follower: None,
            lowest_live,
            live,
            roster,
            apply_level,
        };
        Ok((machine, checkpoint))
    }

    /// From here on this one follows which routes and fences there are; it is told at once of those that are. To be
    /// called before the group starts.
    pub fn follow(&mut self, follower: Arc<dyn Follow>) {
        follower.begin(self.index, &self.state);
        self.follower = Some(follower);
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

    /// Follows which runs live, as far as this node has applied the group's log. Told before whoever follows the entry is.
    #[must_use]
    pub fn live(&self) -> watch::Receiver<Live> {
        self.live.subscribe()
    }

    /// Follows who belongs to the cluster and where, as far as this node has applied the group's log.
    #[must_use]
    pub fn roster(&self) -> watch::Receiver<Roster> {
        self.roster.subscribe()
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
        self.roster.send_if_modified(|told| {
            let changed = *told != self.state.members;
            if changed {
                told.clone_from(&self.state.members);
            }
            changed
        });
        self.lowest_live.send_if_modified(|told| {
            let now: LowestLive = self.state.lowest_live().collect();
            let changed = *told != now;
            *told = now;
            changed
        });
        self.live.send_if_modified(|told| {
            let changed = !self.state.live().eq(told.iter().copied());
            if changed {
                *told = self.state.live().collect();
            }
            changed
        });
    }
}

fn restore(records: &mut Checkpoint) -> Result<Cluster, RestoreError> {
    Cluster::restore(records.map(|record| record.map_err(RestoreError::from)))
}

/// A command in the log of the node: not with each of a thousand filters.
struct Brief<'a>(&'a Command);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Command::Routes(Routes { owner, number, .. }) => write!(f, "routes {number} of {owner}"),
            other => write!(f, "{other:?}"),
        }
    }
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
        let text = match command {
            Command::Begin(begin) => begin.name.len() + begin.address.len(),
            Command::Routes(routes) => routes.bytes() + FILTER_BYTES * routes.len(),
            Command::Fence(fence) | Command::Unfence(fence) => fence.client.as_str().len(),
            Command::Ban(ban) => ban.whom.text_bytes() + ban.why.len(),
            Command::Unban(whom) => whom.text_bytes(),
            _ => 0,
        };
        Weight { items: 1, bytes: COMMAND_BYTES + text }
    }

    fn tick() -> Command {
        Command::Tick
    }

    fn encode(now_ms: u64, commands: &[Command]) -> Bytes {
        record::encode_entry(Millis(now_ms), commands)
    }

    fn apply(&mut self, body: &Bytes, _leads: bool) -> Result<(), BadEntry> {
        let (now, commands) = record::decode_entry(body.clone()).map_err(|bad| BadEntry(bad.to_string()))?;
        let mut tell = |change| self.changes.push(change);
        for command in &commands {
            if let Err(refusal) = self.state.apply_telling(now, command, &mut tell) {
                tracing::debug!(command = %Brief(command), %refusal, "the cluster group refused a command");
            }
            check_level(&self.state)?;
        }
        self.state.clean_up(CLEAN_UP_CHUNKS, &mut tell);
        self.tell();
        Ok(())
    }

    fn applied(&mut self, index: u64) {
        self.index = index;
        let changes = std::mem::take(&mut self.changes);
        let Some(follower) = &self.follower else { return };
        if std::mem::take(&mut self.installed) {
            follower.begin(index, &self.state);
        } else {
            follower.applied(index, changes);
        }
    }

    fn install(&mut self, snapshot: SnapshotData) -> Result<(), BadEntry> {
        let installed = self.checkpoints.install(&snapshot, restore);
        self.state = installed.map_err(|error| BadEntry(error.to_string()))?;
        self.installed = true;
        self.tell();
        Ok(())
    }

    fn take_changes(&mut self) -> Changes {
        self.state.take_changes()
    }

    fn checkpointed(&mut self) {
        self.state.clean_up(CLEAN_UP_CHUNKS, &mut |change| self.changes.push(change));
        self.applied(self.index);
    }

    /// Nothing here runs out.
    fn next_due_ms(&self) -> Option<u64> {
        None
    }

    fn now_ms(&self) -> u64 {
        self.state.now().0
    }
}
