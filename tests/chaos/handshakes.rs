//! QoS 2 publishers and subscribers that lose their node at each of the four steps of the handshake, and go on with it on
//! another one: each message comes once (G3), and none comes again behind its PUBREL (G4).

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::nodes::{Number, PATIENCE};
use e2e_tests::random::Random;
use e2e_tests::wire::{kind, prop};
use e2e_tests::{Props, Publish, RawClient, Version, packets};

use crate::run::Cluster;
use crate::subscriber::{answer, subscribe};
use crate::world::{World, session};

const V5: Version = Version::V5;
const FILTER: &str = "steps/#";
/// Time in which what is not to come would come.
const QUIET: Duration = Duration::from_millis(300);

/// All four steps, each with another death of a node.
pub(crate) fn each_step(cluster: &mut Cluster, random: &mut Random) {
    for step in 0..4 {
        let node = 1 + random.below(3) as Number;
        one_step(cluster, (node, step), random);
    }
}

fn one_step(cluster: &mut Cluster, (node, step): (Number, usize), random: &mut Random) {
    let world = std::sync::Arc::clone(&cluster.world);
    let names = ["publishes", "reads", "looks on"].map(|what| format!("who {what} at step {step}"));
    let mut connect = |name: &String, node| {
        let (client, _, node) = world.connect(node, &session(V5, name, true), random);
        (client, node)
    };
    let (mut publisher, _) = connect(&names[0], node);
    let (mut reader, at) = connect(&names[1], node);
    let (mut other, other_at) = connect(&names[2], node % 3 + 1);
    for (client, at) in [(&mut reader, at), (&mut other, other_at)] {
        assert!(subscribe(client, (V5, at), FILTER, 2, &world).is_some(), "the cluster is well");
    }
    let mut second = Reading::default();
    let mut first = Reading::default();
    other.publish("steps/before", format!("before {step}"), 2);
    first.goes_to(&mut reader, step);
    publishes_to(&mut publisher, step);
    cluster.kill(node);
    let (again, _) = connect(&names[0], node % 3 + 1);
    completes(again, step, &world);
    let expected = [format!("before {step}"), format!("message {step}")];
    let (reader, _) = connect(&names[1], (node + 1) % 3 + 1);
    first.finishes(reader, &expected, &world);
    let (other, _) = connect(&names[2], node % 3 + 1);
    second.finishes(other, &expected, &world);
    cluster.start(&[node]);
    cluster.until_progress();
}

fn message(step: usize) -> Publish {
    Publish::new(V5, "steps/message", format!("message {step}")).qos(2, 7)
}

/// Goes so far with a publish: PUBLISH, PUBREC, PUBREL, PUBCOMP.
fn publishes_to(client: &mut RawClient, step: usize) {
    client.send(&message(step).bytes());
    if step > 0 {
        assert!(answer(client, kind::PUBREC).is_some(), "the cluster is well");
    }
    if step > 1 {
        client.send(&packets::ack(kind::PUBREL, 7));
    }
    if step > 2 {
        assert!(answer(client, kind::PUBCOMP).is_some(), "the cluster is well");
    }
}

/// Completes it on another node.
fn completes(mut client: RawClient, step: usize, world: &World) {
    if step == 0 {
        client.send(&message(step).dup().bytes());
        if answer(&mut client, kind::PUBREC).is_none() {
            world.fault("G3: PUBREC does not come on another node".to_owned());
        }
    }
    client.send(&packets::ack(kind::PUBREL, 7));
    if answer(&mut client, kind::PUBCOMP).is_none() {
        world.fault("G3: PUBCOMP does not come on another node".to_owned());
    }
}

/// What a subscriber keeps of QoS 2.
#[derive(Default)]
struct Reading {
    open: BTreeMap<u16, String>,
    released: HashSet<String>,
    came: Vec<String>,
}

impl Reading {
    /// Goes so far with the first message: PUBLISH, PUBREC, PUBREL, PUBCOMP.
    fn goes_to(&mut self, client: &mut RawClient, step: usize) {
        let packet = answer(client, kind::PUBLISH).expect("the cluster is well");
        let id = self.hears(&packet);
        if step > 0 {
            client.send(&packets::ack(kind::PUBREC, id));
        }
        if step > 1 {
            assert!(answer(client, kind::PUBREL).is_some(), "the cluster is well");
            self.releases(id);
        }
        if step > 2 {
            client.send(&packets::ack(kind::PUBCOMP, id));
        }
    }

    fn hears(&mut self, packet: &e2e_tests::Packet) -> u16 {
        let publish = packet.publish(V5);
        let payload = publish.text();
        assert!(!self.released.contains(&payload), "G4: {payload} came again behind its PUBREL");
        if self.open.insert(publish.packet_id, payload.clone()).is_none() {
            self.came.push(payload);
        }
        publish.packet_id
    }

    fn releases(&mut self, id: u16) {
        self.released.extend(self.open.remove(&id));
    }

    /// Completes everything on another node: all of it came once.
    fn finishes(&mut self, mut client: RawClient, expected: &[String], world: &World) {
        let (mut until, mut all) = (Instant::now() + PATIENCE, false);
        while Instant::now() < until {
            match client.read(QUIET) {
                Read::Packet(packet) if packet.kind() == kind::PUBLISH => {
                    let id = self.hears(&packet);
                    client.send(&packets::ack(kind::PUBREC, id));
                }
                Read::Packet(packet) if packet.kind() == kind::PUBREL => {
                    let id = packet.ack(V5).packet_id;
                    self.releases(id);
                    client.send(&packets::ack(kind::PUBCOMP, id));
                }
                Read::Packet(_) => {}
                Read::Nothing => {
                    if !all && self.open.is_empty() && expected.iter().all(|one| self.came.contains(one)) {
                        (until, all) = (Instant::now() + QUIET, true);
                    }
                }
                Read::Closed => panic!("a node that is well closed a connection"),
            }
        }
        self.came.sort_unstable();
        if self.came != expected {
            world.fault(format!("G3: {:?} came of {expected:?}", self.came));
        }
        client.send(&packets::disconnect_v5(0, &Props::new().four(prop::SESSION_EXPIRY, 0)));
    }
}
