//! `SharedPublish`: what is the same for every receiver of a message, built once and shared.
//! Made when a message is accepted; encoded into each receiver's buffer with its own header.
//! It never keeps a small message's network buffer alive, and never copies a large payload.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use bytes::{BufMut, Bytes, BytesMut};

use crate::basic::{PacketId, QoS, Version};
use crate::encode::{REMAINING_LENGTH_MAX, varint, varint_len};
use crate::frame::PublishFlags;
use crate::text::Text;

/// Payloads up to this many bytes are copied beside topic and properties; larger ones are kept as
/// the slice they arrived in.
pub const SMALL_PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// A message, ready to be written to many receivers. Meant to be held in an `Arc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPublish {
    /// Topic, application properties and a small payload, in this order: as in a packet.
    block: Bytes,
    /// Where the properties begin in the block.
    application_at: usize,
    /// Where the payload begins in the block, or its end if the payload is large.
    payload_at: usize,
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

impl SharedPublish {
    /// Copies topic, properties and a small payload into one block of exactly their size.
    ///
    /// `application` is that of a decoded [`crate::Publish`] or [`crate::Will`].
    #[must_use]
    pub fn new(topic: &Text, application: &Bytes, payload: &Bytes) -> Self {
        let small = payload.len() <= SMALL_PAYLOAD_BYTES_MAX;
        let inline = if small { payload.len() } else { 0 };
        let mut block = Vec::with_capacity(topic.len() + application.len() + inline);
        block.extend_from_slice(topic.as_bytes());
        block.extend_from_slice(application);
        if small {
            block.extend_from_slice(payload);
        }
        Self {
            block: Bytes::from(block),
            application_at: topic.len(),
            payload_at: topic.len() + application.len(),
            large_payload: if small { Bytes::new() } else { payload.clone() },
        }
    }

    /// The bytes of the topic name.
    #[inline]
    #[must_use]
    pub fn topic(&self) -> &[u8] {
        self.block.get(..self.application_at).unwrap_or_default()
    }

    /// The topic name, sharing the block.
    #[must_use]
    pub fn topic_text(&self) -> Text {
        Text::from_checked(self.block.slice_ref(self.topic()))
    }

    /// The properties that are passed on, see [`crate::ApplicationProperties`].
    #[inline]
    #[must_use]
    pub fn application(&self) -> &[u8] {
        self.block.get(self.application_at..self.payload_at).unwrap_or_default()
    }

    /// The payload.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        if self.large_payload.is_empty() {
            self.block.get(self.payload_at..).unwrap_or_default()
        } else {
            &self.large_payload
        }
    }

    /// The payload, sharing the block or the buffer it arrived in.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        if self.large_payload.is_empty() {
            self.block.slice_ref(self.payload())
        } else {
            self.large_payload.clone()
        }
    }

    /// Bytes of topic, properties and payload: what it holds in memory, for accounting.
    #[inline]
    #[must_use]
    pub fn size(&self) -> usize {
        self.block.len() + self.large_payload.len()
    }

    /// Bytes of the whole packet for a receiver: to be compared with its Maximum Packet Size, which
    /// is never above [`crate::Limits::PACKET_BYTES_CEILING`].
    #[inline]
    #[must_use]
    pub fn encoded_len(&self, version: Version, header: &PublishHeader<'_>) -> usize {
        self.lengths(version, &header.settled()).packet()
    }

    /// Writes the packet for a receiver, and gives back what is to be sent right behind it: a
    /// payload too large to be copied.
    ///
    /// The header is the server's own, so what contradicts itself in it is a bug: it stops a debug
    /// build, and else is written at QoS 0. A packet larger than the protocol can frame is not
    /// written at all; [`SharedPublish::encoded_len`] tells.
    #[inline]
    pub fn encode(&self, version: Version, header: &PublishHeader<'_>, out: &mut BytesMut) -> Option<Bytes> {
        debug_assert_eq!(header.packet_id.is_some(), header.qos > QoS::AtMostOnce, "packet id and QoS");
        let header = &header.settled();
        let lengths = self.lengths(version, header);
        let head = lengths.head(header)?;
        out.reserve(lengths.packet() - self.large_payload.len());
        head.write(out);
        if lengths.topic > 0 {
            out.put_slice(self.topic());
        }
        lengths.write_own(header, out);
        // Properties and small payload lie behind each other.
        let from = if version.is_v5() { self.application_at } else { self.payload_at };
        out.put_slice(self.block.get(from..).unwrap_or_default());
        if self.large_payload.is_empty() { None } else { Some(self.large_payload.clone()) }
    }

    #[inline]
    fn lengths(&self, version: Version, header: &PublishHeader<'_>) -> Lengths {
        let payload_len = self.block.len() - self.payload_at + self.large_payload.len();
        let shared = Shared {
            topic_len: self.application_at,
            application_len: self.payload_at - self.application_at,
            payload_len,
        };
        Lengths::of(version, header, &shared)
    }
}

