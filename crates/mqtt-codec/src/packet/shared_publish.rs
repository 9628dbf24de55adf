//! `SharedPublish`: what is the same for every receiver of a message, built once and shared.
//! Made when a message is accepted; encoded into each receiver's buffer with its own header.
//! It never keeps a small message's network buffer alive, and never copies a large payload.

use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use crate::basic::{QoS, Version};
use crate::encode::varint_len;
use crate::packet::publish_header::{Content, Layout, PublishHeader, put_varint};
use crate::text::Text;

/// Payloads up to this many bytes are copied beside topic and properties; larger ones are kept as
/// the slice they arrived in.
pub const SMALL_PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// A message, ready to be written to many receivers. Meant to be held in an `Arc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPublish {
    /// Topic, Property Length, application properties and a small payload, in this order: for a
    /// receiver of 5.0 without properties of its own, as in its packet.
    block: Bytes,
    /// Where Property Length begins in the block.
    topic_len: usize,
    /// Where the properties begin in the block.
    application_at: usize,
    /// Where the payload begins in the block, or its end if the payload is large.
    payload_at: usize,
    /// The payload, if it is not in the block; else empty.
    large_payload: Bytes,
}

impl SharedPublish {
    /// Copies topic, properties and a small payload into one block of exactly their size.
    ///
    /// `application` is that of a decoded [`crate::Publish`] or [`crate::Will`].
    #[must_use]
    pub fn new(topic: &Text, application: &Bytes, payload: &Bytes) -> Self {
        let small = payload.len() <= SMALL_PAYLOAD_BYTES_MAX;
        let inline = if small { payload.len() } else { 0 };
        let application_at = topic.len() + varint_len(application.len());
        let payload_at = application_at + application.len();
        let mut block = Vec::with_capacity(payload_at + inline);
        block.extend_from_slice(topic.as_bytes());
        put_varint(&mut block, application.len());
        block.extend_from_slice(application);
        if small {
            block.extend_from_slice(payload);
        }
        Self {
            block: Bytes::from(block),
            topic_len: topic.len(),
            application_at,
            payload_at,
            large_payload: if small { Bytes::new() } else { payload.clone() },
        }
    }

    /// The bytes of the topic name.
    #[inline]
    #[must_use]
    pub fn topic(&self) -> &[u8] {
        self.block.get(..self.topic_len).unwrap_or_default()
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

    /// The properties that are passed on, sharing the block.
    #[must_use]
    pub fn application_bytes(&self) -> Bytes {
        self.block.slice_ref(self.application())
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

    /// Bytes that it holds in memory, for accounting: topic, properties and their length, payload.
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
        self.layout(version, header).packet_len()
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
        let layout = self.layout(version, header);
        out.reserve(layout.packet_len().saturating_sub(self.large_payload.len()));
        layout.write_start(out)?;
        let rest_at = if !version.is_v5() {
            self.payload_at
        } else if layout.has_own_properties() {
            layout.write_properties(out);
            self.application_at
        } else {
            self.topic_len
        };
        out.put_slice(self.block.get(rest_at..).unwrap_or_default());
        if self.large_payload.is_empty() { None } else { Some(self.large_payload.clone()) }
    }

    #[inline]
    fn layout<'a>(&'a self, version: Version, header: &'a PublishHeader<'a>) -> Layout<'a> {
        let content = Content {
            topic: self.topic(),
            application_len: self.payload_at - self.application_at,
            payload_len: self.block.len() - self.payload_at + self.large_payload.len(),
        };
        Layout::new(version, header, &content)
    }
}
