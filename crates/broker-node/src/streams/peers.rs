//! How hosts speak to each other: what the streams need of a network, and the way between nodes of one process. Whatever is said
//! may be lost, come twice or late; the streams say it again.

#[cfg(test)]
use std::collections::BTreeMap;
#[cfg(test)]
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[cfg(test)]
use parking_lot::RwLock;
use session_store::NodeId;
use session_store::word::Word;
#[cfg(test)]
use tokio::sync::mpsc;

use super::Streams;
use crate::routes::Later;

/// Words that wait for a node of the same process; more are lost, and said again.
#[cfg(test)]
const WORDS: usize = 4_096;

/// A way to other hosts.
pub(crate) trait SaysToHosts: Send + Sync {
    /// Says something to a node, behind what was said of the same kind before. Never waits, and calls nobody who may say
    /// something: locks are held. Answers are not queued behind publishes.
    fn say(&self, to: NodeId, word: Word);

    /// Bytes that one publish may have; a larger one reaches no other node.
    fn item_bytes_max(&self) -> usize;

    /// Lets a node hear what is said to it, for as long as this goes on.
    fn hear(&self, node: NodeId, streams: Streams) -> Later<()>;
}

/// The nodes of one process. Clones are the same.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct HostPeers {
    nodes: Arc<RwLock<BTreeMap<NodeId, mpsc::Sender<Word>>>>,
    /// Whether words are lost and come twice, how many were said since, and how many of them had such a fate.
    trouble: Arc<(AtomicBool, AtomicU64, AtomicU64)>,
}

#[cfg(test)]
impl HostPeers {
    /// Some words are lost from now on, and some come twice.
    pub(crate) fn trouble(&self, on: bool) {
        self.trouble.0.store(on, Ordering::Release);
    }

    /// How many were lost or came twice.
    pub(crate) fn troubled(&self) -> u64 {
        self.trouble.2.load(Ordering::Acquire)
    }

    /// How often the next word arrives.
    fn times(&self) -> usize {
        if !self.trouble.0.load(Ordering::Acquire) {
            return 1;
        }
        let times = match self.trouble.1.fetch_add(1, Ordering::AcqRel) % 7 {
            2 => 0,
            4 => 2,
            _ => return 1,
        };
        self.trouble.2.fetch_add(1, Ordering::AcqRel);
        times
    }
}

#[cfg(test)]
impl SaysToHosts for HostPeers {
    fn say(&self, to: NodeId, word: Word) {
        let says = self.nodes.read().get(&to).cloned();
        let Some(says) = says else { return };
        match self.times() {
            0 => return,
            1 => {}
            _ => drop(says.try_send(again(&word))),
        }
        let _said_again = says.try_send(word);
    }

    fn item_bytes_max(&self) -> usize {
        usize::MAX
    }

    fn hear(&self, node: NodeId, streams: Streams) -> Later<()> {
        let (says, mut heard) = mpsc::channel(WORDS);
        self.nodes.write().insert(node, says);
        Box::pin(async move {
            while let Some(word) = heard.recv().await {
                streams.hear(word);
            }
        })
    }
}

/// A word between hosts once more.
#[cfg(test)]
fn again(word: &Word) -> Word {
    match word {
        Word::Frame(frame) => Word::Frame(Arc::clone(frame)),
        Word::Heard(heard) => Word::Heard(heard.clone()),
        other => panic!("{other:?}"),
    }
}
