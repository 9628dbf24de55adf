//! SUBSCRIBE (3.8): topic filters with their options.
//! Decoded by servers, encoded by clients.
//! It never looks into a filter, but for the `$share/` that forbids No Local.

use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use crate::basic::{PacketId, PacketKind, QoS, Version};
use crate::cursor::Cursor;
use crate::encode::{self, EncodeError, put_binary};
use crate::limits::Limits;
use crate::offence::Offence;
use crate::property::Property;
use crate::property_block::{PropertyReader, write_block};
use crate::text::Text;
use crate::user_properties::UserProperties;

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Repeated by SUBACK.
    pub packet_id: PacketId,
    /// Subscription Identifier of all its filters, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// User properties.
    pub user_properties: UserProperties,
    /// At least one.
    pub filters: Vec<SubscribeFilter>,
}

/// A topic filter and how it is subscribed to. Its syntax is not checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// The filter as received.
    pub filter: Text,
    /// Its options.
    pub options: SubscriptionOptions,
}

/// Subscription options (3.8.3.1). Under 3.x only the QoS is on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// The highest QoS to deliver with.
    pub qos: QoS,
    /// Do not send the subscriber what it publishes itself.
    pub no_local: bool,
    /// Keep RETAIN as it was published.
    pub retain_as_published: bool,
    /// What to do with retained messages at subscribe.
    pub retain_handling: RetainHandling,
}

/// Retain Handling (3.8.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// Send retained messages at each subscribe; what 3.x does.
    #[default]
    Send = 0,
    /// Send them only if the subscription is new.
    SendIfNew = 1,
    /// Do not send them.
    DoNotSend = 2,
}

/// What a shared filter begins with (4.8.2).
const SHARED_PREFIX: &[u8] = b"$share/";

impl Subscribe {
    pub(crate) fn decode(version: Version, body: &Bytes, limits: &Limits) -> Result<Self, Offence> {
        let mut cursor = Cursor::new(body);
        let packet_id = cursor.packet_id()?;
        let mut subscription_id = None;
        let mut user_properties = UserProperties::default();
        if version.is_v5() {
            let mut reader = PropertyReader::new(&mut cursor, limits)?;
            while let Some(property) = reader.next()? {
                match property {
                    Property::SubscriptionIdentifier(id) => {
                        reader.see(property.id())?;
                        subscription_id = Some(id);
                    }
                    Property::UserProperty(..) => reader.keep(),
                    other => return PropertyReader::foreign(&other),
                }
            }
            user_properties = reader.kept_user_properties(body);
        }
        let mut filters = Vec::new();
        while !cursor.is_empty() {
            if filters.len() >= usize::from(limits.filters_max) {
                return Err(Offence::FiltersTooMany);
            }
            let filter = Text::slice_of(body, cursor.text()?);
            let options = SubscriptionOptions::decode(version, cursor.u8()?)?;
            if options.no_local && filter.as_bytes().starts_with(SHARED_PREFIX) {
                return Err(Offence::NoLocalOnShared);
            }
            filters.push(SubscribeFilter { filter, options });
        }
        if filters.is_empty() {
            return Err(Offence::FiltersMissing);
        }
        Ok(Self { packet_id, subscription_id, user_properties, filters })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if self.filters.is_empty() {
            return Err(EncodeError::ListEmpty);
        }
        encode::packet(out, PacketKind::Subscribe.first_byte(), |out| {
            out.put_u16(self.packet_id.get());
            if version.is_v5() {
                let own = [self.subscription_id.map(Property::SubscriptionIdentifier)];
                write_block(out, &own, self.user_properties.as_bytes())?;
            }
            self.filters.iter().try_for_each(|SubscribeFilter { filter, options }| {
                put_binary(out, filter.as_bytes())?;
                out.put_u8(options.encode(version));
                Ok(())
            })
        })
    }
}

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAIN_HANDLING_SHIFT: u8 = 4;

impl SubscriptionOptions {
    fn decode(version: Version, byte: u8) -> Result<Self, Offence> {
        let reserved = if version.is_v5() { 0xC0 } else { 0xFC };
        if byte & reserved != 0 {
            return Err(Offence::SubscriptionOptionsReserved);
        }
        let qos = QoS::from_bits(byte & 0b11).ok_or(Offence::SubscriptionQoSInvalid)?;
        let retain_handling = match byte >> RETAIN_HANDLING_SHIFT {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Offence::RetainHandlingInvalid),
        };
        Ok(Self {
            qos,
            no_local: byte & NO_LOCAL != 0,
            retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }

    fn encode(self, version: Version) -> u8 {
        let qos = u8::from(self.qos);
        if !version.is_v5() {
            return qos;
        }
        qos | if self.no_local { NO_LOCAL } else { 0 }
            | if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 }
            | ((self.retain_handling as u8) << RETAIN_HANDLING_SHIFT)
    }
}
