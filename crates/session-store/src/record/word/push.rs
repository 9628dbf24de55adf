//! Packets for clients on other nodes, and messages as one session is to get them. Called by effects and by pages of
//! queues.

use mqtt_codec::{PacketId, QoS};

use super::super::{Record, RecordError, required, wire};
use crate::command::Push;
use crate::ids::SessionKey;
use crate::matching::GroupRef;
use crate::message::MessageRef;
use crate::outbound::Outgoing;
use crate::shard::StoredAt;

impl Record for Push {
    type Wire = wire::Push;

    fn to_wire(&self) -> wire::Push {
        use wire::push::Kind;
        let kind = match self {
            Self::Publish { packet_id, position, dup, item } => {
                let packet_id = packet_id.as_ref().map_or(0, Record::to_wire);
                let item = Some(item.to_wire());
                Kind::Publish(wire::PushPublish { packet_id, position: *position, dup: *dup, item })
            }
            Self::Stored { packet_id, position, dup, at } => {
                let (packet_id, at) = (packet_id.to_wire(), Some(at.to_wire()));
                Kind::Stored(wire::PushStored { packet_id, position: *position, dup: *dup, at })
            }
            Self::Release(packet_id) => Kind::Release(packet_id.to_wire()),
            Self::ReleaseUnknown(packet_id) => Kind::ReleaseUnknown(packet_id.to_wire()),
            Self::PageEnd(page) => Kind::PageEnd(*page),
        };
        wire::Push { kind: Some(kind) }
    }

    fn from_wire(wire: wire::Push) -> Result<Self, RecordError> {
        use wire::push::Kind;
        Ok(match required(wire.kind, "push")? {
            Kind::Publish(wire::PushPublish { packet_id, position, dup, item }) => Self::Publish {
                packet_id: (packet_id != 0).then(|| PacketId::from_wire(packet_id)).transpose()?,
                position,
                dup,
                item: Outgoing::from_wire(required(item, "push.item")?)?,
            },
            Kind::Stored(wire::PushStored { packet_id, position, dup, at }) => Self::Stored {
                packet_id: PacketId::from_wire(packet_id)?,
                position,
                dup,
                at: StoredAt::from_wire(required(at, "push.at")?)?,
            },
            Kind::Release(packet_id) => Self::Release(PacketId::from_wire(packet_id)?),
            Kind::ReleaseUnknown(packet_id) => Self::ReleaseUnknown(PacketId::from_wire(packet_id)?),
            Kind::PageEnd(page) => Self::PageEnd(page),
        })
    }
}

impl Record for StoredAt {
    type Wire = wire::StoredAt;

    fn to_wire(&self) -> wire::StoredAt {
        wire::StoredAt { session: self.session.0, serial: self.serial }
    }

    fn from_wire(wire: wire::StoredAt) -> Result<Self, RecordError> {
        Ok(Self { session: SessionKey(wire.session), serial: wire.serial })
    }
}

/// Without its place in a page.
impl Record for Outgoing {
    type Wire = wire::QueueItem;

    fn to_wire(&self) -> wire::QueueItem {
        wire::QueueItem {
            offset: 0,
            qos: self.qos.to_wire(),
            retain: self.retain,
            content: Some(wire::queue_item::Content::Message(self.message.to_wire())),
            subscription_ids: self.subscription_ids.as_deref().unwrap_or_default().to_vec(),
            group: self.group.as_ref().map(Record::to_wire).unwrap_or_default(),
        }
    }

    fn from_wire(wire: wire::QueueItem) -> Result<Self, RecordError> {
        let wire::queue_item::Content::Message(message) = required(wire.content, "item.content")? else {
            return Err(RecordError::Invalid { field: "item.content" });
        };
        let ids = wire.subscription_ids;
        Ok(Self {
            message: MessageRef::from_wire(message)?,
            qos: QoS::from_wire(wire.qos)?,
            retain: wire.retain,
            subscription_ids: (!ids.is_empty()).then(|| ids.into()),
            group: (!wire.group.is_empty()).then(|| GroupRef::from_wire(wire.group)).transpose()?,
        })
    }
}
