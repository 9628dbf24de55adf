//! What a shard can be told, and what it answers. The broker makes commands; a shard turns them into effects
//! and does nothing else.

use std::sync::Arc;

mod item;

use mqtt_codec::{PacketId, QoS, SharedPublish};
use topic_index::{Cursor, Filter};

pub use self::item::{GroupPick, PICKS_BYTES_MAX, PublishItem};
use crate::ids::{ClientId, ConnectionId, Epoch, Host};
use crate::limits::ShardLimits;
use crate::matching::Subscribed;
use crate::message::MessageRef;
use crate::outbound::Outgoing;
use crate::picks::{InGroup, PickedItem};
use crate::shard::StoredAt;
use crate::stream::Request;

/// Seconds of session expiry that mean "never" (section 3.1.2.11.2 of MQTT 5.0).
pub const EXPIRY_NEVER: u32 = u32::MAX;

/// The level of `apply` from which on the log says who takes an outbox's item in shared groups.
pub const PICKS_LEVEL: u32 = 2;

/// The level of `apply` from which on a connection may be fenced: [`Input::Fenced`].
pub const FENCES_LEVEL: u32 = 3;

/// A will as its home keeps it.
#[derive(Clone, Debug)]
pub struct Will {
    /// Topic, properties and payload.
    pub body: SharedPublish,
    /// QoS to publish it with.
    pub qos: QoS,
    /// Whether it is published as a retained message.
    pub retain: bool,
    /// Seconds between the end of the connection and its publication (section 3.1.3.2.2).
    pub delay_s: u32,
    /// Seconds after which the published message expires.
    pub expiry_s: Option<u32>,
}

/// A client wants to connect.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Who.
    pub client: ClientId,
    /// Its new connection.
    pub connection: ConnectionId,
    /// Discard what there is (`[MQTT-3.1.2-4]`).
    pub clean_start: bool,
    /// Seconds that the session outlives the connection; 0 makes a transient session.
    pub expiry_s: u32,
    /// The client's Receive Maximum.
    pub receive_maximum: u16,
    /// Its will.
    pub will: Option<Will>,
}

/// What happens to the will when a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WillFate {
    /// The client said goodbye with 0x00: dropped (`[MQTT-3.14.4-3]`).
    Discard,
    /// Published after its delay (`[MQTT-3.1.2-8]`).
    Keep,
    /// The broker ended the connection: published after its delay, and at least after this many seconds,
    /// so that a client that comes right back has no will published.
    KeepAtLeast(u32),
}

/// A connection ended, or is told to and has nothing more to say.
#[derive(Clone, Debug)]
pub struct End {
    /// Whose.
    pub client: ClientId,
    /// Which of its connections.
    pub epoch: Epoch,
    /// What happens to the will.
    pub will: WillFate,
    /// A session expiry that DISCONNECT gave instead of CONNECT's (section 3.14.2.2.2).
    pub expiry_s: Option<u32>,
    /// Publishes that were pushed to the connection and never written to its socket.
    pub unsent: Vec<PacketId>,
}

/// What a new or replaced subscription wants of retained messages (section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainedWanted {
    /// All that match (`[MQTT-3.3.1-9]`).
    Always,
    /// Only if the subscription did not exist (`[MQTT-3.3.1-10]`).
    IfNew,
    /// None (`[MQTT-3.3.1-11]`).
    Never,
}

impl RetainedWanted {
    /// Whether retained messages are sent for a subscription that is new or not.
    #[must_use]
    pub fn applies(self, is_new: bool) -> bool {
        match self {
            Self::Always => true,
            Self::IfNew => is_new,
            Self::Never => false,
        }
    }
}

/// One filter of a SUBSCRIBE whose syntax and rights were checked.
#[derive(Clone, Debug)]
pub struct SubscribeTo {
    /// The filter.
    pub filter: Filter,
    /// Its options.
    pub subscribed: Subscribed,
    /// What it wants of retained messages.
    pub retained: RetainedWanted,
}

