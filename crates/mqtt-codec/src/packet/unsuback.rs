//! UNSUBACK (3.11): one code for each filter of an UNSUBSCRIBE.
//! Encoded by servers, decoded by clients.
//! Under 3.x it never has a payload.

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

/// UNSUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter, in order; at least one. Empty when decoded from 3.x.
    pub codes: Vec<ReasonCode>,
    /// Reason String; left out if the packet would be too big.
    pub reason_string: Option<Text>,
    /// User properties; left out if the packet would be too big.
    pub user_properties: UserProperties,
}

impl UnsubAck {
    pub(crate) fn decode(version: Version, body: &Bytes, limits: &Limits) -> Result<Self, Offence> {
        let mut cursor = Cursor::new(body);
        let packet_id = cursor.packet_id()?;
        let diagnostics = Diagnostics::read_if_v5(version, &mut cursor, body, limits)?;
        let mut codes = Vec::new();
        if version.is_v5() {
            while !cursor.is_empty() {
                codes.push(ReasonCode::read(PacketKind::UnsubAck, &mut cursor)?);
            }
            if codes.is_empty() {
                return Err(Offence::ReasonCodesMissing);
            }
        }
        cursor.finish()?;
        let Diagnostics { reason_string, user_properties } = diagnostics;
        Ok(Self { packet_id, codes, reason_string, user_properties })
    }

    pub(crate) fn encode(&self, form: Form, out: &mut BytesMut) -> Result<(), EncodeError> {
        if form.version.is_v5() && self.codes.is_empty() {
            return Err(EncodeError::ListEmpty);
        }
        if !self.codes.iter().all(|code| code.is_allowed_in(PacketKind::UnsubAck)) {
            return Err(EncodeError::ReasonCodeInvalid);
        }
        encode::packet(out, PacketKind::UnsubAck.first_byte(), |out| {
            out.put_u16(self.packet_id.get());
            if form.version.is_v5() {
                let own = [form.detail.reason_string(self.reason_string.as_ref())];
                write_block(out, &own, form.detail.user_properties(&self.user_properties))?;
                out.extend(self.codes.iter().map(|code| code.value()));
            }
            Ok(())
        })
    }
}
