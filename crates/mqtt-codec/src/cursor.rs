//! `Cursor`: reads the wire's basic types (1.5) off the front of a slice.
//! Used by every decoder.
//! It never copies, and never reads beyond its slice: a field that would is an offence.

use core::num::NonZeroU16;

use crate::basic::PacketId;
use crate::offence::Offence;
use crate::text;

/// What is left to read of a packet or of a block of properties.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// Bytes left.
    #[inline]
    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Offence> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Offence::BodyTooShort)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Offence> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Offence::BodyTooShort)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Offence> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Offence> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Offence> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Offence> {
        let id = NonZeroU16::new(self.u16()?).ok_or(Offence::PacketIdZero)?;
        Ok(PacketId::from(id))
    }

    /// A variable byte integer (1.5.5), at most 268,435,455.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u32, Offence> {
        match varint(self.rest) {
            Ok(Some((value, len))) => {
                self.take(usize::from(len))?;
                Ok(value)
            }
            Ok(None) => Err(Offence::BodyTooShort),
            Err(Malformed) => Err(Offence::VariableByteIntegerMalformed),
        }
    }

    /// Binary data (1.5.6).
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Offence> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A string (1.5.4).
    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a str, Offence> {
        Ok(text::check(self.binary()?)?)
    }

    /// Passes over one byte if it is 0.
    #[inline]
    pub(crate) fn skip_zero(&mut self) -> bool {
        match self.rest {
            [0, rest @ ..] => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Ends the packet: nothing may be left.
    #[inline]
    pub(crate) fn finish(&self) -> Result<(), Offence> {
        if self.rest.is_empty() { Ok(()) } else { Err(Offence::TrailingBytes) }
    }
}

/// A variable byte integer with a fifth byte, or with a last byte of 0 that it could do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads a variable byte integer and its length, 1 to 4; `None` if it goes on behind the slice.
///
/// The shortest form is required of Remaining Length too. 3.1.1 does not forbid a longer one in
/// words, but its table of lengths (2.2.3, table 2.4) leaves no room for it.
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Result<Option<(u32, u8)>, Malformed> {
    let mut value = 0_u32;
    let mut len = 0_u8;
    for byte in bytes.iter().take(4) {
        value |= u32::from(byte & 0x7F) << (7 * len);
        len += 1;
        if byte & 0x80 == 0 {
            let padded = *byte == 0 && len > 1;
            return if padded { Err(Malformed) } else { Ok(Some((value, len))) };
        }
    }
    if len == 4 { Err(Malformed) } else { Ok(None) }
}
