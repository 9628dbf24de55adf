//! A subscriber that keeps what the standard wants a client to keep: the QoS 2 ids that it has received. It writes down
//! every PUBLISH and answers each, or holds its answers back; it judges nothing but what no history could show.

use std::collections::HashSet;
use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::wire::{Version, kind, prop};
use e2e_tests::{Connect, Packet, RawClient, packets};

use crate::history::{Message, Reader, Received};
use crate::publisher::persistent;

/// What a subscriber is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// What it is called.
    pub(crate) name: &'static str,
    /// The version it speaks.
    pub(crate) version: Version,
    /// What it subscribes to.
    pub(crate) filter: &'static str,
    /// The QoS it asks for.
    pub(crate) qos: u8,
    /// Whether its session outlives its connection.
    pub(crate) persistent: bool,
    /// Whether it is away while messages are published.
    pub(crate) absent: bool,
    /// Whether it answers nothing before the broker's death.
    pub(crate) holds: bool,
}

/// A subscriber, over all its connections.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// What it is like.
    pub(crate) kind: Kind,
    /// What it has seen.
    pub(crate) reader: Reader,
    /// Reason codes of the DISCONNECTs that it got.
    pub(crate) told: Vec<u8>,
    /// QoS 2 ids that are open here.
    ids: HashSet<u16>,
    /// Messages that came.
    seen: HashSet<Message>,
}

impl Subscriber {
    /// A subscriber that has seen nothing.
    pub(crate) fn new(kind: Kind) -> Self {
        let Kind { name, qos, persistent, .. } = kind;
        let reader = Reader { name: name.to_owned(), granted: qos, persistent, received: Vec::new() };
        Self { kind, reader, told: Vec::new(), ids: HashSet::new(), seen: HashSet::new() }
    }

    /// Connects for the first time, and subscribes.
    pub(crate) fn subscribe(&self, addr: &str) -> RawClient {
        let (mut client, connack) = RawClient::connect_ack(addr, &self.connect());
        assert!(!connack.session_present, "{}: {connack:?}", self.kind.name);
        let ack = client.subscribe(self.kind.filter, self.kind.qos);
        assert_eq!(ack.code(), self.kind.qos);
        client
    }

    /// Connects again: a persistent session must be there.
    pub(crate) fn resume(&self, addr: &str) -> RawClient {
        let (client, connack) = RawClient::connect_ack(addr, &self.connect());
        assert!(connack.session_present, "{}: {connack:?}", self.kind.name);
        client
    }

    fn connect(&self) -> Connect {
        let Kind { name, version, .. } = self.kind;
        let mut connect = match self.kind.persistent {
            true => persistent(version, name),
            false => Connect::new(version, name).keep_alive(600),
        };
        if self.kind.holds {
            connect.props = connect.props.two(prop::RECEIVE_MAXIMUM, 20);
        }
        connect
    }

    /// Reads until the connection ends.
    pub(crate) fn read_to_end(&mut self, client: &mut RawClient) {
        let answers = !self.kind.holds;
        loop {
            match client.read(Duration::from_secs(1)) {
                Read::Packet(packet) => self.take(client, &packet, answers),
                Read::Closed => return,
                Read::Nothing => {}
            }
        }
    }

    /// Reads and answers until everything in `owed` has come and then nothing more for `quiet`; `owed` is `None` as
    /// long as it is not known. Gives up when nothing comes for `patience`: what is missing then is the checker's.
    pub(crate) fn drain(
        &mut self,
        client: &mut RawClient,
        owed: impl Fn() -> Option<HashSet<Message>>,
        bounds: Bounds,
    ) {
        let mut complete = false;
        let mut silence = Duration::ZERO;
        while silence < if complete { bounds.quiet } else { bounds.patience } {
            match client.read(bounds.quiet) {
                Read::Packet(packet) => {
                    silence = Duration::ZERO;
                    self.take(client, &packet, true);
                }
                Read::Nothing => {
                    silence += bounds.quiet;
                    complete = complete || owed().is_some_and(|owed| owed.is_subset(&self.seen));
                }
                Read::Closed => panic!("{}: the connection ended", self.kind.name),
            }
        }
    }

    fn take(&mut self, client: &mut RawClient, packet: &Packet, answers: bool) {
        if packet.kind() == kind::PUBREL {
            let id = packet.ack(self.kind.version).packet_id;
            self.ids.remove(&id);
            client.send(&packets::ack(kind::PUBCOMP, id));
            return;
        }
        if packet.kind() == kind::DISCONNECT {
            self.told.push(packet.reasoned().reason);
            return;
        }
        let publish = packet.publish(self.kind.version);
        let (packet_id, qos) = (publish.packet_id, publish.qos);
        let repeat = qos == 2 && !self.ids.insert(packet_id);
        self.seen.extend(Message::parse(&publish.payload));
        let (topic, payload, dup) = (publish.topic, publish.payload, publish.dup);
        self.reader.received.push(Received { topic, payload, qos, dup, packet_id, repeat });
        match (answers, qos) {
            (true, 1) => client.send(&packets::ack(kind::PUBACK, packet_id)),
            (true, 2) => client.send(&packets::ack(kind::PUBREC, packet_id)),
            _ => {}
        }
    }
}

/// How long to listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// After everything has come.
    pub(crate) quiet: Duration,
    /// Before everything has come.
    pub(crate) patience: Duration,
}
