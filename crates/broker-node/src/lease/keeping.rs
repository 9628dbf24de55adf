//! What a node with peers does to have a lease, and to grant them while it leads: it touches the others again and again, and
//! follows the cluster group. Started by the composition root; ends with the node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use node_routing::lease::{Grant, Profile};
use node_routing::peers::{Gone, PeersWatch};
use node_routing::presence::{AnswersTouch, Outcome, Touch, Toucher};
use parking_lot::Mutex;
use raft_consensus::cluster::{ClusterMachine, Command, Live};
use raft_consensus::group::Group;
use raft_consensus::quorum::QuorumWatch;
use raft_consensus::types::{NodeId as PeerId, TokioTypes};
use session_store::{Host, NodeId};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::granting::Granting;
use super::{Lease, clock};
use crate::clock::GroupTime;
use crate::cluster::Hearsay;

/// Between two touches of a node that does not lead.
const TOUCH_EVERY: Duration = Duration::from_millis(500);
/// A node that has answered within this time is reached.
const REACHED_WITHIN: Duration = Duration::from_millis(1_200);
/// How long it may take until a node's death is in the log; then it is looked at again.
const DOWN_WITHIN: Duration = Duration::from_secs(2);

/// The cluster group.
type ClusterGroup = Group<TokioTypes, ClusterMachine>;

/// Everything that leases are made of on a node.
pub(crate) struct Keep {
    /// This run.
    pub(crate) me: Host,
    /// The times.
    pub(crate) profile: Profile,
    /// What this node has.
    pub(crate) lease: Lease,
    /// What it grants.
    pub(crate) granting: Arc<Granting>,
    /// What nodes tell each other besides.
    pub(crate) hearsay: Hearsay,
    /// The time of the groups.
    pub(crate) time: Arc<GroupTime>,
    /// The cluster group.
    pub(crate) group: ClusterGroup,
    /// The entry that this node's view is as of.
    pub(crate) applied: watch::Receiver<u64>,
    /// The runs that live.
    pub(crate) live: watch::Receiver<Live>,
    /// Where the others are.
    pub(crate) peers: PeersWatch,
    /// The way to them.
    pub(crate) toucher: Toucher,
    /// Is told who refuses connections.
    pub(crate) refusing: broadcast::Sender<PeerId>,
}

/// What the tasks of a [`Keep`] share.
struct Shared {
    keep: Keep,
    /// When each node has answered.
    answered: Mutex<BTreeMap<NodeId, node_routing::lease::Moment>>,
    leader: watch::Receiver<Option<PeerId>>,
}

impl Keep {
    /// Keeps this node's lease, and grants leases while it leads, for as long as it is polled. `gone` says which nodes
    /// refuse connections.
    pub(crate) async fn run(self, gone: mpsc::Receiver<Gone>) {
        let (told, leader) = watch::channel(None);
        let shared = Arc::new(Shared { keep: self, answered: Mutex::default(), leader });
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&shared).hear_of_gone(gone));
        tasks.spawn(Arc::clone(&shared).follow_members());
        tasks.spawn(Arc::clone(&shared).ask_myself());
        tasks.spawn(Arc::clone(&shared).touch_peers());
        // Ends with the group; the others have nothing to do then.
        shared.grant(told).await;
    }
}

impl Shared {
    /// Follows the cluster group; while this node leads it, has those taken for dead who are.
    async fn grant(&self, told: watch::Sender<Option<PeerId>>) {
        let mut quorum = self.keep.group.quorum();
        let mut live = self.keep.live.clone();
        let mut dying: BTreeMap<Host, tokio::task::AbortHandle> = BTreeMap::new();
        let mut downs = JoinSet::new();
        loop {
            let next = self.look(&mut quorum, &told, &mut (&mut downs, &mut dying));
            tokio::select! {
                changed = quorum.changed() => if changed.is_err() { return },
                changed = live.changed() => if changed.is_err() { return },
                () = self.keep.granting.news() => {}
                Some(_done) = downs.join_next() => dying.retain(|_, task| !task.is_finished()),
                () = sleep(next.unwrap_or(TOUCH_EVERY)) => {}
            }
        }
    }

    fn look(
        &self,
        quorum: &mut QuorumWatch<TokioTypes>,
        told: &watch::Sender<Option<PeerId>>,
        (downs, dying): &mut (&mut JoinSet<()>, &mut BTreeMap<Host, tokio::task::AbortHandle>),
    ) -> Option<Duration> {
        let standing = quorum.now();
        told.send_if_modified(|leader| std::mem::replace(leader, standing.leader) != standing.leader);
        let live = self.keep.live.borrow().clone();
        let (dead, next) = self.keep.granting.follow(standing, &live);
        for run in dead {
            dying.entry(run).or_insert_with(|| {
                tracing::warn!(node = run.node.0, run = run.incarnation.0, "a node is taken for dead");
                let group = self.keep.group.clone();
                downs.spawn(async move {
                    let down = Command::Down(run);
                    // Where it took too long, or somebody else leads by now, it is looked at again.
                    let _again = timeout(DOWN_WITHIN, group.ask(&down)).await;
                })
            });
        }
        next
    }

    async fn hear_of_gone(self: Arc<Self>, mut gone: mpsc::Receiver<Gone>) {
        while let Some(Gone { node, address }) = gone.recv().await {
            tracing::warn!(node, address, "a node broke its connections and refuses new ones");
            // Where nobody follows a group the node is about to stop.
            let _nobody = self.keep.refusing.send(node);
            if let Ok(node) = u32::try_from(node) {
                self.keep.granting.refuses(NodeId(node));
            }
        }
    }

