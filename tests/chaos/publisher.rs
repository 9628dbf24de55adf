//! A publisher that keeps a few messages under way for as long as the run goes on, on whichever node lets it in. With a
//! session it resumes as the standard says (4.4); without one it sends messages of QoS 1 again, and gives those of QoS 2 up.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::history::{Message, Sent};
use e2e_tests::nodes::Number;
use e2e_tests::random::Random;
use e2e_tests::wire::kind;
use e2e_tests::{Packet, Publish, RawClient, Version, pause};

use crate::world::{ANSWER, Kind, Outcome, World, session};

/// Messages under way at once.
const WINDOW: usize = 3;
/// Topics that a publisher uses by turns.
const TOPICS: u32 = 2;
/// Between two looks at what came.
const PACE: Duration = Duration::from_millis(12);

/// What a publisher is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) number: u32,
    pub(crate) version: Version,
    pub(crate) qos: u8,
    pub(crate) persistent: bool,
}

/// An exchange that is not complete.
#[derive(Clone, Copy, Debug)]
struct Open {
    packet_id: u16,
    /// Index in `sent`.
    index: usize,
    /// QoS 2: PUBREC came, and PUBREL is what waits for an answer.
    released: bool,
    /// When it was asked on this connection.
    began: Instant,
}

/// A publisher, over all its connections.
pub(crate) struct Publisher {
    style: Style,
    /// Everything it ever published.
    pub(crate) sent: Vec<Sent>,
    /// When each was first sent, and when it was acknowledged.
    pub(crate) times: Vec<(Instant, Option<Instant>)>,
    open: VecDeque<Open>,
    next_id: u16,
    node: Number,
    connected_before: bool,
}

impl Publisher {
    pub(crate) fn new(style: Style) -> Self {
        let (sent, times, open) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { style, sent, times, open, next_id: 1, node: 0, connected_before: false }
    }

    /// Publishes until the run is over, and then completes what is under way.
    pub(crate) fn run(mut self, world: &World, mut random: Random) -> Self {
        let connect =
            session(self.style.version, &format!("pub{}", self.style.number), self.style.persistent);
        while !(world.is_over() && self.open.is_empty()) {
            let first = world.any(&mut random);
            let (mut client, connack, node) = world.connect(first, &connect, &mut random);
            self.node = node;
            let expected = self.style.persistent && self.connected_before;
            // The first CONNECT of a session may have gone unanswered.
            if connack.session_present != expected && (expected || !self.style.persistent) {
                world.fault(format!(
                    "G7: publisher {}: session present {}",
                    self.style.number, connack.session_present
                ));
            }
            self.connected_before = true;
            self.resume(&mut client);
            self.work(&mut client, world);
            self.lose(world);
        }
        self
    }

    /// Works on one connection until that ends, or everything is done.
    fn work(&mut self, client: &mut RawClient, world: &World) {
        loop {
            while !world.is_over() && self.open.len() < WINDOW {
                self.publish_next(client);
                if self.style.qos == 0 {
                    break;
                }
            }
            if world.is_over() && self.open.is_empty() {
                client.send(&e2e_tests::packets::disconnect());
                return;
            }
            pause(PACE);
            match client.read(Duration::from_millis(if self.style.qos == 0 { 1 } else { 100 })) {
                Read::Packet(packet) if packet.kind() == kind::DISCONNECT => return,
                Read::Packet(packet) => self.take(client, &packet, world),
                Read::Closed => return,
                Read::Nothing => {}
            }
            if self.open.front().is_some_and(|open| open.began.elapsed() > ANSWER) {
                return;
            }
        }
    }

    /// The connection is gone: what was asked on it has no answer.
    fn lose(&mut self, world: &World) {
        for open in &self.open {
            world.record(self.kind(), self.node, open.began, Outcome::Unknown);
        }
        if self.style.qos == 2 && !self.style.persistent {
            self.open.clear();
        }
    }

    fn kind(&self) -> Kind {
        if self.style.qos == 1 { Kind::Publish1 } else { Kind::Publish2 }
    }

    /// Sends again what was unanswered on the connection before, in the order in which it was sent.
    fn resume(&mut self, client: &mut RawClient) {
        for at in 0..self.open.len() {
            self.open[at].began = Instant::now();
            let open = self.open[at];
            match open.released {
                true => client.send(&e2e_tests::packets::ack(kind::PUBREL, open.packet_id)),
                false => self.publish(client, open, self.style.persistent),
            }
        }
    }

    fn publish_next(&mut self, client: &mut RawClient) {
        let sequence = self.sent.len() as u32 + 1;
        let message = Message { publisher: self.style.number, sequence };
        let (topic, qos) = (sequence % TOPICS, self.style.qos);
        self.sent.push(Sent { message, topic, qos, times: 0, acknowledged: false });
        self.times.push((Instant::now(), None));
        let (index, began) = (self.sent.len() - 1, Instant::now());
        let open = Open { packet_id: self.next_id, index, released: false, began };
        self.publish(client, open, false);
        if qos > 0 {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            self.open.push_back(open);
        }
    }

    fn publish(&mut self, client: &mut RawClient, open: Open, dup: bool) {
        let sent = &mut self.sent[open.index];
        sent.times += 1;
        let publish = Publish::new(self.style.version, sent.topic_name(), sent.message.payload());
        let publish = publish.qos(self.style.qos, open.packet_id);
        client.send(&if dup { publish.dup() } else { publish }.bytes());
    }

    fn take(&mut self, client: &mut RawClient, packet: &Packet, world: &World) {
        let ack = packet.ack(self.style.version);
        let at = self.open.iter().position(|open| open.packet_id == ack.packet_id);
        let fits = match packet.kind() {
            kind::PUBACK => self.style.qos == 1,
            kind::PUBREC | kind::PUBCOMP => self.style.qos == 2,
            _ => false,
        };
        let (Some(at), true) = (at, fits) else {
            return world
                .fault(format!("publisher {}: no answer to anything: {packet:?}", self.style.number));
        };
        // 0x92: the exchange was complete on the other side, and the answer was lost.
        if ack.code() >= 0x80 && !(packet.kind() == kind::PUBCOMP && ack.code() == 0x92) {
            world.fault(format!("publisher {} was refused: {ack:?}", self.style.number));
        }
        let open = self.open[at];
        if packet.kind() != kind::PUBCOMP && !open.released {
            self.sent[open.index].acknowledged = true;
            self.times[open.index].1 = Some(Instant::now());
            world.acknowledged.fetch_add(1, Ordering::Relaxed);
            world.record(self.kind(), self.node, open.began, Outcome::Ok);
        }
        if packet.kind() == kind::PUBREC {
            (self.open[at].released, self.open[at].began) = (true, Instant::now());
            client.send(&e2e_tests::packets::ack(kind::PUBREL, open.packet_id));
        } else {
            self.open.remove(at);
        }
    }
}
