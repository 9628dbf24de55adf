//! Long mixed sequences of good, bad and damaged packets from clients that share two client ids.
//! The broker is the test's own, see `guard`; the sequence is pseudo-random and the same in every run.

use std::net::TcpStream;
use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::packets::{ack, disconnect, pingreq, subscribe, unsubscribe};
use e2e_tests::transport::{Transport, tcp};
use e2e_tests::wire::{kind, prop};
use e2e_tests::{Connect, Props, Publish, RawClient, Version, Will};

use crate::guard::Guard;

const IDS: [&str; 2] = ["mixture1", "mixture2"];
const TOPICS: [&str; 4] = ["mix/a", "mix/a/b", "mix/b", "mix"];
const FILTERS: [&str; 6] = ["mix/#", "mix/+", "mix/a/+", "$share/g/mix/#", "mix/a", "#"];

/// A pseudo-random source.
pub(crate) struct Dice(u64);

impl Dice {
    /// With a seed of its own.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    fn heads(&mut self) -> bool {
        self.roll(2) == 1
    }
}

/// One of the connections.
struct Player {
    stream: Option<TcpStream>,
    version: Version,
}

impl Player {
    fn connect(&mut self, guard: &Guard, dice: &mut Dice) {
        self.version = dice.pick(&[Version::V3_1, Version::V3_1_1, Version::V5]);
        let mut connect = Connect::new(self.version, dice.pick(&IDS)).clean(dice.heads());
        if dice.heads() {
            connect = connect.will(Will::new(dice.pick(&TOPICS), "will").qos(dice.roll(3) as u8));
        }
        if dice.heads() {
            connect =
                connect.props(Props::new().four(prop::SESSION_EXPIRY, 60).two(prop::RECEIVE_MAXIMUM, 3));
        }
        let mut stream = tcp(guard.addr());
        drop(Transport::send(&mut stream, &connect.bytes()));
        self.stream = Some(stream);
    }

    /// Reads what is there, and forgets a connection that has ended.
    fn drain(&mut self) {
        let mut chunk = [0; 65_536];
        while let Some(stream) = &mut self.stream {
            match stream.receive(&mut chunk, Duration::from_millis(1)) {
                Ok(0) => self.stream = None,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => return,
                Err(_) => self.stream = None,
            }
        }
    }

    /// A packet that might be right.
    fn packet(&self, dice: &mut Dice) -> Vec<u8> {
        let id = 1 + dice.roll(6) as u16;
        match dice.roll(12) {
            0..=4 => {
                let qos = dice.roll(3) as u8;
                let publish = Publish::new(self.version, dice.pick(&TOPICS), [b'x'; 40]).qos(qos, id);
                let publish = if dice.roll(4) == 0 { publish.retain() } else { publish };
                if qos > 0 && dice.heads() { publish.dup().bytes() } else { publish.bytes() }
            }
            5..=6 => subscribe(self.version, id, &[(dice.pick(&FILTERS), dice.roll(3) as u8)], &Props::new()),
            7 => unsubscribe(self.version, id, &[dice.pick(&FILTERS)], &Props::new()),
            8..=10 => ack(dice.pick(&[kind::PUBACK, kind::PUBREC, kind::PUBREL, kind::PUBCOMP]), id),
            _ => pingreq(),
        }
    }

    fn play(&mut self, guard: &Guard, dice: &mut Dice) {
        if self.stream.is_none() {
            return self.connect(guard, dice);
        }
        let mut bytes = self.packet(dice);
        match dice.roll(60) {
            0 => bytes = disconnect(),
            1 => {
                let at = dice.roll(bytes.len());
                bytes[at] ^= 1 << dice.roll(8);
            }
            2 => bytes.truncate(dice.roll(bytes.len())),
            3 => return self.stream = None,
            4 => return self.connect(guard, dice),
            _ => {}
        }
        if let Some(stream) = &mut self.stream {
            drop(Transport::send(stream, &bytes));
        }
    }
}

#[test]
fn mixed_sequences_of_clients_that_share_their_ids() {
    let mut guard = Guard::new();
    let rounds = 6;
    for seed in 0..rounds {
        let mut dice = Dice::new(seed);
        let mut players = [0; 4].map(|_| Player { stream: None, version: Version::V5 });
        for step in 0..4_000 {
            let who = dice.roll(players.len());
            players[who].play(&guard, &mut dice);
            if step % 16 == 0 {
                players.iter_mut().for_each(Player::drain);
            }
        }
        guard.neighbours_talk();
    }
    for id in IDS {
        RawClient::v5(guard.addr(), id).disconnect();
    }
    remove_retained(&mut guard.v5());
}

/// Removes every retained message, also those whose topic was damaged on the way.
fn remove_retained(cleaner: &mut RawClient) {
    cleaner.subscribe("#", 0);
    let mut topics = Vec::new();
    // Page by page, behind whatever else the node still does for the test's clients.
    while let Read::Packet(packet) = cleaner.read(10 * e2e_tests::QUIET) {
        topics.push(packet.publish(Version::V5).topic);
    }
    cleaner.unsubscribe(&["#"]);
    for topic in topics {
        cleaner.publish_packet(Publish::v5(topic, "").retain(), 1);
    }
}
