//! A client of MQTT 3.1.1 that does one thing after the other, for what `quelea bench` does not measure. Used by the rows;
//! it knows the few packets that these need.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBACK: u8 = 0x90;
/// The exchange of a client with one at a time.
const PACKET_ID: [u8; 2] = [0, 1];

/// A connected client.
pub(super) struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects to a node's port, and waits `within` for each answer.
    pub(super) fn connect(port: u16, id: &str, clean: bool, within: Duration) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(within))?;
        let mut client = Self { stream };
        let mut body = text("MQTT");
        // Without keep alive.
        body.extend([4, if clean { 2 } else { 0 }, 0, 0]);
        body.extend(text(id));
        client.send(0x10, &body)?;
        let answer = client.answer(CONNACK)?;
        ensure!(answer.get(1) == Some(&0), "CONNECT was refused: {answer:?}");
        Ok(client)
    }

    /// Subscribes to all of these at QoS 1.
    pub(super) fn subscribe<'a>(&mut self, filters: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let mut body = PACKET_ID.to_vec();
        for filter in filters {
            body.extend(text(filter));
            body.push(1);
        }
        self.send(0x82, &body)?;
        let answer = self.answer(SUBACK)?;
        ensure!(answer.iter().skip(2).all(|code| *code <= 1), "SUBSCRIBE was refused");
        Ok(())
    }

    /// Publishes at QoS 1 and waits for PUBACK.
    pub(super) fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<()> {
        let mut body = text(topic);
        body.extend(PACKET_ID);
        body.extend(payload);
        self.send(0x32, &body)?;
        self.answer(PUBACK).map(drop)
    }

    /// Whether a message with this payload comes before nothing has come for the time of an answer. Whatever comes at QoS 1
    /// is acknowledged.
    pub(super) fn receives(&mut self, payload: &[u8]) -> bool {
        while let Ok((first, body)) = self.packet() {
            let Some((id, found)) = published(first, &body) else { continue };
            if id.is_some_and(|id| self.send(PUBACK, &id).is_err()) {
                return false;
            }
            if found == payload {
                return true;
            }
        }
        false
    }

    /// Ends the connection in order.
    pub(super) fn disconnect(mut self) -> Result<()> {
        self.send(0xE0, &[])
    }

    fn send(&mut self, first: u8, body: &[u8]) -> Result<()> {
        let mut packet = vec![first];
        packet.extend(length(body.len()));
        packet.extend(body);
        self.stream.write_all(&packet).context("cannot write")
    }

    /// The body of the next packet, which must be of this kind.
    fn answer(&mut self, kind: u8) -> Result<Vec<u8>> {
        let (first, body) = self.packet()?;
        ensure!(first == kind, "expected a packet of kind {kind:#x}, found {first:#x}");
        Ok(body)
    }

    /// The first byte of the next packet, and its body.
    fn packet(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut first = [0];
        self.stream.read_exact(&mut first).context("no answer")?;
        let (mut len, mut shift) = (0_usize, 0);
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            let [byte] = byte;
            len |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
            ensure!(shift < 28, "expected a length of four bytes at most");
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body)?;
        let [first] = first;
        Ok((first, body))
    }
}

/// The packet id, above QoS 0, and the payload of a PUBLISH.
fn published(first: u8, body: &[u8]) -> Option<(Option<[u8; 2]>, &[u8])> {
    if first & 0xF0 != PUBLISH {
        return None;
    }
    let (len, rest) = body.split_first_chunk::<2>()?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*len))..)?;
    if first & 0b110 == 0 {
        return Some((None, rest));
    }
    let (id, payload) = rest.split_first_chunk::<2>()?;
    Some((Some(*id), payload))
}

/// A string of a packet. None here is longer than its two bytes of length can say.
fn text(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&len.to_be_bytes()[..], text.as_bytes()].concat()
}

fn length(mut len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(len & 0x7F).unwrap_or_default();
        len >>= 7;
        if len == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_strings_as_the_standard_has_them() {
        assert_eq!(length(0), [0]);
        assert_eq!(length(127), [127]);
        assert_eq!(length(128), [0x80, 1]);
        assert_eq!(length(16_384), [0x80, 0x80, 1]);
        assert_eq!(text("ab"), [0, 2, b'a', b'b']);
    }

    #[test]
    fn reads_the_payload_of_a_publish() {
        assert_eq!(published(0x32, &[0, 1, b'a', 0, 9, b'p']), Some((Some([0, 9]), &b"p"[..])));
        assert_eq!(published(0x30, &[0, 1, b'a', b'p']), Some((None, &b"p"[..])));
        assert_eq!(published(0x40, &[0, 9]), None);
        assert_eq!(published(0x32, &[0, 9, b'a']), None);
    }
}
