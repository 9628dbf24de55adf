//! A persistent session: what the broker keeps of a client while it is away (section 4.1 of MQTT 5.0).
//! Owned by its shard, changed only by the shard's transitions.

use std::collections::{BTreeMap, BTreeSet};

use topic_index::{Filter, PlainFilter};

use crate::ids::{ClientId, ConnectionId};
use crate::inbound::Inbound;
use crate::matching::Subscribed;
use crate::outbound::Outbound;

/// Topics delivered live that one scan remembers, so that it does not send their older retained
/// messages afterwards.
const LIVE_TOPICS_MAX: usize = 4_096;

/// A look-up of retained messages for a subscription, page by page as the queue drains.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) number: u64,
    pub(crate) filter: PlainFilter,
    pub(crate) subscribed: Subscribed,
    pub(crate) shard: u16,
    pub(crate) after: Option<Box<[u8]>>,
    /// A page was asked for and has not come.
    pub(crate) waiting: bool,
    pub(crate) live: BTreeSet<Box<[u8]>>,
}

impl Scan {
    /// Remembers a topic that was delivered live.
    pub(crate) fn saw(&mut self, topic: &[u8]) {
        if self.live.len() < LIVE_TOPICS_MAX && topic_index::matches(&self.filter, topic) {
            self.live.insert(topic.into());
        }
    }
}

/// A persistent session.
#[derive(Debug)]
pub struct Session {
    pub(crate) client: ClientId,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) receive_maximum: u16,
    pub(crate) expiry_s: u32,
    pub(crate) subscriptions: BTreeMap<Filter, Subscribed>,
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
    pub(crate) scans: Vec<Scan>,
    pub(crate) next_scan: u64,
}

impl Session {
    pub(crate) fn new(client: ClientId) -> Self {
        Self {
            client,
            connection: None,
            receive_maximum: u16::MAX,
            expiry_s: 0,
            subscriptions: BTreeMap::new(),
            outbound: Outbound::new(true),
            inbound: Inbound::default(),
            scans: Vec::new(),
            next_scan: 0,
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// Its queue.
    #[must_use]
    pub fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// The connection its client has now.
    #[must_use]
    pub fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// Its subscriptions.
    pub fn subscriptions(&self) -> impl Iterator<Item = (&Filter, &Subscribed)> {
        self.subscriptions.iter()
    }
}
