//! CONNECT and the end of a connection as they are written. Called by `entry`.

use mqtt_codec::PacketId;

use super::{Record, RecordError, all_from_wire, all_to_wire, required, wire};
use crate::command::{Connect, End, Will, WillFate};
use crate::ids::{ClientId, ConnectionId, Epoch};

impl Record for Connect {
    type Wire = wire::Connect;

    fn to_wire(&self) -> wire::Connect {
        wire::Connect {
            client: self.client.to_wire(),
            connection: Some(self.connection.to_wire()),
            clean_start: self.clean_start,
            expiry_s: self.expiry_s,
            receive_maximum: u32::from(self.receive_maximum),
            will: self.will.as_ref().map(Record::to_wire),
        }
    }

    fn from_wire(wire: wire::Connect) -> Result<Self, RecordError> {
        let receive_maximum = u16::try_from(wire.receive_maximum);
        Ok(Self {
            client: ClientId::from_wire(wire.client)?,
            connection: ConnectionId::from_wire(required(wire.connection, "connection")?)?,
            clean_start: wire.clean_start,
            expiry_s: wire.expiry_s,
            receive_maximum: receive_maximum
                .map_err(|_| RecordError::Invalid { field: "receive_maximum" })?,
            will: wire.will.map(Will::from_wire).transpose()?,
        })
    }
}

impl Record for WillFate {
    type Wire = wire::end::Will;

    fn to_wire(&self) -> wire::end::Will {
        match *self {
            Self::Discard => wire::end::Will::Discard(wire::Nothing {}),
            Self::Keep => wire::end::Will::Keep(wire::Nothing {}),
            Self::KeepAtLeast(seconds) => wire::end::Will::KeepAtLeastS(seconds),
        }
    }

    fn from_wire(wire: wire::end::Will) -> Result<Self, RecordError> {
        Ok(match wire {
            wire::end::Will::Discard(_) => Self::Discard,
            wire::end::Will::Keep(_) => Self::Keep,
            wire::end::Will::KeepAtLeastS(seconds) => Self::KeepAtLeast(seconds),
        })
    }
}

impl Record for End {
    type Wire = wire::End;

    fn to_wire(&self) -> wire::End {
        wire::End {
            client: self.client.to_wire(),
            epoch: self.epoch.0,
            will: Some(self.will.to_wire()),
            expiry_s: self.expiry_s,
            unsent: all_to_wire(&self.unsent),
        }
    }

    fn from_wire(wire: wire::End) -> Result<Self, RecordError> {
        Ok(Self {
            client: ClientId::from_wire(wire.client)?,
            epoch: Epoch(wire.epoch),
            will: WillFate::from_wire(required(wire.will, "will")?)?,
            expiry_s: wire.expiry_s,
            unsent: all_from_wire::<PacketId>(wire.unsent)?,
        })
    }
}
