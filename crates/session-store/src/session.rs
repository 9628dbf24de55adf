//! A persistent session: what the broker keeps of a client while it is away (section 4.1 of MQTT 5.0).
//! Owned by its shard, changed only by the shard's transitions.

use std::collections::BTreeMap;

use topic_index::Filter;

use crate::ids::{ClientId, ConnectionId};
use crate::inbound::Inbound;
use crate::kept::Kept;
use crate::matching::Subscribed;
use crate::outbound::Outbound;
use crate::scan::Scans;
use crate::tracked::Local;

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
    pub(crate) scans: Scans,
    /// Whether the subscriptions are to be written.
    pub(crate) subscriptions_changed: Local<bool>,
    /// What a store has of the queue.
    pub(crate) kept: Local<Kept>,
}

impl Session {
    /// `generation` tells it from earlier sessions of its shard.
    pub(crate) fn new(client: ClientId, generation: u64) -> Self {
        Self {
            client,
            connection: None,
            receive_maximum: u16::MAX,
            expiry_s: 0,
            subscriptions: BTreeMap::new(),
            outbound: Outbound::new(true),
            inbound: Inbound::default(),
            scans: Scans::starting_at(generation << 32),
            subscriptions_changed: Local(false),
            kept: Local::default(),
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
