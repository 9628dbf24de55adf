//! The records of a checkpoint, each as its prost message. Called when one is taken and when one is restored.

use std::collections::{BTreeMap, BTreeSet};

use mqtt_codec::PacketId;
use topic_index::Filter;

use crate::command::{Connect, Will};
use crate::ids::{ClientId, ConnectionId, Epoch, Host, Incarnation, Millis, NodeId, SessionKey};
use crate::limits::ShardLimits;
use crate::matching::{GroupRef, Subscribed};
use crate::message::MessageRef;
use crate::outbox::{OutboxItem, OutboxKind};
use crate::picks::{Looked, Picks};
use crate::record::{Record, RecordError, all_from_wire, all_to_wire, required, wire};
use crate::session::Session;
use crate::shard::{Client, Shard};

/// The shard as a whole.
pub(super) struct Head {
    pub(super) number: u16,
    pub(super) of: u16,
    pub(super) now: Millis,
    pub(super) next_session: u32,
    pub(super) generation: u64,
    pub(super) apply_level: u32,
    pub(super) lowest_live: BTreeMap<NodeId, Incarnation>,
    pub(super) dying: BTreeSet<NodeId>,
    pub(super) outbox_first: u64,
    pub(super) limits: Option<ShardLimits>,
}

impl Head {
    pub(super) fn of(shard: &Shard) -> Self {
        Self {
            number: shard.me.number.0,
            of: shard.me.of,
            now: shard.now,
            next_session: shard.next_session,
            generation: shard.generation,
            apply_level: shard.apply_level,
            lowest_live: shard.lowest_live.clone(),
            dying: shard.dying.clone(),
            outbox_first: shard.outbox.first(),
            limits: Some(shard.limits),
        }
    }
}

impl Record for Head {
    type Wire = wire::ShardHead;

    fn to_wire(&self) -> wire::ShardHead {
        let host = |(node, incarnation): (&NodeId, &Incarnation)| {
            Host { node: *node, incarnation: *incarnation }.to_wire()
        };
        wire::ShardHead {
            number: u32::from(self.number),
            of: u32::from(self.of),
            now_ms: self.now.0,
            next_session: self.next_session,
            generation: self.generation,
            apply_level: self.apply_level,
            lowest_live: self.lowest_live.iter().map(host).collect(),
            dying: self.dying.iter().map(|node| node.0).collect(),
            outbox_first: self.outbox_first,
            limits: self.limits.as_ref().map(Record::to_wire),
        }
    }

    fn from_wire(wire: wire::ShardHead) -> Result<Self, RecordError> {
        let lowest_live: Vec<Host> = all_from_wire(wire.lowest_live)?;
        Ok(Self {
            number: u16::try_from(wire.number).map_err(|_| RecordError::Invalid { field: "number" })?,
            of: u16::try_from(wire.of).map_err(|_| RecordError::Invalid { field: "of" })?,
            now: Millis(wire.now_ms),
            next_session: wire.next_session,
            generation: wire.generation,
            apply_level: wire.apply_level,
            lowest_live: lowest_live.into_iter().map(|host| (host.node, host.incarnation)).collect(),
            dying: wire.dying.into_iter().map(NodeId).collect(),
            outbox_first: wire.outbox_first,
            limits: wire.limits.map(ShardLimits::from_wire).transpose()?,
        })
    }
}

impl Record for Client {
    type Wire = wire::Client;

    fn to_wire(&self) -> wire::Client {
        wire::Client {
            epoch: self.epoch.0,
            connection: self.connection.as_ref().map(Record::to_wire),
            session_present: self.session_present,
            session: self.session.map(|key| key.0),
            will: self.will.as_ref().map(Record::to_wire),
            will_due_ms: self.will_due.map(|at| at.0),
            expiry_due_ms: self.expiry_due.map(|at| at.0),
            waiting: self.waiting.as_deref().map(Record::to_wire),
        }
    }

