//! The proposer of a group (section 5 of the design): takes whatever has queued, makes it one entry, keeps a few
//! entries in flight, and proposes a tick when something is due. It never lingers: a batch is what came while the
//! entries before it were on their way. Called by nobody; fed by [`crate::group::Group`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use openraft::Raft;
use openraft::async_runtime::watch::{WatchReceiver, WatchSender};
use openraft::errors::Fatal;
use openraft::metrics::RaftServerMetrics;
use openraft::raft::WriteResult;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{InstantOf, WatchReceiverOf, WatchSenderOf};
use session_store::failpoint::{self, Mutant};
use session_store::histogram::Histogram;
use tokio::sync::{mpsc, watch};

use crate::budget::Held;
use crate::leadership::{Heard, Leadership};
use crate::machine::{Machine, Weight};
use crate::state_machine::{Glance, StateMachine};
use crate::types::{NodeId, Proposal, Types};
use crate::wal::Room;

/// Publishes of one entry at most.
pub const ENTRY_ITEMS_MAX: usize = 512;
/// Bytes of one entry, but for one command that is larger by itself.
pub const ENTRY_BYTES_MAX: usize = 256 * 1024;
/// Entries on their way at most.
pub const IN_FLIGHT_MAX: usize = 4;

/// After a refusal no tick is proposed for so long: who leads and is refused would do nothing else.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// Between two times that a leadership is given away for want of space: a log may be at its bound again and again.
const GIVE_WAY_PAUSE: Duration = Duration::from_secs(10);

/// The node's wall clock in milliseconds since 1970, never going back within one life of the node.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A look at a machine, or a change of what its log need not know.
pub type Look<M> = Box<dyn FnOnce(&mut M) + Send>;

/// What the proposer is asked for.
pub(crate) enum Work<M: Machine> {
    /// To put a command into the log; its bytes are held until it is in an entry.
    Propose(M::Command, Held),
    /// To look at the machine once everything proposed before is applied.
    Look(Look<M>),
}

/// Something whose turn comes when all before it are done.
enum Waiting<C: Types, M: Machine> {
    /// An entry, and when it was proposed.
    Entry(BoxStream<'static, Result<WriteResult<C>, Fatal<C>>>, InstantOf<C>),
    Look(Look<M>),
}

/// Why a proposer ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Nobody is left who could ask for something, or the group was told to stop.
    #[error("the group was stopped")]
    Stopped,
    /// The group cannot go on in this life of the node: its log or its state failed.
    #[error("the group failed: {0}")]
    Failed(String),
}

/// The one who proposes for a group on this node.
pub(crate) struct Proposer<C: Types, M: Machine> {
    raft: Raft<C, StateMachine<M>>,
    work: mpsc::Receiver<Work<M>>,
    queued: VecDeque<Work<M>>,
    waiting: VecDeque<Waiting<C, M>>,
    in_flight: usize,
    glance: Arc<Glance>,
    clock: WallClock,
    /// Whether the log has room for more than what is on its way.
    room: watch::Receiver<Room>,
    /// Whether it had when that was looked at last.
    had_room: bool,
    /// The leadership is not given away before this.
    no_way_before: Option<InstantOf<C>>,
    /// A tick is on its way: no second one for the same deadline.
    ticking: bool,
    /// No tick before this.
    no_tick_before: Option<InstantOf<C>>,
    server: WatchReceiverOf<C, RaftServerMetrics<C>>,
    heard: watch::Receiver<Heard>,
    told: WatchSenderOf<C, Leadership>,
    /// From proposing an entry until it was committed and applied here.
    commits: Arc<Histogram>,
}

impl<C: Types, M: Machine> Proposer<C, M> {
    pub(crate) fn new(
        raft: Raft<C, StateMachine<M>>,
        work: mpsc::Receiver<Work<M>>,
        (glance, clock): (Arc<Glance>, WallClock),
        (room, heard, told): (watch::Receiver<Room>, watch::Receiver<Heard>, WatchSenderOf<C, Leadership>),
        commits: Arc<Histogram>,
    ) -> Self {
        let (queued, waiting) = (VecDeque::new(), VecDeque::new());
        let (server, in_flight, ticking) = (raft.server_metrics(), 0, false);
        Self {
            raft,
            work,
            queued,
            waiting,
            in_flight,
            glance,
            clock,
            room,
            had_room: true,
            no_way_before: None,
            ticking,
            no_tick_before: None,
            server,
            heard,
            told,
            commits,
        }
    }

    /// Runs until the group ends.
    pub(crate) async fn run(mut self) -> Ended {
        self.tell_leader();
        loop {
            if let Err(ended) = self.step().await {
                return ended;
            }
        }
    }

