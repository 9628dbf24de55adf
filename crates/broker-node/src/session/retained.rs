//! Retained messages for a transient session's new subscriptions: looked up page by page as the socket
//! takes them (section 3.3.1.3), and the broker's own topics, which are kept apart.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use mqtt_codec::QoS;
use session_store::matching::Subscribed;
use session_store::{MessageRef, Outgoing};
use topic_index::PlainFilter;

use super::{Client, HIGH_WATER};
use crate::shard::{Page, PageWanted};

/// Messages of one page.
const PAGE: usize = 256;
/// Topics delivered live that a scan remembers, so that it does not send their older retained messages.
const LIVE_TOPICS_MAX: usize = 4_096;

/// A look-up that is under way.
pub(crate) type PageFuture = Pin<Box<dyn Future<Output = (u64, Option<Page>)>>>;

/// A look-up for one subscription, over all shards.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Tells it from an older one for the same filter.
    number: u64,
    /// What is looked for.
    pub(crate) filter: PlainFilter,
    subscribed: Subscribed,
    shard: u16,
    after: Option<Box<[u8]>>,
    started: bool,
    live: BTreeSet<Box<[u8]>>,
}

impl Scan {
    /// A look-up that has not begun.
    pub(crate) fn new(number: u64, filter: PlainFilter, subscribed: Subscribed) -> Self {
        Self { number, filter, subscribed, shard: 0, after: None, started: false, live: BTreeSet::new() }
    }

    /// Remembers a topic that was delivered live.
    pub(crate) fn saw(&mut self, topic: &[u8]) {
        if self.live.len() < LIVE_TOPICS_MAX && topic_index::matches(&self.filter, topic) {
            self.live.insert(topic.into());
        }
    }
}

impl Client {
    /// Whether there is a scan and room for what its next page holds.
    pub(crate) fn wants_page(&self) -> bool {
        !self.scans.is_empty() && self.out.len() < HIGH_WATER && self.outbound.len() <= PAGE
    }

    /// The next page to fetch, if one is wanted.
    pub(crate) fn next_page(&mut self) -> Option<PageFuture> {
        if !self.wants_page() {
            return None;
        }
        let scan = self.scans.front_mut()?;
        if !scan.started {
            scan.started = true;
            let (filter, subscribed) = (scan.filter.clone(), scan.subscribed);
            self.send_sys_topics(&filter, &subscribed);
        }
        let scan = self.scans.front()?;
        let shards = self.worker.node.shards.clone();
        let (number, shard) = (scan.number, scan.shard);
        let wanted = PageWanted { filter: scan.filter.clone(), after: scan.after.clone(), limit: PAGE };
        Some(Box::pin(async move { (number, shards.page(shard, wanted).await) }))
    }

    /// A page came; `None` when the node stops. Its scan may be gone.
    pub(crate) fn take_page(&mut self, (number, page): (u64, Option<Page>)) {
        let Some(mut scan) = self.scans.pop_front_if(|scan| scan.number == number) else { return };
        let Some(page) = page else { return };
        for message in page.messages {
            if !scan.live.contains(message.body.topic()) {
                self.send_retained(message, &scan.subscribed);
            }
        }
        scan.after = page.after;
        if scan.after.is_none() {
            scan.shard += 1;
        }
        if scan.shard < self.worker.node.shards.count() {
            self.scans.push_front(scan);
        }
        self.send_queued();
    }

    /// Retained messages are sent with RETAIN 1 and at the lower QoS of both.
    fn send_retained(&mut self, message: MessageRef, subscribed: &Subscribed) {
        let qos = message.qos.min(subscribed.qos);
        let subscription_ids = subscribed.id.map(|id| [id].into());
        let outgoing = Outgoing { message, qos, retain: true, subscription_ids, group: None };
        if qos == QoS::AtMostOnce {
            let now = self.worker.node.clock.now();
            self.send_publish(&outgoing, None, false, now);
        } else {
            self.outbound.enqueue_unbounded(outgoing);
        }
    }

    /// What the node tells of itself, to a subscriber of `$SYS` topics.
    pub(crate) fn send_sys_topics(&mut self, filter: &PlainFilter, subscribed: &Subscribed) {
        let sys = std::sync::Arc::clone(&self.worker.node.sys);
        for message in sys.matching(filter) {
            self.send_retained(message, subscribed);
        }
    }
}
