//! What hosts say to each other: publishes for transient sessions, and what was heard of them. Called by the words.

use super::super::{Record, RecordError, all_from_wire, all_to_wire, required, wire};
use crate::command::Publish;
use crate::ids::{Host, ShardId};
use crate::matching::GroupRef;
use crate::word::{Frame, FramePart, GroupMembers, Heard, Nobody};

impl Record for FramePart {
    type Wire = wire::FramePart;

    fn to_wire(&self) -> wire::FramePart {
        let outbox = self.outbox.as_ref().map(Record::to_wire);
        wire::FramePart { outbox, publish: Some(self.publish.to_wire()) }
    }

    fn from_wire(wire: wire::FramePart) -> Result<Self, RecordError> {
        let publish = Publish::from_wire(required(wire.publish, "part.publish")?)?;
        let outbox = wire.outbox.map(ShardId::from_wire).transpose()?;
        Ok(Self { outbox, publish })
    }
}

impl Record for Frame {
    type Wire = wire::Frame;

    fn to_wire(&self) -> wire::Frame {
        wire::Frame {
            source: Some(self.source.to_wire()),
            target: Some(self.target.to_wire()),
            number: self.number,
            predecessor: self.predecessor,
            done_below: self.done_below,
            parts: all_to_wire(&self.parts),
        }
    }

    fn from_wire(wire: wire::Frame) -> Result<Self, RecordError> {
        let wire::Frame { source, target, number, predecessor, done_below, parts } = wire;
        if predecessor >= number {
            return Err(RecordError::Invalid { field: "frame.predecessor" });
        }
        Ok(Self {
            source: Host::from_wire(required(source, "frame.source")?)?,
            target: Host::from_wire(required(target, "frame.target")?)?,
            number,
            predecessor,
            done_below,
            parts: all_from_wire(parts)?,
        })
    }
}

impl Record for Nobody {
    type Wire = wire::Nobody;

    fn to_wire(&self) -> wire::Nobody {
        let Self { frame, part, item, group } = self;
        wire::Nobody { frame: *frame, part: *part, item: *item, group: group.to_wire() }
    }

    fn from_wire(wire: wire::Nobody) -> Result<Self, RecordError> {
        let wire::Nobody { frame, part, item, group } = wire;
        Ok(Self { frame, part, item, group: GroupRef::from_wire(group)? })
    }
}

impl Record for GroupMembers {
    type Wire = wire::GroupMembers;

    fn to_wire(&self) -> wire::GroupMembers {
        wire::GroupMembers { group: self.group.to_wire(), members: self.members, full: self.full }
    }

    fn from_wire(wire: wire::GroupMembers) -> Result<Self, RecordError> {
        let wire::GroupMembers { group, members, full } = wire;
        Ok(Self { group: GroupRef::from_wire(group)?, members, full })
    }
}

impl Record for Heard {
    type Wire = wire::Heard;

    fn to_wire(&self) -> wire::Heard {
        wire::Heard {
            source: Some(self.source.to_wire()),
            target: Some(self.target.to_wire()),
            up_to: self.up_to,
            gap: self.gap,
            nobody: all_to_wire(&self.nobody),
            members: all_to_wire(&self.members),
        }
    }

    fn from_wire(wire: wire::Heard) -> Result<Self, RecordError> {
        let wire::Heard { source, target, up_to, gap, nobody, members } = wire;
        Ok(Self {
            source: Host::from_wire(required(source, "heard.source")?)?,
            target: Host::from_wire(required(target, "heard.target")?)?,
            up_to,
            gap,
            nobody: all_from_wire(nobody)?,
            members: all_from_wire(members)?,
        })
    }
}
