//! PUBACK, PUBREC, PUBREL, PUBCOMP (3.4 to 3.7): the four steps of QoS 1 and 2, which share one layout.
//! Decoded and encoded on both sides, once or twice for each message above QoS 0.
//! Without failure, reason string and user properties they are never longer than four bytes.

use bytes::{BufMut, Bytes, BytesMut};

use crate::basic::{PacketId, PacketKind, Version};
use crate::cursor::Cursor;
use crate::encode::{self, EncodeError, Form};
use crate::frame::kind_of;
use crate::limits::Limits;
use crate::offence::Offence;
use crate::packet::Packet;
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

/// Bytes of a [`short_ack`], with its fixed header.
const SHORT_BYTES: usize = 4;

/// The acknowledgement that `input` begins with, if it has nothing but a packet identifier, as nearly all
/// have; and the bytes of the packet, 4. It means success in every version (3.4.2.1).
///
/// `None` for whatever else `input` begins with, complete or not, right or wrong: [`crate::frame::peek`] and
/// [`crate::decode`] then say what it is. This is their short way for packets that need nothing kept of
/// their bytes.
#[inline]
#[must_use]
pub fn short_ack(input: &[u8]) -> Option<(Packet, usize)> {
    let [first_byte, 2, high, low] = *input.first_chunk::<SHORT_BYTES>()? else { return None };
    let id = PacketId::new(u16::from_be_bytes([high, low]))?;
    let packet = match kind_of(first_byte).ok()? {
        PacketKind::PubAck => Packet::PubAck(PubAck::new(id, ReasonCode::Success)),
        PacketKind::PubRec => Packet::PubRec(PubRec::new(id, ReasonCode::Success)),
        PacketKind::PubRel => Packet::PubRel(PubRel::new(id, ReasonCode::Success)),
        PacketKind::PubComp => Packet::PubComp(PubComp::new(id, ReasonCode::Success)),
        _ => return None,
    };
    Some((packet, SHORT_BYTES))
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
