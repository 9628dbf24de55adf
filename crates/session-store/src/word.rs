//! What nodes say to each other about a shard: hosts to the replica that leads it, and that one to hosts. Made and read by
//! the broker, as bytes by [`crate::record::encode_word`]. Whatever is said may be lost and is then said again; nothing
//! here decides when.

use std::sync::Arc;

use topic_index::{Cursor, PageBounds, PlainFilter};

use crate::command::Publish;
use crate::effect::Effect;
use crate::ids::{ConnectionId, Host, ShardId};
use crate::message::MessageRef;
use crate::picks::InGroup;
use crate::shard::{StoredAt, StoredPage};
use crate::stream::Request;

/// Something that one node says to another about one shard.
#[derive(Debug)]
pub enum Word {
    /// To the leader: requests, in their order.
    Requests(Vec<Arc<Request>>),
    /// To the leader: QoS 0 messages for clients that are connected.
    PassOn(Publish),
    /// To the leader: a host wants to hear what concerns it, from the beginning, under this number.
    Attach(Host, u64),
    /// To a host that has attached.
    Told(Told),
    /// To the leader of an outbox: this shard has everything of it up to this position.
    Taken(ShardId, u64),
    /// A question, by a number that whoever asks has chosen.
    Question(u64, Question),
    /// To whoever asked it.
    Found(u64, Found),
}

/// What a leader says to a host: the effects that concern it, in their order.
#[derive(Debug)]
pub struct Told {
    /// The number that the host attached with.
    pub attachment: u64,
    /// How often the leader has spoken under it before.
    pub number: u64,
    /// Whether the shard's outbox has no room.
    pub outbox_full: bool,
    /// What is to be done: answers, gaps, replies and pushes.
    pub effects: Vec<Effect>,
}

/// Which page of retained messages is wanted.
#[derive(Clone, Debug)]
pub struct PageWanted {
    /// What the topics must match.
    pub filter: PlainFilter,
    /// Where the page before says to go on.
    pub from: Option<Cursor>,
    /// How much it may be, in messages and in topics looked at.
    pub bounds: PageBounds,
}

/// A page of retained messages.
#[derive(Debug)]
pub struct Page {
    /// The messages, in the order of their topics.
    pub messages: Vec<MessageRef>,
    /// Where to go on; `None` when there are no more. A page may be empty and have more behind it.
    pub next: Option<Cursor>,
}

/// A message for a transient member of a group, who was picked for it.
#[derive(Clone, Debug)]
pub struct ForMember {
    /// Which item of the outbox it is, in which group.
    pub of: InGroup,
    /// The member's connection.
    pub member: ConnectionId,
    /// The message.
    pub message: MessageRef,
}

/// What a host did with messages for its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// It has given all up to this one.
    pub up_to: Option<InGroup>,
    /// The member that is to have this one, the next, is gone. Nothing behind it was given.
    pub gone: Option<InGroup>,
}

/// What one node asks another about a shard.
#[derive(Clone, Debug)]
pub enum Question {
    /// The leader, for a page of retained messages.
    Page(PageWanted),
    /// The leader: this connection was pushed a message that is in the store, and wants it with what is around it.
    Stored(StoredAt, ConnectionId),
    /// A host, to give messages of the shard's outbox to transient members of shared groups there, in their order.
    ForMembers(Host, Vec<ForMember>),
}

/// What was found, or done.
#[derive(Debug)]
pub enum Found {
    /// A page of retained messages.
    Page(Page),
    /// A page of a queue; `None` where the connection does not need it any more.
    Stored(Option<StoredPage>),
    /// What became of messages for members.
    Given(Given),
}
