//! A stand-in for the cluster group in one process: applies commands in one order, and lets each node hear of them, at once
//! or when a test says so. What all nodes have applied is in force.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use raft_consensus::cluster::{
    APPLY_LEVEL_MAX, AskError, Begin, Change, Cluster, ClusterId, Command, Follow, Founding, Owner,
};
use raft_consensus::group::Gone;
use session_store::{Host, Millis, NodeId};
use tokio::sync::watch;

use crate::cluster::Following;
use crate::routes::{AsksCluster, Known, Later};
use crate::testing::SHARDS;

/// One node, as the group tells it.
struct Follower {
    following: Arc<Following>,
    /// What it has not heard yet.
    waits: VecDeque<(u64, Vec<Change>)>,
    /// It hears nothing.
    held: bool,
    applied: u64,
}

struct State {
    cluster: Cluster,
    index: u64,
    followers: BTreeMap<NodeId, Follower>,
    in_force: watch::Sender<u64>,
}

/// The cluster group. Clones are the same.
#[derive(Clone)]
pub(super) struct StandIn {
    state: Arc<Mutex<State>>,
}

impl State {
    fn apply(&mut self, command: &Command) -> Result<(), AskError> {
        let mut changes = Vec::new();
        self.cluster.apply_telling(Millis(1), command, &mut |change| changes.push(change))?;
        self.index += 1;
        for follower in self.followers.values_mut() {
            follower.waits.push_back((self.index, changes.clone()));
        }
        self.tell();
        Ok(())
    }

    fn tell(&mut self) {
        for follower in self.followers.values_mut().filter(|follower| !follower.held) {
            for (index, changes) in follower.waits.drain(..) {
                Follow::applied(&*follower.following, index, changes);
                follower.applied = index;
            }
        }
        let in_force = self.followers.values().map(|follower| follower.applied).min();
        self.in_force.send_replace(in_force.unwrap_or(self.index));
    }
}

impl StandIn {
    pub(super) fn new() -> Self {
        let (cluster, followers, in_force) = (Cluster::default(), BTreeMap::new(), watch::Sender::new(0));
        let mut state = State { cluster, index: 0, followers, in_force };
        let founding = Founding { cluster: ClusterId([1; 16]), shards: SHARDS };
        state.apply(&Command::Found(founding)).unwrap();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A run of a node begins, and follows from now on.
    pub(super) fn begin(&self, host: Host) -> Arc<Following> {
        let following = Arc::new(Following::new(host, &Arc::default()));
        let mut state = self.state.lock();
        let begin =
            Begin { host, token: 1, name: "".into(), address: "".into(), knows_level: APPLY_LEVEL_MAX };
        state.followers.remove(&host.node);
        state.apply(&Command::Begin(begin)).unwrap();
        following.begin(state.index, &state.cluster);
        let (waits, applied) = (VecDeque::new(), state.index);
        let follower = Follower { following: Arc::clone(&following), waits, held: false, applied };
        state.followers.insert(host.node, follower);
        following
    }

    /// A run of a node is dead.
    pub(super) fn down(&self, host: Host) {
        let mut state = self.state.lock();
        state.apply(&Command::Down(host)).unwrap();
    }

    /// Nobody waits any more for what a node has applied.
    pub(super) fn leave(&self, node: NodeId) {
        let mut state = self.state.lock();
        state.followers.remove(&node);
        state.tell();
    }

    /// A node hears nothing, or again what there is.
    pub(super) fn hold(&self, node: u32, held: bool) {
        let mut state = self.state.lock();
        if let Some(follower) = state.followers.get_mut(&NodeId(node)) {
            follower.held = held;
        }
        state.tell();
    }

    /// The entry up to which everything is in force.
    pub(super) fn in_force(&self) -> watch::Receiver<u64> {
        self.state.lock().in_force.subscribe()
    }

    /// Routes of all owners.
    pub(super) fn routes(&self) -> Vec<(Owner, String)> {
        let state = self.state.lock();
        let of = |owner| state.cluster.routes(owner).map(move |(filter, _)| (owner, filter.to_string()));
        state.cluster.owners().flat_map(of).collect()
    }
}

impl AsksCluster for StandIn {
    fn ask(&self, command: Command) -> Later<Result<(), AskError>> {
        let asked = self.state.lock().apply(&command);
        Box::pin(async move { asked })
    }

    fn known(&self, owner: Owner) -> Later<Result<Known, Gone>> {
        let state = self.state.lock();
        let routes = state.cluster.routes(owner).map(|(filter, qos)| (filter.clone(), qos)).collect();
        let known = Known { last: state.cluster.last_routes(owner), routes };
        Box::pin(async move { Ok(known) })
    }
}
