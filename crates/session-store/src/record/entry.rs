//! An entry of a shard's log: the log's time and commands. Encoded once by whoever proposes it, decoded by
//! each replica that applies it. The bytes are the log's, which has its own checksums.

use bytes::Bytes;
use prost::Message;

use super::{Record, RecordError, required, wire};
use crate::command::{
    Acks, Command, Connect, End, Publish, Receive, Release, Scanned, Subscribe, Unsubscribe,
};
use crate::ids::Millis;

/// The version of entries that this binary writes, and the newest that it reads.
pub const ENTRY_VERSION: u32 = 1;

const KIND: &str = "entry";

/// What an entry of a shard's log says.
#[derive(Debug)]
pub struct Entry {
    /// The log's time, at which the commands are applied.
    pub now: Millis,
    /// The commands, in their order.
    pub commands: Vec<Command>,
}

/// The bytes of an entry: these commands, to be applied at the log's time `now`, in milliseconds.
#[must_use]
pub fn encode_entry(now: Millis, commands: &[Command]) -> Bytes {
    let commands = super::all_to_wire(commands);
    wire::Entry { version: ENTRY_VERSION, now_ms: now.0, commands }.encode_to_vec().into()
}

/// Reads an entry. Large payloads share `bytes`.
///
/// # Errors
/// [`RecordError`] if it is none, or of a version that this binary does not know.
pub fn decode_entry(bytes: Bytes) -> Result<Entry, RecordError> {
    let entry = wire::Entry::decode(bytes).map_err(|error| RecordError::malformed(KIND, &error))?;
    if entry.version != ENTRY_VERSION {
        return Err(RecordError::Version { kind: KIND, known: ENTRY_VERSION, found: entry.version });
    }
    Ok(Entry { now: Millis(entry.now_ms), commands: super::all_from_wire(entry.commands)? })
}

impl Record for Command {
    type Wire = wire::Command;

    fn to_wire(&self) -> wire::Command {
        use wire::command::Kind;
        let kind = match self {
            Self::Connect(connect) => Kind::Connect(connect.to_wire()),
            Self::End(end) => Kind::End(end.to_wire()),
            Self::Subscribe(subscribe) => Kind::Subscribe(subscribe.to_wire()),
            Self::Unsubscribe(unsubscribe) => Kind::Unsubscribe(unsubscribe.to_wire()),
            Self::Publish(publish) => Kind::Publish(publish.to_wire()),
            Self::Acks(acks) => Kind::Acks(acks.to_wire()),
            Self::Receive(receive) => Kind::Receive(receive.to_wire()),
            Self::Release(release) => Kind::Release(release.to_wire()),
            Self::Scanned(scanned) => Kind::Scanned(scanned.to_wire()),
            Self::Tick => Kind::Tick(wire::Tick {}),
        };
        wire::Command { kind: Some(kind) }
    }

    fn from_wire(wire: wire::Command) -> Result<Self, RecordError> {
        use wire::command::Kind;
        Ok(match required(wire.kind, "command")? {
            Kind::Connect(connect) => Self::Connect(Connect::from_wire(connect)?),
            Kind::End(end) => Self::End(End::from_wire(end)?),
            Kind::Subscribe(subscribe) => Self::Subscribe(Subscribe::from_wire(subscribe)?),
            Kind::Unsubscribe(unsubscribe) => Self::Unsubscribe(Unsubscribe::from_wire(unsubscribe)?),
            Kind::Publish(publish) => Self::Publish(Publish::from_wire(publish)?),
            Kind::Acks(acks) => Self::Acks(Acks::from_wire(acks)?),
            Kind::Receive(receive) => Self::Receive(Receive::from_wire(receive)?),
            Kind::Release(release) => Self::Release(Release::from_wire(release)?),
            Kind::Scanned(scanned) => Self::Scanned(Scanned::from_wire(scanned)?),
            Kind::Tick(_) => Self::Tick,
        })
    }
}
