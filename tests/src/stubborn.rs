//! Clients that do not give up: each begins again, on whichever node answers, until it has its acknowledgement. What such a
//! client was told is what must never be lost. Used by the tests of clusters.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::Read;
use crate::packets::{self, Connect};
use crate::wire::{kind, prop};
use crate::{PATIENCE, Props, Publish, RawClient, Version, pause};

/// How long an answer may take before the client tries elsewhere.
const ANSWER: Duration = Duration::from_secs(20);

/// A CONNECT of a session that outlives its connection.
fn persistent(client: &str) -> Connect {
    let mut connect = Connect::v5(client);
    connect.clean = false;
    connect.props = Props::new().four(prop::SESSION_EXPIRY, 3_600);
    connect
}

/// Connects to the first of these nodes that lets it in.
pub fn session(client: &str, nodes: &[String]) -> RawClient {
    let deadline = Instant::now() + PATIENCE;
    for node in nodes.iter().cycle() {
        assert!(Instant::now() < deadline, "nobody lets {client} in");
        if TcpStream::connect(node).is_ok() {
            let mut connection = RawClient::open(node);
            connection.speak(Version::V5);
            connection.send(&persistent(client).bytes());
            if let Read::Packet(packet) = connection.read(ANSWER)
                && packet.kind() == kind::CONNACK
                && packet.connack(Version::V5).reason == 0
            {
                connection.be_patient();
                return connection;
            }
        }
        pause(Duration::from_millis(50));
    }
    unreachable!("there are nodes")
}

/// A publisher that goes through the whole exchange of each message.
pub struct Publisher {
    client: String,
    nodes: Vec<String>,
    connection: Option<RawClient>,
    next_id: u16,
}

impl Publisher {
    /// Prefers the first of these nodes.
    pub fn new(client: &str, nodes: Vec<String>) -> Self {
        Self { client: client.to_owned(), nodes, connection: None, next_id: 0 }
    }

    /// Publishes until it is acknowledged to the end.
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) {
        self.complete(Publish::new(Version::V5, topic, payload), qos);
    }

    /// The same at QoS 1, to be retained.
    pub fn retain(&mut self, topic: &str, payload: &[u8]) {
        self.complete(Publish::new(Version::V5, topic, payload).retain(), 1);
    }

    fn complete(&mut self, publish: Publish, qos: u8) {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        let id = self.next_id;
        let publish = publish.qos(qos, id);
        let (mut packet, mut answer) = (publish.bytes(), if qos == 1 { kind::PUBACK } else { kind::PUBREC });
        loop {
            if !self.exchange(&packet, answer, id) {
                // The same again: a repeat.
                if answer != kind::PUBCOMP {
                    packet = publish.clone().dup().bytes();
                }
                continue;
            }
            if answer != kind::PUBREC {
                return;
            }
            (packet, answer) = (packets::ack(kind::PUBREL, id), kind::PUBCOMP);
        }
    }

    /// Sends a packet and waits for its answer; gives up with the connection.
    fn exchange(&mut self, packet: &[u8], answer: u8, id: u16) -> bool {
        let connection = self.connection.get_or_insert_with(|| session(&self.client, &self.nodes));
        connection.send(packet);
        let deadline = Instant::now() + ANSWER;
        loop {
            match connection.read(deadline.saturating_duration_since(Instant::now())) {
                Read::Packet(found) if found.kind() == answer => {
                    let ack = found.ack(Version::V5);
                    assert!(ack.code() < 0x80 || ack.code() == 0x92, "{ack:?}");
                    if ack.packet_id == id {
                        return true;
                    }
                }
                Read::Packet(found) if found.kind() != kind::DISCONNECT => {}
                _ => {
                    self.connection = None;
                    self.nodes.rotate_left(1);
                    return false;
                }
            }
        }
    }
}

/// Subscribes a session, wherever, until that is acknowledged, and leaves it there.
pub fn subscribe(client: &str, filter: &str, nodes: &[String]) {
    let deadline = Instant::now() + PATIENCE;
    let mut nodes = nodes.to_vec();
    loop {
        assert!(Instant::now() < deadline, "nobody takes the subscription of {client}");
        let mut connection = session(client, &nodes);
        let id = connection.fresh_id();
        connection.send(&packets::subscribe(Version::V5, id, &[(filter, 2)], &Props::new()));
        if let Read::Packet(packet) = connection.read_among(kind::SUBACK, ANSWER)
            && packet.kind() == kind::SUBACK
        {
            let ack = packet.ack(Version::V5);
            assert!(ack.packet_id == id && ack.code() < 0x80, "SUBSCRIBE {filter} was refused: {ack:?}");
            return connection.disconnect();
        }
        nodes.rotate_left(1);
    }
}

/// All payloads that wait for a session, up to so many different ones.
pub fn drain(client: &str, expected: usize, nodes: &[String]) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut got: Vec<Vec<u8>> = Vec::new();
    let mut different = BTreeSet::new();
    let mut connection = session(client, nodes);
    // QoS 2 exchanges that have not ended: what comes again in one of them is the same message (section 4.3.3).
    let mut open = BTreeSet::new();
    loop {
        if different.len() >= expected {
            return got;
        }
        assert!(Instant::now() < deadline, "{} of {expected} messages came", different.len());
        match connection.read(ANSWER) {
            Read::Packet(packet) => match packet.kind() {
                kind::PUBLISH => {
                    let publish = packet.publish(Version::V5);
                    let answer = if publish.qos == 1 { kind::PUBACK } else { kind::PUBREC };
                    connection.send(&packets::ack(answer, publish.packet_id));
                    if publish.qos < 2 || open.insert(publish.packet_id) {
                        different.insert(publish.payload.clone());
                        got.push(publish.payload);
                    }
                }
                kind::PUBREL => {
                    let id = packet.ack(Version::V5).packet_id;
                    open.remove(&id);
                    connection.send(&packets::ack(kind::PUBCOMP, id));
                }
                kind::DISCONNECT => connection = session(client, nodes),
                _ => {}
            },
            Read::Closed => connection = session(client, nodes),
            Read::Nothing => {}
        }
    }
}
