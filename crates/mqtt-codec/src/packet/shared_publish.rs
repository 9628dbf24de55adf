//! `SharedPublish`: what is the same for every receiver of a message, built once and shared.
//! Made when a message is accepted; encoded into each receiver's buffer with its own header.
//! It never keeps a small message's network buffer alive, and never copies a large payload.

use core::num::NonZeroU16;

use bytes::Bytes;

use crate::basic::{PacketId, QoS};

/// Payloads up to this many bytes are copied beside topic and properties; larger ones are kept as
/// the slice they arrived in.
pub const SMALL_PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// A message, ready to be written to many receivers. Meant to be held in an `Arc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPublish {
    /// Topic length (two bytes), topic, application properties and a small payload, in this order:
    /// for a receiver without properties of its own that is nearly the packet.
    block: Bytes,
    topic_len: u16,
    application_len: u32,
    /// The payload, if it is not in the block; else empty.
    large_payload: Bytes,
}

/// What differs from receiver to receiver. Under 3.x alias, expiry and subscription identifiers
/// are not written, and the topic always is.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishHeader<'a> {
    /// Whether this receiver may have had it before; not written at QoS 0 [MQTT-3.3.1-2].
    pub dup: bool,
    /// Quality of service of this delivery.
    pub qos: QoS,
    /// RETAIN, as the subscription wants it.
    pub retain: bool,
    /// Present exactly above QoS 0.
    pub packet_id: Option<PacketId>,
    /// Topic Alias, and whether the topic is sent beside it (it is when the alias is new).
    pub topic_alias: Option<(NonZeroU16, bool)>,
    /// Message Expiry Interval in seconds that remain.
    pub message_expiry_s: Option<u32>,
    /// Subscription Identifiers, each 1 to 268,435,455.
    pub subscription_ids: &'a [u32],
}