    async fn step(&mut self) -> Result<(), Ended> {
        // What waits stays where it is while the log takes nothing: whoever asked is not answered, and loses nothing.
        let room = *self.room.borrow_and_update();
        let takes = self.queued.is_empty() && room != Room::Spent;
        let due = self.until_due().filter(|_| room == Room::Ok);
        tokio::select! {
            biased;
            done = next_done(&mut self.waiting), if !self.waiting.is_empty() => self.settle(done).await?,
            taken = take(&mut self.work, &mut self.queued), if takes => if taken == 0 { return Err(Ended::Stopped) },
            () = pause::<C>(due) => {}
            changed = self.room.changed() => if changed.is_err() { return Err(Ended::Stopped) },
            changed = self.server.changed() => match changed {
                Ok(()) => self.tell_leader(),
                Err(_) => return Err(self.end().await),
            },
            changed = self.heard.changed() => match changed {
                Ok(()) => self.tell_leader(),
                Err(_) => return Err(Ended::Stopped),
            },
        }
        let room = *self.room.borrow();
        self.give_way(room).await?;
        if room == Room::Ok {
            self.propose_due().await?;
        }
        if room != Room::Spent {
            self.propose_queued().await?;
        }
        Ok(())
    }

    /// A member whose log has no room for more had better not lead. It says so once: the others may have none either.
    async fn give_way(&mut self, room: Room) -> Result<(), Ended> {
        let had_room = std::mem::replace(&mut self.had_room, room == Room::Ok);
        let soon = self.no_way_before.is_some_and(|at| at > C::now());
        if room == Room::Ok || !had_room || soon || !self.raft.is_leader() {
            return Ok(());
        }
        let Some(to) = self.furthest_other() else { return Ok(()) };
        tracing::warn!(to, "the log has no room for more: another member of the group is to lead it");
        self.no_way_before = Some(C::now() + GIVE_WAY_PAUSE);
        self.raft.trigger().transfer_leader(to).await.map_err(ended)
    }

    /// The other voter that is known to have most of the log.
    fn furthest_other(&self) -> Option<NodeId> {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        let voters: BTreeSet<NodeId> = now.membership_config.voter_ids().collect();
        let others =
            now.replication.iter().flatten().filter(|(node, _)| **node != now.id && voters.contains(node));
        others.max_by_key(|(_, log_id)| **log_id).map(|(node, _)| *node)
    }

    /// Tells who leads, where that is news. What is due may be so for a new leader.
    fn tell_leader(&mut self) {
        let (leader, term) = {
            let server = self.server.borrow_and_update();
            (server.current_leader, server.vote.leader_id.term)
        };
        let (leader, term) = self.heard.borrow_and_update().unless_known(leader, term);
        self.told.send_if_modified(|told| {
            let before = *told;
            *told = Leadership { leader, term, ..before };
            *told != before
        });
    }

    /// Why the group's task is gone. It has left the reason, unless it panicked; asking it would put an error into the log.
    async fn end(&mut self) -> Ended {
        let left = self.raft.metrics().borrow_watched().running_state.clone();
        let reason = match left {
            Ok(()) => self.raft.is_initialized().await.map(drop),
            Err(reason) => Err(reason),
        };
        reason.map_or_else(ended, |()| Ended::Stopped)
    }

    /// Takes note that the first of what waits is done.
    async fn settle(&mut self, done: Option<Result<WriteResult<C>, Fatal<C>>>) -> Result<(), Ended> {
        match self.waiting.pop_front() {
            Some(Waiting::Entry(_, since)) => {
                self.in_flight -= 1;
                self.ticking = false;
                match done {
                    Some(Ok(Ok(_applied))) => self.commits.record(C::now() - since),
                    // Whoever asked repeats it to the leader that there is then: nothing was acknowledged.
                    Some(Ok(Err(refused))) => {
                        tracing::debug!(%refused, "a proposal was refused");
                        self.no_tick_before = Some(C::now() + REFUSED_PAUSE);
                        self.told.send_if_modified(|told| {
                            told.refused += 1;
                            true
                        });
                    }
                    Some(Err(fatal)) => return Err(ended(fatal)),
                    None => return Err(Ended::Stopped),
                }
            }
            Some(Waiting::Look(look)) => self.look(look).await?,
            None => {}
        }
        while let Some(Waiting::Look(_)) = self.waiting.front() {
            if let Some(Waiting::Look(look)) = self.waiting.pop_front() {
                self.look(look).await?;
            }
        }
        Ok(())
    }

