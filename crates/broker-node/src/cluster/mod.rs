//! This node's part in the cluster group: it starts the group, founds it or holds it against `node.json`, and begins the
//! node's run in it. Called by the composition root before the shards start; what these follow of it is the
//! [`ClusterView`].

mod asks;
mod fits;
mod following;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use node_routing::view::RouteView;
use raft_consensus::cluster::{APPLY_LEVEL_MAX, AskError, Begin, ClusterMachine, Command, GROUP, LowestLive};
use raft_consensus::group::{Gone, Group, Start, Timing};
use raft_consensus::network::Alone;
use raft_consensus::proposer::{Ended, WallClock};
use raft_consensus::storage::Storage;
use raft_consensus::types::TokioTypes;
use raft_consensus::wal::Room;
use tokio::sync::watch;
use tokio::task::JoinError;

pub(crate) use self::asks::Asks;
pub(crate) use self::following::Following;
use crate::identity::Identity;
use crate::lease::Lease;
use crate::routes::Barriers;

/// How long the group may take until it leads and has applied its log, at start.
const READY_TIMEOUT: Duration = Duration::from_secs(600);

/// What the parts of a node follow of the cluster.
#[derive(Clone)]
pub(crate) struct ClusterView {
    /// Of each member the lowest run that is not dead, as far as this node has applied the group's log.
    pub(crate) lowest_live: watch::Receiver<LowestLive>,
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
        (lowest_live, level): (watch::Receiver<LowestLive>, watch::Receiver<u32>),
        time: WallClock,
    ) -> ClusterView {
        let (routes, applied) = (Arc::clone(&self.routes), self.applied.subscribe());
        let barriers = Arc::clone(&self.barriers);
        ClusterView { lowest_live, level, time, routes, applied, barriers, among: None }
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
        lowest_live: watch::Receiver<LowestLive>,
        time: WallClock,
        following: &Following,
    ) -> Self {
        following.view((lowest_live, watch::channel(APPLY_LEVEL_MAX).1), time)
    }
}

/// What the cluster group is started with.
pub(crate) struct StartCluster<'a> {
    /// Who the node is, and which run of it this is.
    pub(crate) identity: &'a Identity,
    /// What the node is called.
    pub(crate) name: &'a str,
    /// Where the group's log and checkpoint are.
    pub(crate) storage: &'a Storage,
    /// The time that its entries carry.
    pub(crate) time: WallClock,
}

/// The cluster group on this node.
pub(crate) struct ClusterGroup {
    group: Group<TokioTypes, ClusterMachine>,
    view: ClusterView,
}

impl StartCluster<'_> {
    /// Starts the group with what its log and its checkpoint have, and returns once the node's run has begun in it; where
    /// the log takes nothing it begins later, since only a node that runs makes room. A task that ends before the
    /// node stops is a failure.
    ///
    /// # Errors
    /// The log or the checkpoint cannot be read or written, or does not fit to `node.json`, or the run may not begin.
    pub(crate) async fn start(
        self,
    ) -> anyhow::Result<(ClusterGroup, impl Future<Output = Ended> + Send + use<>)> {
        let (mut machine, checkpoint) = ClusterMachine::restore(self.storage)?;
        let following = Arc::new(Following::new(self.identity.host()));
        machine.follow(following.clone());
        let (lowest_live, level) = (machine.lowest_live(), machine.apply_level());
        let node = u64::from(self.identity.host().node.0);
        let mut room = self.storage.wal().room();
        let (group, mut task) = Group::start(Start {
            node,
            group: GROUP,
            // A node without peers waits for nobody: the slower its groups tick, the less it does when idle.
            timing: Timing::ZONES,
            log: self.storage.log(GROUP)?,
            room: room.clone(),
            network: Alone,
            machine,
            checkpoint,
            clock: WallClock::clone(&self.time),
        })
        .await?;
        group.found([node]).await?;
        group.ready(READY_TIMEOUT).await?;
        let known = group.look_now(|state| state.machine().state().clone()).await?;
        fits::check(&known, self.identity)?;
        let asks = Asks::new(node, group.clone(), following.applied.subscribe(), None);
        let mut begins = Box::pin(begin_run(asks, self.commands()));
        let mut begun = false;
        tokio::select! {
            biased;
            done = &mut begins => { done?; begun = true; }
            _spent = room.wait_for(|room| *room == Room::Spent) => {}
        }
        let view = following.view((lowest_live, level), self.time);
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
        Ok((ClusterGroup { group, view }, runs))
    }

    /// What makes the cluster have this run of the node.
    fn commands(&self) -> [Command; 2] {
        let begin = Begin {
            host: self.identity.host(),
            token: self.identity.token(),
            name: self.name.into(),
            knows_level: APPLY_LEVEL_MAX,
        };
        [Command::Found(self.identity.founding()), Command::Begin(begin)]
    }
}

/// Founds the cluster where that was not done yet, begins the node's run, and raises the level if that was all it needed.
async fn begin_run(asks: Asks, commands: [Command; 2]) -> anyhow::Result<()> {
    for command in commands {
        asks.ask(&command).await.context("the cluster does not take this run of the node")?;
    }
    if let Some(level) = asks.level_to_raise().await? {
        asks.ask(&Command::RaiseLevel(level)).await?;
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

    /// The group itself.
    pub(crate) fn group(&self) -> Group<TokioTypes, ClusterMachine> {
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

    async fn start(
        identity: &Identity,
        storage: &Storage,
    ) -> anyhow::Result<(ClusterGroup, impl Future<Output = Ended> + Send + use<>)> {
        let time = Clock::start().of_groups(1);
        let start = StartCluster { identity, name: "quelea-0", storage, time };
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
