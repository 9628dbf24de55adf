//! Between openraft and a [`Machine`]: remembers what was applied, applies what is committed, in order. Owned by
//! openraft's worker of the group, which is the machine's one owner; others come by [`crate::group::Group`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};

use session_store::failpoint::{self, Point};
use session_store::store::Changes;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::snapshot::{self, Builder, Snapshot, SnapshotData};
use crate::types::{Applied, Entry, LogId, Proposal, SnapshotMeta, StoredMembership, Types};

/// No deadline.
const NEVER: u64 = u64::MAX;

/// What the proposer of the group knows of its machine without asking it.
#[derive(Debug)]
pub(crate) struct Glance {
    next_due_ms: AtomicU64,
    now_ms: AtomicU64,
}

impl Default for Glance {
    fn default() -> Self {
        Self { next_due_ms: AtomicU64::new(NEVER), now_ms: AtomicU64::new(0) }
    }
}

impl Glance {
    fn set<M: Machine>(&self, machine: &M) {
        self.next_due_ms.store(machine.next_due_ms().unwrap_or(NEVER), Ordering::Release);
        self.now_ms.store(machine.now_ms(), Ordering::Release);
    }

    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        Some(self.next_due_ms.load(Ordering::Acquire)).filter(|at| *at != NEVER)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Acquire)
    }
}

/// What is to be written into the store for a checkpoint. It is void as soon as a snapshot is installed, which takes the
/// place of the state that it is of.
#[derive(Debug)]
pub struct Taken {
    /// The records.
    pub changes: Changes,
    /// What the checkpoint stands for.
    pub checkpoint: Standing,
}

/// What a checkpoint stands for, as long as no snapshot was installed after it was taken.
#[derive(Clone, Debug)]
pub struct Standing {
    /// As of which entry it is.
    pub meta: SnapshotMeta,
    /// How many snapshots had been installed before it.
    after: u64,
    installs: Arc<AtomicU64>,
}

impl Standing {
    /// Whether it still stands. To be asked with the store locked, and by the group's worker: a snapshot that is
    /// installed makes it fall before it locks the store.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.installs.load(Ordering::Acquire) == self.after
    }
}

/// The machine of one group under openraft.
#[derive(Debug)]
pub struct StateMachine<M> {
    machine: M,
    log: LogStore,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// What the group's checkpoint has: all that a snapshot can be made of.
    checkpoint: SnapshotMeta,
    /// How many snapshots were installed.
    installs: Arc<AtomicU64>,
    glance: Arc<Glance>,
}

impl<M: Machine> StateMachine<M> {
    /// A machine as its checkpoint has it; `checkpoint` says as of which entry. `log` goes on behind that.
    pub(crate) fn new(machine: M, checkpoint: SnapshotMeta, log: LogStore) -> Self {
        let glance = Arc::new(Glance::default());
        glance.set(&machine);
        let (applied, membership) = (checkpoint.last_log_id, checkpoint.last_membership.clone());
        Self { machine, log, applied, membership, checkpoint, installs: Arc::default(), glance }
    }

    pub(crate) fn glance(&self) -> Arc<Glance> {
        Arc::clone(&self.glance)
    }

    /// The machine itself, for a look and for what the log need not know.
    pub fn machine(&mut self) -> &mut M {
        &mut self.machine
    }

    /// As of which entry the machine is, and who the members of the group are.
    #[must_use]
    pub fn applied(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }

    /// What changed since the last checkpoint or snapshot; `None` where nothing was applied since.
    pub fn take_changes(&mut self) -> Option<Taken> {
        if self.applied == self.checkpoint.last_log_id {
            self.machine.checkpointed();
            return None;
        }
        let (meta, changes) = (self.applied(), self.machine.take_changes());
        let (after, installs) = (self.installs.load(Ordering::Acquire), Arc::clone(&self.installs));
        Some(Taken { changes, checkpoint: Standing { meta, after, installs } })
    }

    /// The store has everything up to this, unless a snapshot came meanwhile: the log before it can go.
    pub(crate) fn checkpointed(&mut self, checkpoint: Standing) {
        if checkpoint.stands() {
            self.checkpoint = checkpoint.meta;
            self.machine.checkpointed();
        }
    }

    /// What the store has.
    pub(crate) fn checkpoint(&self) -> &SnapshotMeta {
        &self.checkpoint
    }

    pub(crate) fn apply_entry(&mut self, entry: Entry, leads: bool) -> io::Result<()> {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(Proposal(body)) => {
                self.machine.apply(&body, leads).map_err(io::Error::other)?;
            }
            EntryPayload::Membership(members) => {
                self.membership = StoredMembership::new(Some(entry.log_id), members);
            }
        }
        self.machine.applied(entry.log_id.index);
        Ok(())
    }
}

/// Lets the other tasks of this thread go on elsewhere meanwhile, where the runtime has other threads.
fn may_block<R>(work: impl FnOnce() -> R) -> R {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

impl<C: Types, M: Machine> RaftStateMachine<C> for StateMachine<M> {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<C>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            if responder.is_some() {
                failpoint::pass(Point::AfterCommit);
            }
            self.apply_entry(entry, responder.is_some())?;
            // Before the answer: whoever proposed sees a glance that is not older.
            self.glance.set(&self.machine);
            if let Some(responder) = responder {
                responder.send(Applied);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder::new(self.checkpoint.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        // What was taken for a checkpoint before is not written over this.
        self.installs.fetch_add(1, Ordering::AcqRel);
        if let Some(last) = meta.last_log_id {
            self.log.begin_behind(last).await?;
        }
        let machine = &mut self.machine;
        may_block(|| machine.install(snapshot)).map_err(io::Error::other)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.checkpoint = meta.clone();
        self.machine.applied(meta.last_log_id.map_or(0, |id| id.index));
        self.glance.set(&self.machine);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.checkpoint.last_log_id.is_some().then(|| snapshot::of(self.checkpoint.clone())))
    }
}
