//! What nodes ask each other, and what they find: pages of retained messages and of queues, and what became of messages
//! for members of groups. Called by the words.

use std::collections::VecDeque;

use bytes::Bytes;
use topic_index::{Cursor, PageBounds, PlainFilter};

use super::super::{Record, RecordError, all_from_wire, all_to_wire, required, wire};
use crate::ids::{ConnectionId, Host, SessionKey};
use crate::message::MessageRef;
use crate::outbound::Outgoing;
use crate::picks::InGroup;
use crate::shard::{StoredAt, StoredPage};
use crate::word::{ForMember, Found, Given, Page, PageWanted, Question, Settled};

pub(super) fn to_wire(number: u64, question: &Question) -> wire::Question {
    use wire::question::Kind;
    let kind = match question {
        Question::Page(wanted) => Kind::Page(wire::PageWanted {
            filter: wanted.filter.to_wire(),
            from: wanted.from.as_ref().map(cursor),
            topics_max: wanted.bounds.topics as u64,
            steps_max: wanted.bounds.steps as u64,
        }),
        Question::Stored(at, connection) => Kind::Stored(wire::StoredWanted {
            at: Some(at.to_wire()),
            connection: Some(connection.to_wire()),
        }),
        Question::ForMembers(host, messages) => {
            Kind::ForMembers(wire::ForMembers { host: Some(host.to_wire()), messages: all_to_wire(messages) })
        }
        Question::Settled => Kind::Settled(wire::Nothing {}),
    };
    wire::Question { number, kind: Some(kind) }
}

pub(super) fn from_wire(wire: wire::Question) -> Result<(u64, Question), RecordError> {
    use wire::question::Kind;
    let bound = |bound: u64| usize::try_from(bound).unwrap_or(usize::MAX);
    let question = match required(wire.kind, "question")? {
        Kind::Page(wanted) => Question::Page(PageWanted {
            filter: PlainFilter::from_wire(wanted.filter)?,
            from: wanted.from.as_deref().map(Cursor::from_bytes),
            bounds: PageBounds { topics: bound(wanted.topics_max), steps: bound(wanted.steps_max) },
        }),
        Kind::Stored(wanted) => Question::Stored(
            StoredAt::from_wire(required(wanted.at, "stored.at")?)?,
            ConnectionId::from_wire(required(wanted.connection, "stored.connection")?)?,
        ),
        Kind::ForMembers(asked) => Question::ForMembers(
            Host::from_wire(required(asked.host, "for_members.host")?)?,
            all_from_wire(asked.messages)?,
        ),
        Kind::Settled(_) => Question::Settled,
    };
    Ok((wire.number, question))
}

pub(super) fn found_to_wire(number: u64, found: &Found) -> wire::Found {
    use wire::found::Kind;
    let kind = match found {
        Found::Page(page) => {
            let (messages, next) = (all_to_wire(&page.messages), page.next.as_ref().map(cursor));
            Kind::Page(wire::Page { messages, next })
        }
        Found::Stored(Some(page)) => Kind::Stored(page.to_wire()),
        Found::Stored(None) => Kind::Nothing(wire::Nothing {}),
        Found::Given(given) => Kind::Given(given.to_wire()),
        Found::Settled(Settled { all, outboxes }) => {
            Kind::SettledOf(wire::Settled { all: *all, outboxes: all_to_wire(outboxes) })
        }
    };
    wire::Found { number, kind: Some(kind) }
}

pub(super) fn found_from_wire(wire: wire::Found) -> Result<(u64, Found), RecordError> {
    use wire::found::Kind;
    let found = match required(wire.kind, "found")? {
        Kind::Page(page) => Found::Page(Page {
            messages: all_from_wire(page.messages)?,
            next: page.next.as_deref().map(Cursor::from_bytes),
        }),
        Kind::Stored(page) => Found::Stored(Some(StoredPage::from_wire(page)?)),
        Kind::Nothing(_) => Found::Stored(None),
        Kind::Given(given) => Found::Given(Given::from_wire(given)?),
        Kind::SettledOf(settled) => {
            let outboxes = all_from_wire(settled.outboxes)?;
            Found::Settled(Settled { all: settled.all, outboxes })
        }
    };
    Ok((wire.number, found))
}

fn cursor(cursor: &Cursor) -> Bytes {
    Bytes::copy_from_slice(cursor.as_bytes())
}

impl Record for ForMember {
    type Wire = wire::ForMember;

    fn to_wire(&self) -> wire::ForMember {
        wire::ForMember {
            of: Some(self.of.to_wire()),
            member: Some(self.member.to_wire()),
            message: Some(self.message.to_wire()),
        }
    }

    fn from_wire(wire: wire::ForMember) -> Result<Self, RecordError> {
        Ok(Self {
            of: InGroup::from_wire(required(wire.of, "for_member.of")?)?,
            member: ConnectionId::from_wire(required(wire.member, "for_member.member")?)?,
            message: MessageRef::from_wire(required(wire.message, "for_member.message")?)?,
        })
    }
}

impl Record for Given {
    type Wire = wire::Given;

    fn to_wire(&self) -> wire::Given {
        let [up_to, gone] = [&self.up_to, &self.gone].map(|of| of.as_ref().map(Record::to_wire));
        wire::Given { up_to, gone }
    }

    fn from_wire(wire: wire::Given) -> Result<Self, RecordError> {
        let of = |of: Option<wire::InGroup>| of.map(InGroup::from_wire).transpose();
        Ok(Self { up_to: of(wire.up_to)?, gone: of(wire.gone)? })
    }
}

impl Record for StoredPage {
    type Wire = wire::StoredPage;

    fn to_wire(&self) -> wire::StoredPage {
        let start = self.serials.start;
        let item = |(serial, item): &(u64, Outgoing)| wire::QueueItem {
            offset: serial.saturating_sub(start),
            ..item.to_wire()
        };
        let (session, end) = (self.session.0, self.serials.end);
        wire::StoredPage { session, start, end, items: self.items.iter().map(item).collect() }
    }

    fn from_wire(wire: wire::StoredPage) -> Result<Self, RecordError> {
        let wire::StoredPage { session, start, end, items } = wire;
        let mut last = None;
        let item = |item: wire::QueueItem| {
            let serial = start.saturating_add(item.offset);
            if serial >= end || last.replace(serial).is_some_and(|last| last >= serial) {
                return Err(RecordError::Invalid { field: "item.offset" });
            }
            Ok((serial, Outgoing::from_wire(item)?))
        };
        let items: VecDeque<_> = items.into_iter().map(item).collect::<Result<_, _>>()?;
        Ok(Self { session: SessionKey(session), serials: start..end, items })
    }
}
