//! What nodes say to each other: hosts to the replica that leads a shard, that one to hosts, and hosts to hosts. Made and
//! read by the broker, as bytes by [`crate::record::encode_word`]. Whatever is said may be lost and is then said again; nothing
//! here decides when.

use std::sync::Arc;

use topic_index::{Cursor, PageBounds, PlainFilter};

use crate::command::Publish;
use crate::effect::Effect;
use crate::ids::{ConnectionId, Host, ShardId};
use crate::matching::GroupRef;
use crate::message::MessageRef;
use crate::picks::InGroup;
use crate::shard::{StoredAt, StoredPage};
use crate::stream::Request;

/// Something that one node says to another, about one shard but for the last two.
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
    /// To a host: publishes for its transient sessions.
    Frame(Arc<Frame>),
    /// To the host that frames came from.
    Heard(Heard),
}

/// Publishes of one host for the transient sessions of another, as one message. The frames from one run of a node to
/// another are a stream: numbered from 1 without a gap, and each is applied once, however often it comes.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The run that they come from.
    pub source: Host,
    /// The run that they are for.
    pub target: Host,
    /// Which frame of the stream it is.
    pub number: u64,
    /// The one before it, without which it is refused; 0 before the first.
    pub predecessor: u64,
    /// Frames below this one are answered, and do not come again.
    pub done_below: u64,
    /// The publishes, in their order.
    pub parts: Vec<FramePart>,
}

/// Publishes of one client in a frame.
#[derive(Clone, Debug)]
pub struct FramePart {
    /// The outbox that they come from, whose positions are their numbers: each is given to ordinary subscribers once,
    /// whichever run it comes from.
    pub outbox: Option<ShardId>,
    /// For the ordinary subscribers of the target that match, and for one member of each of the groups named. What it is
    /// answered to is the client's connection, which may be fenced.
    pub publish: Publish,
}

/// What a host says of the frames that came to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Where the frames came from.
    pub source: Host,
    /// The run that heard them.
    pub target: Host,
    /// All up to this one are in its memory.
    pub up_to: u64,
    /// One came whose predecessor did not: everything behind `up_to` is to be sent again.
    pub gap: bool,
    /// What in these frames found no member of its group.
    pub nobody: Vec<Nobody>,
    /// Of some groups: a hint for whoever picks.
    pub members: Vec<GroupMembers>,
}

/// The transient members that a group has on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMembers {
    /// The group.
    pub group: GroupRef,
    /// How many there are.
    pub members: u32,
    /// How many of them have no room in their window.
    pub full: u32,
}

/// A publish that found no member of a group at its target: somebody else is to be picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nobody {
    /// In which frame it came.
    pub frame: u64,
    /// In which of its parts.
    pub part: u32,
    /// As which of the part's publishes.
    pub item: u32,
    /// The group.
    pub group: GroupRef,
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
    /// The number of the shard's routes: with it in force, all that is answered here is.
    pub routes: u64,
    /// What is to be done: answers, gaps, replies and pushes.
    pub effects: Vec<Effect>,
    /// More follows as soon as there is room on the way: what is not answered yet is not lost.
    pub more: bool,
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
    /// A host: whether it has an answer to all retained publishes to the shard that it had begun by now.
    Settled,
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
    /// What became of the retained publishes that were on their way.
    Settled(Settled),
}

/// What a node says of the retained publishes to a shard that it had begun when it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Whether it has an answer to all of them.
    pub all: bool,
    /// The shards whose outboxes it has sent from before it was asked until now: theirs are among them.
    pub outboxes: Vec<ShardId>,
}
