//! A subscriber over all its connections, on whichever node lets it in: writes down all that comes and answers it. It keeps
//! what the standard wants a client to keep, and judges nothing but what no history could show.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::history::{Message, Received};
use e2e_tests::nodes::{Number, PATIENCE};
use e2e_tests::random::Random;
use e2e_tests::wire::kind;
use e2e_tests::{Packet, Props, Publish, RawClient, Version, packets};

use crate::excuses::Published;
use crate::wills::{self, Life};
use crate::world::{ANSWER, Kind, Outcome, World, session};

/// After everything has come: time in which what is not to come would come.
const QUIET: Duration = Duration::from_millis(500);
/// What is sent on connections that were taken over has topics below this.
pub(crate) const STALE: &str = "stale";
/// How long it is listened there.
const STALE_FOR: Duration = Duration::from_millis(200);

/// What a subscriber is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) name: &'static str,
    pub(crate) version: Version,
    pub(crate) filter: &'static str,
    pub(crate) qos: u8,
    pub(crate) persistent: bool,
    /// Goes to another node after so many packets, without a word.
    pub(crate) moves_after: Option<u32>,
    /// Is away while the run goes on.
    pub(crate) absent: bool,
    /// What is to come to it.
    pub(crate) wants: Wants,
}

/// What is to come to a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Every message that was acknowledged; to a transient session those that were sent behind its SUBACK.
    All,
    /// Such a message comes to one of a group, by the number of that.
    InGroup(usize),
    /// The same, but where it was perhaps with a transient member that is gone.
    InMixedGroup(usize),
    /// Wills.
    Wills,
    /// Nothing.
    Nothing,
}

/// What is to come, once it is known.
pub(crate) struct Owed {
    /// Messages that were acknowledged.
    pub(crate) messages: HashMap<Message, Published>,
    /// Those of them that may have ended with a transient member of a group.
    pub(crate) excused: HashSet<Message>,
    /// Connections with wills.
    pub(crate) wills: Vec<Life>,
}

/// What came on one connection, or for one session.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) received: Vec<Received>,
    /// SUBACK came then.
    pub(crate) since: Instant,
    /// It was there to the end.
    pub(crate) last: bool,
}

/// A subscriber.
pub(crate) struct Subscriber {
    pub(crate) style: Style,
    /// Of a persistent session one; of a transient one one each time.
    pub(crate) parts: Vec<Part>,
    /// QoS 2 ids that are open here, and which message has which.
    ids: HashMap<u16, Option<Message>>,
    released: HashSet<Message>,
    seen: HashSet<Message>,
    /// Of a transient member of a group the present connection, by its number.
    stay: Option<usize>,
    /// What is not a message of a publisher: payloads, and whether they came as repeats.
    pub(crate) others: Vec<(String, Vec<u8>)>,
}

impl Subscriber {
    pub(crate) fn new(style: Style) -> Self {
        let (parts, ids, others) = (Vec::new(), HashMap::new(), Vec::new());
        Self { style, parts, ids, released: HashSet::new(), seen: HashSet::new(), stay: None, others }
    }

    /// Makes the session.
    pub(crate) fn begin(&mut self, world: &World, random: &mut Random) -> RawClient {
        loop {
            let first = world.any(random);
            if let Some(client) = self.connect(first, world, random) {
                return client;
            }
        }
    }

    fn connect(&mut self, first: Number, world: &World, random: &mut Random) -> Option<RawClient> {
        let style = self.style;
        let began = Instant::now();
        let connect = session(style.version, style.name, style.persistent);
        let (mut client, connack, node) = world.connect(first, &connect, random);
        let known = style.persistent && !self.parts.is_empty();
        // The first CONNECT of a session may have gone unanswered.
        if connack.session_present != known && (known || !style.persistent) {
            world.fault(format!("G7: {}: session present {}", style.name, connack.session_present));
        }
        if matches!(style.wants, Wants::InMixedGroup(_)) && !style.persistent {
            self.stay = Some(world.arrives(node, began));
        }
        if !known {
            self.ids.clear();
            self.seen.clear();
            self.released.clear();
            let since = subscribe(&mut client, (style.version, node), style.filter, style.qos, world)?;
            self.parts.push(Part { received: Vec::new(), since, last: false });
        }
        Some(client)
    }

    /// Reads until the run is over, and then until everything in `owed` has come and nothing more comes.
    pub(crate) fn run(
        mut self,
        world: &World,
        mut random: Random,
        client: RawClient,
        owed: &OnceLock<Owed>,
    ) -> Self {
        let mut client = Some(client);
        if self.style.absent {
            client.take().into_iter().for_each(RawClient::disconnect);
            while owed.get().is_none() {
                e2e_tests::pause(QUIET);
            }
        }
        let mut before: Option<RawClient> = None;
        loop {
            let mut open = match client.take() {
                Some(open) => open,
                None => self.begin(world, &mut random),
            };
            before.take().into_iter().for_each(|before| self.says_nothing(before, world));
            if self.read(&mut open, world, owed) {
                self.parts.last_mut().into_iter().for_each(|part| part.last = true);
                open.send(&packets::disconnect());
                return self;
            }
            self.stay.take().into_iter().for_each(|stay| world.leaves(stay));
            before = Some(open);
        }
    }

