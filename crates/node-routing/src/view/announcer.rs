//! An owner's way into the cluster group's log: its changes of routes, numbered and gathered, one entry on its way at a
//! time. Kept by a host for its transient subscribers; it proposes nothing itself.

use std::collections::{BTreeMap, VecDeque};

use mqtt_codec::QoS;
use raft_consensus::cluster::{CHANGES_BYTES_MAX, CHANGES_MAX, Owner, Route, Routes, filter_bytes};
use topic_index::Filter;

/// Changes of routes that wait at most: with more, SUBSCRIBE waits.
pub const WAITING_MAX: usize = 64 * CHANGES_MAX;

/// Changes that go together.
#[derive(Debug, Default)]
struct Batch {
    /// The highest QoS granted for each filter by now; `None` where nobody is left.
    changes: BTreeMap<Filter, Option<QoS>>,
    bytes: usize,
}

/// The changes of one owner's routes that are not in the log yet.
#[derive(Debug)]
pub struct Announcer {
    owner: Owner,
    /// The number of the last change that is known to be applied.
    applied: u64,
    /// What goes out with the number behind `applied`, once it was asked for: it never changes then.
    out: Option<Routes>,
    /// What goes out behind that, in this order.
    waiting: VecDeque<Batch>,
    count: usize,
}

impl Announcer {
    /// Of an owner whose last change that was applied has this number: 0 for a run that begins.
    #[must_use]
    pub fn new(owner: Owner, applied: u64) -> Self {
        Self { owner, applied, out: None, waiting: VecDeque::new(), count: 0 }
    }

    /// Whether one more subscription may wait for its change. What is taken back need not ask: there is no more of it than
    /// was given.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.count < WAITING_MAX
    }

    /// The highest QoS that the owner grants for a filter is another than it was; `None` where nobody is left. Returns the
    /// number that this will have: a SUBSCRIBE is answered when it is in force. One that changed nothing waits for
    /// [`Self::number`] in its place, since what it relies on may still be on its way.
    pub fn change(&mut self, filter: Filter, qos: Option<QoS>) -> u64 {
        let bytes = filter_bytes(&filter);
        let full =
            |batch: &Batch| batch.changes.len() >= CHANGES_MAX || batch.bytes + bytes > CHANGES_BYTES_MAX;
        if self.waiting.back().is_none_or(full) {
            self.waiting.push_back(Batch::default());
        }
        if let Some(batch) = self.waiting.back_mut()
            && batch.changes.insert(filter, qos).is_none()
        {
            batch.bytes += bytes;
            self.count += 1;
        }
        self.number()
    }

    /// The number of the last change there was: what is in force with it has all of the owner's routes as of now.
    #[must_use]
    pub fn number(&self) -> u64 {
        let waiting = u64::from(self.out.is_some()) + self.waiting.len() as u64;
        self.applied.saturating_add(waiting)
    }

    /// What is to be proposed: the same until it is [applied](Self::applied), however often it is asked for. `None` where
    /// nothing changed.
    pub fn out(&mut self) -> Option<&Routes> {
        if self.out.is_none() {
            let batch = self.waiting.pop_front()?;
            self.count = self.count.saturating_sub(batch.changes.len());
            self.out = Some(self.routes(batch));
        }
        self.out.as_ref()
    }

    fn routes(&self, batch: Batch) -> Routes {
        let (mut removes, mut adds) = (Vec::new(), Vec::new());
        for (filter, qos) in batch.changes {
            match qos {
                Some(qos) => adds.push(Route { filter, qos }),
                None => removes.push(filter),
            }
        }
        let (predecessor, number) = (self.applied, self.applied.saturating_add(1));
        Routes { owner: self.owner, number, predecessor, removes, adds }
    }

    /// The log has the owner's changes up to this number.
    pub fn applied(&mut self, number: u64) {
        if self.out.as_ref().is_some_and(|out| out.number <= number) {
            self.applied = number;
            self.out = None;
        }
    }
}
