//! Retained messages for a transient session's new subscriptions: looked up page by page as the socket
//! takes them (section 3.3.1.3), and the broker's own topics, which are kept apart.

use std::future::Future;
use std::pin::Pin;

use mqtt_codec::QoS;
use session_store::matching::Subscribed;
use session_store::shard::SCAN_STEPS;
use session_store::{MessageRef, Outgoing};
use topic_index::{PageBounds, PlainFilter};

use super::{Client, HIGH_WATER};
use crate::shard::Page;

/// Messages of one page: as many as go out by one write or two.
const PAGE: usize = 256;
const BOUNDS: PageBounds = PageBounds { topics: PAGE, steps: SCAN_STEPS };
/// A look-up that is under way.
pub(crate) type PageFuture = Pin<Box<dyn Future<Output = (u64, Option<Page>)>>>;

impl Client {
    /// Whether a page is wanted and there is room for it.
    pub(crate) fn wants_page(&self) -> bool {
        self.scans.ready() && self.out.len() < HIGH_WATER && self.outbound.len() <= PAGE
    }

    /// The next page to fetch, if one is wanted.
    pub(crate) fn next_page(&mut self) -> Option<PageFuture> {
        if !self.wants_page() {
            return None;
        }
        let ask = self.scans.ask()?;
        let (scan, shards) = (ask.scan, self.worker.node.shards.clone());
        Some(Box::pin(async move {
            let page = shards.look_up(ask, BOUNDS).await;
            // Other connections of the thread get their turn between pages, however many are empty.
            tokio::task::yield_now().await;
            (scan, page)
        }))
    }

    /// A page came; `None` when the node stops.
    pub(crate) fn take_page(&mut self, (scan, page): (u64, Option<Page>)) {
        let Some(Page { messages, next }) = page else { return };
        let shards = self.worker.node.shards.count();
        let Some((subscribed, messages)) = self.scans.answer(scan, messages, next, shards) else { return };
        for message in messages {
            self.send_retained(message, &subscribed);
        }
        self.scans.taken(scan);
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
