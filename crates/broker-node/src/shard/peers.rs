//! What the nodes of a cluster say to each other about a shard, and the way there: at once within a process, by links to
//! others. Whatever is said may be lost where a node is gone or overwhelmed, and is then said again: requests by their source, all else
//! when the host attaches again.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use raft_consensus::types::NodeId;
use session_store::command::Publish;
use session_store::word::{ForMember, Given, Page, PageWanted, Settled, Told};
use session_store::{ConnectionId, Host, Request, StoredAt, StoredPage};
use tokio::sync::oneshot;

use super::home::Home;
use super::linked::Linked;

/// Something that one node says to another about one shard.
#[derive(Debug)]
pub(crate) enum Word {
    /// To the leader: requests, in their order.
    Requests(Vec<Arc<Request>>),
    /// To the leader: QoS 0 messages for clients that are connected.
    PassOn(Publish),
    /// To the leader: a page of retained messages is wanted.
    Page(PageWanted, oneshot::Sender<Page>),
    /// To the leader: this connection was pushed a message that is in the store, and wants it with what is around it.
    Stored(StoredAt, ConnectionId, oneshot::Sender<Option<StoredPage>>),
    /// To the leader: a host wants to hear what concerns it, from the beginning, under this number.
    Attach(Host, u64),
    /// To a host that has attached.
    Told(Told),
    /// To a host: messages of the shard's outbox for transient members of shared groups there, in their order.
    ForMembers(Host, Vec<ForMember>, oneshot::Sender<Given>),
    /// To any node: whether it has an answer to all retained publishes to this shard that it had begun by now.
    Settled(oneshot::Sender<Settled>),
    /// To the leader of an outbox: this shard has everything of it up to this position.
    Taken(u16, u64),
}

/// The nodes of a cluster that this one reaches, itself included. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Peers {
    nodes: Arc<RwLock<BTreeMap<NodeId, Arc<[Home]>>>>,
    /// The way to those that are not in this process.
    linked: Option<Arc<Linked>>,
    /// How many words the way to others takes, as a test says.
    #[cfg(test)]
    pub(super) takes: Option<Arc<std::sync::atomic::AtomicUsize>>,
}

impl Peers {
    /// Reaches nodes of other processes by links. One node of this process can have them.
    pub(crate) fn linked(linked: &Arc<Linked>) -> Self {
        Self { linked: Some(Arc::clone(linked)), ..Self::default() }
    }

    /// Lets a node hear what is said to it about its shards.
    pub(super) fn join(&self, node: NodeId, homes: &Arc<[Home]>) {
        if let Some(linked) = &self.linked {
            linked.set_homes(Some(Arc::clone(homes)));
        }
        self.nodes.write().insert(node, Arc::clone(homes));
    }

    /// The node hears nothing any more.
    pub(super) fn leave(&self, node: NodeId) {
        if let Some(linked) = &self.linked {
            linked.set_homes(None);
        }
        self.nodes.write().remove(&node);
    }

    /// Waits while much of what was asked of a node is still on its way.
    pub(super) async fn room(&self, to: NodeId) {
        if let Some(linked) = &self.linked {
            linked.room(to).await;
        }
    }

    /// Waits while much of what was told a node is still on its way.
    pub(super) async fn room_to_tell(&self, to: NodeId) {
        if let Some(linked) = &self.linked {
            linked.room_to_tell(to).await;
        }
    }

    /// Whether little of what was told a node is still on its way.
    pub(super) fn has_room_to_tell(&self, to: NodeId) -> bool {
        #[cfg(test)]
        if let Some(takes) = &self.takes {
            let less = |takes: usize| takes.checked_sub(1);
            let order = std::sync::atomic::Ordering::Relaxed;
            return takes.fetch_update(order, order, less).is_ok();
        }
        let here = self.nodes.read().contains_key(&to);
        here || self.linked.as_ref().is_none_or(|linked| linked.has_room_to_tell(to))
    }

    /// Says something to a node; never waits.
    pub(super) fn tell(&self, to: NodeId, shard: u16, word: Word) {
        let homes = self.nodes.read().get(&to).cloned();
        match (homes, &self.linked) {
            (Some(homes), _) => {
                if let Some(home) = homes.get(usize::from(shard)) {
                    home.hear(word);
                }
            }
            (None, Some(linked)) => linked.say(to, shard, word),
            (None, None) => {}
        }
    }

    /// What is said to a node is lost, until what is returned is called.
    #[cfg(test)]
    pub(crate) fn lose_words_to(&self, node: NodeId) -> impl FnOnce() + use<> {
        let (nodes, homes) = (Arc::clone(&self.nodes), self.nodes.write().remove(&node));
        move || nodes.write().extend(homes.map(|homes| (node, homes)))
    }
}
