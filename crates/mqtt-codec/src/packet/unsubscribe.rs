//! UNSUBSCRIBE (3.10): topic filters to give up.
//! Decoded by servers, encoded by clients.
//! It never looks into a filter.

use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use crate::basic::{PacketId, PacketKind, Version};
use crate::cursor::Cursor;
use crate::encode::{self, EncodeError, put_binary};
use crate::limits::Limits;
use crate::offence::Offence;
use crate::property::Property;
use crate::property_block::{PropertyReader, write_block};
use crate::text::Text;
use crate::user_properties::UserProperties;

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Repeated by UNSUBACK.
    pub packet_id: PacketId,
    /// User properties.
    pub user_properties: UserProperties,
    /// At least one; their syntax is not checked here.
    pub filters: Vec<Text>,
}

impl Unsubscribe {
    pub(crate) fn decode(version: Version, body: &Bytes, limits: &Limits) -> Result<Self, Offence> {
        let mut cursor = Cursor::new(body);
        let packet_id = cursor.packet_id()?;
        let mut user_properties = UserProperties::default();
        if version.is_v5() {
            let mut reader = PropertyReader::new(&mut cursor, limits)?;
            while let Some(property) = reader.next()? {
                match property {
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
            filters.push(Text::slice_of(body, cursor.text()?));
        }
        if filters.is_empty() {
            return Err(Offence::FiltersMissing);
        }
        Ok(Self { packet_id, user_properties, filters })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if self.filters.is_empty() {
            return Err(EncodeError::ListEmpty);
        }
        encode::packet(out, PacketKind::Unsubscribe.first_byte(), |out| {
            out.put_u16(self.packet_id.get());
            if version.is_v5() {
                write_block(out, &[], self.user_properties.as_bytes())?;
            }
            self.filters.iter().try_for_each(|filter| put_binary(out, filter.as_bytes()))
        })
    }
}
