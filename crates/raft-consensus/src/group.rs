//! One Raft group on this node: openraft around a machine, and the proposer in front of it. Started by the node for
//! each shard and for the cluster group; a handle is cheap and may be cloned.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::network::{NetSnapshot, RaftNetworkFactory};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::JoinHandleOf;
use openraft::{Raft, SnapshotPolicy};
use session_store::histogram::{Durations, Histogram};
use tokio::sync::{mpsc, watch};

use crate::budget::{Budget, Held};
use crate::leadership::{Heard, Leadership, LeadershipWatch};
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::proposer::{Ended, Proposer, WallClock, Work};
use crate::snapshot::SnapshotData;
use crate::state_machine::{Standing, StateMachine};
use crate::types::{NodeId, SnapshotMeta, Types};
use crate::wal::{self, GroupId, GroupLog};

/// Commands that wait for a group's proposer at most; whoever has more waits.
const MAILBOX: usize = 1_024;
/// Bytes of these commands at most, but for one that is larger by itself.
pub const MAILBOX_BYTES_MAX: usize = 8 << 20;
/// Bytes of what passes a group's log by and waits for its machine at most, but for one that is larger by itself.
pub const PASSING_BYTES_MAX: usize = 4 << 20;
/// Bytes that [`Group::room`] counts a command as.
const SMALL_BYTES: usize = 256;
/// Bytes of an entry besides its commands, at most.
const ENTRY_HEAD_BYTES: usize = 128;

/// How long openraft may take to hear of a checkpoint, before which it lets no log go.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// Why a group did not start.
#[derive(Debug, thiserror::Error)]
#[error("group {group} did not start: {reason}")]
pub struct StartError {
    /// Which.
    pub group: u32,
    /// What openraft said.
    pub reason: String,
}

/// The group is gone: the node stops, or it failed and the node is about to stop.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the group has ended")]
pub struct Gone;

/// This node does not lead the group.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this node does not lead the group")]
pub struct NotLeading;

/// Why there is no room for a command.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum NoRoom {
    /// See [`Gone`].
    #[error("the group has ended")]
    Gone,
    /// No record of the log could hold it: it must not be proposed, since that would end the node.
    #[error("a command of {found} bytes, where the log takes at most {bound}")]
    TooLarge {
        /// Bytes of the command.
        found: usize,
        /// The bound in bytes.
        bound: usize,
    },
}

impl From<Gone> for NoRoom {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Times of a group (section 4 of the design). Each is longer than the one before it.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two heartbeats of a leader, in milliseconds.
    pub heartbeat_ms: u64,
    /// Without word from a leader before an election, at least, in milliseconds.
    pub election_min_ms: u64,
    /// The same, at most.
    pub election_max_ms: u64,
}

impl Timing {
    /// For nodes within one network.
    pub const LAN: Self = Self { heartbeat_ms: 100, election_min_ms: 150, election_max_ms: 300 };
    /// For nodes in several zones.
    pub const ZONES: Self = Self { heartbeat_ms: 250, election_min_ms: 750, election_max_ms: 1_500 };

    fn config(self, group: GroupId) -> openraft::Config {
        openraft::Config {
            cluster_name: format!("group-{}", group.0),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_min_ms,
            election_timeout_max: self.election_max_ms,
            enable_pre_vote: Some(true),
            // What a leader sent to others before it was synced here may be lost with its power. In the same term it
            // would then give the same places of the log to other entries: it has to be elected anew.
            enable_leader_restore: Some(false),
            // Checkpoints have their own clock, and the log is purged behind them by them alone.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            ..openraft::Config::default()
        }
    }
}

/// What a group is started with.
pub struct Start<N, M> {
    /// This node.
    pub node: NodeId,
    /// Which group.
    pub group: GroupId,
    /// Its times.
    pub timing: Timing,
    /// Its log.
    pub log: GroupLog,
    /// Whether the node's log has room for more.
    pub room: watch::Receiver<wal::Room>,
    /// The way to its other members.
    pub network: N,
    /// Its machine as the checkpoint has it.
    pub machine: M,
    /// As of which entry that is.
    pub checkpoint: SnapshotMeta,
    /// The node's clock.
    pub clock: WallClock,
}

/// Room for one command in a group's queue.
pub struct Room<'a, M: Machine> {
    permit: mpsc::Permit<'a, Work<M>>,
    held: Held,
}

impl<M: Machine> Room<'_, M> {
    /// Puts a command into the log, behind everything that was put there before.
    pub fn propose(self, command: M::Command) {
        self.permit.send(Work::Propose(command, self.held));
    }
}