/// Lengths of what all receivers share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared {
    pub(crate) topic_len: usize,
    pub(crate) application_len: usize,
    pub(crate) payload_len: usize,
}

/// The lengths of one PUBLISH, from which all its length fields are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    /// Bytes of the topic; none if an alias stands for it.
    pub(crate) topic: usize,
    /// Property Length; `None` under 3.x.
    properties: Option<usize>,
    /// Remaining Length.
    body: usize,
}

impl Lengths {
    #[inline]
    pub(crate) fn of(version: Version, header: &PublishHeader<'_>, shared: &Shared) -> Self {
        let packet_id = if header.packet_id.is_some() { 2 } else { 0 };
        if !version.is_v5() {
            let body = 2 + shared.topic_len + packet_id + shared.payload_len;
            return Self { topic: shared.topic_len, properties: None, body };
        }
        let topic = match header.topic_alias {
            Some((_, false)) => 0,
            _ => shared.topic_len,
        };
        let properties = header.own_properties_len() + shared.application_len;
        let body = 2 + topic + packet_id + varint_len(properties) + properties + shared.payload_len;
        Self { topic, properties: Some(properties), body }
    }

    /// Bytes of the whole packet.
    #[inline]
    pub(crate) const fn packet(&self) -> usize {
        1 + varint_len(self.body) + self.body
    }

    /// First byte, Remaining Length and topic length; `None` if the packet cannot be framed.
    #[inline]
    pub(crate) fn head(&self, header: &PublishHeader<'_>) -> Option<Head> {
        let (length, length_len) = varint(self.body).ok()?;
        let topic_len = u16::try_from(self.topic).ok()?;
        let flags = PublishFlags { dup: header.dup, qos: header.qos, retain: header.retain };
        Some(Head { first_byte: flags.first_byte(), length, length_len, topic_len })
    }

    /// Packet identifier, Property Length and the properties that are the receiver's own.
    #[inline]
    pub(crate) fn write_own(&self, header: &PublishHeader<'_>, out: &mut BytesMut) {
        if let Some(packet_id) = header.packet_id {
            out.put_u16(packet_id.get());
        }
        match self.properties {
            None => {}
            Some(0) => out.put_u8(0),
            Some(len) => header.write_own_properties(len, out),
        }
    }
}

/// The first bytes of a PUBLISH.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    first_byte: u8,
    length: [u8; 4],
    length_len: usize,
    topic_len: u16,
}

impl Head {
    #[inline]
    pub(crate) fn write(&self, out: &mut BytesMut) {
        let [l0, l1, l2, l3] = self.length;
        let [t0, t1] = self.topic_len.to_be_bytes();
        let f = self.first_byte;
        // One write of a length known at compile time for each case, rather than byte by byte.
        match self.length_len {
            1 => out.put_slice(&[f, l0, t0, t1]),
            2 => out.put_slice(&[f, l0, l1, t0, t1]),
            3 => out.put_slice(&[f, l0, l1, l2, t0, t1]),
            _ => out.put_slice(&[f, l0, l1, l2, l3, t0, t1]),
        }
    }
}

const TOPIC_ALIAS: u8 = 0x23;
const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;

impl PublishHeader<'_> {
    /// The header with a packet identifier exactly above QoS 0 [MQTT-2.2.1-2].
    #[inline]
    const fn settled(self) -> Self {
        match (self.packet_id, self.qos) {
            (Some(_), QoS::AtLeastOnce | QoS::ExactlyOnce) | (None, QoS::AtMostOnce) => self,
            _ => Self { packet_id: None, qos: QoS::AtMostOnce, ..self },
        }
    }

    /// Bytes of alias, expiry and subscription identifiers.
    #[inline]
    fn own_properties_len(&self) -> usize {
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let expiry = if self.message_expiry_s.is_some() { 5 } else { 0 };
        let ids: usize = self.subscription_ids.iter().map(|id| 1 + varint_len(*id as usize)).sum();
        alias + expiry + ids
    }

    fn write_own_properties(&self, properties_len: usize, out: &mut BytesMut) {
        put_small_varint(out, properties_len);
        if let Some((alias, _)) = self.topic_alias {
            out.put_u8(TOPIC_ALIAS);
            out.put_u16(alias.get());
        }
        if let Some(seconds) = self.message_expiry_s {
            out.put_u8(MESSAGE_EXPIRY_INTERVAL);
            out.put_u32(seconds);
        }
        for id in self.subscription_ids {
            out.put_u8(SUBSCRIPTION_IDENTIFIER);
            put_small_varint(out, *id as usize);
        }
    }
}

/// Writes a number that is known to fit: it is below Remaining Length, or an identifier in range.
#[inline]
fn put_small_varint(out: &mut BytesMut, value: usize) {
    let (bytes, len) = varint(value.min(REMAINING_LENGTH_MAX)).unwrap_or_default();
    out.put_slice(bytes.get(..len).unwrap_or_default());
}
