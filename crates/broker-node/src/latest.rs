//! Which connection of each publisher is the latest that this node knows of. QoS 0 that an older one sent may have been held up
//! between nodes, and would come behind what a newer one sent: it may get lost, and must not come in the wrong order
//! (`[MQTT-4.6.0-6]`). Kept by a node with peers, asked for what comes from them; messages of QoS 1 and 2 are none of its business.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use mqtt_codec::QoS;
use parking_lot::Mutex;
use session_store::command::{Command, Publish, PublishItem};
use session_store::{ClientId, Epoch, Request};

use crate::counters::NodeCounters;

/// Publishers that are remembered at least, the last that came or went; those that are connected here are known besides.
const REMEMBERED: usize = 65_536;

/// Epochs by the hashes of client identifiers: two clients of one hash would cost the older one QoS 0, and its
/// key is this process's own.
type Epochs = HashMap<u64, Epoch>;

#[derive(Debug, Default)]
struct Known {
    /// Of those that are connected here.
    present: Epochs,
    /// Of others, and of those that were.
    recent: Epochs,
    /// What was recent before that was full.
    before: Epochs,
}

impl Known {
    fn latest(&self, client: u64) -> Epoch {
        let all = [&self.present, &self.recent, &self.before];
        all.into_iter().filter_map(|epochs| epochs.get(&client).copied()).max().unwrap_or_default()
    }

    fn note(&mut self, client: u64, epoch: Epoch) {
        if self.recent.len() >= REMEMBERED && !self.recent.contains_key(&client) {
            self.before = std::mem::take(&mut self.recent);
        }
        let known = self.recent.entry(client).or_default();
        *known = epoch.max(*known);
    }
}

#[derive(Debug)]
struct Inner {
    hasher: RandomState,
    known: Mutex<Known>,
    /// Written under the lock.
    counters: Arc<NodeCounters>,
}

/// The latest connections of publishers. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Latest(Arc<Inner>);

/// A client that is connected here, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Present {
    latest: Latest,
    client: u64,
    epoch: Epoch,
}

impl Latest {
    /// Nobody has come yet; `counters` are written by nobody else.
    pub(crate) fn new(counters: Arc<NodeCounters>) -> Self {
        Self(Arc::new(Inner { hasher: RandomState::new(), known: Mutex::default(), counters }))
    }

    /// A client is connected here.
    pub(crate) fn enter(&self, client: &ClientId, epoch: Epoch) -> Present {
        let client = self.hash(client);
        let mut known = self.0.known.lock();
        let present = known.present.entry(client).or_default();
        *present = epoch.max(*present);
        Present { latest: self.clone(), client, epoch }
    }

    /// Whether messages that came from another node were sent on an older connection than one that is known: those of
    /// QoS 0 are to be dropped, and are counted here.
    pub(crate) fn is_late(&self, publish: &Publish) -> bool {
        let Some(epoch) = publish.epoch else { return false };
        let client = self.hash(&publish.publisher);
        let mut known = self.0.known.lock();
        if epoch < known.latest(client) {
            self.0
                .counters
                .dropped_late
                .add(publish.items.iter().filter(|item| is_qos0(item)).count() as u64);
            return true;
        }
        known.note(client, epoch);
        false
    }

    /// A request of another node as it counts by now: without QoS 0 that is late. Its number is still taken.
    pub(crate) fn unless_late(&self, request: Arc<Request>) -> Arc<Request> {
        let Command::Publish(publish) = &request.command else { return request };
        if !self.is_late(publish) {
            return request;
        }
        let mut publish = publish.clone();
        publish.items.retain(|item| !is_qos0(item));
        Arc::new(Request { command: Command::Publish(publish), ..Request::clone(&request) })
    }

    fn hash(&self, client: &ClientId) -> u64 {
        self.0.hasher.hash_one(client)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut known = self.latest.0.known.lock();
        if known.present.get(&self.client) == Some(&self.epoch) {
            known.present.remove(&self.client);
        }
        known.note(self.client, self.epoch);
    }
}

