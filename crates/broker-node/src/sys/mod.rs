//! `$SYS`: what the node tells of itself, under the names that users of Mosquitto know. Node-local, in
//! memory; each topic is published when it changed, at most once an interval. Never matched by `#`.

mod topics;

use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{QoS, SharedPublish, Text};
use parking_lot::RwLock;
use session_store::{Message, MessageRef};
use topic_index::{PageBounds, PlainFilter, TopicIndex};

use self::topics::Loads;
pub(crate) use self::topics::Snapshot;
use crate::counters::NodeCounters;
use crate::observe::Observer;
use crate::worker::Node;

/// The present value of every topic.
#[derive(Debug, Default)]
pub(crate) struct SysTopics {
    topics: RwLock<TopicIndex<MessageRef>>,
}

impl SysTopics {
    /// The topics that match a filter.
    pub(crate) fn matching(&self, filter: &PlainFilter) -> Vec<MessageRef> {
        if !filter.as_str().starts_with('$') {
            return Vec::new();
        }
        let topics = self.topics.read();
        let mut found = Vec::new();
        topics.scan(filter, None, PageBounds::ALL, |_, message| found.push(Arc::clone(message)));
        found
    }

    /// Takes over new values; gives back those that changed.
    pub(crate) fn update(&self, values: Vec<(String, String)>) -> Vec<MessageRef> {
        let mut topics = self.topics.write();
        let mut changed = Vec::new();
        for (topic, value) in values {
            let known = topics.get(topic.as_bytes());
            if known.is_some_and(|message| message.body.payload() == value.as_bytes()) {
                continue;
            }
            let Ok(name) = Text::new(&topic) else { continue };
            let body = SharedPublish::new(&name, &Bytes::new(), &Bytes::from(value));
            let message = Arc::new(Message { body, qos: QoS::AtMostOnce, retain: true, expires_at: None });
            topics.insert(topic.as_bytes(), Arc::clone(&message));
            changed.push(message);
        }
        changed
    }
}

/// Runs until the node stops: looks at the node each interval and publishes what changed.
pub(crate) async fn run(node: Arc<Node>, observer: Observer, counters: Arc<NodeCounters>) {
    let mut loads = Loads::default();
    let mut ticks = tokio::time::interval(node.settings.sys.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = observer.snapshot();
        loads.add(&snapshot);
        for message in node.sys.update(topics::values(&snapshot, &loads)) {
            counters.count_dropped(node.shards.publish_own(&node.fanout, &message).await);
        }
    }
}
