//! This node's part in the cluster group: it starts the group, founds it or holds it against `node.json`, and begins the
//! node's run in it. Called by the composition root before the shards start; what these follow of it is the
//! [`ClusterView`]. A node with peers does it by `joined`, over a `way`, after `formation` where it belongs to no cluster yet.

mod asks;
mod discovery;
mod fits;
mod following;
mod formation;
mod hearsay;
mod joined;
mod keys;
mod leaving;
mod placing;
mod port;
mod seeds;
mod succeeding;
mod way;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::BoxFuture;
use node_routing::asking::Asker;
use node_routing::view::RouteView;
use raft_consensus::cluster::{
    APPLY_LEVEL_MAX, AskError, Begin, ClusterMachine, Command, Duty, GROUP, Live, LowestLive, Member,
    Refusal, Roster,
};
use raft_consensus::group::{Gone, Group, Start, Timing};
use raft_consensus::network::{Alone, Networks};
use raft_consensus::proposer::{Ended, WallClock};
use raft_consensus::storage::Storage;
use raft_consensus::types::TokioTypes;
use raft_consensus::wal::Room;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

pub(crate) use self::asks::Asks;
pub(crate) use self::following::Following;
pub(crate) use self::formation::form;
pub(crate) use self::hearsay::{Heard, Hearsay, Yields};
pub(crate) use self::joined::{Kept, StartJoined};
pub(crate) use self::keys::{ClusterKeys, KeysError};
pub(crate) use self::placing::{Of, Placing};
pub(crate) use self::port::Port;
pub(crate) use self::seeds::Seeds;
pub(crate) use self::succeeding::{REFUSING, Succeeding};
pub(crate) use self::way::Way;
use crate::access::Stored;
use crate::identity::Identity;
use crate::lease::{Lease, TakenForDead};
use crate::routes::Barriers;

/// The cluster group, on one node.
pub(crate) type Raft = Group<TokioTypes, ClusterMachine>;

/// How long the group may take until it leads and has applied its log, at start.
const READY_TIMEOUT: Duration = Duration::from_secs(600);

/// What the parts of a node follow of the cluster.
#[derive(Clone)]
pub(crate) struct ClusterView {
    /// Of each member the lowest run that is not dead, as far as this node has applied the group's log.
    pub(crate) lowest_live: watch::Receiver<LowestLive>,
    /// The runs that live, as far as this node has applied the group's log.
    pub(crate) live: watch::Receiver<Live>,
    /// The level of `apply` that holds in the cluster, which all members know: shards are raised to it.
    pub(crate) level: watch::Receiver<u32>,
    /// The time that entries of all groups carry.
    pub(crate) time: WallClock,
    /// Which owners a topic stands for, and which connections are fenced.
    pub(crate) routes: Arc<RouteView>,
    /// The entry up to which this node has applied the group's log, with [`Self::routes`] visible to all threads.
    pub(crate) applied: watch::Receiver<u64>,
    /// What of the routes of this host and of all shards is in force.
    pub(crate) barriers: Arc<Barriers>,
    /// What there is besides where the node has peers.
    pub(crate) among: Option<Among>,
}

impl Following {
    /// What the parts of a node follow by it.
    fn view(
        &self,
        (lowest_live, live): (watch::Receiver<LowestLive>, watch::Receiver<Live>),
        level: watch::Receiver<u32>,
        time: WallClock,
    ) -> ClusterView {
        let (routes, applied) = (Arc::clone(&self.routes), self.applied.subscribe());
        let barriers = Arc::clone(&self.barriers);
        ClusterView { lowest_live, live, level, time, routes, applied, barriers, among: None }
    }
}

/// What a node with peers needs to act on its view of the cluster.
#[derive(Clone)]
pub(crate) struct Among {
    /// The way of commands to the cluster group.
    pub(crate) asks: Asks,
    /// What the node may acknowledge.
    pub(crate) lease: Lease,
    /// Which owners a topic stands for, and which connections are fenced.
    pub(crate) routes: Arc<RouteView>,
}

