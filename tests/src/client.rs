//! A client that sends any bytes and reads one packet at a time, with bounds on every wait.
//! Used by every test; it answers nothing by itself and keeps no session state.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::packets::{self, Connect, Publish};
use crate::parse::{Ack, ConnAck, Packet, ReceivedPublish};
use crate::transport::{Transport, tcp};
use crate::wire::{Props, Version, kind};
use crate::{BOUND, PATIENCE, QUIET};

/// What a bounded wait for a packet brought.
#[derive(Debug)]
pub enum Read {
    /// A whole packet.
    Packet(Packet),
    /// The end of the stream, or a reset.
    Closed,
    /// Nothing in time.
    Nothing,
}

/// One connection to the broker under test.
pub struct RawClient {
    transport: Box<dyn Transport>,
    buffer: Vec<u8>,
    waiting: VecDeque<Packet>,
    version: Version,
    next_id: u16,
    bound: Duration,
}

impl RawClient {
    /// A TCP connection on which nothing was sent yet; packets are read as 5.0 until [`RawClient::speak`].
    pub fn open(addr: &str) -> Self {
        Self::over(Box::new(tcp(addr)))
    }

    /// The same over another transport.
    pub fn over(transport: Box<dyn Transport>) -> Self {
        let (buffer, waiting) = (Vec::new(), VecDeque::new());
        Self { transport, buffer, waiting, version: Version::V5, next_id: 1, bound: BOUND }
    }

    /// Waits longer than [`BOUND`] for what must come, from now on: several processes may have to agree on it.
    pub fn be_patient(&mut self) {
        self.bound = PATIENCE;
    }

    /// Reads and writes packets in this version's form from now on.
    pub fn speak(&mut self, version: Version) {
        self.version = version;
    }

    /// Connects, sends CONNECT, and expects success.
    pub fn connect(addr: &str, connect: &Connect) -> Self {
        Self::connect_ack(addr, connect).0
    }

    /// Connects, sends CONNECT, expects success and gives the CONNACK too.
    pub fn connect_ack(addr: &str, connect: &Connect) -> (Self, ConnAck) {
        let mut client = Self::open(addr);
        let connack = client.handshake(connect);
        assert_eq!(connack.reason, 0, "CONNECT was refused: {connack:?}");
        (client, connack)
    }

    /// Connects as 5.0 with a clean start and no expiry.
    pub fn v5(addr: &str, client_id: &str) -> Self {
        Self::connect(addr, &Connect::v5(client_id))
    }

    /// Connects as 3.1.1 with a clean session.
    pub fn v3(addr: &str, client_id: &str) -> Self {
        Self::connect(addr, &Connect::v3(client_id))
    }

    /// Sends CONNECT on this connection and gives the CONNACK, whatever it says.
    pub fn handshake(&mut self, connect: &Connect) -> ConnAck {
        self.version = connect.version;
        self.send(&connect.bytes());
        self.expect(kind::CONNACK).connack(self.version)
    }

    /// Sends bytes. A peer that has closed is no error here: what follows shows it.
    pub fn send(&mut self, bytes: &[u8]) {
        drop(self.transport.send(bytes));
    }

    /// Ends the connection without DISCONNECT.
    pub fn drop_connection(mut self) {
        self.transport.shutdown();
    }

    /// Sends DISCONNECT (reason 0x00) and waits for the broker to close.
    pub fn disconnect(mut self) {
        self.send(&packets::disconnect());
        self.expect_closed();
    }

    /// Waits up to `timeout` for the next packet.
    pub fn read(&mut self, timeout: Duration) -> Read {
        if let Some(packet) = self.waiting.pop_front() {
            return Read::Packet(packet);
        }
        self.read_fresh(timeout)
    }

    /// Waits up to `timeout` for the next packet of this type; those of other types that come before it are kept for later
    /// reads, but for a DISCONNECT, which is given at once.
    pub fn read_among(&mut self, expected: u8, timeout: Duration) -> Read {
        if let Some(at) = self.waiting.iter().position(|packet| packet.kind() == expected) {
            return self.waiting.remove(at).map_or(Read::Nothing, Read::Packet);
        }
        let deadline = Instant::now() + timeout;
        loop {
            match self.read_fresh(deadline.saturating_duration_since(Instant::now())) {
                Read::Packet(packet) if ![expected, kind::DISCONNECT].contains(&packet.kind()) => {
                    self.waiting.push_back(packet);
                }
                read => return read,
            }
        }
    }

