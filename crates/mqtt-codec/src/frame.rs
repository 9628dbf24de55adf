//! Frames: where a packet begins and ends, from its fixed header alone (2.1).
//! Called by whoever reads a connection, before anything of a packet is kept.
//! It never waits for a body that will be refused: type, flags and size are judged by the header.

use bytes::{Buf, Bytes, BytesMut};

use crate::basic::{PacketKind, QoS};
use crate::cursor::varint;
use crate::limits::Limits;
use crate::offence::Offence;

/// A fixed header: the packet is `header_len + body_len` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Type and flags.
    pub first_byte: u8,
    /// Bytes of the fixed header, 2 to 5.
    pub header_len: usize,
    /// Bytes behind it: Remaining Length.
    pub body_len: usize,
}

impl Frame {
    /// Bytes of the whole packet.
    #[inline]
    #[must_use]
    pub const fn packet_len(&self) -> usize {
        self.header_len + self.body_len
    }
}

/// Reads the fixed header at the start of `input`; `None` if more bytes are needed to know it.
/// At most five bytes are looked at, so an announced length costs nothing.
///
/// The flags are those of 3.1.1 and 5.0: 3.1 let clients set DUP on PUBREL, SUBSCRIBE and
/// UNSUBSCRIBE, and that is refused here as it is by other brokers.
///
/// # Errors
/// Type 0, wrong flags [MQTT-2.1.3-1], a malformed Remaining Length [MQTT-1.5.5-1], or a packet
/// larger than [`Limits::packet_bytes_max`].
#[inline]
pub fn peek(input: &[u8], limits: &Limits) -> Result<Option<Frame>, Offence> {
    let Some((&first_byte, rest)) = input.split_first() else {
        return Ok(None);
    };
    kind_of(first_byte)?;
    let Some((body_len, length_len)) = varint(rest).map_err(|_| Offence::RemainingLengthMalformed)? else {
        return Ok(None);
    };
    let header_len = 1 + length_len;
    // At most 268,435,460, so the sum fits.
    let bytes = body_len + u32::from(header_len);
    if bytes > limits.packet_bytes_max {
        return Err(Offence::PacketTooLarge { bytes, max: limits.packet_bytes_max });
    }
    Ok(Some(Frame { first_byte, header_len: usize::from(header_len), body_len: body_len as usize }))
}

/// Cuts the first packet off `input`, without a copy: its first byte and its body. `None` if it has
/// not arrived as a whole; then `input` is as it was.
///
/// # Errors
/// As [`peek`].
#[inline]
pub fn take(input: &mut BytesMut, limits: &Limits) -> Result<Option<(u8, Bytes)>, Offence> {
    match peek(input, limits)? {
        Some(frame) if input.len() >= frame.packet_len() => {
            let mut packet = input.split_to(frame.packet_len()).freeze();
            packet.advance(frame.header_len);
            Ok(Some((frame.first_byte, packet)))
        }
        _ => Ok(None),
    }
}

/// The type of a packet, and the judgement on its flags.
#[inline]
pub(crate) fn kind_of(first_byte: u8) -> Result<PacketKind, Offence> {
    let kind = PacketKind::from_first_byte(first_byte).ok_or(Offence::PacketTypeReserved)?;
    if kind == PacketKind::Publish {
        let flags = PublishFlags::read(first_byte)?;
        return if flags.dup && flags.qos == QoS::AtMostOnce { Err(Offence::DupAtQoS0) } else { Ok(kind) };
    }
    if first_byte == kind.first_byte() { Ok(kind) } else { Err(Offence::FlagsInvalid { first_byte }) }
}

/// The flags of PUBLISH (3.3.1).
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublishFlags {
    pub(crate) dup: bool,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

impl PublishFlags {
    #[inline]
    pub(crate) fn read(first_byte: u8) -> Result<Self, Offence> {
        let qos = QoS::from_bits((first_byte >> 1) & 0b11).ok_or(Offence::QoSInvalid)?;
        Ok(Self { dup: first_byte & 0b1000 != 0, qos, retain: first_byte & 1 != 0 })
    }

    /// The first byte of PUBLISH; DUP is dropped at QoS 0 [MQTT-3.3.1-2].
    #[inline]
    pub(crate) const fn first_byte(self) -> u8 {
        let qos = self.qos as u8;
        let dup = self.dup && qos > 0;
        ((PacketKind::Publish as u8) << 4) | ((dup as u8) << 3) | (qos << 1) | self.retain as u8
    }
}
