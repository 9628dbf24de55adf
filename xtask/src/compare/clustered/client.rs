//! A client of MQTT 3.1.1 that does one thing after the other, for what `quelea bench` does not measure. Used by the rows;
//! it knows the few packets that these need.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const CONNACK: u8 = 0x20;
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
        ensure!(first == [kind], "expected a packet of kind {kind:#x}, found {first:?}");
        Ok(body)
    }
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
}
