//! Names and numbers as they are written. Called by the other records; checks what it reads.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{PacketId, QoS};
use topic_index::{Filter, PlainFilter};

use super::{Record, RecordError, required, wire};
use crate::ids::{ClientId, ConnectionId, Host, Incarnation, NodeId, ShardId};
use crate::matching::{GroupName, GroupRef, Subscribed};

impl Record for ClientId {
    type Wire = Bytes;

    fn to_wire(&self) -> Bytes {
        Bytes::copy_from_slice(self.as_str().as_bytes())
    }

    fn from_wire(wire: Bytes) -> Result<Self, RecordError> {
        let text = std::str::from_utf8(&wire).map_err(|_| RecordError::Invalid { field: "client" })?;
        Ok(Self::new(text))
    }
}

impl Record for Host {
    type Wire = wire::Host;

    fn to_wire(&self) -> wire::Host {
        wire::Host { node: self.node.0, incarnation: self.incarnation.0 }
    }

    fn from_wire(wire: wire::Host) -> Result<Self, RecordError> {
        Ok(Self { node: NodeId(wire.node), incarnation: Incarnation(wire.incarnation) })
    }
}

impl Record for ShardId {
    type Wire = u32;

    fn to_wire(&self) -> u32 {
        u32::from(self.0)
    }

    fn from_wire(wire: u32) -> Result<Self, RecordError> {
        u16::try_from(wire).map(Self).map_err(|_| RecordError::Invalid { field: "shard" })
    }
}

impl Record for ConnectionId {
    type Wire = wire::Connection;

    fn to_wire(&self) -> wire::Connection {
        wire::Connection { host: Some(self.host.to_wire()), number: self.number }
    }

    fn from_wire(wire: wire::Connection) -> Result<Self, RecordError> {
        let host = Host::from_wire(required(wire.host, "connection.host")?)?;
        Ok(Self { host, number: wire.number })
    }
}

impl Record for QoS {
    type Wire = u32;

    fn to_wire(&self) -> u32 {
        u32::from(u8::from(*self))
    }

    fn from_wire(wire: u32) -> Result<Self, RecordError> {
        let bits = u8::try_from(wire).ok();
        bits.and_then(|bits| Self::try_from(bits).ok()).ok_or(RecordError::Invalid { field: "qos" })
    }
}

impl Record for PacketId {
    type Wire = u32;

    fn to_wire(&self) -> u32 {
        u32::from(self.get())
    }

    fn from_wire(wire: u32) -> Result<Self, RecordError> {
        let id = u16::try_from(wire).ok().and_then(Self::new);
        id.ok_or(RecordError::Invalid { field: "packet_id" })
    }
}

impl Record for Subscribed {
    type Wire = wire::Subscribed;

    fn to_wire(&self) -> wire::Subscribed {
        wire::Subscribed {
            qos: self.qos.to_wire(),
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            id: self.id.unwrap_or(0),
        }
    }

    fn from_wire(wire: wire::Subscribed) -> Result<Self, RecordError> {
        Ok(Self {
            qos: QoS::from_wire(wire.qos)?,
            no_local: wire.no_local,
            retain_as_published: wire.retain_as_published,
            id: (wire.id != 0).then_some(wire.id),
        })
    }
}

impl Record for Filter {
    type Wire = String;

    fn to_wire(&self) -> String {
        self.to_string()
    }

    /// How many levels there may be was decided when the filter came in.
    fn from_wire(wire: String) -> Result<Self, RecordError> {
        Self::parse(wire, u16::MAX).map_err(|_| RecordError::Invalid { field: "filter" })
    }
}

impl Record for PlainFilter {
    type Wire = String;

    fn to_wire(&self) -> String {
        self.as_str().to_owned()
    }

    fn from_wire(wire: String) -> Result<Self, RecordError> {
        match Filter::from_wire(wire)? {
            Filter::Plain(filter) => Ok(filter),
            Filter::Shared { .. } => Err(RecordError::Invalid { field: "filter" }),
        }
    }
}

impl Record for GroupRef {
    type Wire = String;

    fn to_wire(&self) -> String {
        let (group, filter) = (Arc::clone(&self.group), self.filter.clone());
        Filter::Shared { group, filter }.to_string()
    }

    fn from_wire(wire: String) -> Result<Self, RecordError> {
        match Filter::from_wire(wire)? {
            Filter::Shared { group, filter } => Ok(Self::new(GroupName { group, filter })),
            Filter::Plain(_) => Err(RecordError::Invalid { field: "group" }),
        }
    }
}
