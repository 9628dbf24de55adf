//! Who in shared groups takes an outbox's items, as it is written. Called by `entry`, and for the items of a checkpoint.

use super::{Record, RecordError, all_from_wire, all_to_wire, required, wire};
use crate::ids::{ConnectionId, ShardId};
use crate::matching::GroupRef;
use crate::picks::{InGroup, Pick, PickedItem, Taker};

impl Record for PickedItem {
    type Wire = wire::PickedItem;

    fn to_wire(&self) -> wire::PickedItem {
        wire::PickedItem { position: self.position, picks: all_to_wire(&self.picks), more: self.more }
    }

    fn from_wire(wire: wire::PickedItem) -> Result<Self, RecordError> {
        Ok(Self { position: wire.position, picks: all_from_wire(wire.picks)?, more: wire.more })
    }
}

impl Record for Pick {
    type Wire = wire::Pick;

    fn to_wire(&self) -> wire::Pick {
        let taker = match self.taker {
            Taker::Shard(shard, choice) => {
                wire::pick::Taker::Shard(wire::PickedShard { shard: shard.to_wire(), choice })
            }
            Taker::Member(connection) => wire::pick::Taker::Member(connection.to_wire()),
        };
        wire::Pick { group: self.group.to_wire(), taker: Some(taker) }
    }

    fn from_wire(wire: wire::Pick) -> Result<Self, RecordError> {
        let taker = match required(wire.taker, "pick.taker")? {
            wire::pick::Taker::Shard(picked) => {
                Taker::Shard(ShardId::from_wire(picked.shard)?, picked.choice)
            }
            wire::pick::Taker::Member(connection) => Taker::Member(ConnectionId::from_wire(connection)?),
        };
        Ok(Self { group: GroupRef::from_wire(wire.group)?, taker })
    }
}

impl Record for InGroup {
    type Wire = wire::InGroup;

    fn to_wire(&self) -> wire::InGroup {
        wire::InGroup { position: self.position, group: self.group.to_wire() }
    }

    fn from_wire(wire: wire::InGroup) -> Result<Self, RecordError> {
        Ok(Self { position: wire.position, group: GroupRef::from_wire(wire.group)? })
    }
}
