//! What the leader of a shard announces of its persistent subscribers. A change is numbered by the entry of the shard's log
//! that brought it, so that every replica counts alike and none has to remember what was announced; a new leader announces
//! what differs from what the cluster group has. Pure but for its lock; the task that asks the cluster group is the shard's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use mqtt_codec::QoS;
use parking_lot::Mutex;
use raft_consensus::cluster::{CHANGES_BYTES_MAX, CHANGES_MAX, Owner, Route, Routes, filter_bytes};
use tokio::sync::Notify;
use topic_index::Filter;

use super::Known;

/// Bits of a number below those of the entry: they count the parts of what does not fit into one command.
const PART_BITS: u32 = 16;

/// Filters of which changes are remembered until they are announced; with more, all is looked at again.
const RECORDED_MAX: usize = 1 << 16;

/// The number of a change after which the routes are complete as of an entry of the shard's log. What comes before it is
/// between this and the one of the next entry, and says nothing of that.
pub(crate) fn as_of_entry(index: u64) -> u64 {
    index << PART_BITS
}

/// The highest QoS for filters that changed; `None` where nobody is left.
pub(crate) type Changes = BTreeMap<Filter, Option<QoS>>;

/// Changes since they were looked at last.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) changes: Changes,
    /// The entry of the shard's log that brought the last of them.
    pub(crate) as_of: u64,
}

#[derive(Debug, Default)]
struct Recording {
    /// This node leads, and has begun to announce.
    runs: bool,
    recorded: Recorded,
    /// There was too much: what the log has is to be looked at again.
    overflown: bool,
}

/// The routes of one shard, on one node.
#[derive(Debug, Default)]
pub(crate) struct ShardRoutes {
    recording: Mutex<Recording>,
    work: Notify,
    /// The number that this host was last told with an answer of the shard.
    told: AtomicU64,
}

impl ShardRoutes {
    /// Notes what an entry of the log changed, all of it at once.
    pub(crate) fn record(&self, as_of: u64, changes: Vec<(Filter, Option<QoS>)>) {
        let mut recording = self.recording.lock();
        if !recording.runs || recording.overflown {
            return;
        }
        recording.recorded.as_of = as_of;
        recording.recorded.changes.extend(changes);
        if recording.recorded.changes.len() > RECORDED_MAX {
            recording.overflown = true;
            recording.recorded = Recorded::default();
        }
        drop(recording);
        self.work.notify_one();
    }

    /// Begins to note changes, before all that there is by now is looked at.
    pub(crate) fn begin(&self) {
        *self.recording.lock() = Recording { runs: true, ..Recording::default() };
    }

    /// This node leads no more.
    pub(crate) fn end(&self) {
        *self.recording.lock() = Recording::default();
    }

    /// Waits for changes and takes them; `None` where there were too many.
    pub(crate) async fn recorded(&self) -> Option<Recorded> {
        loop {
            let work = self.work.notified();
            {
                let mut recording = self.recording.lock();
                if recording.overflown {
                    return None;
                }
                if !recording.recorded.changes.is_empty() {
                    return Some(std::mem::take(&mut recording.recorded));
                }
            }
            work.await;
        }
    }

    /// A leader has told something, as of this number of its routes.
    pub(crate) fn tell(&self, number: u64) {
        self.told.fetch_max(number, Ordering::AcqRel);
    }

    /// What is in force with this number has the routes of all that the shard has answered to this host by now.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }
}

impl Known {
    /// What has to change so that the routes become these.
    pub(crate) fn changes_to(&self, now: &BTreeMap<Filter, QoS>) -> Changes {
        let gone = self.routes.keys().filter(|filter| !now.contains_key(*filter));
        let new = now.iter().filter(|(filter, qos)| self.routes.get(*filter) != Some(*qos));
        let new = new.map(|(filter, qos)| (filter.clone(), Some(*qos)));
        gone.map(|filter| (filter.clone(), None)).chain(new).collect()
    }
}

