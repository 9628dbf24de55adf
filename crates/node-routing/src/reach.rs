//! The lines from a node to the others: one for each of them and each purpose, made when it is first wanted. Shared by the
//! transport of groups and by the links; says which nodes are gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use raft_consensus::network::{Channel, TransportError};
use raft_consensus::types::NodeId;
use tokio::sync::{mpsc, watch};

use crate::counters::Tally;
use crate::identity::Identity;
use crate::limits::{BadLimits, Limits};
use crate::line::{Context, Line, Presence};
use crate::peers::{Gone, PeersWatch};
use crate::security::Security;

/// Nodes that are gone of which nobody has taken note yet; more are not said.
const GONE: usize = 64;

/// What ways between nodes are made of, at either end.
#[derive(Clone)]
pub struct Ways {
    /// Who this node is.
    pub identity: Identity,
    /// Where the others are.
    pub peers: PeersWatch,
    /// The bounds.
    pub limits: Limits,
    /// What is put around connections.
    pub security: Arc<dyn Security>,
    /// What is counted.
    pub tally: Arc<Tally>,
}

/// What a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// What replicas of groups say to each other.
    Groups(Channel),
    /// What hosts and leaders of shards do.
    Words,
}

/// The lines to one node.
struct Lines {
    presence: Arc<Presence>,
    open: BTreeMap<Purpose, Arc<Line>>,
}

/// The ways from this node to the others.
pub struct Reach {
    pub(crate) context: Arc<Context>,
    lines: Mutex<BTreeMap<NodeId, Lines>>,
    gone: mpsc::Sender<Gone>,
}

impl Reach {
    /// Without a connection yet: each is made when it is first wanted, on the runtime of whoever wants it. Nodes that
    /// are gone are told to whoever has the other half.
    ///
    /// # Errors
    /// The bounds do not fit together.
    pub fn new(ways: Ways) -> Result<(Arc<Self>, mpsc::Receiver<Gone>), BadLimits> {
        let Ways { identity, peers, limits, security, tally } = ways;
        limits.validate()?;
        let context = Arc::new(Context {
            identity,
            peers,
            limits,
            security,
            tally,
            refused_as_dead: watch::Sender::new(false),
        });
        let (gone, heard) = mpsc::channel(GONE);
        Ok((Arc::new(Self { context, lines: Mutex::default(), gone }), heard))
    }

    /// Whether another node has refused this run as dead. It is: they never take that back.
    #[must_use]
    pub fn refused_as_dead(&self) -> watch::Receiver<bool> {
        self.context.refused_as_dead.subscribe()
    }

    /// Keeps a connection to every node that is known, so that the end of each is noticed by all, also by those who have
    /// nothing to ask of it. Runs until nobody says any more where nodes are.
    pub async fn keep_in_touch(&self) {
        let mut peers = self.context.peers.clone();
        loop {
            let known: Vec<NodeId> = peers.borrow_and_update().keys().copied().collect();
            for node in known.into_iter().filter(|node| *node != self.context.identity.node) {
                // Where it was forgotten meanwhile there is word of that.
                let _forgotten = self.line(node, Purpose::Groups(Channel::Control));
            }
            if peers.changed().await.is_err() {
                return;
            }
        }
    }

    /// Of each other node whether there is a connection to it, for whatever purpose.
    #[must_use]
    pub fn up(&self) -> Vec<(NodeId, bool)> {
        let lines = self.lines.lock();
        lines.iter().map(|(node, known)| (*node, known.presence.is_up())).collect()
    }

    /// The line to a node.
    ///
    /// # Errors
    /// It is this node, or nobody knows where it is.
    pub(crate) fn line(&self, to: NodeId, purpose: Purpose) -> Result<Arc<Line>, TransportError> {
        let unreachable = |reason: &str| TransportError::Unreachable { to, reason: reason.to_owned() };
        if to == self.context.identity.node {
            return Err(unreachable("it is this node"));
        }
        let mut lines = self.lines.lock();
        {
            let peers = self.context.peers.borrow();
            lines.retain(|node, _| peers.contains_key(node));
            if !peers.contains_key(&to) {
                return Err(unreachable("its address is not known"));
            }
        }
        let Lines { presence, open } = lines.entry(to).or_insert_with(|| {
            let presence = Presence::new(self.gone.clone(), self.context.limits.gone_pause);
            Lines { presence, open: BTreeMap::new() }
        });
        let line = open
            .entry(purpose)
            .or_insert_with(|| Arc::new(Line::open(Arc::clone(&self.context), to, Arc::clone(presence))));
        Ok(Arc::clone(line))
    }
}
