//! Whether a node is there at all, by all ways to it together. Shared by its lines; says that it is gone when none of
//! them has a connection and one that broke was refused a new one, and not too often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use raft_consensus::types::NodeId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::peers::Gone;

/// What is known of a node's connections.
pub(crate) struct Presence {
    up: AtomicUsize,
    pause: Duration,
    said: Mutex<Option<Instant>>,
    gone: mpsc::Sender<Gone>,
}

/// A connection that is there.
pub(crate) struct Up(Arc<Presence>);

impl Drop for Up {
    fn drop(&mut self) {
        self.0.up.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Presence {
    /// Of a node without connections. Between two times that it is said to be gone `pause` goes by.
    pub(crate) fn new(gone: mpsc::Sender<Gone>, pause: Duration) -> Arc<Self> {
        Arc::new(Self { up: AtomicUsize::new(0), pause, said: Mutex::new(None), gone })
    }

    /// Takes note of a connection, until that is dropped.
    pub(crate) fn up(self: &Arc<Self>) -> Up {
        self.up.fetch_add(1, Ordering::AcqRel);
        Up(Arc::clone(self))
    }

    /// Whether there is any connection to the node.
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire) > 0
    }

    /// A connection broke, and a new one was refused. Says that the node is gone, and whether it did: not while another
    /// connection to it is there, which may only not have noticed yet, nor too soon after the last time.
    pub(crate) fn refused(&self, node: NodeId, address: &str, now: Instant) -> bool {
        if self.up.load(Ordering::Acquire) > 0 {
            return false;
        }
        let mut said = self.said.lock();
        if said.is_some_and(|said| now < said + self.pause) {
            return false;
        }
        let told = self.gone.try_send(Gone { node, address: address.to_owned() }).is_ok();
        if told {
            *said = Some(now);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_gone_when_no_connection_is_left_and_that_is_not_said_too_often() {
        let (gone, mut heard) = mpsc::channel(1);
        let presence = Presence::new(gone, Duration::from_secs(1));
        let mut now = Instant::now();
        let up = presence.up();
        assert!(!presence.refused(2, "there", now));
        drop(up);
        assert!(presence.refused(2, "there", now));
        assert_eq!(heard.try_recv().ok(), Some(Gone { node: 2, address: "there".to_owned() }));
        assert!(!presence.refused(2, "there", now), "too soon");
        now += Duration::from_secs(1);
        assert!(presence.refused(2, "there", now));
        now += Duration::from_secs(1);
        assert!(!presence.refused(2, "there", now), "nobody listens");
    }
}