    fn read_fresh(&mut self, timeout: Duration) -> Read {
        let deadline = Instant::now() + timeout;
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(packet) = Packet::take(&mut self.buffer) {
                return Read::Packet(packet);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Read::Nothing;
            }
            match self.transport.receive(&mut chunk, left) {
                Ok(0) => return Read::Closed,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Read::Closed,
            }
        }
    }

    /// The next packet, which must come and be of this type.
    #[track_caller]
    pub fn expect(&mut self, expected: u8) -> Packet {
        self.expect_one_of(&[expected])
    }

    /// The next packet, which must come and be of one of these types.
    #[track_caller]
    pub fn expect_one_of(&mut self, expected: &[u8]) -> Packet {
        match self.read(self.bound) {
            Read::Packet(packet) if expected.contains(&packet.kind()) => packet,
            other => panic!("expected packet type {expected:?}, got {other:02x?}"),
        }
    }

    /// The next packet of this type; those of other types that come before it are kept for later reads.
    #[track_caller]
    pub fn expect_among(&mut self, expected: u8) -> Packet {
        if let Some(at) = self.waiting.iter().position(|packet| packet.kind() == expected) {
            return self.waiting.remove(at).unwrap();
        }
        loop {
            match self.read_fresh(self.bound) {
                Read::Packet(packet) if packet.kind() == expected => return packet,
                Read::Packet(packet) => self.waiting.push_back(packet),
                other => panic!("expected packet type {expected}, got {other:?} after {:02x?}", self.waiting),
            }
        }
    }

    /// The next packet, which must be a PUBLISH.
    #[track_caller]
    pub fn expect_publish(&mut self) -> ReceivedPublish {
        self.expect(kind::PUBLISH).publish(self.version)
    }

    /// The next packet, which must be a PUBLISH, answered as its QoS demands.
    #[track_caller]
    pub fn receive(&mut self) -> ReceivedPublish {
        let publish = self.expect_publish();
        self.answer(&publish);
        publish
    }

    /// Answers a PUBLISH to the end of its exchange.
    #[track_caller]
    pub fn answer(&mut self, publish: &ReceivedPublish) {
        if publish.qos == 1 {
            self.send(&packets::ack(kind::PUBACK, publish.packet_id));
        }
        if publish.qos == 2 {
            self.send(&packets::ack(kind::PUBREC, publish.packet_id));
            let pubrel = self.expect_among(kind::PUBREL).ack(self.version);
            assert_eq!(pubrel.packet_id, publish.packet_id, "PUBREL repeats the packet id");
            self.send(&packets::ack(kind::PUBCOMP, publish.packet_id));
        }
    }

    /// The next packet, which must be this kind of ack.
    #[track_caller]
    pub fn expect_ack(&mut self, expected: u8) -> Ack {
        self.expect(expected).ack(self.version)
    }

    /// A SUBACK, or `None` when the broker ends the connection for it (with a code of a bad packet, if with any).
    #[track_caller]
    pub fn expect_suback_or_end(&mut self) -> Option<Ack> {
        loop {
            match self.read(self.bound) {
                Read::Packet(packet) if packet.kind() == kind::SUBACK => {
                    return Some(packet.ack(self.version));
                }
                Read::Packet(packet) if packet.kind() == kind::PUBLISH => {}
                Read::Packet(packet) => {
                    let code = packet.reasoned().reason;
                    assert!([0x81, 0x82, 0x8F].contains(&code), "DISCONNECT {code:#04x}");
                }
                Read::Closed => return None,
                Read::Nothing => panic!("neither SUBACK nor the end of the connection"),
            }
        }
    }

    /// Fails when a packet or the end of the stream comes within [`QUIET`].
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        self.expect_nothing_for(QUIET);
    }

    /// Fails when a packet or the end of the stream comes within `time`.
    #[track_caller]
    pub fn expect_nothing_for(&mut self, time: Duration) {
        match self.read(time) {
            Read::Nothing => {}
            other => panic!("expected nothing, got {other:02x?}"),
        }
    }

    /// Waits for the broker to close; gives the packets that came before.
    #[track_caller]
    pub fn expect_closed(&mut self) -> Vec<Packet> {
        self.expect_closed_within(self.bound)
    }

    /// Waits for the broker to close; gives the packets that came before.
    #[track_caller]
    pub fn expect_closed_within(&mut self, time: Duration) -> Vec<Packet> {
        let deadline = Instant::now() + time;
        let mut before = Vec::new();
        loop {
            match self.read(deadline.saturating_duration_since(Instant::now())) {
                Read::Packet(packet) => before.push(packet),
                Read::Closed => return before,
                Read::Nothing => panic!("the connection was not closed within {time:?}; read {before:02x?}"),
            }
        }
    }

    /// Expects the broker to end the connection: silently, or (5.0) after a last CONNACK or DISCONNECT with one of
    /// these codes. Gives the code if there was one. Other packets before it are allowed only if they are acks or
    /// publishes that were under way.
    #[track_caller]
    pub fn expect_refusal(&mut self, codes: &[u8]) -> Option<u8> {
        let last = self.expect_closed().pop()?;
        let code = match last.kind() {
            kind::CONNACK => last.connack(self.version).reason,
            kind::DISCONNECT => last.reasoned().reason,
            _ => return None,
        };
        assert!(codes.contains(&code), "closed with {code:#04x}, expected one of {codes:02x?}");
        Some(code)
    }

    /// A packet id this client has not used yet.
    pub fn fresh_id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Subscribes to one filter with this options byte (the QoS in 3.x) and expects it granted.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, options: u8) -> Ack {
        let ack = self.subscribe_with(&[(filter, options)], &Props::new());
        assert!(ack.codes.len() == 1 && ack.code() < 0x80, "SUBSCRIBE {filter} was refused: {ack:?}");
        ack
    }

    /// Subscribes to several filters, with properties in 5.0; gives the SUBACK.
    #[track_caller]
    pub fn subscribe_with(&mut self, filters: &[(&str, u8)], props: &Props) -> Ack {
        let id = self.fresh_id();
        self.send(&packets::subscribe(self.version, id, filters, props));
        let ack = self.expect_among(kind::SUBACK).ack(self.version);
        assert_eq!(ack.packet_id, id, "SUBACK repeats the packet id");
        ack
    }

    /// Unsubscribes from filters; gives the UNSUBACK.
    #[track_caller]
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Ack {
        let id = self.fresh_id();
        self.send(&packets::unsubscribe(self.version, id, filters, &Props::new()));
        let ack = self.expect_among(kind::UNSUBACK).ack(self.version);
        assert_eq!(ack.packet_id, id, "UNSUBACK repeats the packet id");
        ack
    }

    /// Publishes at QoS 0, 1 or 2 and waits for the exchange to end well.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        let publish = Publish::new(self.version, topic, payload);
        self.publish_packet(publish, qos);
    }

    /// Sends this PUBLISH at a QoS with a fresh packet id and waits for the exchange to end well.
    #[track_caller]
    pub fn publish_packet(&mut self, publish: Publish, qos: u8) {
        let id = if qos > 0 { self.fresh_id() } else { 0 };
        self.send(&publish.qos(qos, id).bytes());
        if qos == 1 {
            self.expect_good(kind::PUBACK, id);
        }
        if qos == 2 {
            self.expect_good(kind::PUBREC, id);
            self.send(&packets::ack(kind::PUBREL, id));
            self.expect_good(kind::PUBCOMP, id);
        }
    }

    #[track_caller]
    fn expect_good(&mut self, ack_kind: u8, id: u16) {
        let ack = self.expect_among(ack_kind).ack(self.version);
        assert!(ack.packet_id == id && ack.code() < 0x80, "ack {ack_kind} of {id}: {ack:?}");
    }

    /// PINGREQ and PINGRESP: everything sent before was read by the broker.
    #[track_caller]
    pub fn ping(&mut self) {
        self.send(&packets::pingreq());
        let pong = self.expect_among(kind::PINGRESP);
        assert!(pong.first == kind::PINGRESP << 4 && pong.body.is_empty(), "PINGRESP is two bytes: {pong:?}");
    }
}