/// Whether a message was published at QoS 0.
pub(crate) fn is_qos0(item: &PublishItem) -> bool {
    item.message.qos == QoS::AtMostOnce
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mqtt_codec::{SharedPublish, Text};
    use session_store::{Host, Message, Source};

    use super::*;

    fn publish(client: &str, epoch: Option<u64>, qos: &[QoS]) -> Publish {
        let item = |qos: &QoS| {
            let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &Bytes::from_static(b"x"));
            let message = Arc::new(Message { body, qos: *qos, retain: false, expires_at: None });
            PublishItem { number: 0, message, sessions: true, store_retained: false, groups: Vec::new() }
        };
        let items = qos.iter().map(item).collect();
        Publish { reply_to: None, publisher: ClientId::new(client), epoch: epoch.map(Epoch), items }
    }

    fn latest() -> (Latest, Arc<NodeCounters>) {
        let counters = Arc::<NodeCounters>::default();
        (Latest::new(Arc::clone(&counters)), counters)
    }

    const QOS0: &[QoS] = &[QoS::AtMostOnce];

    #[test]
    fn what_an_older_connection_sent_is_late_behind_a_newer_one() {
        let (latest, counters) = latest();
        for (epoch, late) in
            [(5, false), (5, false), (9, false), (5, true), (8, true), (9, false), (10, false)]
        {
            assert_eq!(latest.is_late(&publish("a", Some(epoch), QOS0)), late, "{epoch}");
        }
        assert!(!latest.is_late(&publish("b", Some(1), QOS0)), "another client");
        assert!(!latest.is_late(&publish("a", None, QOS0)), "no connection's");
        assert_eq!(counters.dropped_late.get(), 2);
    }

    #[test]
    fn who_is_or_was_connected_here_is_known_without_a_message() {
        let (latest, _counters) = latest();
        let client = ClientId::new("a");
        let first = latest.enter(&client, Epoch(3));
        assert!(latest.is_late(&publish("a", Some(2), QOS0)));
        // It comes again on this node, before its old connection is gone.
        let second = latest.enter(&client, Epoch(7));
        drop(first);
        assert!(latest.is_late(&publish("a", Some(6), QOS0)));
        drop(second);
        assert!(latest.is_late(&publish("a", Some(6), QOS0)));
        assert!(!latest.is_late(&publish("a", Some(8), QOS0)));
        let known = latest.0.known.lock();
        assert!(known.present.is_empty(), "{known:?}");
    }

    #[test]
    fn only_so_many_are_remembered_and_whoever_is_here_always() {
        let (latest, _counters) = latest();
        let _here = latest.enter(&ClientId::new("here"), Epoch(9));
        assert!(!latest.is_late(&publish("gone", Some(9), QOS0)));
        for number in 0..3 * REMEMBERED {
            assert!(!latest.is_late(&publish(&number.to_string(), Some(9), QOS0)));
        }
        {
            let known = latest.0.known.lock();
            assert!(known.recent.len() <= REMEMBERED && known.before.len() <= REMEMBERED);
        }
        let last = (2 * REMEMBERED).to_string();
        for (client, late) in [("here", true), ("gone", false), (last.as_str(), true)] {
            assert_eq!(latest.is_late(&publish(client, Some(8), QOS0)), late, "{client}");
        }
    }

    #[test]
    fn a_late_request_keeps_what_is_not_of_qos_0() {
        let (latest, counters) = latest();
        let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtMostOnce, QoS::ExactlyOnce];
        let left = |epoch: u64| {
            let command = Command::Publish(publish("a", Some(epoch), &all));
            let request =
                Request { source: Source::Host(Host::default()), number: 1, done_below: 0, command };
            let request = latest.unless_late(Arc::new(request));
            let Command::Publish(publish) = &request.command else { panic!("{request:?}") };
            publish.items.iter().map(|item| item.message.qos).collect::<Vec<QoS>>()
        };
        assert_eq!(left(2), all);
        assert_eq!(left(1), [QoS::AtLeastOnce, QoS::ExactlyOnce]);
        assert_eq!(counters.dropped_late.get(), 2);
    }
}
