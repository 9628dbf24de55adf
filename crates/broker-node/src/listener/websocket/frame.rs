//! Frames of RFC 6455 section 5: takes a client's apart as they come in, byte by byte if need be, and heads our own.
//! Pure; `websocket` does the reading and writing. Holds a frame header or a control frame at most, never data.

use std::fmt;

pub(super) const CONTINUATION: u8 = 0x0;
pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xA;

/// Status 1000 of section 7.4.1.
pub(super) const NORMAL_CLOSURE: u16 = 1000;

/// Bytes of the longest header that we send: unmasked, with a length of 64 bits.
pub(super) const HEADER_MAX: usize = 10;
/// Bytes of the longest header of a client.
const CLIENT_HEADER_MAX: usize = 14;
/// Bytes of the longest control frame's payload (section 5.5).
const CONTROL_MAX: u64 = 125;
/// The longest data frame: the largest MQTT packet there is.
const DATA_MAX: u64 = 268_435_455 + 5;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0F;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;

/// How a client can break the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A frame that is not masked.
    Unmasked,
    /// A reserved bit or opcode.
    Reserved,
    /// A control frame that is fragmented or longer than 125 bytes, or a close frame that makes no sense.
    BadControl,
    /// A continuation of nothing, or a message begun inside another.
    BadFragment,
    /// A text message; MQTT is binary [MQTT-6.0.0-1].
    Text,
    /// A frame longer than any MQTT packet.
    TooLong,
}

impl Fault {
    /// The status code of the close frame that answers it.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Unmasked | Self::Reserved | Self::BadControl | Self::BadFragment => 1002,
            Self::Text => 1003,
            Self::TooLong => 1009,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unmasked => "websocket frame is not masked",
            Self::Reserved => "websocket frame with a reserved bit or opcode",
            Self::BadControl => "malformed websocket control frame",
            Self::BadFragment => "websocket fragments out of order",
            Self::Text => "websocket text frame",
            Self::TooLong => "websocket frame too long",
        })
    }
}

impl std::error::Error for Fault {}

/// What a client's control frames ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A pong with this payload; for the latest ping only, as section 5.5.3 allows.
    Pong(Vec<u8>),
    /// A close frame with this payload; nothing follows it.
    Close(Vec<u8>),
}

/// Where in the stream of frames we are.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    /// The header as far as it has come.
    header: [u8; CLIENT_HEADER_MAX],
    header_len: usize,
    /// Bytes of the current frame's payload that are still to come.
    left: u64,
    /// The key, turned so that its first byte is for the next byte of payload.
    mask: [u8; 4],
    /// The opcode of the current control frame, and its payload so far.
    control: Option<(u8, Vec<u8>)>,
    /// Whether a message has begun whose last frame has not.
    in_message: bool,
}

impl Deframer {
    /// Takes the frames out of `raw`, moves the data to its front and says how much that is. An error or `Close` is
    /// final: the data counted was before it, and what followed is lost.
    pub(super) fn feed(&mut self, raw: &mut [u8]) -> (usize, Result<Option<Reply>, Fault>) {
        let mut reply = None;
        let (mut at, mut kept) = (0, 0);
        while at < raw.len() {
            if self.left == 0 && self.control.is_none() {
                let Some(byte) = raw.get(at).copied() else { break };
                at += 1;
                match self.header_byte(byte) {
                    Err(fault) => return (kept, Err(fault)),
                    Ok(false) => continue,
                    // An empty control frame is complete with its header, an empty data frame is nothing.
                    Ok(true) => {}
                }
            }
            let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(raw.len() - at);
            if let Some(payload) = raw.get_mut(at..at + count) {
                self.unmask(payload);
                if let Some((_, control)) = &mut self.control {
                    control.extend_from_slice(payload);
                } else {
                    raw.copy_within(at..at + count, kept);
                    kept += count;
                }
            }
            at += count;
            self.left -= count as u64;
            match self.finish_control() {
                Err(fault) => return (kept, Err(fault)),
                Ok(Some(Reply::Close(payload))) => return (kept, Ok(Some(Reply::Close(payload)))),
                Ok(Some(pong)) => reply = Some(pong),
                Ok(None) => {}
            }
        }
        (kept, Ok(reply))
    }