#[cfg(test)]
impl ClusterView {
    /// One that a test tells what to say, at the last level.
    pub(crate) fn told(
        runs: (watch::Receiver<LowestLive>, watch::Receiver<Live>),
        time: WallClock,
        following: &Following,
    ) -> Self {
        following.view(runs, watch::channel(APPLY_LEVEL_MAX).1, time)
    }
}

/// What the cluster group is started with.
pub(crate) struct StartCluster<'a> {
    /// Who the node is, and which run of it this is.
    pub(crate) identity: &'a Identity,
    /// What the node is called.
    pub(crate) name: &'a str,
    /// Where others reach it; empty where they do not.
    pub(crate) address: &'a str,
    /// Where the group's log and checkpoint are.
    pub(crate) storage: &'a Storage,
    /// The time that its entries carry.
    pub(crate) time: WallClock,
    /// Who hears what of users, rules and bans lies in the cluster.
    pub(crate) access: &'a Arc<Stored>,
}

/// The cluster group on this node.
pub(crate) struct ClusterGroup {
    group: Raft,
    asks: Asks,
    view: ClusterView,
    /// Who belongs to the cluster, and where.
    roster: watch::Receiver<Roster>,
    /// What nodes tell each other besides.
    hearsay: Hearsay,
}

/// The group on this node, in which the node's run has not begun yet.
struct Opened {
    group: Raft,
    task: JoinHandle<Ended>,
    asks: Asks,
    view: ClusterView,
    roster: watch::Receiver<Roster>,
    live: watch::Receiver<Live>,
    hearsay: Hearsay,
}

/// The task of the group, which ends with it and says why.
type Runs = BoxFuture<'static, Ended>;

impl StartCluster<'_> {
    /// Starts the group of a node without peers with what its log and its checkpoint have, and returns once the node's run
    /// has begun in it; where the log takes nothing it begins later, since only a node that runs makes room. A task that
    /// ends before the node stops is a failure.
    ///
    /// # Errors
    /// The log or the checkpoint cannot be read or written, or does not fit to `node.json`, or the run may not begin.
    pub(crate) async fn start(self) -> anyhow::Result<(ClusterGroup, Runs)> {
        let node = u64::from(self.identity.host().node.0);
        // A node without peers waits for nobody: the slower its groups tick, the less it does when idle.
        let opened = self.open(&Alone, (Timing::ZONES, None)).await?;
        if opened.group.has_other_voters().await? {
            bail!(
                "this node belongs to a cluster with other nodes, and does nothing without them: set cluster.listen (--cluster)"
            );
        }
        opened.group.found([node]).await?;
        opened.group.ready(READY_TIMEOUT).await?;
        let known = opened.group.look_now(|state| state.machine().state().clone()).await?;
        fits::check(&known, self.identity)?;
        opened.begin(self.commands(), self.storage.wal().room()).await
    }

    /// Starts the group with what there is of it here.
    async fn open<N: Networks<TokioTypes>>(
        &self,
        networks: &N,
        (timing, asker): (Timing, Option<Asker>),
    ) -> anyhow::Result<Opened> {
        let (mut machine, checkpoint) = ClusterMachine::restore(self.storage)?;
        let following = Arc::new(Following::new(self.identity.host(), self.access));
        machine.follow(following.clone());
        let (lowest_live, level) = (machine.lowest_live(), machine.apply_level());
        let (roster, live) = (machine.roster(), machine.live());
        let node = u64::from(self.identity.host().node.0);
        let (group, task) = Group::start(Start {
            node,
            group: GROUP,
            timing,
            log: self.storage.log(GROUP)?,
            room: self.storage.wal().room(),
            network: networks.network(GROUP),
            machine,
            checkpoint,
            clock: WallClock::clone(&self.time),
        })
        .await?;
        let asks = Asks::new(node, group.clone(), following.applied.subscribe(), asker);
        let runs = (lowest_live, watch::Receiver::clone(&live));
        let view = following.view(runs, level, WallClock::clone(&self.time));
        let hearsay = Hearsay::new(self.identity.founding().shards);
        Ok(Opened { group, task, asks, view, roster, live, hearsay })
    }

    /// What makes the cluster have this run of the node.
    fn commands(&self) -> Vec<Command> {
        let found = Command::Found(self.identity.founding());
        let begin = Command::Begin(Begin {
            host: self.identity.host(),
            token: self.identity.token(),
            name: self.name.into(),
            address: self.address.into(),
            knows_level: APPLY_LEVEL_MAX,
        });
        if self.identity.is_founder() { vec![found, begin] } else { vec![begin] }
    }
}