/// A running group.
pub struct Group<C: Types, M: Machine> {
    id: GroupId,
    raft: Raft<C, StateMachine<M>>,
    work: mpsc::Sender<Work<M>>,
    /// For what is proposed.
    mailbox: Budget,
    /// For what passes the log by: it goes on while the log has no space.
    passing: Budget,
    log: GroupLog,
    leadership: LeadershipWatch<C>,
    heard: watch::Sender<Heard>,
    commits: Arc<Histogram>,
}

impl<C: Types, M: Machine> Clone for Group<C, M> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            raft: self.raft.clone(),
            work: self.work.clone(),
            mailbox: self.mailbox.clone(),
            passing: self.passing.clone(),
            log: self.log.clone(),
            leadership: self.leadership.clone(),
            heard: self.heard.clone(),
            commits: Arc::clone(&self.commits),
        }
    }
}

impl<C: Types, M: Machine> Group<C, M> {
    /// Starts a group with what its log and its checkpoint have. The task ends with the group and says why.
    ///
    /// # Errors
    /// The log or the checkpoint cannot be read.
    pub async fn start<N>(start: Start<N, M>) -> Result<(Self, JoinHandleOf<C, Ended>), StartError>
    where
        N: RaftNetworkFactory<C>,
        N::Network: NetSnapshot<C, SnapshotData = SnapshotData>,
    {
        let Start { node, group, timing, log, room, network, machine, checkpoint, clock } = start;
        let error = |reason: String| StartError { group: group.0, reason };
        let config = Arc::new(timing.config(group).validate().map_err(|bad| error(bad.to_string()))?);
        let log_store = LogStore::new(log.clone());
        let state = StateMachine::new(machine, checkpoint, log_store.clone());
        let glance = state.glance();
        let raft =
            Raft::new(node, config, network, log_store, state).await.map_err(|bad| error(bad.to_string()))?;
        let (work, work_end) = mpsc::channel(MAILBOX);
        let (told, leadership) = C::watch_channel(Leadership::default());
        let (heard, hears) = watch::channel(Heard::default());
        let commits = Arc::<Histogram>::default();
        let proposer =
            Proposer::new(raft.clone(), work_end, (glance, clock), (room, hears, told), Arc::clone(&commits));
        let task = C::spawn(proposer.run());
        let leadership = LeadershipWatch::new(leadership);
        let (mailbox, passing) = (Budget::of(MAILBOX_BYTES_MAX), Budget::of(PASSING_BYTES_MAX));
        Ok((Self { id: group, raft, work, mailbox, passing, log, leadership, heard, commits }, task))
    }

