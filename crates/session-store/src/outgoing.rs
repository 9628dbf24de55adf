//! What a session's queue takes in and gives out: a message for one session, the next packet to send, and
//! what an acknowledgement did. Plain values, made and read by `outbound` and by whoever runs it.

use mqtt_codec::{PacketId, QoS};

use crate::failpoint::{self, Mutant};
use crate::matching::{GroupRef, SubscriptionIds};
use crate::message::MessageRef;

/// Packet identifiers there are: 1 to 65,535.
pub(crate) const PACKET_IDS: u64 = 65_535;

/// A message as one session is to get it.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The message, shared with all other queues.
    pub message: MessageRef,
    /// The lower of the published and the granted QoS.
    pub qos: QoS,
    /// The RETAIN flag to send.
    pub retain: bool,
    /// Identifiers of the subscriptions that it matched.
    pub subscription_ids: SubscriptionIds,
    /// The shared group that picked this session, if one did.
    pub group: Option<GroupRef>,
}

/// What to send next.
#[derive(Debug)]
pub enum NextPacket {
    /// A PUBLISH; `dup` on a resend.
    Publish {
        /// Its packet identifier.
        packet_id: PacketId,
        /// Its position in the queue.
        position: u64,
        /// Whether it may have been sent before (`[MQTT-3.3.1-1]`).
        dup: bool,
        /// What to send.
        item: Outgoing,
    },
    /// A PUBLISH whose message is in the store alone.
    Stored {
        /// Its packet identifier.
        packet_id: PacketId,
        /// Its position in the queue.
        position: u64,
        /// Whether it may have been sent before (`[MQTT-3.3.1-1]`).
        dup: bool,
        /// What the store knows it by.
        serial: u64,
    },
    /// A PUBREL whose PUBCOMP never came (`[MQTT-4.4.0-1]`).
    Release(PacketId),
}

/// What an acknowledgement of the client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acked {
    /// The exchange is complete.
    Complete,
    /// PUBREL is to be sent.
    Release,
    /// No such exchange: a PUBREC is answered by PUBREL 0x92, others are ignored.
    Unknown,
    /// The exchange is there and needs another packet: a protocol error.
    WrongType,
}

/// What became of a message that was to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in the queue.
    Queued,
    /// The queue was full: something was dropped by policy and counted.
    Dropped,
    /// The queue was full, the message is dropped and the policy wants the client disconnected.
    Disconnect,
}

/// How many packet identifiers are used.
pub(crate) fn packet_ids() -> u64 {
    if failpoint::has(Mutant::ReusePacketId) { 4 } else { PACKET_IDS }
}

/// The packet identifier of a queue position.
pub(crate) fn packet_id(position: u64) -> PacketId {
    let value = u16::try_from(position % packet_ids()).unwrap_or(u16::MAX - 1);
    PacketId::new(value.saturating_add(1)).unwrap_or(PacketId::MIN)
}
