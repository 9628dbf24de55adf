//! What hosts and leaders of shards say to each other across nodes: words as bytes, which nobody here reads. Used by the
//! broker. Saying something never waits; what may be lost with a connection is reported at both ends, and is said again.

mod lane;
mod listener;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use raft_consensus::network::Refusal;
use raft_consensus::types::NodeId;
use tokio::task::JoinSet;

use self::lane::Queue;
pub(crate) use self::listener::Listener;
use crate::reach::Reach;

/// What words are about: each kind has its own order, and waits for no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Small words that others wait for.
    Prompt,
    /// What leaders say to hosts.
    Told,
    /// What hosts ask of leaders, and pages that these find.
    Asked,
    /// What hosts publish for the transient sessions of others.
    Published,
}

/// Words that no message between nodes may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("words of {found} bytes for another node, expected at most {bound}")]
pub struct TooLarge {
    /// Their bytes.
    pub found: usize,
    /// [`Limits::message_bytes_max`](crate::limits::Limits::message_bytes_max).
    pub bound: usize,
}

/// Who hears what other nodes say.
pub trait Hears: Send + Sync + 'static {
    /// Words of a node, one or more, behind those that it said on the same lane before. Must not wait.
    ///
    /// # Errors
    /// They are none: the stream that they came by ends.
    fn hear(&self, from: NodeId, words: Bytes) -> Result<(), Refusal>;

    /// Something that this node heard from another, or said to it, may be lost.
    fn lost(&self, node: NodeId);
}

/// The ways of words from this node to the others.
pub struct Links {
    reach: Arc<Reach>,
    hears: Arc<dyn Hears>,
    lanes: Mutex<BTreeMap<(NodeId, Lane), Sending>>,
}

/// One lane to one node, and who empties it.
struct Sending {
    queue: Arc<Queue>,
    _task: JoinSet<()>,
}

impl Links {
    /// Over these lines. `hears` is told what gets lost.
    #[must_use]
    pub fn new(reach: Arc<Reach>, hears: Arc<dyn Hears>) -> Self {
        Self { reach, hears, lanes: Mutex::default() }
    }

    /// Says something to another node, behind what was said on the same lane before. Several words may be one behind the
    /// other. They are lost, and that is reported, where the node is out of reach, or too much waits for it: more than 16 MiB,
    /// and more than eight of the largest messages.
    ///
    /// # Errors
    /// No message may be so large. Nothing is said or lost, and to say it again is of no use.
    pub fn say(&self, to: NodeId, lane: Lane, words: Bytes) -> Result<(), TooLarge> {
        self.queue(to, lane).map_or(Ok(()), |queue| queue.push(words))
    }

    /// Waits while more than 1 MiB waits for a node on a lane; where it is out of reach, until that is lost.
    pub async fn room(&self, to: NodeId, lane: Lane) {
        if let Some(queue) = self.queue(to, lane) {
            queue.room().await;
        }
    }

    /// Whether no more than 1 MiB waits for a node on a lane.
    #[must_use]
    pub fn has_room(&self, to: NodeId, lane: Lane) -> bool {
        self.queue(to, lane).is_none_or(|queue| queue.has_room())
    }

    /// Bytes of a message at most.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.reach.context.limits.message_bytes_max
    }

    fn queue(&self, to: NodeId, lane: Lane) -> Option<Arc<Queue>> {
        let mut lanes = self.lanes.lock();
        {
            let peers = self.reach.context.peers.borrow();
            lanes.retain(|(node, _), _| peers.contains_key(node));
            if to == self.reach.context.identity.node || !peers.contains_key(&to) {
                return None;
            }
        }
        let sending = lanes.entry((to, lane)).or_insert_with(|| {
            let queue = Arc::new(Queue::new(
                Arc::clone(&self.reach.context.tally),
                self.reach.context.limits.message_bytes_max,
            ));
            let keeper = lane::Keeper {
                reach: Arc::clone(&self.reach),
                hears: Arc::clone(&self.hears),
                to,
                queue: Arc::clone(&queue),
            };
            let mut task = JoinSet::new();
            task.spawn(keeper.run());
            Sending { queue, _task: task }
        });
        Some(Arc::clone(&sending.queue))
    }
}
