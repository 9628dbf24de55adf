//! A persistent session: what the broker keeps of a client while it is away (section 4.1 of MQTT 5.0).
//! Owned by its shard, changed only by the shard's transitions.

use std::collections::BTreeMap;

use topic_index::Filter;

use crate::command::Push;
use crate::ids::{ClientId, ConnectionId, SessionKey};
use crate::inbound::Inbound;
use crate::kept::Kept;
use crate::matching::Subscribed;
use crate::outbound::{NextPacket, Outbound};
use crate::scan::Scans;
use crate::shard::{Counted, StoredAt};
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
    /// What it was last counted for in its shard's sizes.
    pub(crate) counted: Local<Counted>,
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
            counted: Local::default(),
        }
    }

    /// A packet of its queue as its connection is to get it; `key` is the session's own.
    pub(crate) fn push(&self, key: SessionKey, packet: NextPacket) -> Push {
        match packet {
            NextPacket::Publish { packet_id, position, dup, item } => {
                Push::Publish { packet_id: Some(packet_id), position, dup, item }
            }
            NextPacket::Stored { packet_id, position, dup, serial } => {
                Push::Stored { packet_id, position, dup, at: StoredAt { session: key, serial } }
            }
            NextPacket::Release(packet_id) => Push::Release(packet_id),
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
