//! What this host announces of its transient subscribers. The fan-out notes each change; a task brings them into the
//! cluster group's log, one entry at a time.

use std::time::Duration;

use mqtt_codec::QoS;
use node_routing::view::Announcer;
use parking_lot::Mutex;
use raft_consensus::cluster::{AskError, Command, Owner, Refusal};
use session_store::Host;
use tokio::sync::Notify;
use tokio::time::sleep;
use topic_index::Filter;

use super::AsksCluster;

/// Before a change that was refused is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// The routes of this host that are not in the log yet.
#[derive(Debug)]
pub(crate) struct HostRoutes {
    announcer: Mutex<Announcer>,
    changed: Notify,
    room: Notify,
}

impl HostRoutes {
    /// Of a run that begins.
    pub(crate) fn new(me: Host) -> Self {
        let announcer = Mutex::new(Announcer::new(Owner::Host(me), 0));
        Self { announcer, changed: Notify::new(), room: Notify::new() }
    }

    /// The highest QoS that transient subscribers here are granted for a filter changed; `None` where nobody is left.
    pub(crate) fn change(&self, filter: Filter, qos: Option<QoS>) {
        self.announcer.lock().change(filter, qos);
        self.changed.notify_one();
    }

    /// The number of the last change there was.
    pub(crate) fn number(&self) -> u64 {
        self.announcer.lock().number()
    }

    /// Whether one subscription more may wait for its change.
    pub(crate) fn has_room(&self) -> bool {
        self.announcer.lock().has_room()
    }

    /// Waits for [`Self::has_room`].
    pub(crate) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Brings changes into the log for as long as the run lives and the cluster group goes on.
    pub(crate) async fn announce(&self, cluster: &dyn AsksCluster) {
        loop {
            let changed = self.changed.notified();
            let Some(routes) = self.announcer.lock().out().cloned() else {
                changed.await;
                continue;
            };
            let number = routes.number;
            match cluster.ask(Command::Routes(routes)).await {
                Ok(()) => {
                    self.announcer.lock().applied(number);
                    self.room.notify_waiters();
                }
                Err(AskError::Gone(_) | AskError::Refused(Refusal::Dead)) => return,
                Err(AskError::Refused(refusal)) => {
                    tracing::warn!(target: "quelea", %refusal, "routes of this node are not known to the others yet");
                    sleep(AGAIN).await;
                }
            }
        }
    }
}
