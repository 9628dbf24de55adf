//! What a drain does on this node: readiness off, no new clients, leaderships to others, and clients sent elsewhere at a bounded
//! rate. By the cluster's word it lasts until that is taken back; before a stop it has a bound in time. Driven by the
//! composition root; who decides that a node drains is the cluster group, or a signal.

mod entrance;

use std::sync::Arc;
use std::time::Duration;

use mqtt_codec::ReasonCode;
use node_routing::lease::Hold;
use parking_lot::Mutex;
use raft_consensus::cluster::{Duty, Roster};
use raft_consensus::group::Group;
use raft_consensus::machine::Machine;
use raft_consensus::types::TokioTypes;
use session_store::NodeId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

pub(crate) use self::entrance::Entrance;
use crate::cluster::{Raft, Yields};
use crate::readiness::Readiness;
use crate::shard::Away;
use crate::worker::Node;

/// Between two rounds of clients that are sent away.
const ROUND: Duration = Duration::from_millis(100);
/// Between two looks whether others have taken over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Others that can take leaderships over have done so in this time: a stop waits no longer for it.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(3);

/// What a node with peers drains by. Clones are the same.
#[derive(Clone)]
pub(crate) struct Drain {
    /// The node.
    pub(crate) node: Arc<Node>,
    /// Its number.
    pub(crate) me: NodeId,
    /// Whether it serves clients.
    pub(crate) readiness: Readiness,
    /// The cluster group.
    pub(crate) group: Raft,
    /// What is to be of each node.
    pub(crate) roster: watch::Receiver<Roster>,
    /// How its leaderships go to others.
    pub(crate) yields: Yields,
    /// Who was sent away.
    pub(crate) away: Arc<Mutex<Away>>,
}

impl Drain {
    /// Does as the cluster says, for as long as it is polled.
    pub(crate) async fn follow(mut self) {
        let mut drains = false;
        loop {
            let wanted = self.is_to_drain();
            if wanted != drains {
                drains = wanted;
                self.turn(drains);
            }
            let sending = async {
                if drains {
                    self.send_clients_away(self.reason(ReasonCode::AdministrativeAction)).await;
                    info!(target: "quelea", "the node has no clients any more");
                    self.yields.set_empty(true);
                }
                std::future::pending::<()>().await
            };
            let mut roster = self.roster.clone();
            let changed = async {
                loop {
                    if roster.changed().await.is_err() {
                        return false;
                    }
                    if wants(&roster.borrow_and_update(), self.me) != drains {
                        return true;
                    }
                }
            };
            let goes_on = tokio::select! {
                goes_on = changed => goes_on,
                () = sending => true,
            };
            if !goes_on {
                return;
            }
        }
    }

    fn is_to_drain(&mut self) -> bool {
        wants(&self.roster.borrow_and_update(), self.me)
    }

    fn turn(&self, drains: bool) {
        if drains {
            info!(target: "quelea", "the node drains");
            self.node.entrance.close();
            self.yields.begin();
        } else {
            info!(target: "quelea", "the node serves clients again");
            self.yields.set_empty(false);
            self.yields.end();
            self.node.entrance.open();
        }
        self.readiness.drains(drains);
    }

    /// Empties the node before it stops, as far as that goes in `drain.timeout`: leaderships first, so that clients who come
    /// elsewhere find who serves them. Without a majority nobody could take anything over, and nothing is waited for.
    pub(crate) async fn before_stop(self) {
        let within = self.node.live.now().drain.timeout;
        self.node.entrance.close();
        self.yields.begin();
        let emptying = async {
            if timeout(HAND_OVER_WITHIN, self.leads_nothing()).await.is_err() {
                warn!(target: "quelea", "nobody took over what this node leads");
            }
            self.send_clients_away(self.reason(ReasonCode::ServerShuttingDown)).await;
        };
        tokio::select! {
            () = emptying => {}
            () = self.has_no_majority() => warn!(target: "quelea", "there is no majority: clients are ended at once"),
            () = sleep(within) => warn!(target: "quelea", "clients are left: they are ended at once"),
        }
    }

    /// Waits until the node may act on nothing.
    async fn has_no_majority(&self) {
        while self.node.lease.hold() == Hold::Holds {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until other nodes lead all groups that they can.
    async fn leads_nothing(&self) {
        while self.leads(&self.group).await || self.leads_a_shard().await {
            sleep(LOOK_EVERY).await;
        }
    }

    async fn leads_a_shard(&self) -> bool {
        for group in self.node.shards.groups() {
            if self.leads(&group).await {
                return true;
            }
        }
        false
    }

    /// Whether this node leads a group that another could.
    async fn leads<M: Machine>(&self, group: &Group<TokioTypes, M>) -> bool {
        let leads = group.leadership().now().leader == Some(self.me.0.into());
        leads && group.has_other_voters().await.unwrap_or(false)
    }

    /// Ends the connections of all clients, so many a second, and returns when none is left.
    async fn send_clients_away(&self, reason: ReasonCode) {
        let rate = f64::from(self.node.live.now().drain.clients_per_second);
        let began = Instant::now();
        let mut told = 0;
        loop {
            // As many as should have been told by the end of this round, so that a late one catches up.
            let due = (began.elapsed() + ROUND).as_secs_f64() * rate;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is positive, and cut at the end"
            )]
            let due = (due as usize).max(1).saturating_sub(told);
            let (now, left) = self.node.shards.send_away(&mut self.away.lock(), reason, due);
            told += now;
            if left == 0 {
                return;
            }
            sleep(ROUND).await;
        }
    }

    /// What clients are told: to go to another server, where the configuration names one.
    fn reason(&self, without: ReasonCode) -> ReasonCode {
        if self.node.entrance.reference().is_some() { ReasonCode::UseAnotherServer } else { without }
    }
}

/// Whether the cluster wants a node empty.
fn wants(roster: &Roster, node: NodeId) -> bool {
    roster.get(&node).is_some_and(|member| matches!(member.duty, Duty::Drains | Duty::Leaves | Duty::Left))
}