impl Opened {
    /// Begins the node's run; where the log takes nothing it begins later.
    async fn begin(
        self,
        commands: Vec<Command>,
        mut room: watch::Receiver<Room>,
    ) -> anyhow::Result<(ClusterGroup, Runs)> {
        let Self { group, mut task, asks, view, roster, hearsay, .. } = self;
        let mut begins = Box::pin(begin_run(asks.clone(), commands));
        let mut begun = false;
        tokio::select! {
            biased;
            done = &mut begins => { done?; begun = true; }
            _spent = room.wait_for(|room| *room == Room::Spent) => {}
        }
        let runs = async move {
            if !begun {
                tokio::select! {
                    biased;
                    ended = &mut task => return ended_of(ended),
                    done = begins => match done {
                        // Why it has ended the group says itself.
                        Err(gone) if is_gone(&gone) => {}
                        Err(refused) => return Ended::Failed(format!("{refused:#}")),
                        Ok(()) => {}
                    },
                }
            }
            ended_of(task.await)
        };
        Ok((ClusterGroup { group, asks, view, roster, hearsay }, Box::pin(runs)))
    }
}

/// Founds the cluster where that was not done yet, begins the node's run, and raises the level if that was all it needed.
async fn begin_run(asks: Asks, commands: Vec<Command>) -> anyhow::Result<()> {
    for command in commands {
        match asks.ask(&command).await {
            // It took so long to hear of its beginning.
            Err(AskError::Refused(Refusal::Dead)) => bail!(TakenForDead),
            asked => asked.context("the cluster does not take this run of the node")?,
        }
    }
    if let Some(level) = asks.level_to_raise().await? {
        match asks.ask(&Command::RaiseLevel(level)).await {
            // A member has come that does not know it.
            Ok(()) | Err(AskError::Refused(_)) => {}
            Err(gone) => return Err(gone.into()),
        }
    }
    Ok(())
}

/// Whether something failed because the group has ended.
fn is_gone(error: &anyhow::Error) -> bool {
    let gone = |ask: &AskError| matches!(ask, AskError::Gone(_));
    error.chain().any(|cause| cause.is::<Gone>() || cause.downcast_ref().is_some_and(gone))
}

fn ended_of(task: Result<Ended, JoinError>) -> Ended {
    task.unwrap_or_else(|error| Ended::Failed(error.to_string()))
}

impl ClusterGroup {
    /// What other parts follow of it.
    pub(crate) fn view(&self) -> &ClusterView {
        &self.view
    }

    /// Who belongs to the cluster, and where.
    pub(crate) fn roster(&self) -> watch::Receiver<Roster> {
        self.roster.clone()
    }

    /// What nodes tell each other besides.
    pub(crate) fn hearsay(&self) -> &Hearsay {
        &self.hearsay
    }

    /// Waits until this node has left the cluster for good.
    pub(crate) async fn left(&self, me: session_store::NodeId) {
        leaving::left(me, self.roster.clone(), &self.hearsay).await;
    }

