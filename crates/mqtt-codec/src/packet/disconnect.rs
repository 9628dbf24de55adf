//! DISCONNECT (3.14): the last packet of a connection.
//! Decoded and encoded on both sides in 5.0, sent by clients alone in 3.x.
//! A normal disconnection is never longer than two bytes.

use bytes::{BufMut, Bytes, BytesMut};

use crate::basic::{PacketKind, Version};
use crate::cursor::Cursor;
use crate::encode::{self, EncodeError, Form};
use crate::limits::Limits;
use crate::offence::Offence;
use crate::property::Property;
use crate::property_block::{PropertyReader, write_block};
use crate::reason::ReasonCode;
use crate::text::Text;
use crate::user_properties::UserProperties;

/// DISCONNECT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disconnect {
    /// Why; always success under 3.x, where it is not written.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds, from a client [MQTT-3.14.2-2].
    pub session_expiry_s: Option<u32>,
    /// Reason String; left out if the packet would be too big.
    pub reason_string: Option<Text>,
    /// Server Reference, from a server.
    pub server_reference: Option<Text>,
    /// User properties; left out if the packet would be too big.
    pub user_properties: UserProperties,
}

impl Disconnect {
    /// With a reason code alone.
    #[must_use]
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, ..Self::default() }
    }

    pub(crate) fn decode(version: Version, body: &Bytes, limits: &Limits) -> Result<Self, Offence> {
        let mut cursor = Cursor::new(body);
        let mut disconnect = Self::default();
        // Both the reason and the properties may be left out (3.14.2.1, 3.14.2.2.1).
        if version.is_v5() && !cursor.is_empty() {
            disconnect.reason = ReasonCode::read(PacketKind::Disconnect, &mut cursor)?;
            if !cursor.is_empty() {
                disconnect.read_properties(&mut cursor, body, limits)?;
            }
        }
        cursor.finish()?;
        Ok(disconnect)
    }

    fn read_properties(
        &mut self,
        cursor: &mut Cursor<'_>,
        body: &Bytes,
        limits: &Limits,
    ) -> Result<(), Offence> {
        let mut reader = PropertyReader::new(cursor, limits)?;
        while let Some(property) = reader.next()? {
            match property {
                Property::SessionExpiryInterval(seconds) => self.session_expiry_s = Some(seconds),
                Property::ReasonString(text) => self.reason_string = Some(Text::slice_of(body, text)),
                Property::ServerReference(text) => {
                    self.server_reference = Some(Text::slice_of(body, text));
                }
                Property::UserProperty(..) => reader.keep(),
                other => return PropertyReader::foreign(&other),
            }
        }
        self.user_properties = reader.kept_user_properties(body);
        Ok(())
    }

    pub(crate) fn encode(&self, form: Form, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !self.reason.is_allowed_in(PacketKind::Disconnect) {
            return Err(EncodeError::ReasonCodeInvalid);
        }
        encode::packet(out, PacketKind::Disconnect.first_byte(), |out| {
            if !form.version.is_v5() {
                return Ok(());
            }
            let own = [
                self.session_expiry_s.map(Property::SessionExpiryInterval),
                form.detail.reason_string(self.reason_string.as_ref()),
                self.server_reference.as_ref().map(|text| Property::ServerReference(text.as_str())),
            ];
            let user_properties = form.detail.user_properties(&self.user_properties);
            let bare = own.iter().all(Option::is_none) && user_properties.is_empty();
            if bare && self.reason == ReasonCode::Success {
                return Ok(());
            }
            out.put_u8(self.reason.value());
            if bare { Ok(()) } else { write_block(out, &own, user_properties) }
        })
    }
}
