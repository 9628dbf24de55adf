//! A publisher with a session: keeps a window of messages under way, and after the broker's death resumes as the
//! standard says (4.4): what was unanswered is sent again, in order, with DUP and the same packet id.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::wire::{Props, Version, kind, prop};
use e2e_tests::{Connect, Packet, Publish, RawClient, packets};

use crate::history::{Message, Sent};

/// How long an answer may take: the machine may be busy, and nothing here is about speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Messages under way at once.
const WINDOW: usize = 20;
/// Topics that a publisher uses by turns.
const TOPICS: u32 = 2;

/// An exchange that is not complete.
#[derive(Clone, Copy, Debug)]
struct Open {
    packet_id: u16,
    /// Index in `sent`.
    index: usize,
    /// QoS 2: PUBREC came, and PUBREL is what waits for an answer.
    released: bool,
}

/// A publisher, over all its connections.
#[derive(Debug)]
pub(crate) struct Publisher {
    number: u32,
    version: Version,
    qos: u8,
    /// Everything it ever published.
    pub(crate) sent: Vec<Sent>,
    open: VecDeque<Open>,
    next_id: u16,
}

/// A CONNECT that creates or resumes a session which outlives its connection.
pub(crate) fn persistent(version: Version, client_id: &str) -> Connect {
    let expiry = Props::new().four(prop::SESSION_EXPIRY, 3600);
    Connect::new(version, client_id).clean(false).keep_alive(600).props(expiry)
}

impl Publisher {
    /// A publisher that has published nothing.
    pub(crate) fn new(number: u32, version: Version, qos: u8) -> Self {
        Self { number, version, qos, sent: Vec::new(), open: VecDeque::new(), next_id: 1 }
    }

    /// Connects; its session is there exactly if it was before.
    pub(crate) fn connect(&self, addr: &str, resumes: bool) -> RawClient {
        let connect = persistent(self.version, &format!("pub{}", self.number));
        let (client, connack) = RawClient::connect_ack(addr, &connect);
        assert_eq!(connack.session_present, resumes, "publisher {}: {connack:?}", self.number);
        client
    }

    /// Exchanges that wait for PUBACK or PUBREC, and those that wait for PUBCOMP.
    pub(crate) fn unanswered(&self) -> (usize, usize) {
        let released = self.open.iter().filter(|open| open.released).count();
        (self.open.len() - released, released)
    }

    /// Sends again what was unanswered on the connection before, in the order in which it was sent.
    pub(crate) fn resume(&mut self, client: &mut RawClient) {
        for at in 0..self.open.len() {
            let open = self.open[at];
            match open.released {
                true => client.send(&packets::ack(kind::PUBREL, open.packet_id)),
                false => self.publish(client, open, true),
            }
        }
    }

    /// Publishes so many messages, and returns true when every exchange is complete; false when the connection ends.
    pub(crate) fn run(&mut self, client: &mut RawClient, mut more: u32, answered: &AtomicU64) -> bool {
        loop {
            while more > 0 && self.open.len() < WINDOW {
                more -= 1;
                self.publish_next(client);
            }
            if self.open.is_empty() {
                return true;
            }
            match client.read(PATIENCE) {
                Read::Packet(packet) => self.take(client, &packet, answered),
                Read::Closed => return false,
                Read::Nothing => panic!("publisher {}: no answer to {:?}", self.number, self.open),
            }
        }
    }

    fn publish_next(&mut self, client: &mut RawClient) {
        let sequence = self.sent.len() as u32 + 1;
        let message = Message { publisher: self.number, sequence };
        let topic = sequence % TOPICS;
        self.sent.push(Sent { message, topic, qos: self.qos, times: 0, acknowledged: false });
        let open = Open { packet_id: self.next_id, index: self.sent.len() - 1, released: false };
        // Fewer are open than there are ids, and the oldest are complete first.
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.open.push_back(open);
        self.publish(client, open, false);
    }

    fn publish(&mut self, client: &mut RawClient, open: Open, dup: bool) {
        let sent = &mut self.sent[open.index];
        sent.times += 1;
        let publish = Publish::new(self.version, sent.topic_name(), sent.message.payload());
        let publish = publish.qos(self.qos, open.packet_id);
        client.send(&if dup { publish.dup() } else { publish }.bytes());
    }

    fn take(&mut self, client: &mut RawClient, packet: &Packet, answered: &AtomicU64) {
        let ack = packet.ack(self.version);
        let at = self.open.iter().position(|open| open.packet_id == ack.packet_id);
        let Some(at) = at else { panic!("publisher {}: an answer to nothing: {packet:02x?}", self.number) };
        let open = self.open[at];
        match (packet.kind(), self.qos) {
            (kind::PUBACK, 1) | (kind::PUBREC, 2) => {
                assert!(ack.code() < 0x80, "publisher {} was refused: {ack:?}", self.number);
                self.sent[open.index].acknowledged = true;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            // 0x92: the exchange was complete on the other side, and the answer was lost.
            (kind::PUBCOMP, 2) => assert!(open.released && matches!(ack.code(), 0 | 0x92), "{ack:?}"),
            _ => panic!("publisher {}: not an answer at QoS {}: {packet:02x?}", self.number, self.qos),
        }
        if packet.kind() == kind::PUBREC {
            self.open[at].released = true;
            client.send(&packets::ack(kind::PUBREL, open.packet_id));
        } else {
            self.open.remove(at);
        }
    }
}
