//! What the queue of one session has dropped, by reason, for whoever asks why something did not arrive. Each replica counts for
//! itself, from when it has the session in memory: nothing depends on it, and it is in no log and no checkpoint.

use super::Outbound;
use crate::counters::QueueCounters;

/// Messages that a queue dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Since it was full.
    pub queue_full: u64,
    /// Since they had expired before they could be sent.
    pub expired: u64,
}

impl Outbound {
    /// What it has dropped, as far as this replica knows.
    #[must_use]
    pub fn lost(&self) -> Lost {
        self.lost.0
    }

    pub(super) fn count_full(&mut self, counters: &mut QueueCounters) {
        counters.dropped_queue_full += 1;
        self.lost.0.queue_full += 1;
    }

    pub(super) fn count_expired(&mut self, counters: &mut QueueCounters) {
        counters.dropped_expired += 1;
        self.lost.0.expired += 1;
    }
}
