//! Look-ups of retained messages as they are written to a store. Called by checkpoints; changes nothing.

use bytes::Bytes;
use topic_index::{Cursor, PlainFilter};

use super::{PageState, Scan, Scans};
use crate::matching::Subscribed;
use crate::record::{Record, RecordError, all_from_wire, required, wire};

impl Record for Scans {
    type Wire = wire::Scans;

    fn to_wire(&self) -> wire::Scans {
        wire::Scans { started: self.started, scans: self.queue.iter().map(Record::to_wire).collect() }
    }

    fn from_wire(wire: wire::Scans) -> Result<Self, RecordError> {
        Ok(Self { started: wire.started, queue: all_from_wire(wire.scans)?.into() })
    }
}

impl Record for Scan {
    type Wire = wire::Scan;

    fn to_wire(&self) -> wire::Scan {
        wire::Scan {
            number: self.number,
            filter: self.filter.to_wire(),
            subscribed: Some(self.subscribed.to_wire()),
            shard: u32::from(self.shard),
            from: self.from.as_ref().map(|cursor| Bytes::copy_from_slice(cursor.as_bytes())),
            page: match self.page {
                PageState::Idle => 0,
                PageState::Asked => 1,
                PageState::Sending => 2,
            },
            live: self.live.iter().map(|topic| Bytes::copy_from_slice(topic)).collect(),
        }
    }

    fn from_wire(wire: wire::Scan) -> Result<Self, RecordError> {
        Ok(Self {
            number: wire.number,
            filter: PlainFilter::from_wire(wire.filter)?,
            subscribed: Subscribed::from_wire(required(wire.subscribed, "scan.subscribed")?)?,
            shard: u16::try_from(wire.shard).map_err(|_| RecordError::Invalid { field: "scan.shard" })?,
            from: wire.from.as_deref().map(Cursor::from_bytes),
            page: match wire.page {
                0 => PageState::Idle,
                1 => PageState::Asked,
                2 => PageState::Sending,
                _ => return Err(RecordError::Invalid { field: "scan.page" }),
            },
            live: wire.live.iter().map(|topic| Box::from(topic.as_ref())).collect(),
        })
    }
}