/// A persistent session subscribes.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Who.
    pub client: ClientId,
    /// On which connection.
    pub epoch: Epoch,
    /// Number of the request, given back with its answer.
    pub packet_id: PacketId,
    /// The filters, each with its place in the packet.
    pub filters: Vec<(usize, SubscribeTo)>,
}

/// A persistent session unsubscribes.
#[derive(Clone, Debug)]
pub struct Unsubscribe {
    /// Who.
    pub client: ClientId,
    /// On which connection.
    pub epoch: Epoch,
    /// Number of the request, given back with its answer.
    pub packet_id: PacketId,
    /// The filters, each with its place in the packet.
    pub filters: Vec<(usize, Filter)>,
}

/// Publishes of one connection, in their order.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Where the answer goes; nobody waits for one where a shard itself publishes.
    pub reply_to: Option<ConnectionId>,
    /// Who published, for No Local.
    pub publisher: ClientId,
    /// On which of its connections, where one published, and some of the messages are of QoS 0: those may get lost, and whoever
    /// hears of a newer connection before them leaves them out. Said between nodes, and not in the log.
    pub epoch: Option<Epoch>,
    /// The messages.
    pub items: Vec<PublishItem>,
}

/// One acknowledgement of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// PUBACK.
    Puback(PacketId),
    /// PUBREC, and whether it refused the message.
    Pubrec(PacketId, bool),
    /// PUBCOMP.
    Pubcomp(PacketId),
    /// The connection has taken all of the page of retained messages that has this number.
    PageTaken(u64),
}

/// Acknowledgements of a persistent session's client, in their order.
#[derive(Clone, Debug)]
pub struct Acks {
    /// Who.
    pub client: ClientId,
    /// On which connection.
    pub epoch: Epoch,
    /// The acknowledgements.
    pub acks: Vec<Ack>,
}

/// A QoS 2 message of a persistent session's client.
#[derive(Clone, Debug)]
pub struct Receive {
    /// Who.
    pub client: ClientId,
    /// On which connection.
    pub epoch: Epoch,
    /// Its packet identifier.
    pub packet_id: PacketId,
    /// The message.
    pub message: MessageRef,
}

/// PUBREL of a persistent session's client.
#[derive(Clone, Debug)]
pub struct Release {
    /// Who.
    pub client: ClientId,
    /// On which connection.
    pub epoch: Epoch,
    /// The identifier released.
    pub packet_id: PacketId,
}

/// A page of retained messages that a scan of this shard's session asked for.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// Whose scan.
    pub client: ClientId,
    /// The number of the page within the session.
    pub scan: u64,
    /// The messages found.
    pub messages: Vec<MessageRef>,
    /// Behind what to go on; `None` when this shard has no more.
    pub after: Option<Cursor>,
}

/// Everything that a source can ask of a shard.
#[derive(Clone, Debug)]
pub enum Command {
    /// See [`Connect`].
    Connect(Connect),
    /// See [`End`].
    End(End),
    /// See [`Subscribe`].
    Subscribe(Subscribe),
    /// See [`Unsubscribe`].
    Unsubscribe(Unsubscribe),
    /// See [`Publish`].
    Publish(Publish),
    /// See [`Acks`].
    Acks(Acks),
    /// See [`Receive`].
    Receive(Receive),
    /// See [`Release`].
    Release(Release),
}

impl Command {
    /// Whether it only takes something out of its shard, and may overtake everything else that its connection has on its
    /// way there: it need not wait for space. An [`End`] does so too, where there is nothing to overtake.
    #[must_use]
    pub fn frees(&self) -> bool {
        matches!(self, Self::Acks(_) | Self::Release(_))
    }
}

