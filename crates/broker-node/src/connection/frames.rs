//! Bytes that arrived, cut into packets. A packet is decoded only when all of it is there, and memory
//! grows with what arrived, never with what was announced.

use bytes::{Buf, Bytes, BytesMut};
use mqtt_codec::{Limits, Offence, Packet, frame, short_ack};

/// One packet, not decoded.
#[derive(Debug)]
pub(crate) struct RawPacket {
    /// Type and flags.
    pub(crate) first_byte: u8,
    /// What follows the fixed header.
    pub(crate) body: Bytes,
}

/// Bytes of one connection that are not handled yet.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// A whole read, cut from its front.
    chunk: Bytes,
    /// The beginning of a packet whose rest has not arrived; `chunk` is empty then.
    partial: BytesMut,
}

impl Frames {
    /// Adds what was read.
    pub(crate) fn add(&mut self, read: &[u8]) {
        if self.partial.is_empty() && self.chunk.is_empty() {
            self.chunk = Bytes::copy_from_slice(read);
            return;
        }
        if !self.chunk.is_empty() {
            self.partial.extend_from_slice(&std::mem::take(&mut self.chunk));
        }
        self.partial.extend_from_slice(read);
    }

    /// The first byte of the next packet, whether or not the packet is complete.
    pub(crate) fn first_byte(&self) -> Option<u8> {
        self.chunk.first().or_else(|| self.partial.first()).copied()
    }

    /// The next packet, if it is an acknowledgement that is all there and has nothing but its packet id. It is
    /// decoded where it lies: to cut it off would cost more than all else that is done for it.
    pub(crate) fn next_short_ack(&mut self) -> Option<Packet> {
        let (packet, len) = short_ack(&self.chunk)?;
        self.chunk.advance(len);
        Some(packet)
    }

    /// The next complete packet.
    ///
    /// # Errors
    /// An offence of the fixed header, found before the rest of the packet is there.
    pub(crate) fn next(&mut self, limits: &Limits) -> Result<Option<RawPacket>, Offence> {
        if self.partial.is_empty() {
            return self.next_of_chunk(limits);
        }
        let Some(header) = frame::peek(&self.partial, limits)? else { return Ok(None) };
        let len = header.header_len + header.body_len;
        if self.partial.len() < len {
            return Ok(None);
        }
        let mut packet = self.partial.split_to(len).freeze();
        self.chunk = std::mem::take(&mut self.partial).freeze();
        packet.advance(header.header_len);
        Ok(Some(RawPacket { first_byte: header.first_byte, body: packet }))
    }

    fn next_of_chunk(&mut self, limits: &Limits) -> Result<Option<RawPacket>, Offence> {
        let Some(header) = frame::peek(&self.chunk, limits)? else {
            self.keep_partial();
            return Ok(None);
        };
        let len = header.header_len + header.body_len;
        if self.chunk.len() < len {
            self.keep_partial();
            return Ok(None);
        }
        let mut packet = self.chunk.split_to(len);
        packet.advance(header.header_len);
        Ok(Some(RawPacket { first_byte: header.first_byte, body: packet }))
    }

    fn keep_partial(&mut self) {
        if !self.chunk.is_empty() {
            self.partial = BytesMut::from(&*std::mem::take(&mut self.chunk));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_whole_however_they_arrive() {
        let bytes: &[u8] = &[0xC0, 0, 0x30, 3, 0, 1, b'a', 0xE0, 0];
        for size in 1..=bytes.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for read in bytes.chunks(size) {
                frames.add(read);
                while let Some(packet) = frames.next(&Limits::default()).unwrap() {
                    seen.push((packet.first_byte, packet.body.len()));
                }
            }
            assert_eq!(seen, [(0xC0, 0), (0x30, 3), (0xE0, 0)], "reads of {size}");
            assert_eq!(frames.first_byte(), None);
        }
    }

    #[test]
    fn a_short_acknowledgement_is_what_the_long_way_makes_of_it() {
        let packets: [&[u8]; 9] = [
            &[0x40, 2, 0, 7],
            &[0x50, 2, 1, 0],
            &[0x62, 2, 0xFF, 0xFF],
            &[0x70, 2, 0, 1],
            &[0x60, 2, 0, 1],
            &[0x40, 2, 0, 0],
            &[0x40, 3, 0, 1, 0],
            &[0x32, 2, 0, 1],
            &[0xB0, 2, 0, 1],
        ];
        let mut short = 0;
        for packet in packets {
            let mut frames = Frames::default();
            frames.add(&[packet, &[0xC0, 0]].concat());
            let Some(found) = frames.next_short_ack() else { continue };
            short += 1;
            let mut again = Frames::default();
            again.add(packet);
            let raw = again.next(&Limits::default()).unwrap().unwrap();
            let decoded =
                mqtt_codec::decode(mqtt_codec::Version::V5, raw.first_byte, raw.body, &Limits::default());
            assert_eq!(Ok(found), decoded);
            assert_eq!(frames.next(&Limits::default()).unwrap().map(|raw| raw.first_byte), Some(0xC0));
        }
        assert_eq!(short, 4, "wrong flags, id 0, a reason code and other types go the long way");
        let mut incomplete = Frames::default();
        incomplete.add(&[0x40, 2, 0]);
        assert_eq!(incomplete.next_short_ack(), None);
    }
}