    /// Whether this node was asked to leave and has nothing that others lack: no replica of a shard, and no clients.
    pub(crate) fn has_given_all(&self, me: session_store::NodeId) -> bool {
        let leaves = |member: &Member| matches!(member.duty, Duty::Leaves | Duty::Left);
        let leaves = self.roster.borrow().get(&me).is_some_and(leaves);
        leaves && self.hearsay.is_empty() && self.hearsay.has_none(me)
    }

    /// The way of commands to it.
    pub(crate) fn asks(&self) -> &Asks {
        &self.asks
    }

    /// The group itself.
    pub(crate) fn group(&self) -> Raft {
        self.group.clone()
    }

    /// Stops it.
    pub(crate) async fn stop(&self) {
        self.group.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use raft_consensus::wal::{GroupId, LogRecord, WalOptions};
    use tokio::time::timeout;

    use super::*;
    use crate::clock::Clock;

    const WITHIN: Duration = Duration::from_secs(60);
    /// Whose entries fill the log.
    const FILLER: GroupId = GroupId(9);

    const SEGMENT_BYTES: u64 = 1 << 20;
    const LOG_BYTES_MAX: u64 = 4 * SEGMENT_BYTES;

    fn open(directory: &Path) -> Storage {
        let options = WalOptions {
            segment_bytes: SEGMENT_BYTES,
            log_bytes_max: LOG_BYTES_MAX,
            ..WalOptions::default()
        };
        Storage::open(directory, options).unwrap()
    }

    async fn start(identity: &Identity, storage: &Storage) -> anyhow::Result<(ClusterGroup, Runs)> {
        let time = Clock::start().of_groups(1);
        let access = &Arc::default();
        let start = StartCluster { identity, name: "quelea-0", address: "", storage, time, access };
        timeout(WITHIN, start.start()).await.expect("a start that does not wait for room")
    }

    /// Puts so much into the log that it takes nothing more.
    async fn fill(storage: &Storage) {
        let (log, mut room) = (storage.log(FILLER).unwrap(), storage.wal().room());
        for index in 1.. {
            let record = LogRecord { index, term: 1, body: Bytes::from(vec![7; 50_000]) };
            let (done, synced) = tokio::sync::oneshot::channel();
            log.append(vec![record], Box::new(move |result| drop(done.send(result)))).unwrap();
            synced.await.unwrap().unwrap();
            // Up to twice its bound it gets another segment, sooner or later.
            let last = storage.wal().bytes_pinned() > 2 * LOG_BYTES_MAX - SEGMENT_BYTES;
            if last && *room.borrow_and_update() == Room::Spent {
                return;
            }
        }
    }

    async fn is_alive(cluster: &ClusterGroup, identity: &Identity) {
        let host = identity.host();
        let mut told = cluster.view().lowest_live.clone();
        let alive = told.wait_for(|told| told.get(&host.node) == Some(&host.incarnation));
        timeout(WITHIN, alive).await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_the_log_takes_nothing_the_run_begins_later() {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::begin_run(directory.path(), 6).unwrap();
        let storage = open(directory.path());
        timeout(WITHIN, fill(&storage)).await.unwrap();
        let (cluster, runs) = start(&identity, &storage).await.unwrap();
        let runs = tokio::spawn(runs);
        assert!(cluster.view().lowest_live.borrow().is_empty(), "it has begun");
        storage.log(FILLER).unwrap().purge(u64::MAX, Bytes::new()).unwrap();
        is_alive(&cluster, &identity).await;
        assert!(!runs.is_finished());
        cluster.stop().await;
        let ended = timeout(WITHIN, runs).await;
        assert!(matches!(ended, Ok(Ok(Ended::Stopped))), "{ended:?}");
        storage.close();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_copy_of_the_identity_does_not_begin_the_same_run_again() {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::begin_run(directory.path(), 6).unwrap();
        let storage = open(directory.path());
        let (cluster, _runs) = start(&identity, &storage).await.unwrap();
        cluster.stop().await;
        let error = start(&identity, &storage).await.err().unwrap().to_string();
        assert!(error.contains("node.json is older") && error.contains("run 1"), "{error}");
        storage.close();
    }
}