/// Everything that a shard's log can hold.
#[derive(Clone, Debug)]
pub enum Input {
    /// A numbered request of a host or of another shard; a repeat changes nothing. Its source keeps it until it is
    /// answered.
    Request(Arc<Request>),
    /// Time has passed: what is due ends.
    Tick,
    /// Every run of this node up to this one is dead.
    Down(Host),
    /// Every target has what is in the outbox up to this position.
    Relayed(u64),
    /// See [`Scanned`].
    Scanned(Scanned),
    /// Who takes these items of the outbox in shared groups: they are not sent to groups before, and to nobody else
    /// after. From level [`PICKS_LEVEL`] on.
    Picked(Vec<PickedItem>),
    /// The transient member that was picked for this is gone. Neither it nor anything behind it was given to it: its groups
    /// have somebody else picked for it.
    GivenBack(InGroup),
    /// This connection of a client, for which another one waits, has had its last word: its host did not answer, and is
    /// fenced. From level [`FENCES_LEVEL`] on.
    Fenced(ClientId, Epoch),
    /// All replicas know this level of `apply`, which counts from here on. A level never falls.
    RaiseLevel(u32),
    /// The bounds of the shard from here on. They decide what is refused and dropped, so that they are in the
    /// log and not in each replica's configuration.
    Limits(ShardLimits),
}

impl From<Request> for Input {
    fn from(request: Request) -> Self {
        Self::Request(Arc::new(request))
    }
}

/// Why a CONNECT is refused by its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The limit of sessions is reached (0x97).
    Quota,
    /// A still newer connection of the client took its place while it waited (0x89).
    TakenOver,
}

/// A CONNECT accepted by its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The connection's epoch.
    pub epoch: Epoch,
    /// Session present of CONNACK (`[MQTT-3.2.2-3]`).
    pub session_present: bool,
    /// Whether the session lives in the shard; else it lives with its connection.
    pub persistent: bool,
}

/// What became of a publish at a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The shard has it.
    Taken,
    /// The limit of retained messages is reached (0x97); its sessions have the message all the same.
    RetainedQuota,
}

/// What a shard answers to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Connect`].
    Connected(Result<Connected, Refused>),
    /// To [`Subscribe`]: the place in the packet, and whether the subscription is new; `None` where the
    /// limit of subscriptions is reached.
    Subscribed(PacketId, Vec<(usize, Option<bool>)>),
    /// To [`Unsubscribe`]: the place in the packet, and whether the subscription existed.
    Unsubscribed(PacketId, Vec<(usize, bool)>),
    /// To [`Publish`].
    Published(Vec<(u64, Published)>),
    /// To [`Receive`]: PUBREC is due.
    Received(PacketId),
    /// To [`Release`]: PUBCOMP is due; `false` for an id that was not there.
    Released(PacketId, bool),
    /// Another connection of the client took over: stop, answer what is open, and report the end.
    Stop,
    /// The client broke the protocol with an acknowledgement of the wrong type (0x82).
    WrongAck,
    /// The queue is full and the policy says to disconnect (0x97).
    QueueFull,
}

/// A packet for a connected client of a persistent session.
#[derive(Debug)]
pub enum Push {
    /// PUBLISH; without a packet identifier at QoS 0.
    Publish {
        /// Its packet identifier.
        packet_id: Option<PacketId>,
        /// Its position in the session's queue, by which a repeat is known; 0 at QoS 0.
        position: u64,
        /// Whether it may have been sent before.
        dup: bool,
        /// What to send.
        item: Outgoing,
    },
    /// PUBLISH of QoS 1 or 2 whose message is in the store alone: a [`crate::StoredPage`] has what to send.
    Stored {
        /// Its packet identifier.
        packet_id: PacketId,
        /// Its position in the session's queue.
        position: u64,
        /// Whether it may have been sent before.
        dup: bool,
        /// Where the message is.
        at: StoredAt,
    },
    /// PUBREL.
    Release(PacketId),
    /// PUBREL with 0x92, for a PUBREC of an unknown exchange.
    ReleaseUnknown(PacketId),
    /// Nothing to send: the page with this number ends here, and the next one waits for [`Ack::PageTaken`].
    PageEnd(u64),
}

/// A route of this shard changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// An ordinary filter or a shared group.
    pub filter: Filter,
    /// The highest granted QoS; `None` when nobody is left.
    pub qos: Option<QoS>,
    /// Members of a group, and how many of them are connected.
    pub members: Members,
}

/// How many members a shared group has in a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// All of them.
    pub all: u32,
    /// Those whose client is connected.
    pub connected: u32,
}
