//! Publishes for a shard as they are written. Called by `entry`.

use super::{Record, RecordError, all_from_wire, all_to_wire, required, wire};
use crate::command::{GroupPick, Publish, PublishItem};
use crate::ids::{ClientId, ConnectionId, Epoch};
use crate::matching::GroupRef;
use crate::message::MessageRef;

impl Record for GroupPick {
    type Wire = wire::GroupPick;

    fn to_wire(&self) -> wire::GroupPick {
        wire::GroupPick { group: self.group.to_wire(), choice: self.choice }
    }

    fn from_wire(wire: wire::GroupPick) -> Result<Self, RecordError> {
        Ok(Self { group: GroupRef::from_wire(wire.group)?, choice: wire.choice })
    }
}

impl Record for PublishItem {
    type Wire = wire::PublishItem;

    fn to_wire(&self) -> wire::PublishItem {
        wire::PublishItem {
            number: self.number,
            message: Some(self.message.to_wire()),
            sessions: self.sessions,
            store_retained: self.store_retained,
            groups: all_to_wire(&self.groups),
        }
    }

    fn from_wire(wire: wire::PublishItem) -> Result<Self, RecordError> {
        Ok(Self {
            number: wire.number,
            message: MessageRef::from_wire(required(wire.message, "message")?)?,
            sessions: wire.sessions,
            store_retained: wire.store_retained,
            groups: all_from_wire(wire.groups)?,
        })
    }
}

impl Record for Publish {
    type Wire = wire::Publish;

    fn to_wire(&self) -> wire::Publish {
        wire::Publish {
            reply_to: self.reply_to.as_ref().map(Record::to_wire),
            publisher: self.publisher.to_wire(),
            items: all_to_wire(&self.items),
            epoch: self.epoch.map(|epoch| epoch.0),
        }
    }

    fn from_wire(wire: wire::Publish) -> Result<Self, RecordError> {
        Ok(Self {
            reply_to: wire.reply_to.map(ConnectionId::from_wire).transpose()?,
            publisher: ClientId::from_wire(wire.publisher)?,
            epoch: wire.epoch.map(Epoch),
            items: all_from_wire(wire.items)?,
        })
    }
}
