//! Writing to the wire: the error of encoding, and the small writers that all packets share.
//! Called by the packets' `encode`; `EncodeError` is seen by whoever sends.
//! It never writes to a socket and never measures a packet twice.

use core::fmt;

use bytes::{BufMut, BytesMut};

use crate::basic::Version;
use crate::property::Property;
use crate::text::Text;
use crate::user_properties::UserProperties;

/// The most bytes a packet's Remaining Length can tell (2.1.4).
pub(crate) const REMAINING_LENGTH_MAX: usize = 268_435_455;

/// Why a packet cannot be put on the wire. The output is left as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// The packet does not exist in this version: AUTH before 5.0.
    NotInVersion,
    /// 3.x has no CONNACK return code for this reason: close without CONNACK
    /// [3.1.1, MQTT-3.2.2-6].
    NoReturnCode,
    /// The reason code is not one of this packet.
    ReasonCodeInvalid,
    /// Larger than the peer's Maximum Packet Size, also without what may be left out
    /// [MQTT-3.1.2-24], or larger than the protocol can frame.
    PacketTooLarge,
    /// A binary field of more than 65,535 bytes.
    FieldTooLong,
    /// PUBLISH with QoS above 0 and no packet identifier, or with QoS 0 and one
    /// [MQTT-2.2.1-2], [MQTT-2.2.1-3].
    PacketIdMismatch,
    /// A subscription identifier of 0 or above 268,435,455 (3.8.2.1.2).
    SubscriptionIdInvalid,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter, SUBACK or UNSUBACK without a code.
    ListEmpty,
    /// Authentication data without a method, or AUTH that needs a method and has none
    /// (3.1.2.11.10, 3.15.2.2.2).
    AuthenticationMethodMissing,
    /// A password without a user name, before 5.0 [3.1.1, MQTT-3.1.2-22].
    PasswordWithoutUserName,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotInVersion => "packet does not exist in this protocol version",
            Self::NoReturnCode => "no CONNACK return code of 3.x fits the reason; close without CONNACK",
            Self::ReasonCodeInvalid => "reason code is not one of this packet",
            Self::PacketTooLarge => "packet is larger than the peer accepts",
            Self::FieldTooLong => "binary field is longer than 65535 bytes",
            Self::PacketIdMismatch => "expected a packet identifier above QoS 0, and none at QoS 0",
            Self::SubscriptionIdInvalid => "expected a subscription identifier from 1 to 268435455",
            Self::ListEmpty => "expected at least one topic filter or reason code",
            Self::AuthenticationMethodMissing => "expected an authentication method",
            Self::PasswordWithoutUserName => "expected a user name with the password before version 5.0",
        })
    }
}

impl core::error::Error for EncodeError {}

/// How to write a packet: for which version, and how much of what may be left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) version: Version,
    pub(crate) detail: Detail,
}

/// What of reason string and user properties is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Both.
    Full,
    /// The reason string alone.
    NoUserProperties,
    /// Neither.
    Bare,
}

impl Detail {
    pub(crate) fn reason_string(self, text: Option<&Text>) -> Option<Property<'_>> {
        if self == Self::Bare { None } else { text.map(|text| Property::ReasonString(text.as_str())) }
    }

    pub(crate) fn user_properties(self, properties: &UserProperties) -> &[u8] {
        if self == Self::Full { properties.as_bytes() } else { &[] }
    }
}

/// Writes a packet: first byte, Remaining Length, and the body that `write` writes.
pub(crate) fn packet(
    out: &mut BytesMut,
    first_byte: u8,
    write: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    out.put_u8(first_byte);
    length_prefixed(out, write)
}

/// Writes what `write` writes, with its length as a variable byte integer before it.
pub(crate) fn length_prefixed(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.put_u8(0);
    write(out)?;
    let body = start + 1..out.len();
    let (length, length_len) = varint(body.len())?;
    // Nearly always the one byte that was left free is enough, and nothing moves.
    if length_len > 1 {
        out.put_bytes(0, length_len - 1);
        out.copy_within(body, start + length_len);
    }
    for (place, byte) in out.iter_mut().skip(start).zip(length).take(length_len) {
        *place = byte;
    }
    Ok(())
}

/// A variable byte integer and how many of the four bytes it takes.
#[inline]
pub(crate) fn varint(value: usize) -> Result<([u8; 4], usize), EncodeError> {
    if value > REMAINING_LENGTH_MAX {
        return Err(EncodeError::PacketTooLarge);
    }
    let mut bytes = [0; 4];
    let mut rest = value;
    let mut len = 0;
    for byte in &mut bytes {
        #[allow(clippy::cast_possible_truncation, reason = "seven bits always fit")]
        let low = (rest & 0x7F) as u8;
        rest >>= 7;
        len += 1;
        if rest == 0 {
            *byte = low;
            break;
        }
        *byte = low | 0x80;
    }
    Ok((bytes, len))
}

/// Bytes of a variable byte integer.
#[inline]
pub(crate) const fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x001F_FFFF => 3,
        _ => 4,
    }
}

/// Writes a variable byte integer.
#[inline]
pub(crate) fn put_varint(out: &mut BytesMut, value: usize) -> Result<(), EncodeError> {
    let (bytes, len) = varint(value)?;
    out.extend(bytes.iter().take(len));
    Ok(())
}

/// Writes binary data or a string (1.5.4, 1.5.6).
pub(crate) fn put_binary(out: &mut BytesMut, data: &[u8]) -> Result<(), EncodeError> {
    let len = u16::try_from(data.len()).map_err(|_| EncodeError::FieldTooLong)?;
    out.put_u16(len);
    out.put_slice(data);
    Ok(())
}
