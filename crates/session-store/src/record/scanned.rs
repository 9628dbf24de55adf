//! A page of retained messages for a scan, as it is written. Called by `entry`.

use topic_index::Cursor;

use super::{Record, RecordError, all_from_wire, all_to_wire, wire};
use crate::command::Scanned;
use crate::ids::ClientId;

impl Record for Scanned {
    type Wire = wire::Scanned;

    fn to_wire(&self) -> wire::Scanned {
        wire::Scanned {
            client: self.client.to_wire(),
            scan: self.scan,
            messages: all_to_wire(&self.messages),
            after: self.after.as_ref().map(|cursor| bytes::Bytes::copy_from_slice(cursor.as_bytes())),
        }
    }

    fn from_wire(wire: wire::Scanned) -> Result<Self, RecordError> {
        Ok(Self {
            client: ClientId::from_wire(wire.client)?,
            scan: wire.scan,
            messages: all_from_wire(wire.messages)?,
            after: wire.after.as_deref().map(Cursor::from_bytes),
        })
    }
}