    /// G6: the client has another connection, so that nothing that is sent on this one counts.
    fn says_nothing(&self, mut before: RawClient, world: &World) {
        let stale = Publish::new(self.style.version, format!("{STALE}/{}", self.style.name), "stale");
        before.send(&stale.qos(1, u16::MAX).bytes());
        let until = Instant::now() + STALE_FOR;
        while Instant::now() < until {
            match before.read(Duration::from_millis(50)) {
                Read::Packet(packet) if packet.kind() == kind::PUBACK => {
                    world.fault(format!(
                        "G6: {} was answered on a connection before its last",
                        self.style.name
                    ));
                }
                Read::Closed => return,
                _ => {}
            }
        }
    }

    /// Reads one connection; true when everything has come.
    fn read(&mut self, client: &mut RawClient, world: &World, owed: &OnceLock<Owed>) -> bool {
        let mut packets = 0;
        let mut last = Instant::now();
        loop {
            match client.read(Duration::from_millis(100)) {
                Read::Packet(packet) if packet.kind() == kind::DISCONNECT => return false,
                Read::Packet(packet) => {
                    self.take(client, &packet, world);
                    last = Instant::now();
                    packets += 1;
                }
                Read::Closed => return false,
                Read::Nothing => {}
            }
            let Some(owed) = owed.get() else {
                last = Instant::now();
                if self.style.moves_after.is_some_and(|most| packets >= most) {
                    return false;
                }
                continue;
            };
            let silence = last.elapsed();
            if silence > PATIENCE || silence > QUIET && self.has_all(owed, world) {
                return true;
            }
        }
    }

    fn has_all(&self, owed: &Owed, world: &World) -> bool {
        let since = self.parts.last().map(|part| part.since);
        let mut messages = owed.messages.iter();
        match self.style.wants {
            Wants::All if self.style.persistent => messages.all(|(message, _)| self.seen.contains(message)),
            Wants::All => messages.all(|(message, published)| {
                self.seen.contains(message) || since.is_some_and(|since| published.sent < since)
            }),
            Wants::InGroup(group) => {
                let seen = world.groups[group].lock().unwrap();
                messages.all(|(message, _)| seen.contains(message))
            }
            Wants::InMixedGroup(group) => {
                let seen = world.groups[group].lock().unwrap();
                messages.all(|(message, _)| owed.excused.contains(message) || seen.contains(message))
            }
            Wants::Wills => wills::all_came(&owed.wills, &self.others),
            Wants::Nothing => true,
        }
    }

    fn take(&mut self, client: &mut RawClient, packet: &Packet, world: &World) {
        match packet.kind() {
            kind::PUBREL => {
                let id = packet.ack(self.style.version).packet_id;
                if let Some(Some(message)) = self.ids.remove(&id) {
                    self.released.insert(message);
                }
                client.send(&packets::ack(kind::PUBCOMP, id));
            }
            kind::PUBLISH => self.take_publish(client, packet, world),
            _ => {}
        }
    }

    fn take_publish(&mut self, client: &mut RawClient, packet: &Packet, world: &World) {
        let publish = packet.publish(self.style.version);
        let (packet_id, qos, dup) = (publish.packet_id, publish.qos, publish.dup);
        match qos {
            1 => client.send(&packets::ack(kind::PUBACK, packet_id)),
            2 => client.send(&packets::ack(kind::PUBREC, packet_id)),
            _ => {}
        }
        let message = Message::parse(&publish.payload);
        let repeat = qos == 2 && self.ids.insert(packet_id, message).is_some();
        let Some(message) = message else {
            if !repeat && (qos != 1 || !dup) {
                self.others.push((publish.topic, publish.payload));
            }
            return;
        };
        if qos == 2 && self.released.contains(&message) {
            world.fault(format!("G4: {} got {message:?} again after PUBREL", self.style.name));
        }
        self.seen.insert(message);
        if let Wants::InGroup(group) | Wants::InMixedGroup(group) = self.style.wants {
            world.groups[group].lock().unwrap().insert(message);
        }
        let (topic, payload) = (publish.topic, publish.payload);
        if let Some(part) = self.parts.last_mut() {
            part.received.push(Received { topic, payload, qos, dup, packet_id, repeat });
        }
    }
}

/// Subscribes; gives when SUBACK came, or nothing where none did.
pub(crate) fn subscribe(
    client: &mut RawClient,
    (version, node): (Version, Number),
    filter: &str,
    qos: u8,
    world: &World,
) -> Option<Instant> {
    let began = Instant::now();
    client.send(&packets::subscribe(version, 1, &[(filter, qos)], &Props::new()));
    let ack = answer(client, kind::SUBACK);
    let outcome = match ack.as_ref().map(|packet| packet.ack(version).code()) {
        Some(code) if code < 0x80 => Outcome::Ok,
        Some(_) => Outcome::Refused,
        None => Outcome::Unknown,
    };
    world.record(Kind::Subscribe, node, began, outcome);
    (outcome == Outcome::Ok).then(Instant::now)
}

/// The next packet of a kind; `None` when the connection ends or nothing comes. What comes before it is read later.
pub(crate) fn answer(client: &mut RawClient, wanted: u8) -> Option<Packet> {
    match client.read_among(wanted, ANSWER) {
        Read::Packet(packet) if packet.kind() == wanted => Some(packet),
        _ => None,
    }
}
