//! Clients that ask the cluster for one thing after the other, each with sessions and filters of its own: what is published
//! anywhere behind a SUBACK comes (G1), and nothing comes behind an UNSUBACK (G11).

use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::nodes::Number;
use e2e_tests::random::Random;
use e2e_tests::wire::{kind, prop};
use e2e_tests::{Props, Publish, RawClient, Version, packets, pause};

use crate::subscriber::{answer, subscribe};
use crate::world::{Kind, Outcome, World, session};

/// Between two probes.
const PACE: Duration = Duration::from_millis(40);
const V5: Version = Version::V5;
/// What is published while somebody is subscribed, and afterwards.
const WANTED: &[u8] = b"wanted";
const LATE: &[u8] = b"late";

/// A client that probes.
pub(crate) struct Prober {
    number: u32,
    /// How many probes were begun.
    count: u32,
    /// How many went through all of it.
    pub(crate) complete: u32,
    /// How long what was acknowledged may take to come.
    patience: Duration,
    random: Random,
}

/// One session and its filter.
struct Probe {
    client: String,
    topic: String,
    persistent: bool,
}

impl Prober {
    pub(crate) fn new(number: u32, patience: Duration, random: Random) -> Self {
        Self { number, count: 0, complete: 0, patience, random }
    }

    /// Probes from any node to any other until the run is over.
    pub(crate) fn run(mut self, world: &World) -> Self {
        while !world.is_over() {
            let nodes = (world.any(&mut self.random), world.any(&mut self.random));
            self.probe(nodes, world);
            pause(PACE);
        }
        self
    }

    /// Subscribes at the one node and publishes at the other; false where something was not answered.
    pub(crate) fn probe(&mut self, (here, there): (Number, Number), world: &World) -> bool {
        self.count += 1;
        let (number, count) = (self.number, self.count);
        let probe = Probe {
            client: format!("probe{number}x{count}"),
            topic: format!("fresh/{number}/{count}"),
            persistent: count.is_multiple_of(2),
        };
        let connect = session(V5, &probe.client, probe.persistent);
        let asks = session(V5, &format!("asks{number}x{count}"), false);
        let Some((mut asking, _)) = world.try_connect(there, &asks) else { return false };
        let Some((mut client, _)) = world.try_connect(here, &connect) else { return false };
        let complete = subscribe(&mut client, (V5, here), &probe.topic, 1, world).is_some()
            && publish(&mut asking, there, (&probe.topic, WANTED), world)
            && self.comes(&probe, &mut client, world)
            && unsubscribe(&mut client, here, &probe.topic, world)
            && publish(&mut asking, there, (&probe.topic, LATE), world);
        if complete && pings_without(&mut client, LATE) {
            world.fault(format!("G11: {} got what was sent after UNSUBACK", probe.client));
        }
        asking.send(&packets::disconnect());
        let forgets = Props::new().four(prop::SESSION_EXPIRY, 0);
        client.send(&packets::disconnect_v5(0, &forgets));
        self.complete += u32::from(complete);
        complete
    }

    /// Waits for what was acknowledged; false where nobody is owed it any more, or it is lost.
    fn comes(&mut self, probe: &Probe, client: &mut RawClient, world: &World) -> bool {
        let until = Instant::now() + self.patience;
        while Instant::now() < until {
            match client.read(Duration::from_millis(200)) {
                Read::Packet(packet) if packet.kind() == kind::PUBLISH => {
                    let publish = packet.publish(V5);
                    client.send(&packets::ack(kind::PUBACK, publish.packet_id));
                    if publish.payload == WANTED {
                        return true;
                    }
                }
                Read::Packet(packet) if packet.kind() != kind::DISCONNECT => {}
                Read::Nothing => {}
                _ if !probe.persistent => return false,
                _ => {
                    let connect = session(V5, &probe.client, true);
                    let first = world.any(&mut self.random);
                    let (again, connack, _) = world.connect(first, &connect, &mut self.random);
                    if !connack.session_present {
                        world.fault(format!("G7: the session of {} is gone", probe.client));
                        return false;
                    }
                    *client = again;
                }
            }
        }
        world.fault(format!("G1: {} never got what was published behind its SUBACK", probe.client));
        false
    }
}

/// Publishes at QoS 1; whether it was acknowledged.
pub(crate) fn publish(
    client: &mut RawClient,
    node: Number,
    (topic, payload): (&str, &[u8]),
    world: &World,
) -> bool {
    publish_packet(client, node, Publish::new(V5, topic, payload), world)
}

/// The same with a packet of one's own.
pub(crate) fn publish_packet(client: &mut RawClient, node: Number, publish: Publish, world: &World) -> bool {
    let (began, id) = (Instant::now(), client.fresh_id());
    client.send(&publish.qos(1, id).bytes());
    let ack = answer(client, kind::PUBACK);
    let outcome = match ack.map(|packet| packet.ack(V5)) {
        Some(ack) if ack.code() < 0x80 && ack.packet_id == id => Outcome::Ok,
        Some(_) => Outcome::Refused,
        None => Outcome::Unknown,
    };
    world.record(Kind::Publish1, node, began, outcome);
    outcome == Outcome::Ok
}

fn unsubscribe(client: &mut RawClient, node: Number, filter: &str, world: &World) -> bool {
    let began = Instant::now();
    client.send(&packets::unsubscribe(V5, 2, &[filter], &Props::new()));
    let outcome = if answer(client, kind::UNSUBACK).is_some() { Outcome::Ok } else { Outcome::Unknown };
    world.record(Kind::Unsubscribe, node, began, outcome);
    outcome == Outcome::Ok
}

/// Waits for the answer to a ping; whether such a message came before it.
fn pings_without(client: &mut RawClient, payload: &[u8]) -> bool {
    client.send(&packets::pingreq());
    loop {
        match client.read(Duration::from_secs(5)) {
            Read::Packet(packet) if packet.kind() == kind::PUBLISH => {
                if packet.publish(V5).payload == payload {
                    return true;
                }
            }
            Read::Packet(packet) if packet.kind() != kind::PINGRESP => {}
            _ => return false,
        }
    }
}
