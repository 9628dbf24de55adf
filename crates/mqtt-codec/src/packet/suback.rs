//! SUBACK (3.9): one code for each filter of a SUBSCRIBE.
//! Encoded by servers, decoded by clients.
//! Under 3.x it never carries a code but 0, 1, 2 and 0x80 [3.1.1, MQTT-3.9.3-2].

use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use crate::basic::{PacketId, PacketKind, Version};
use crate::cursor::Cursor;
use crate::encode::{self, EncodeError, Form};
use crate::limits::Limits;
use crate::offence::Offence;
use crate::property_block::{Diagnostics, write_block};
use crate::reason::ReasonCode;
use crate::text::Text;
use crate::user_properties::UserProperties;

/// SUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// That of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter, in order; at least one.
    pub codes: Vec<ReasonCode>,
    /// Reason String; left out if the packet would be too big.
    pub reason_string: Option<Text>,
    /// User properties; left out if the packet would be too big.
    pub user_properties: UserProperties,
}

impl SubAck {
    pub(crate) fn decode(version: Version, body: &Bytes, limits: &Limits) -> Result<Self, Offence> {
        let mut cursor = Cursor::new(body);
        let packet_id = cursor.packet_id()?;
        let diagnostics = Diagnostics::read_if_v5(version, &mut cursor, body, limits)?;
        let mut codes = Vec::new();
        while !cursor.is_empty() {
            let code = ReasonCode::read(PacketKind::SubAck, &mut cursor)?;
            // 3.x has the three grants and one failure.
            if !version.is_v5() && code > ReasonCode::UnspecifiedError {
                return Err(Offence::ReasonCodeInvalid { code: code.value() });
            }
            codes.push(code);
        }
        if codes.is_empty() {
            return Err(Offence::ReasonCodesMissing);
        }
        let Diagnostics { reason_string, user_properties } = diagnostics;
        Ok(Self { packet_id, codes, reason_string, user_properties })
    }

    pub(crate) fn encode(&self, form: Form, out: &mut BytesMut) -> Result<(), EncodeError> {
        if self.codes.is_empty() {
            return Err(EncodeError::ListEmpty);
        }
        if !self.codes.iter().all(|code| code.is_allowed_in(PacketKind::SubAck)) {
            return Err(EncodeError::ReasonCodeInvalid);
        }
        encode::packet(out, PacketKind::SubAck.first_byte(), |out| {
            out.put_u16(self.packet_id.get());
            if form.version.is_v5() {
                let own = [form.detail.reason_string(self.reason_string.as_ref())];
                write_block(out, &own, form.detail.user_properties(&self.user_properties))?;
            }
            out.extend(self.codes.iter().map(|code| match code.value() {
                failure @ 0x80.. if form.version.is_v5() => failure,
                0x80.. => ReasonCode::UnspecifiedError.value(),
                granted => granted,
            }));
            Ok(())
        })
    }
}
