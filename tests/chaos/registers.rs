//! G10: retained messages as registers. One writer each; whoever subscribes on any node sees what was acknowledged before, or
//! something newer, and never what was removed.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::random::Random;
use e2e_tests::wire::kind;
use e2e_tests::{Publish, RawClient, Version, packets, pause};

use crate::probes::publish_packet;
use crate::subscriber::subscribe;
use crate::world::{World, session};

const V5: Version = Version::V5;
/// Between two writes, and two reads.
const PACE: Duration = Duration::from_millis(60);

/// What is known of a register.
#[derive(Default)]
struct Known {
    /// The last value that was sent.
    sent: u64,
    /// The last value that was acknowledged.
    acknowledged: u64,
}

/// A register of its own topic.
pub(crate) struct Register {
    topic: String,
    known: Mutex<Known>,
}

impl Register {
    pub(crate) fn new(number: u32) -> Self {
        Self { topic: format!("register/{number}"), known: Mutex::default() }
    }

    /// Writes larger and larger values until the run is over, wherever that is possible.
    pub(crate) fn write(&self, world: &World, mut random: Random) {
        while !world.is_over() {
            let connect = session(V5, &format!("writer of {}", self.topic), false);
            let node = world.any(&mut random);
            let Some((mut client, _)) = world.try_connect(node, &connect) else {
                pause(PACE);
                continue;
            };
            while !world.is_over() && self.write_once(&mut client, node, world) {
                pause(PACE);
            }
        }
    }

    fn write_once(&self, client: &mut RawClient, node: usize, world: &World) -> bool {
        let value = {
            let mut known = self.known.lock().unwrap();
            known.sent += 1;
            known.sent
        };
        let publish = Publish::new(V5, &self.topic, value.to_string()).retain();
        let written = publish_packet(client, node, publish, world);
        if written {
            self.known.lock().unwrap().acknowledged = value;
        }
        written
    }

    /// Subscribes anew on any node, again and again, until the run is over.
    pub(crate) fn read(&self, world: &World, mut random: Random) {
        let mut count = 0;
        while !world.is_over() {
            count += 1;
            let connect = session(V5, &format!("reader {count} of {}", self.topic), false);
            let node = world.any(&mut random);
            if let Some((mut client, _)) = world.try_connect(node, &connect) {
                self.read_once(&mut client, node, world);
                client.send(&packets::disconnect());
            }
            pause(PACE);
        }
    }

    fn read_once(&self, client: &mut RawClient, node: usize, world: &World) {
        let least = self.known.lock().unwrap().acknowledged;
        if least == 0 || subscribe(client, (V5, node), &self.topic, 1, world).is_none() {
            return;
        }
        let until = Instant::now() + e2e_tests::nodes::PATIENCE;
        while Instant::now() < until {
            match client.read(Duration::from_millis(200)) {
                Read::Packet(packet) if packet.kind() == kind::PUBLISH => {
                    let publish = packet.publish(V5);
                    client.send(&packets::ack(kind::PUBACK, publish.packet_id));
                    // What is published meanwhile comes in the place of what was there before, and without RETAIN.
                    if publish.retain || value_of(&publish.payload) >= least {
                        return self.hold(&publish.payload, least, world);
                    }
                }
                Read::Packet(packet) if packet.kind() != kind::DISCONNECT => {}
                Read::Nothing => {}
                _ => return,
            }
        }
        world.fault(format!("G10: {} has no value, and {least} was acknowledged", self.topic));
    }

    fn hold(&self, payload: &[u8], least: u64, world: &World) {
        let value = value_of(payload);
        let most = self.known.lock().unwrap().sent;
        if !(least..=most).contains(&value) {
            world.fault(format!("G10: {} was {value}, not from {least} to {most}", self.topic));
        }
    }
}

/// What a message says; 0 for what is no number.
fn value_of(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload).unwrap_or_default().parse().unwrap_or_default()
}

/// Removes the first register, and looks on each node what is there: all others, with what was written last, and not it.
pub(crate) fn remove_first(registers: &[Register], world: &World, random: &mut Random) {
    let Some((removed, others)) = registers.split_first() else { return };
    let removes = session(V5, "remover", false);
    loop {
        let (mut client, _, node) = world.connect(world.any(random), &removes, random);
        if publish_packet(&mut client, node, Publish::new(V5, &removed.topic, "").retain(), world) {
            break;
        }
    }
    for node in 1..=3 {
        let connect = session(V5, &format!("last reader at {node}"), false);
        let (mut client, _, node) = world.connect(node, &connect, random);
        if subscribe(&mut client, (V5, node), "register/#", 1, world).is_none() {
            world.fault(format!("node {node} answers no SUBSCRIBE, though all is well"));
        }
        let mut missing: Vec<&Register> =
            others.iter().filter(|other| other.known.lock().unwrap().acknowledged > 0).collect();
        let mut until = Instant::now() + e2e_tests::nodes::PATIENCE;
        while Instant::now() < until {
            if let Read::Packet(packet) = client.read(Duration::from_millis(100))
                && packet.kind() == kind::PUBLISH
            {
                let publish = packet.publish(V5);
                if publish.topic == removed.topic {
                    world.fault(format!("G10: {} was removed and is back at {node}", removed.topic));
                }
                for register in missing.extract_if(.., |register| register.topic == publish.topic) {
                    let least = register.known.lock().unwrap().acknowledged;
                    register.hold(&publish.payload, least, world);
                }
                if missing.is_empty() {
                    until = Instant::now() + Duration::from_millis(300);
                }
            }
        }
        for register in missing {
            world.fault(format!("G10: {} is not there at {node}", register.topic));
        }
    }
}
