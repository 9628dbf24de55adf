//! PUBLISH (3.3): one application message from its sender.
//! Decoded for each message that arrives; encoded by clients (a server fans out by `SharedPublish`).
//! It never copies topic, properties or payload when decoding, unless the properties to pass on
//! are interleaved with others.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::application::is_application;
use crate::basic::{PacketId, QoS, Version};
use crate::cursor::Cursor;
use crate::encode::EncodeError;
use crate::frame::PublishFlags;
use crate::limits::Limits;
use crate::offence::Offence;
use crate::packet::publish_header::{Content, Layout, PublishHeader};
use crate::property::{Property, check_subscription_id};
use crate::property_block::PropertyReader;
use crate::text::Text;
use crate::topic;

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

impl Publish {
    #[inline]
    pub(crate) fn decode(
        version: Version,
        first_byte: u8,
        mut body: Bytes,
        limits: &Limits,
    ) -> Result<Self, Offence> {
        let PublishFlags { dup, qos, retain } = PublishFlags::read(first_byte)?;
        let mut cursor = Cursor::new(&body);
        let topic = cursor.binary()?;
        topic::check(topic, limits)?;
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(cursor.packet_id()?) };
        let properties = if version.is_v5() {
            PublishProperties::decode(&mut cursor, &body, limits)?
        } else {
            PublishProperties::default()
        };
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(Offence::TopicEmpty);
        }
        let topic = topic::slice_of(&body, topic);
        let PublishProperties { topic_alias, message_expiry_s, subscription_ids, application } = properties;
        // The payload takes over the reference that the body was.
        let header_len = body.len() - cursor.remaining();
        body.advance(header_len);
        Ok(Self {
            dup,
            qos,
            retain,
            topic,
            packet_id,
            topic_alias,
            message_expiry_s,
            subscription_ids,
            application,
            payload: body,
        })
    }

    fn header(&self) -> PublishHeader<'_> {
        PublishHeader {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            packet_id: self.packet_id,
            topic_alias: self.topic_alias.map(|alias| (alias, true)),
            message_expiry_s: self.message_expiry_s,
            subscription_ids: &self.subscription_ids,
        }
    }

    pub(crate) fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if self.packet_id.is_some() != (self.qos > QoS::AtMostOnce) {
            return Err(EncodeError::PacketIdMismatch);
        }
        self.subscription_ids.iter().try_for_each(|id| check_subscription_id(*id))?;
        let content = Content {
            topic: self.topic.as_bytes(),
            application_len: self.application.len(),
            payload_len: self.payload.len(),
        };
        let header = self.header();
        let layout = Layout::new(version, &header, &content);
        layout.write_start(out).ok_or(EncodeError::PacketTooLarge)?;
        if version.is_v5() {
            layout.write_properties(out);
            out.put_slice(&self.application);
        }
        out.put_slice(&self.payload);
        Ok(())
    }
}

/// The properties of PUBLISH (3.3.2.3).
#[derive(Debug, Default)]
struct PublishProperties {
    topic_alias: Option<NonZeroU16>,
    message_expiry_s: Option<u32>,
    subscription_ids: Vec<u32>,
    application: Bytes,
}

impl PublishProperties {
    #[inline]
    fn decode(cursor: &mut Cursor<'_>, body: &Bytes, limits: &Limits) -> Result<Self, Offence> {
        // Most publishes have none, which is one byte.
        if cursor.skip_zero() { Ok(Self::default()) } else { Self::decode_some(cursor, body, limits) }
    }

    fn decode_some(cursor: &mut Cursor<'_>, body: &Bytes, limits: &Limits) -> Result<Self, Offence> {
        let mut all = Self::default();
        let mut reader = PropertyReader::new(cursor, limits)?;
        while let Some(property) = reader.next()? {
            match property {
                Property::TopicAlias(alias) => all.topic_alias = Some(alias),
                Property::MessageExpiryInterval(seconds) => all.message_expiry_s = Some(seconds),
                Property::SubscriptionIdentifier(id) => all.subscription_ids.push(id),
                other if is_application(&other) => reader.keep(),
                other => return PropertyReader::foreign(&other),
            }
        }
        all.application = reader.kept(body);
        Ok(all)
    }
}
