//! An entry of a shard's log: the log's time and inputs. Encoded once by whoever proposes it, decoded by
//! each replica that applies it. The bytes are the log's, which has its own checksums.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::{Record, RecordError, required, wire};
use crate::command::{
    Acks, Command, Connect, End, Input, Publish, Receive, Release, Scanned, Subscribe, Unsubscribe,
};
use crate::ids::{ClientId, Epoch, Host, Millis, ShardId};
use crate::limits::ShardLimits;
use crate::picks::InGroup;
use crate::stream::{Request, Source};

/// The newest version of entries that this binary reads. An entry has the lowest one that has all of its inputs, so that
/// a binary that does not know the newest reads what it can.
///
/// 1: the first. 2: [`Input::Picked`] and [`Input::GivenBack`]. 3: [`Input::Fenced`].
pub const ENTRY_VERSION: u32 = 3;

const KIND: &str = "entry";

/// What an entry of a shard's log says.
#[derive(Debug)]
pub struct Entry {
    /// The log's time, at which the inputs are applied.
    pub now: Millis,
    /// The inputs, in their order.
    pub inputs: Vec<Input>,
}

/// The bytes of an entry: these inputs, to be applied at the log's time `now`, in milliseconds.
#[must_use]
pub fn encode_entry(now: Millis, inputs: &[Input]) -> Bytes {
    super::bulk::encode(now, inputs).into()
}

/// The version of an entry with these inputs.
pub(super) fn version_of(inputs: &[Input]) -> u32 {
    let version = |input: &Input| match input {
        Input::Fenced(..) => 3,
        Input::Picked(_) | Input::GivenBack(_) => 2,
        _ => 1,
    };
    inputs.iter().map(version).max().unwrap_or(1)
}

/// Reads an entry. Large payloads share `bytes`.
///
/// # Errors
/// [`RecordError`] if it is none, or of a version that this binary does not know.
pub fn decode_entry(bytes: Bytes) -> Result<Entry, RecordError> {
    let entry = wire::Entry::decode(bytes).map_err(|error| RecordError::malformed(KIND, &error))?;
    if !(1..=ENTRY_VERSION).contains(&entry.version) {
        return Err(RecordError::Version { kind: KIND, known: ENTRY_VERSION, found: entry.version });
    }
    Ok(Entry { now: Millis(entry.now_ms), inputs: super::all_from_wire(entry.inputs)? })
}

impl Record for Input {
    type Wire = wire::Input;

    fn to_wire(&self) -> wire::Input {
        use wire::input::Kind;
        let kind = match self {
            Self::Request(request) => Kind::Request(request.to_wire()),
            Self::Tick => Kind::Tick(wire::Nothing {}),
            Self::Down(host) => Kind::Down(host.to_wire()),
            Self::Relayed(up_to) => Kind::Relayed(*up_to),
            Self::Scanned(scanned) => Kind::Scanned(scanned.to_wire()),
            Self::Picked(items) => Kind::Picked(wire::Picked { items: super::all_to_wire(items) }),
            Self::GivenBack(from) => Kind::GivenBack(from.to_wire()),
            Self::Fenced(client, epoch) => {
                Kind::Fenced(wire::Fenced { client: client.to_wire(), epoch: epoch.0 })
            }
            Self::RaiseLevel(level) => Kind::RaiseLevel(*level),
            Self::Limits(limits) => Kind::Limits(limits.to_wire()),
        };
        wire::Input { kind: Some(kind) }
    }

    fn from_wire(wire: wire::Input) -> Result<Self, RecordError> {
        use wire::input::Kind;
        Ok(match required(wire.kind, "input")? {
            Kind::Request(request) => Self::Request(Arc::new(Request::from_wire(request)?)),
            Kind::Tick(_) => Self::Tick,
            Kind::Down(host) => Self::Down(Host::from_wire(host)?),
            Kind::Relayed(up_to) => Self::Relayed(up_to),
            Kind::Scanned(scanned) => Self::Scanned(Scanned::from_wire(scanned)?),
            Kind::Picked(picked) => Self::Picked(super::all_from_wire(picked.items)?),
            Kind::GivenBack(from) => Self::GivenBack(InGroup::from_wire(from)?),
            Kind::Fenced(fenced) => Self::Fenced(ClientId::from_wire(fenced.client)?, Epoch(fenced.epoch)),
            Kind::RaiseLevel(level) => Self::RaiseLevel(level),
            Kind::Limits(limits) => Self::Limits(ShardLimits::from_wire(limits)?),
        })
    }
}

impl Record for Source {
    type Wire = wire::request::Source;

    fn to_wire(&self) -> wire::request::Source {
        match self {
            Self::Host(host) => wire::request::Source::Host(host.to_wire()),
            Self::Outbox(shard) => wire::request::Source::Outbox(shard.to_wire()),
        }
    }

    fn from_wire(wire: wire::request::Source) -> Result<Self, RecordError> {
        Ok(match wire {
            wire::request::Source::Host(host) => Self::Host(Host::from_wire(host)?),
            wire::request::Source::Outbox(shard) => Self::Outbox(ShardId::from_wire(shard)?),
        })
    }
}

impl Record for Request {
    type Wire = wire::Request;

    fn to_wire(&self) -> wire::Request {
        wire::Request {
            source: Some(self.source.to_wire()),
            number: self.number,
            done_below: self.done_below,
            command: Some(self.command.to_wire()),
        }
    }

    fn from_wire(wire: wire::Request) -> Result<Self, RecordError> {
        Ok(Self {
            source: Source::from_wire(required(wire.source, "request.source")?)?,
            number: wire.number,
            done_below: wire.done_below,
            command: Command::from_wire(required(wire.command, "request.command")?)?,
        })
    }
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
        })
    }
}