/// Changes as commands, behind the one numbered `last`; with the last of them the routes are as of the entry `as_of`.
pub(crate) fn commands(owner: Owner, last: u64, (changes, as_of): (Changes, u64)) -> Vec<Routes> {
    let mut commands: Vec<Routes> = Vec::new();
    let empty = |predecessor: u64| {
        let (removes, adds) = (Vec::new(), Vec::new());
        Routes { owner, number: predecessor.saturating_add(1), predecessor, removes, adds }
    };
    let (mut making, mut bytes) = (empty(last), 0);
    for (filter, qos) in changes {
        let more = filter_bytes(&filter);
        if making.len() >= CHANGES_MAX || bytes + more > CHANGES_BYTES_MAX {
            let next = empty(making.number);
            commands.push(std::mem::replace(&mut making, next));
            bytes = 0;
        }
        bytes += more;
        match qos {
            Some(qos) => making.adds.push(Route { filter, qos }),
            None => making.removes.push(filter),
        }
    }
    making.number = as_of_entry(as_of);
    commands.push(making);
    commands
}

#[cfg(test)]
mod tests {
    use session_store::ShardId;

    use super::*;

    const OWNER: Owner = Owner::Shard(ShardId(3));

    fn filter(number: usize) -> Filter {
        Filter::parse(format!("f/{number}"), 9).unwrap()
    }

    #[test]
    fn what_does_not_fit_goes_in_parts_of_which_only_the_last_says_how_far_it_is() {
        let changes: Changes =
            (0..2_500).map(|n| (filter(n), (n % 2 == 0).then_some(QoS::AtLeastOnce))).collect();
        let last = as_of_entry(7) + 2;
        let commands = commands(OWNER, last, (changes.clone(), 9));
        let numbers: Vec<(u64, u64)> = commands.iter().map(|of| (of.predecessor, of.number)).collect();
        assert_eq!(numbers, [(last, last + 1), (last + 1, last + 2), (last + 2, as_of_entry(9))]);
        assert!(last + 2 < as_of_entry(8), "who waits for entry 8 is not let go by a part");
        let mut said = Changes::new();
        for Routes { removes, adds, .. } in commands {
            assert!(removes.len() + adds.len() <= CHANGES_MAX);
            said.extend(removes.into_iter().map(|filter| (filter, None)));
            said.extend(adds.into_iter().map(|route| (route.filter, Some(route.qos))));
        }
        assert_eq!(said, changes);
    }

    #[test]
    fn nothing_to_change_still_says_how_far_it_is() {
        let commands = commands(OWNER, 5, (Changes::new(), 9));
        assert_eq!(
            commands.iter().map(|of| (of.predecessor, of.number)).collect::<Vec<_>>(),
            [(5, as_of_entry(9))]
        );
    }

    #[test]
    fn a_new_leader_announces_what_differs() {
        let routes = |of: &[(usize, QoS)]| of.iter().map(|(n, qos)| (filter(*n), *qos)).collect();
        let known = Known {
            last: 4,
            routes: routes(&[(1, QoS::AtMostOnce), (2, QoS::AtLeastOnce), (3, QoS::AtMostOnce)]),
        };
        let now = routes(&[(2, QoS::AtLeastOnce), (3, QoS::ExactlyOnce), (4, QoS::AtMostOnce)]);
        let expected = [(1, None), (3, Some(QoS::ExactlyOnce)), (4, Some(QoS::AtMostOnce))];
        assert_eq!(known.changes_to(&now), expected.map(|(n, qos)| (filter(n), qos)).into());
    }

    #[tokio::test]
    async fn changes_are_noted_while_they_are_announced_and_too_many_are_looked_at_again() {
        let routes = ShardRoutes::default();
        routes.record(1, vec![(filter(0), None)]);
        routes.begin();
        routes.record(2, vec![(filter(1), Some(QoS::AtMostOnce)), (filter(2), None)]);
        routes.record(3, vec![(filter(1), None)]);
        let recorded = routes.recorded().await.unwrap();
        assert_eq!((recorded.changes, recorded.as_of), ([(filter(1), None), (filter(2), None)].into(), 3));
        routes.record(4, (0..=RECORDED_MAX).map(|n| (filter(n), None)).collect());
        assert!(routes.recorded().await.is_none());
        routes.begin();
        routes.record(5, vec![(filter(1), None)]);
        assert_eq!(routes.recorded().await.map(|recorded| recorded.as_of), Some(5));
    }
}
