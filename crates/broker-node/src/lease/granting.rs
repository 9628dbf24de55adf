//! The granting side of leases on this node: answers those who touch it, and while it leads the cluster group grants leases,
//! says what is in force, and has those taken for dead who are. Driven by the log and by what nodes say; between them it
//! looks again when time alone may have changed something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use node_routing::lease::{Ask, Leases, Moment, Profile};
use node_routing::presence::{AnswersTouch, Outcome, Touch, Touched};
use parking_lot::Mutex;
use raft_consensus::cluster::{Duty, Live, MEMBERS_MAX, Roster};
use raft_consensus::quorum::{Acknowledged, Quorum};
use session_store::{Host, NodeId};
use tokio::sync::{Notify, watch};

use super::clock::{self, Carried};
use crate::clock::GroupTime;
use crate::cluster::Hearsay;

/// A run that touched this node so long ago is not said to have been heard of late.
const HEARD_OF_LATE: Duration = Duration::from_millis(600);

/// Grants leases while this node leads.
#[derive(Debug)]
pub(crate) struct Granting {
    profile: Profile,
    me: NodeId,
    time: Arc<GroupTime>,
    hearsay: Hearsay,
    roster: watch::Receiver<Roster>,
    state: Mutex<State>,
    in_force: watch::Sender<u64>,
    /// Something was heard that may change who is dead.
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    carried: Carried,
    /// The leases of this node's leadership, with its term.
    leading: Option<(u64, Leases)>,
    /// When each node has touched this one, and which run.
    heard: BTreeMap<NodeId, (Host, Moment)>,
    /// Nodes that refuse connections, as long as they do not answer. Told to each leadership once.
    refusing: BTreeSet<NodeId>,
    untold: BTreeSet<NodeId>,
}

impl Granting {
    /// On this node, which does not lead yet.
    pub(crate) fn new(
        profile: Profile,
        me: NodeId,
        (time, hearsay, roster): (Arc<GroupTime>, Hearsay, watch::Receiver<Roster>),
    ) -> Arc<Self> {
        let (state, news) = (Mutex::default(), Notify::new());
        Arc::new(Self { profile, me, time, hearsay, roster, state, in_force: watch::Sender::new(0), news })
    }

    /// The entry of the cluster group's log up to which everything is in force, as far as this node knows.
    pub(super) fn in_force(&self) -> watch::Receiver<u64> {
        self.in_force.subscribe()
    }

    /// Waits until something was heard that may change who is dead.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Everything up to this entry is in force. Older word changes nothing.
    pub(super) fn note_in_force(&self, index: u64) {
        self.in_force.send_if_modified(|known| {
            let newer = index > *known;
            *known = index.max(*known);
            newer
        });
    }

    /// The runs that have touched this node of late.
    pub(super) fn heard_of_late(&self) -> Vec<Host> {
        let now = clock::now();
        let heard = &self.state.lock().heard;
        let of_late = heard.values().filter(|(_, at)| now.since(*at) < HEARD_OF_LATE);
        of_late.map(|(run, _)| *run).collect()
    }

    /// A node refuses connections after all it had broke.
    pub(super) fn refuses(&self, node: NodeId) {
        let mut state = self.state.lock();
        state.refusing.insert(node);
        state.untold.insert(node);
        drop(state);
        self.news.notify_one();
    }

    /// A node answers.
    pub(super) fn answers(&self, node: NodeId) {
        let mut state = self.state.lock();
        state.refusing.remove(&node);
        state.untold.remove(&node);
    }

    /// Takes in how it stands with the cluster group and which runs live; says who is to be taken for dead, and how long
    /// until it has to be asked again without news.
    pub(super) fn follow(&self, standing: Quorum, live: &Live) -> (Vec<Host>, Option<Duration>) {
        let mut state = self.state.lock();
        state.carried.read();
        let now = clock::now();
        if !standing.leads {
            state.leading = None;
            return (Vec::new(), None);
        }
        if state.leading.as_ref().is_none_or(|(term, _)| *term != standing.term) {
            state.leading = Some((standing.term, Leases::elected(self.profile, self.me, now)));
            state.untold = state.refusing.clone();
        }
        let acknowledged = match standing.acknowledged {
            Acknowledged::Never => None,
            Acknowledged::Alone => Some(now),
            Acknowledged::Sent(at) => state.carried.over(at),
        };
        let State { leading: Some((_, leases)), untold, .. } = &mut *state else {
            return (Vec::new(), None);
        };
        if let Some(sent) = acknowledged {
            leases.acknowledged(sent);
        }
        leases.committed(standing.committed.index, standing.committed.of_own_term, now);
        let applied = standing.applied;
        leases.applied(applied.index, applied.of_own_term, live.iter().copied(), now);
        if applied.of_own_term {
            let refusing = std::mem::take(untold);
            live.iter().filter(|run| refusing.contains(&run.node)).for_each(|run| leases.refuses(*run, now));
        }
        let dead = leases.downs(now);
        let in_force = leases.in_force(now);
        let next = leases.next(now).map(|at| at.since(now));
        drop(state);
        self.note_in_force(in_force);
        (dead, next)
    }

    fn answer(&self, state: &mut State, by: Host, touch: Touch) -> Outcome {
        let now = clock::now();
        let Some((_, leases)) = &mut state.leading else {
            return if touch.wants_lease { Outcome::NotLeading } else { Outcome::NotWanted };
        };
        let Touch { applied, wants_lease, reached, heard, .. } = touch;
        heard.iter().for_each(|run| leases.heard(*run, now));
        let outcome = if wants_lease {
            match leases.ask(&Ask { run: by, applied, reached }, now) {
                Ok(grant) => Outcome::Granted(grant),
                Err(denied) => Outcome::Denied(denied.to_string()),
            }
        } else {
            leases.reported(by, applied, now);
            Outcome::NotWanted
        };
        let in_force = leases.in_force(now);
        self.note_in_force(in_force);
        outcome
    }
}

impl AnswersTouch for Granting {
    fn touched(&self, by: Host, touch: Touch) -> Touched {
        self.time.heard(by.node, touch.wall_ms);
        self.hearsay.hear(by.node.0.into(), &touch);
        let mut state = self.state.lock();
        let known = state.heard.get(&by.node).map(|(run, _)| run.incarnation);
        let is_news = known.map_or(state.heard.len() < MEMBERS_MAX, |known| known <= by.incarnation);
        if is_news {
            state.heard.insert(by.node, (by, clock::now()));
        }
        let outcome = self.answer(&mut state, by, touch);
        drop(state);
        self.news.notify_one();
        let left = self.roster.borrow().get(&by.node).is_some_and(|member| member.duty == Duty::Left);
        Touched { outcome, in_force: *self.in_force.borrow(), wall_ms: self.time.wall_ms(), left }
    }

    fn announced(&self, in_force: u64) {
        self.note_in_force(in_force);
    }
}