    /// Takes one byte of a header; true when the header is complete.
    fn header_byte(&mut self, byte: u8) -> Result<bool, Fault> {
        if let Some(next) = self.header.get_mut(self.header_len) {
            *next = byte;
        }
        self.header_len += 1;
        let [first, second, ..] = self.header;
        match self.header_len {
            1 => return self.check_opcode(first).map(|()| false),
            2 if second & MASKED == 0 => return Err(Fault::Unmasked),
            _ => {}
        }
        let length_bytes = match second & LENGTH {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.header_len < 2 + length_bytes + 4 {
            return Ok(false);
        }
        let (head, _) = self.header.split_at(self.header_len);
        let (head, mask) = head.split_last_chunk().ok_or(Fault::Reserved)?;
        let (_, length) = head.split_at(2);
        let length = match length_bytes {
            0 => u64::from(second & LENGTH),
            _ => length.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
        };
        self.mask = *mask;
        self.header_len = 0;
        self.begin(first, length).map(|()| true)
    }

    fn check_opcode(&self, first: u8) -> Result<(), Fault> {
        if first & RESERVED != 0 {
            return Err(Fault::Reserved);
        }
        match first & OPCODE {
            BINARY if self.in_message => Err(Fault::BadFragment),
            CONTINUATION if !self.in_message => Err(Fault::BadFragment),
            CLOSE | PING | PONG if first & FIN == 0 => Err(Fault::BadControl),
            TEXT => Err(Fault::Text),
            CONTINUATION | BINARY | CLOSE | PING | PONG => Ok(()),
            _ => Err(Fault::Reserved),
        }
    }

    fn begin(&mut self, first: u8, length: u64) -> Result<(), Fault> {
        let opcode = first & OPCODE;
        if matches!(opcode, CLOSE | PING | PONG) {
            if length > CONTROL_MAX {
                return Err(Fault::BadControl);
            }
            self.control = Some((opcode, Vec::new()));
        } else {
            if length > DATA_MAX {
                return Err(Fault::TooLong);
            }
            self.in_message = first & FIN == 0;
        }
        self.left = length;
        Ok(())
    }

    fn unmask(&mut self, payload: &mut [u8]) {
        let (words, rest) = payload.as_chunks_mut::<8>();
        let [a, b, c, d] = self.mask;
        let key = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.mask.iter().cycle()) {
            *byte ^= key;
        }
        self.mask.rotate_left(rest.len() % 4);
    }

    /// What a control frame asks for, when it is complete.
    fn finish_control(&mut self) -> Result<Option<Reply>, Fault> {
        if self.left > 0 {
            return Ok(None);
        }
        match self.control.take() {
            Some((PING, payload)) => Ok(Some(Reply::Pong(payload))),
            Some((CLOSE, payload)) => close_reply(payload).map(Some),
            _ => Ok(None),
        }
    }
}

/// The answer to a close frame: its own status code, if it has one that may be sent (section 7.4).
fn close_reply(mut payload: Vec<u8>) -> Result<Reply, Fault> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(Reply::Close(payload)) } else { Err(Fault::BadControl) };
    };
    let allowed = matches!(u16::from_be_bytes(*code), 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !allowed || std::str::from_utf8(reason).is_err() {
        return Err(Fault::BadControl);
    }
    payload.truncate(2);
    Ok(Reply::Close(payload))
}

/// The header of one of our frames.
#[derive(Debug)]
pub(super) struct FrameHeader {
    bytes: [u8; HEADER_MAX],
    len: usize,
}

impl FrameHeader {
    /// The bytes to send.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// The header of an unfragmented, unmasked frame.
pub(super) fn frame_header(opcode: u8, length: usize) -> FrameHeader {
    let [a, b, c, d, e, f, g, h] = (length as u64).to_be_bytes();
    let first = FIN | opcode;
    let (bytes, len) = match length {
        0..=125 => ([first, h, 0, 0, 0, 0, 0, 0, 0, 0], 2),
        126..=0xFFFF => ([first, 126, g, h, 0, 0, 0, 0, 0, 0], 4),
        _ => ([first, 127, a, b, c, d, e, f, g, h], HEADER_MAX),
    };
    FrameHeader { bytes, len }
}