    fn from_wire(wire: wire::Client) -> Result<Self, RecordError> {
        Ok(Self {
            epoch: Epoch(wire.epoch),
            connection: wire.connection.map(ConnectionId::from_wire).transpose()?,
            session_present: wire.session_present,
            session: wire.session.map(SessionKey),
            will: wire.will.map(Will::from_wire).transpose()?,
            will_due: wire.will_due_ms.map(Millis),
            expiry_due: wire.expiry_due_ms.map(Millis),
            waiting: wire.waiting.map(Connect::from_wire).transpose()?.map(Box::new),
        })
    }
}

impl Session {
    /// All but its subscriptions and the contents of its queue.
    pub(super) fn to_wire(&self) -> wire::Session {
        let received: Vec<PacketId> = self.inbound.ids().collect();
        wire::Session {
            client: self.client.to_wire(),
            receive_maximum: u32::from(self.receive_maximum),
            expiry_s: self.expiry_s,
            queue: Some(self.outbound.to_wire()),
            received: all_to_wire(&received),
            scans: Some(self.scans.to_wire()),
        }
    }
}

/// The subscriptions of a session.
pub(super) fn subscriptions(session: &Session) -> wire::Subscriptions {
    let subscriptions = session.subscriptions.iter().map(|(filter, subscribed)| wire::Subscription {
        filter: filter.to_wire(),
        subscribed: Some(subscribed.to_wire()),
    });
    wire::Subscriptions { subscriptions: subscriptions.collect() }
}

/// Reads them back.
pub(super) fn read_subscriptions(
    wire: wire::Subscriptions,
) -> Result<BTreeMap<Filter, Subscribed>, RecordError> {
    let one = |wire: wire::Subscription| {
        let subscribed = Subscribed::from_wire(required(wire.subscribed, "subscription.subscribed")?)?;
        Ok((Filter::from_wire(wire.filter)?, subscribed))
    };
    wire.subscriptions.into_iter().map(one).collect()
}

impl OutboxItem {
    /// The version of its record.
    pub(super) fn version(&self) -> u8 {
        if self.picks.is_empty() { 1 } else { 2 }
    }
}

impl Record for OutboxItem {
    type Wire = wire::OutboxItem;

    fn to_wire(&self) -> wire::OutboxItem {
        let redispatch = match &self.kind {
            OutboxKind::Publish => None,
            OutboxKind::Redispatch(group) => Some(group.to_wire()),
        };
        let looked = match self.picks.looked() {
            Looked::Nowhere => None,
            Looked::UpTo(group) => Some(wire::outbox_item::Looked::UpTo(group.to_wire())),
            Looked::Everywhere => Some(wire::outbox_item::Looked::Everywhere(wire::Nothing {})),
        };
        wire::OutboxItem {
            publisher: self.publisher.to_wire(),
            message: Some(self.message.to_wire()),
            redispatch,
            picks: self.picks.iter().map(Record::to_wire).collect(),
            looked,
        }
    }

    fn from_wire(wire: wire::OutboxItem) -> Result<Self, RecordError> {
        let group = wire.redispatch.map(GroupRef::from_wire).transpose()?;
        let looked = match wire.looked {
            None => Looked::Nowhere,
            Some(wire::outbox_item::Looked::UpTo(group)) => Looked::UpTo(GroupRef::from_wire(group)?),
            Some(wire::outbox_item::Looked::Everywhere(_)) => Looked::Everywhere,
        };
        let picks = Picks::restored(all_from_wire(wire.picks)?, looked);
        Ok(Self {
            publisher: ClientId::from_wire(wire.publisher)?,
            message: MessageRef::from_wire(required(wire.message, "outbox.message")?)?,
            kind: group.map_or(OutboxKind::Publish, OutboxKind::Redispatch),
            picks: picks.ok_or(RecordError::Invalid { field: "picks" })?,
        })
    }
}