    async fn follow_members(self: Arc<Self>) {
        let mut live = self.keep.live.clone();
        loop {
            let members: Vec<NodeId> = live.borrow_and_update().iter().map(|run| run.node).collect();
            self.keep.time.set_members(members);
            if live.changed().await.is_err() {
                return;
            }
        }
    }

    /// Asks this node itself for its lease while it leads.
    async fn ask_myself(self: Arc<Self>) {
        let (mut leader, mut applied) = (self.leader.clone(), self.keep.applied.clone());
        let me = PeerId::from(self.keep.me.node.0);
        loop {
            let leads = *leader.borrow_and_update() == Some(me);
            if leads {
                let (touch, asked) = (self.touch(true, *applied.borrow_and_update()), clock::now());
                let touched = self.keep.granting.touched(self.keep.me, touch);
                self.take(touched.outcome, asked);
            }
            tokio::select! {
                changed = leader.changed() => if changed.is_err() { return },
                changed = applied.changed(), if leads => if changed.is_err() { return },
                () = sleep(self.keep.profile.renewal()) => {}
            }
        }
    }

    /// Touches each of the others, as long as they are known.
    async fn touch_peers(self: Arc<Self>) {
        let mut peers = self.keep.peers.clone();
        let mut touching: BTreeMap<PeerId, JoinSet<()>> = BTreeMap::new();
        loop {
            let mut known: Vec<PeerId> = peers.borrow_and_update().keys().copied().collect();
            known.retain(|node| *node != PeerId::from(self.keep.me.node.0));
            touching.retain(|node, _| known.contains(node));
            for node in known {
                touching.entry(node).or_insert_with(|| {
                    let mut tasks = JoinSet::new();
                    tasks.spawn(Arc::clone(&self).touch_one(node));
                    tasks.spawn(Arc::clone(&self).announce_to(node));
                    tasks
                });
            }
            if peers.changed().await.is_err() {
                return;
            }
        }
    }

    /// Touches a node every half second; while it leads, in the rhythm of leases, and at once when an entry was applied.
    async fn touch_one(self: Arc<Self>, node: PeerId) {
        let (mut leader, mut applied) = (self.leader.clone(), self.keep.applied.clone());
        let mut own = self.keep.hearsay.own();
        loop {
            let leads = *leader.borrow_and_update() == Some(node);
            let began = tokio::time::Instant::now();
            let view = *applied.borrow_and_update();
            own.mark_unchanged();
            self.touch_now(node, leads, view).await;
            let pause = if leads { self.keep.profile.renewal() } else { TOUCH_EVERY };
            tokio::select! {
                changed = leader.changed() => if changed.is_err() { return },
                changed = applied.changed(), if leads => if changed.is_err() { return },
                changed = own.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(began + pause) => {}
            }
        }
    }

    async fn touch_now(&self, node: PeerId, leads: bool, applied: u64) {
        let (touch, asked) = (self.touch(leads, applied), clock::now());
        let within = if leads { self.keep.profile.lease() } else { TOUCH_EVERY };
        let Ok(answered) = self.keep.toucher.touch(node, &touch, within).await else { return };
        let Ok(node) = u32::try_from(node).map(NodeId) else { return };
        self.answered.lock().insert(node, clock::now());
        self.keep.granting.answers(node);
        self.keep.time.heard(node, answered.wall_ms);
        self.keep.granting.note_in_force(answered.in_force);
        if answered.left {
            self.keep.hearsay.note_left();
        }
        self.take(answered.outcome, asked);
    }

    fn touch(&self, wants_lease: bool, applied: u64) -> Touch {
        let now = clock::now();
        let answered = self.answered.lock();
        let of_late = answered.iter().filter(|(_, at)| now.since(**at) < REACHED_WITHIN);
        let reached = of_late.map(|(node, _)| *node).chain([self.keep.me.node]).collect();
        let heard = self.keep.granting.heard_of_late();
        let wall_ms = self.keep.time.wall_ms();
        // Others hear of it by this touch.
        self.keep.hearsay.set_silent(self.keep.lease.yields());
        self.keep.hearsay.say(Touch { applied, wants_lease, reached, heard, wall_ms, ..Touch::default() })
    }

    fn take(&self, outcome: Outcome, asked: node_routing::lease::Moment) {
        match outcome {
            Outcome::Granted(grant) => {
                if let Some(silent) = self.keep.lease.granted(asked, grant) {
                    self.keep.toucher.count_lapse();
                    let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(silent_ms, "the node has a lease again");
                }
            }
            Outcome::Denied(why) => tracing::debug!(why, "there is no lease"),
            Outcome::NotWanted | Outcome::NotLeading => {}
        }
    }

    /// Tells a node what is in force whenever that grows and this node leads.
    async fn announce_to(self: Arc<Self>, node: PeerId) {
        let mut in_force = self.keep.granting.in_force();
        let me = PeerId::from(self.keep.me.node.0);
        while in_force.changed().await.is_ok() {
            let index = *in_force.borrow_and_update();
            if *self.leader.borrow() == Some(me) {
                // Whoever does not hear it has it with the answer to its next touch.
                let _lost = self.keep.toucher.announce(node, index, self.keep.profile.lease()).await;
            }
        }
    }
}

impl Lease {
    /// A lease that was asked for then; says how long there was none, where the one before had run out.
    fn granted(&self, asked: node_routing::lease::Moment, grant: Grant) -> Option<Duration> {
        let super::Terms::Granted(holding, _) = &*self.terms else { return None };
        let mut holding = holding.write();
        let lapsed = holding.lapsed_for(clock::now());
        holding.granted(asked, grant);
        lapsed
    }
}
