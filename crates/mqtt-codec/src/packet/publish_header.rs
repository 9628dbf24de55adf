//! `PublishHeader`: what of a PUBLISH differs from receiver to receiver, and the layout it leads to.
//! Used for each copy of each message, by `SharedPublish` and by `Publish`.
//! It never writes a packet identifier at QoS 0, or a length that the rest does not keep.

use core::num::NonZeroU16;

use bytes::{BufMut, BytesMut};

use crate::basic::{PacketId, QoS, Version};
use crate::encode::{REMAINING_LENGTH_MAX, varint, varint_len};
use crate::frame::PublishFlags;

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

const TOPIC_ALIAS: u8 = 0x23;
const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;

impl PublishHeader<'_> {
    /// QoS and packet identifier: both, or QoS 0 and none [MQTT-2.2.1-2].
    #[inline]
    const fn delivery(&self) -> (QoS, Option<PacketId>) {
        match (self.qos, self.packet_id) {
            (QoS::AtLeastOnce | QoS::ExactlyOnce, Some(_)) => (self.qos, self.packet_id),
            _ => (QoS::AtMostOnce, None),
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

    fn write_own_properties(&self, out: &mut BytesMut) {
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
            put_varint(out, *id as usize);
        }
    }
}

/// What all receivers share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    pub(crate) topic: &'a [u8],
    pub(crate) application_len: usize,
    pub(crate) payload_len: usize,
}

/// One PUBLISH measured: all its length fields are written from here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    header: &'a PublishHeader<'a>,
    qos: QoS,
    packet_id: Option<PacketId>,
    /// Empty if an alias stands for it.
    topic: &'a [u8],
    /// Bytes of the properties that are the receiver's own; none under 3.x.
    own_properties: usize,
    /// Property Length; 0 under 3.x.
    properties: usize,
    /// Remaining Length.
    body: usize,
}

impl<'a> Layout<'a> {
    #[inline]
    pub(crate) fn new(version: Version, header: &'a PublishHeader<'a>, content: &Content<'a>) -> Self {
        let (qos, packet_id) = header.delivery();
        let fixed = 2 + if packet_id.is_some() { 2 } else { 0 } + content.payload_len;
        if !version.is_v5() {
            let (topic, body) = (content.topic, fixed + content.topic.len());
            return Self { header, qos, packet_id, topic, own_properties: 0, properties: 0, body };
        }
        let topic = match header.topic_alias {
            Some((_, false)) => &[],
            _ => content.topic,
        };
        let own_properties = header.own_properties_len();
        let properties = own_properties + content.application_len;
        let body = fixed + topic.len() + varint_len(properties) + properties;
        Self { header, qos, packet_id, topic, own_properties, properties, body }
    }

    /// Bytes of the whole packet.
    #[inline]
    pub(crate) const fn packet_len(&self) -> usize {
        1 + varint_len(self.body) + self.body
    }

    /// Whether there are properties of the receiver's own.
    #[inline]
    pub(crate) const fn has_own_properties(&self) -> bool {
        self.own_properties > 0
    }

    /// Writes what stands before the properties: fixed header, topic and packet identifier. `None`,
    /// and nothing written, if the packet cannot be framed.
    #[inline]
    pub(crate) fn write_start(&self, out: &mut BytesMut) -> Option<()> {
        let (length, length_len) = varint(self.body).ok()?;
        let topic_len = u16::try_from(self.topic.len()).ok()?;
        let flags = PublishFlags { dup: self.header.dup, qos: self.qos, retain: self.header.retain };
        let packet_id_len = if self.packet_id.is_some() { 2 } else { 0 };
        let start = out.len();
        // One growth for all the small fields is cheaper than one for each.
        out.resize(start + 1 + length_len + 2 + self.topic.len() + packet_id_len, 0);
        let place = out.get_mut(start..).unwrap_or_default();
        let (first, [l0, l1, l2, l3]) = (flags.first_byte(), length);
        let place = match length_len {
            1 => put(place, [first, l0]),
            2 => put(place, [first, l0, l1]),
            3 => put(place, [first, l0, l1, l2]),
            _ => put(place, [first, l0, l1, l2, l3]),
        };
        let place = put(place, topic_len.to_be_bytes());
        let place = put_slice(place, self.topic);
        if let Some(packet_id) = self.packet_id {
            put(place, packet_id.get().to_be_bytes());
        }
        Some(())
    }

    /// Writes Property Length and the properties that are the receiver's own.
    pub(crate) fn write_properties(&self, out: &mut BytesMut) {
        put_varint(out, self.properties);
        self.header.write_own_properties(out);
    }
}

/// Fills the front of `place`, which was made to measure, and gives back the rest of it.
#[inline]
fn put<const N: usize>(place: &mut [u8], bytes: [u8; N]) -> &mut [u8] {
    match place.split_first_chunk_mut::<N>() {
        Some((front, rest)) => {
            *front = bytes;
            rest
        }
        None => &mut [],
    }
}

/// As [`put`], for a length known at run time.
#[inline]
fn put_slice<'p>(place: &'p mut [u8], bytes: &[u8]) -> &'p mut [u8] {
    match place.split_at_mut_checked(bytes.len()) {
        Some((front, rest)) => {
            front.copy_from_slice(bytes);
            rest
        }
        None => &mut [],
    }
}

/// Writes a number that is known to fit: it is below Remaining Length, or an identifier in range.
#[inline]
pub(crate) fn put_varint(out: &mut impl BufMut, value: usize) {
    let (bytes, len) = varint(value.min(REMAINING_LENGTH_MAX)).unwrap_or_default();
    out.put_slice(bytes.get(..len).unwrap_or_default());
}
