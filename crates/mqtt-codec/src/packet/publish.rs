//! PUBLISH (3.3): one application message from its sender.
//! Decoded for each message that arrives; encoded by clients (a server fans out by `SharedPublish`).
//! It never copies topic, properties or payload when decoding, unless the properties to pass on
//! are interleaved with others.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use bytes::Bytes;

use crate::basic::{PacketId, QoS};
use crate::text::Text;

/// PUBLISH.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publish {
    /// Whether this may be a re-delivery; only above QoS 0.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// A valid topic name; empty only with a topic alias.
    pub topic: Text,
    /// Present exactly above QoS 0.
    pub packet_id: Option<PacketId>,
    /// Topic Alias.
    pub topic_alias: Option<NonZeroU16>,
    /// Message Expiry Interval in seconds; absent means never.
    pub message_expiry_s: Option<u32>,
    /// Subscription Identifiers, 1 to 268,435,455; only from a server.
    pub subscription_ids: Vec<u32>,
    /// The properties that are passed on unchanged, see [`crate::ApplicationProperties`].
    pub application: Bytes,
    /// The payload.
    pub payload: Bytes,
}
