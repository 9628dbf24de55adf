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
                let Ack { packet_id, reason, diagnostics } = Ack::decode(PacketKind::$name, version, body, limits)?;
                let Diagnostics { reason_string, user_properties } = diagnostics;
                Ok(Self { packet_id, reason, reason_string, user_properties })
            }

            #[inline]
            pub(crate) fn encode(&self, form: Form, out: &mut BytesMut) -> Result<(), EncodeError> {
                if !self.reason.is_allowed_in(PacketKind::$name) {
                    return Err(EncodeError::ReasonCodeInvalid);
                }
                let reason_string = self.reason_string.as_ref();
                let body = (self.packet_id, self.reason, reason_string, &self.user_properties);
                write(PacketKind::$name, form, body, out)
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

/// What the four packets share.
struct Ack {
    packet_id: PacketId,
    reason: ReasonCode,
    diagnostics: Diagnostics,
}

impl Ack {
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

#[inline]
fn write(
    kind: PacketKind,
    form: Form,
    (packet_id, reason, reason_string, user_properties): (
        PacketId,
        ReasonCode,
        Option<&Text>,
        &UserProperties,
    ),
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let [high, low] = packet_id.get().to_be_bytes();
    let reason_string = form.detail.reason_string(reason_string);
    let user_properties = form.detail.user_properties(user_properties);
    let bare = reason_string.is_none() && user_properties.is_empty();
    if !form.version.is_v5() || (bare && reason == ReasonCode::Success) {
        out.put_slice(&[kind.first_byte(), 2, high, low]);
        return Ok(());
    }
    if bare {
        out.put_slice(&[kind.first_byte(), 3, high, low, reason.value()]);
        return Ok(());
    }
    encode::packet(out, kind.first_byte(), |out| {
        out.put_slice(&[high, low, reason.value()]);
        write_block(out, &[reason_string], user_properties)
    })
}
