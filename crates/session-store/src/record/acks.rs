//! Acknowledgements, and the two halves of receiving at QoS 2, as they are written. Called by `entry`.

use mqtt_codec::PacketId;

use super::{Record, RecordError, all_from_wire, all_to_wire, required, wire};
use crate::command::{Ack, Acks, Receive, Release};
use crate::ids::{ClientId, Epoch};
use crate::message::MessageRef;

impl Record for Ack {
    type Wire = wire::Ack;

    fn to_wire(&self) -> wire::Ack {
        let kind = match *self {
            Self::Puback(id) => wire::ack::Kind::Puback(id.to_wire()),
            Self::Pubrec(id, false) => wire::ack::Kind::Pubrec(id.to_wire()),
            Self::Pubrec(id, true) => wire::ack::Kind::PubrecRefused(id.to_wire()),
            Self::Pubcomp(id) => wire::ack::Kind::Pubcomp(id.to_wire()),
            Self::PageTaken(scan) => wire::ack::Kind::PageTaken(scan),
        };
        wire::Ack { kind: Some(kind) }
    }

    fn from_wire(wire: wire::Ack) -> Result<Self, RecordError> {
        Ok(match required(wire.kind, "ack")? {
            wire::ack::Kind::Puback(id) => Self::Puback(PacketId::from_wire(id)?),
            wire::ack::Kind::Pubrec(id) => Self::Pubrec(PacketId::from_wire(id)?, false),
            wire::ack::Kind::PubrecRefused(id) => Self::Pubrec(PacketId::from_wire(id)?, true),
            wire::ack::Kind::Pubcomp(id) => Self::Pubcomp(PacketId::from_wire(id)?),
            wire::ack::Kind::PageTaken(scan) => Self::PageTaken(scan),
        })
    }
}

impl Record for Acks {
    type Wire = wire::Acks;

    fn to_wire(&self) -> wire::Acks {
        wire::Acks { client: self.client.to_wire(), epoch: self.epoch.0, acks: all_to_wire(&self.acks) }
    }

    fn from_wire(wire: wire::Acks) -> Result<Self, RecordError> {
        Ok(Self {
            client: ClientId::from_wire(wire.client)?,
            epoch: Epoch(wire.epoch),
            acks: all_from_wire(wire.acks)?,
        })
    }
}

impl Record for Receive {
    type Wire = wire::Receive;

    fn to_wire(&self) -> wire::Receive {
        wire::Receive {
            client: self.client.to_wire(),
            epoch: self.epoch.0,
            packet_id: self.packet_id.to_wire(),
            message: Some(self.message.to_wire()),
        }
    }

    fn from_wire(wire: wire::Receive) -> Result<Self, RecordError> {
        Ok(Self {
            client: ClientId::from_wire(wire.client)?,
            epoch: Epoch(wire.epoch),
            packet_id: PacketId::from_wire(wire.packet_id)?,
            message: MessageRef::from_wire(required(wire.message, "message")?)?,
        })
    }
}

impl Record for Release {
    type Wire = wire::Release;

    fn to_wire(&self) -> wire::Release {
        wire::Release {
            client: self.client.to_wire(),
            epoch: self.epoch.0,
            packet_id: self.packet_id.to_wire(),
        }
    }

    fn from_wire(wire: wire::Release) -> Result<Self, RecordError> {
        Ok(Self {
            client: ClientId::from_wire(wire.client)?,
            epoch: Epoch(wire.epoch),
            packet_id: PacketId::from_wire(wire.packet_id)?,
        })
    }
}
