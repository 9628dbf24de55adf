//! PUBACK, PUBREC, PUBREL, PUBCOMP (3.4 to 3.7): the four steps of QoS 1 and 2, which share one layout.
//! Decoded and encoded on both sides, once or twice for each message above QoS 0.
//! Without failure, reason string and user properties they are never longer than four bytes.

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

macro_rules! acks {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            /// The identifier of the PUBLISH.
            pub packet_id: PacketId,
            /// The outcome; always success under 3.x, where it is not written.
            pub reason: ReasonCode,
            /// Reason String; left out if the packet would be too big.
            pub reason_string: Option<Text>,
            /// User properties; left out if the packet would be too big.
            pub user_properties: UserProperties,
        }

        impl $name {
            /// With a reason code alone.
            #[inline]
            #[must_use]
            pub fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
                Self { packet_id, reason, reason_string: None, user_properties: UserProperties::default() }
            }

            #[inline]
            pub(crate) fn decode(version: Version, body: &Bytes, limits: &Limits) -> Result<Self, Offence> {
                let Incoming { packet_id, reason, diagnostics } = Incoming::decode(PacketKind::$name, version, body, limits)?;
                let Diagnostics { reason_string, user_properties } = diagnostics;
                Ok(Self { packet_id, reason, reason_string, user_properties })
            }

            #[inline]
            pub(crate) fn encode(&self, form: Form, out: &mut BytesMut) -> Result<(), EncodeError> {
                if !self.reason.is_allowed_in(PacketKind::$name) {
                    return Err(EncodeError::ReasonCodeInvalid);
                }
                let ack = Outgoing {
                    kind: PacketKind::$name,
                    packet_id: self.packet_id,
                    reason: self.reason,
                    reason_string: self.reason_string.as_ref(),
                    user_properties: &self.user_properties,
                };
                ack.write(form, out)
            }
        }
    )+};
}

acks! {
    /// PUBACK (3.4): ends a QoS 1 exchange.
    PubAck;
    /// PUBREC (3.5): a QoS 2 message is owned by the receiver.
    PubRec;
    /// PUBREL (3.6): a QoS 2 message may be forgotten by the receiver.
    PubRel;
    /// PUBCOMP (3.7): ends a QoS 2 exchange.
    PubComp;
}

/// One of the four packets as it came in.
struct Incoming {
    packet_id: PacketId,
    reason: ReasonCode,
    diagnostics: Diagnostics,
}

impl Incoming {
    #[inline]
    fn decode(kind: PacketKind, version: Version, body: &Bytes, limits: &Limits) -> Result<Self, Offence> {
        let mut cursor = Cursor::new(body);
        let packet_id = cursor.packet_id()?;
        let mut reason = ReasonCode::Success;
        let mut diagnostics = Diagnostics::default();
        // Both the reason and the properties may be left out (3.4.2.1, 3.4.2.2.1).
        if version.is_v5() && !cursor.is_empty() {
            reason = ReasonCode::read(kind, &mut cursor)?;
            if !cursor.is_empty() {
                diagnostics = Diagnostics::read(&mut cursor, body, limits)?;
            }
        }
        cursor.finish()?;
        Ok(Self { packet_id, reason, diagnostics })
    }
}

/// One of the four packets on its way out.
struct Outgoing<'a> {
    kind: PacketKind,
    packet_id: PacketId,
    reason: ReasonCode,
    reason_string: Option<&'a Text>,
    user_properties: &'a UserProperties,
}

impl Outgoing<'_> {
    #[inline]
    fn write(&self, form: Form, out: &mut BytesMut) -> Result<(), EncodeError> {
        let first_byte = self.kind.first_byte();
        let [high, low] = self.packet_id.get().to_be_bytes();
        let reason_string = form.detail.reason_string(self.reason_string);
        let user_properties = form.detail.user_properties(self.user_properties);
        let bare = reason_string.is_none() && user_properties.is_empty();
        if !form.version.is_v5() || (bare && self.reason == ReasonCode::Success) {
            out.put_slice(&[first_byte, 2, high, low]);
            return Ok(());
        }
        if bare {
            out.put_slice(&[first_byte, 3, high, low, self.reason.value()]);
            return Ok(());
        }
        encode::packet(out, first_byte, |out| {
            out.put_slice(&[high, low, self.reason.value()]);
            write_block(out, &[reason_string], user_properties)
        })
    }
}
