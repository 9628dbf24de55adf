//! Answers that are kept for repeats, as they are written. Called by checkpoints.

use mqtt_codec::PacketId;

use super::subscribe::{place_from_wire, place_to_wire};
use super::{Record, RecordError, all_from_wire, all_to_wire, required, wire};
use crate::command::{Connected, Published, Refused, Reply};
use crate::ids::{ConnectionId, Epoch};
use crate::matching::GroupRef;
use crate::stream::{Stream, Told};

impl Record for Stream {
    type Wire = wire::Stream;

    fn to_wire(&self) -> wire::Stream {
        let answers = self.answers().map(|answer| match answer {
            Some((connection, reply)) => wire::Answer {
                reply: Some(reply.to_wire()),
                connection: connection.as_ref().map(Record::to_wire),
            },
            None => wire::Answer::default(),
        });
        let partly = self.partly().map(Record::to_wire);
        wire::Stream { last: self.last(), answers: answers.collect(), partly }
    }

    fn from_wire(wire: wire::Stream) -> Result<Self, RecordError> {
        let answer = |answer: wire::Answer| -> Result<Option<Told>, RecordError> {
            let Some(reply) = answer.reply else { return Ok(None) };
            let connection = answer.connection.map(ConnectionId::from_wire).transpose()?;
            Ok(Some((connection, Reply::from_wire(reply)?)))
        };
        let answers = wire.answers.into_iter().map(answer).collect::<Result<_, _>>()?;
        let partly = wire.partly.map(GroupRef::from_wire).transpose()?;
        let stream = Self::restored(wire.last, answers, partly);
        stream.validate().map_err(|_| RecordError::Invalid { field: "stream.answers" })?;
        Ok(stream)
    }
}

impl Record for Reply {
    type Wire = wire::Reply;

    fn to_wire(&self) -> wire::Reply {
        use wire::reply::Kind;
        let nothing = wire::Nothing {};
        let kind = match self {
            Self::Connected(Ok(connected)) => Kind::Connected(connected.to_wire()),
            Self::Connected(Err(refused)) => Kind::Refused(refused.to_wire()),
            Self::Subscribed(packet_id, filters) => {
                Kind::Subscribed(granted(*packet_id, filters.iter().copied()))
            }
            Self::Unsubscribed(packet_id, filters) => {
                let filters = filters.iter().map(|(place, existed)| (*place, Some(*existed)));
                Kind::Unsubscribed(granted(*packet_id, filters))
            }
            Self::Published(items) => Kind::Published(wire::Published { items: all_to_wire(items) }),
            Self::Received(packet_id) => Kind::Received(packet_id.to_wire()),
            Self::Released(packet_id, was_there) => {
                Kind::Released(wire::Released { packet_id: packet_id.to_wire(), was_there: *was_there })
            }
            Self::Stop => Kind::Stop(nothing),
            Self::WrongAck => Kind::WrongAck(nothing),
            Self::QueueFull => Kind::QueueFull(nothing),
        };
        wire::Reply { kind: Some(kind) }
    }

    fn from_wire(wire: wire::Reply) -> Result<Self, RecordError> {
        use wire::reply::Kind;
        Ok(match required(wire.kind, "reply")? {
            Kind::Connected(connected) => Self::Connected(Ok(Connected::from_wire(connected)?)),
            Kind::Refused(refused) => Self::Connected(Err(Refused::from_wire(refused)?)),
            Kind::Subscribed(granted) => {
                let filter = |filter: wire::GrantedFilter| Ok((place_from_wire(filter.place)?, filter.was));
                let filters = granted.filters.into_iter().map(filter).collect::<Result<_, RecordError>>()?;
                Self::Subscribed(PacketId::from_wire(granted.packet_id)?, filters)
            }
            Kind::Unsubscribed(granted) => {
                let filter = |filter: wire::GrantedFilter| {
                    Ok((place_from_wire(filter.place)?, required(filter.was, "unsubscribed.was")?))
                };
                let filters = granted.filters.into_iter().map(filter).collect::<Result<_, RecordError>>()?;
                Self::Unsubscribed(PacketId::from_wire(granted.packet_id)?, filters)
            }
            Kind::Published(published) => Self::Published(all_from_wire(published.items)?),
            Kind::Received(packet_id) => Self::Received(PacketId::from_wire(packet_id)?),
            Kind::Released(released) => {
                Self::Released(PacketId::from_wire(released.packet_id)?, released.was_there)
            }
            Kind::Stop(_) => Self::Stop,
            Kind::WrongAck(_) => Self::WrongAck,
            Kind::QueueFull(_) => Self::QueueFull,
        })
    }
}

fn granted(packet_id: PacketId, filters: impl Iterator<Item = (usize, Option<bool>)>) -> wire::Granted {
    let filters = filters.map(|(place, was)| wire::GrantedFilter { place: place_to_wire(place), was });
    wire::Granted { packet_id: packet_id.to_wire(), filters: filters.collect() }
}

impl Record for Connected {
    type Wire = wire::Connected;

    fn to_wire(&self) -> wire::Connected {
        let Self { epoch, session_present, persistent } = *self;
        wire::Connected { epoch: epoch.0, session_present, persistent }
    }

    fn from_wire(wire: wire::Connected) -> Result<Self, RecordError> {
        let wire::Connected { epoch, session_present, persistent } = wire;
        Ok(Self { epoch: Epoch(epoch), session_present, persistent })
    }
}

impl Record for Refused {
    type Wire = u32;

    fn to_wire(&self) -> u32 {
        match self {
            Self::Quota => 0x97,
            Self::TakenOver => 0x89,
        }
    }

    fn from_wire(wire: u32) -> Result<Self, RecordError> {
        match wire {
            0x97 => Ok(Self::Quota),
            0x89 => Ok(Self::TakenOver),
            _ => Err(RecordError::Invalid { field: "refused" }),
        }
    }
}

impl Record for (u64, Published) {
    type Wire = wire::PublishedItem;

    fn to_wire(&self) -> wire::PublishedItem {
        wire::PublishedItem { number: self.0, retained_quota: self.1 == Published::RetainedQuota }
    }

    fn from_wire(wire: wire::PublishedItem) -> Result<Self, RecordError> {
        let published = if wire.retained_quota { Published::RetainedQuota } else { Published::Taken };
        Ok((wire.number, published))
    }
}