    /// Which group it is.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.id
    }

    pub(crate) fn raft(&self) -> &Raft<C, StateMachine<M>> {
        &self.raft
    }

    pub(crate) fn log(&self) -> &GroupLog {
        &self.log
    }

    /// Who leads the group, for whoever waits for what it proposed.
    #[must_use]
    pub fn leadership(&self) -> LeadershipWatch<C> {
        self.leadership.clone()
    }

    /// Another node says that it leads the group in this term. A node that has no replica knows who leads by that alone.
    pub fn hear_of_leader(&self, leader: NodeId, term: u64) {
        self.heard.send_if_modified(|heard| heard.note(leader, term));
    }

    /// Hands the leadership to another member, if this node has it. [`Self::leadership`] tells when that has happened;
    /// it does not where the other one cannot be reached or lags.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn hand_over(&self, to: NodeId) -> Result<(), Gone> {
        self.raft.trigger().transfer_leader(to).await.map_err(|_| Gone)
    }

    /// Bytes of the node's log that this group keeps from being used again.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes_pinned()
    }

    /// How long entries took that this node proposed as the group's leader, until they were committed and applied here.
    #[must_use]
    pub fn commit_times(&self) -> Durations {
        self.commits.read()
    }

    /// Waits until this node has applied everything that was acknowledged before it started.
    ///
    /// # Errors
    /// The group has failed, or this took longer than `within`.
    pub async fn ready(&self, within: Duration) -> Result<(), StartError> {
        let Err(error) = self.raft.wait_for_recovery(Some(within)).await else { return Ok(()) };
        let state = self.raft.metrics().borrow_watched().running_state.clone();
        let reason = state.err().map_or_else(|| error.to_string(), |fatal| fatal.to_string());
        Err(StartError { group: self.id.0, reason })
    }

    /// Waits until this node is known to lead the group and has applied everything that was committed before it was
    /// asked (section 6.4 of the Raft dissertation, read index).
    ///
    /// # Errors
    /// It does not lead, or the group has ended.
    pub async fn caught_up(&self) -> Result<(), NotLeading> {
        let read = self.raft.ensure_linearizable(openraft::raft::ReadPolicy::ReadIndex).await;
        read.map(|_| ()).map_err(|_| NotLeading)
    }

    /// Room for one small command, of 256 bytes at most; waits while too much is queued.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn room(&self) -> Result<Room<'_, M>, Gone> {
        self.room_of(SMALL_BYTES).await
    }

    /// Room for one command of so many bytes, by [`Machine::weight`]; waits while too much is queued. Whoever comes
    /// first gets room first, however much others want, and who gives up waiting holds nobody up.
    ///
    /// # Errors
    /// The group has ended, or the command is larger than a record of the log.
    pub async fn room_for(&self, bytes: usize) -> Result<Room<'_, M>, NoRoom> {
        let bound = self.log.body_bytes_max().saturating_sub(ENTRY_HEAD_BYTES);
        if bytes > bound {
            return Err(NoRoom::TooLarge { found: bytes, bound });
        }
        Ok(self.room_of(bytes).await?)
    }

    async fn room_of(&self, bytes: usize) -> Result<Room<'_, M>, Gone> {
        let held = self.mailbox.hold(bytes).await?;
        // The bytes first: the mailbox is emptied whoever waits for them.
        let permit = self.work.reserve().await.map_err(|_| Gone)?;
        Ok(Room { permit, held })
    }

    /// Does something with the machine as it is now, whatever is on its way, and does not wait for it. `bytes` is what
    /// that holds in memory; waits while too much of it is on its way.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn pass(&self, bytes: usize, look: impl FnOnce(&mut M) + Send + 'static) -> Result<(), Gone> {
        let held = self.passing.hold(bytes).await?;
        let passed = self.raft.external_state_machine_request(move |state| {
            look(state.machine());
            drop(held);
            Box::pin(std::future::ready(()))
        });
        passed.await.map_err(|_| Gone)
    }

    /// Looks at the machine once everything proposed before is applied.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&mut M) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (answer, result) = tokio::sync::oneshot::channel();
        let look = Box::new(move |machine: &mut M| drop(answer.send(look(machine))));
        self.work.send(Work::Look(look)).await.map_err(|_| Gone)?;
        result.await.map_err(|_| Gone)
    }

    /// Looks at the machine as it is now, whatever is on its way.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn look_now<R: Send + 'static>(
        &self,
        look: impl FnOnce(&mut StateMachine<M>) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        // Not openraft's `with_state_machine`: that logs an error where whoever asked is no longer there, as those that
        // end with the node are not.
        let (answer, result) = tokio::sync::oneshot::channel();
        let looked = self.raft.external_state_machine_request(move |state| {
            drop(answer.send(look(state)));
            Box::pin(std::future::ready(()))
        });
        looked.await.map_err(|_| Gone)?;
        result.await.map_err(|_| Gone)
    }

    /// Lets the log go up to a checkpoint that the store has, synced, but for what [`Self::purge`] keeps.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn purge_behind(&self, checkpoint: Standing) -> Result<(), Gone> {
        let last = checkpoint.meta.last_log_id;
        self.look_now(|state| state.checkpointed(checkpoint)).await?;
        self.raft.trigger().snapshot().await.map_err(|_| Gone)?;
        let known = self.raft.wait(Some(KNOWN_WITHIN));
        // Where it takes too long the log goes with the next one.
        let _late = known.metrics(|now| now.snapshot >= last, "a checkpoint").await;
        self.purge().await
    }

    /// Lets the log go up to the last checkpoint. Where the group has other members a little of it stays, from which
    /// whoever was away for a moment catches up without a snapshot.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn purge(&self) -> Result<(), Gone> {
        let SnapshotMeta { last_log_id, last_membership } =
            self.look_now(|state| state.checkpoint().clone()).await?;
        let Some(last) = last_log_id.map(|id| id.index) else { return Ok(()) };
        let alone = last_membership.membership().nodes().count() <= 1;
        let upto = if alone { Some(last) } else { self.log.before_margin(last) };
        let purged = self.log.purged().map(|(index, _)| index);
        match upto.filter(|upto| purged.is_none_or(|purged| purged < *upto)) {
            Some(upto) => self.raft.trigger().purge_log(upto).await.map_err(|_| Gone),
            None => Ok(()),
        }
    }

    /// Stops the group; what was proposed and not applied is as if it had never been asked for.
    pub async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(group = self.id.0, %error, "the group's task ended badly");
        }
    }
}