    async fn look(&mut self, look: Look<M>) -> Result<(), Ended> {
        let request = self.raft.external_state_machine_request(move |state| {
            look(state.machine());
            Box::pin(std::future::ready(()))
        });
        request.await.map_err(ended)
    }

    fn now_ms(&self) -> u64 {
        (self.clock)().max(self.glance.now_ms())
    }

    /// How long until a tick has something to do; `None` while one is on its way or could not be proposed.
    fn until_due(&self) -> Option<Duration> {
        if self.ticking || self.in_flight >= IN_FLIGHT_MAX || !self.raft.is_leader() {
            return None;
        }
        let due = self.glance.next_due_ms()?;
        let now = C::now();
        let pause = self.no_tick_before.filter(|at| *at > now).map_or(Duration::ZERO, |at| at - now);
        Some(Duration::from_millis(due.saturating_sub(self.now_ms())).max(pause))
    }

    async fn propose_due(&mut self) -> Result<(), Ended> {
        if self.until_due().is_some_and(|wait| wait.is_zero()) {
            self.ticking = true;
            let body = M::encode(self.now_ms(), &[M::tick()]);
            self.propose(body).await?;
        }
        Ok(())
    }

    /// Makes entries of what has queued, as far as there is room.
    async fn propose_queued(&mut self) -> Result<(), Ended> {
        while self.in_flight < IN_FLIGHT_MAX && !self.queued.is_empty() {
            let commands = next_entry::<M>(&mut self.queued);
            if !commands.is_empty() {
                let body = M::encode(self.now_ms(), &commands);
                drop(commands);
                self.propose(body).await?;
                continue;
            }
            if let Some(Work::Look(look)) = self.queued.pop_front() {
                self.wait_with(look).await?;
            }
        }
        Ok(())
    }

    async fn wait_with(&mut self, look: Look<M>) -> Result<(), Ended> {
        if self.waiting.is_empty() {
            return self.look(look).await;
        }
        self.waiting.push_back(Waiting::Look(look));
        Ok(())
    }

    async fn propose(&mut self, body: Bytes) -> Result<(), Ended> {
        if failpoint::has(Mutant::ApplyBeforeCommit) && self.raft.is_leader() {
            let early = body.clone();
            self.look(Box::new(move |machine| drop(machine.apply(&early, true)))).await?;
        }
        let since = C::now();
        let done = self.raft.client_write_many([Proposal(body)]).await.map_err(ended)?;
        self.waiting.push_back(Waiting::Entry(done, since));
        self.in_flight += 1;
        Ok(())
    }
}

/// A group that is told to stop does so while something is on its way, too.
fn ended<C: Types>(fatal: Fatal<C>) -> Ended {
    match fatal {
        Fatal::Stopped => Ended::Stopped,
        fatal => Ended::Failed(fatal.to_string()),
    }
}

/// Lets the time pass until something is due; for ever where nothing is.
async fn pause<C: Types>(due: Option<Duration>) {
    match due {
        Some(due) => C::sleep(due).await,
        None => std::future::pending().await,
    }
}

async fn next_done<C: Types, M: Machine>(
    waiting: &mut VecDeque<Waiting<C, M>>,
) -> Option<Result<WriteResult<C>, Fatal<C>>> {
    match waiting.front_mut() {
        Some(Waiting::Entry(done, _)) => done.next().await,
        Some(Waiting::Look(_)) | None => None,
    }
}

/// Waits for something to do, then takes all there is within the room of one entry; says how much.
async fn take<M: Machine>(work: &mut mpsc::Receiver<Work<M>>, queued: &mut VecDeque<Work<M>>) -> usize {
    let Some(first) = work.recv().await else { return 0 };
    queued.push_back(first);
    while queued.len() < ENTRY_ITEMS_MAX
        && let Ok(next) = work.try_recv()
    {
        queued.push_back(next);
    }
    queued.len()
}

/// The commands at the front of the queue that fit into one entry; none where a look is first.
fn next_entry<M: Machine>(queued: &mut VecDeque<Work<M>>) -> Vec<M::Command> {
    let mut commands = Vec::new();
    let mut sum = Weight::default();
    while let Some(Work::Propose(command, _)) = queued.front() {
        let weight = M::weight(command);
        let full = sum.items + weight.items > ENTRY_ITEMS_MAX || sum.bytes + weight.bytes > ENTRY_BYTES_MAX;
        if full && !commands.is_empty() {
            break;
        }
        sum.items += weight.items;
        sum.bytes += weight.bytes;
        if let Some(Work::Propose(command, _held)) = queued.pop_front() {
            commands.push(command);
        }
    }
    commands
}
