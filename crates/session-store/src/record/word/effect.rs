//! What a shard decided for a host, as a leader tells it. Called by the words; reads nothing that is not for a host.

use super::super::{Record, RecordError, all_from_wire, all_to_wire, required, wire};
use crate::command::Reply;
use crate::effect::Effect;
use crate::ids::{ConnectionId, Host};
use crate::stream::{Answer, Source};

/// `None` for what is not for a host.
pub(super) fn to_wire(effect: &Effect) -> Option<wire::Effect> {
    use wire::effect::Kind;
    let kind = match effect {
        Effect::Answer(Answer { source: Source::Host(host), number, reply }) => {
            let answer = reply.as_ref().map(|(connection, reply)| wire::Answer {
                reply: Some(reply.to_wire()),
                connection: connection.as_ref().map(Record::to_wire),
            });
            Kind::Answer(wire::Answered { source: Some(host.to_wire()), number: *number, answer })
        }
        Effect::Gap { source: Source::Host(host), last } => {
            Kind::Gap(wire::Gap { source: Some(host.to_wire()), last: *last })
        }
        Effect::Reply(connection, reply) => {
            let connection = Some(connection.to_wire());
            Kind::Reply(wire::Spoken { connection, reply: Some(reply.to_wire()) })
        }
        Effect::Push(connection, pushes) => {
            let connection = Some(connection.to_wire());
            Kind::Push(wire::Pushed { connection, pushes: all_to_wire(pushes) })
        }
        _ => return None,
    };
    Some(wire::Effect { kind: Some(kind) })
}

pub(super) fn from_wire(wire: wire::Effect) -> Result<Effect, RecordError> {
    use wire::effect::Kind;
    Ok(match required(wire.kind, "effect")? {
        Kind::Answer(wire::Answered { source, number, answer }) => {
            let reply = answer.map(|answer| {
                let connection = answer.connection.map(ConnectionId::from_wire).transpose()?;
                Ok((connection, Reply::from_wire(required(answer.reply, "answer.reply")?)?))
            });
            Effect::Answer(Answer { source: host(source)?, number, reply: reply.transpose()? })
        }
        Kind::Gap(wire::Gap { source, last }) => Effect::Gap { source: host(source)?, last },
        Kind::Reply(wire::Spoken { connection: to, reply }) => {
            Effect::Reply(connection(to)?, Reply::from_wire(required(reply, "spoken.reply")?)?)
        }
        Kind::Push(wire::Pushed { connection: to, pushes }) => {
            Effect::Push(connection(to)?, all_from_wire(pushes)?)
        }
    })
}

fn host(wire: Option<wire::Host>) -> Result<Source, RecordError> {
    Ok(Source::Host(Host::from_wire(required(wire, "effect.source")?)?))
}

fn connection(wire: Option<wire::Connection>) -> Result<ConnectionId, RecordError> {
    ConnectionId::from_wire(required(wire, "effect.connection")?)
}
