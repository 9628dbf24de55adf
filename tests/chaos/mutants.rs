//! Faults that are built into the nodes, of the binary with failpoints: each must be found by what holds a history against
//! the guarantees. Where it takes a certain moment to show, a node stands still or is held back by the proxies at that moment.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e_tests::checker::{self, Fault};
use e2e_tests::client::Read;
use e2e_tests::history::{History, Message, Reader, Received, Sent};
use e2e_tests::nodes::{Number, PATIENCE};
use e2e_tests::process::failpoints;
use e2e_tests::random::Random;
use e2e_tests::wire::{Version, kind};
use e2e_tests::{Props, Publish, RawClient, packets, pause};

use crate::probes::{self, Prober};
use crate::proxy::Fate;
use crate::run::Cluster;
use crate::subscriber::{answer, subscribe};
use crate::world::session;

const V5: Version = Version::V5;
/// How often the moment may be missed.
const CHANCES: u32 = 40;
/// How often it is tried where nothing is wrong.
const CONTROLS: u32 = 3;
/// What was acknowledged and has not come for so long is taken for lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// An attempt to have a fault show.
struct Chance<'a> {
    cluster: &'a mut Cluster,
    random: Random,
    number: u32,
    patience: Duration,
}

/// Whether it did.
type Show = fn(&mut Chance<'_>) -> bool;

/// Each fault, and what has it show.
const FAULTS: [(&str, Show); 5] = [
    ("ack-before-remote", early_acknowledgement),
    ("suback-without-barrier", early_suback),
    ("skip-epoch-check", older_connection),
    ("clock-before-match", early_clock),
    ("skip-predecessor", lost_word),
];

impl Chance<'_> {
    fn connect(&mut self, node: Number, name: &str) -> RawClient {
        self.cluster.world.connect(node, &session(V5, name, true), &mut self.random).0
    }
}

/// A cluster with a fault built in is tried until the fault shows.
fn must_be_found(mutant: &str) {
    let Some(binary) = failpoints() else { return };
    let show = FAULTS.iter().find(|(name, _)| *name == mutant).expect("it is in the table").1;
    let mut random = seeded(mutant);
    let mut cluster = Cluster::started(random.number(), Some((binary, mutant)));
    for number in 1..=CHANCES {
        let random = Random::new(random.number());
        if show(&mut Chance { cluster: &mut cluster, random, number, patience: LOST_AFTER }) {
            println!("{mutant} was found at chance {number}");
            return;
        }
    }
    panic!("nobody noticed {mutant}");
}

/// Numbers from a seed that is printed.
fn seeded(what: &str) -> Random {
    let seed = crate::setting("QUELEA_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{what}: seed {seed}");
    Random::new(seed)
}

#[test]
fn g1_finds_acknowledgements_before_other_nodes_have_a_message() {
    must_be_found("ack-before-remote");
}

#[test]
fn g1_finds_a_suback_that_does_not_wait_for_the_others() {
    must_be_found("suback-without-barrier");
}

#[test]
fn g6_finds_an_older_connection_that_counts() {
    must_be_found("skip-epoch-check");
}

#[test]
fn g1_finds_a_clock_that_is_read_before_the_match() {
    must_be_found("clock-before-match");
}

#[test]
fn g1_finds_repeats_that_are_told_by_their_numbers_alone() {
    must_be_found("skip-predecessor");
}

/// The same done to nodes without a fault shows nothing.
#[test]
fn nothing_is_found_where_no_fault_is_built_in() {
    let mut random = seeded("no fault");
    let mut cluster = Cluster::started(random.number(), None);
    for (name, show) in FAULTS {
        for number in 1..=CONTROLS {
            let random = Random::new(random.number());
            let mut chance = Chance { cluster: &mut cluster, random, number, patience: PATIENCE };
            assert!(!show(&mut chance), "{name} shows, and is not there");
        }
    }
    assert!(cluster.world.faults().is_empty(), "{:#?}", cluster.world.faults());
}

/// The PUBACKs of a node whose words reach nobody, and which dies then.
fn early_acknowledgement(chance: &mut Chance<'_>) -> bool {
    const SESSIONS: u32 = 12;
    let (world, node) = (Arc::clone(&chance.cluster.world), 2);
    let name = {
        let chance = chance.number;
        move |number: u32| format!("reader {chance} {number}")
    };
    for number in 0..SESSIONS {
        let mut client = chance.connect(1, &name(number));
        let suback = subscribe(&mut client, (V5, 1), &format!("load/{number}/#"), 1, &world);
        assert!(suback.is_some(), "the cluster is well");
    }
    let mut publisher = chance.connect(node, "publisher");
    [1, 3].into_iter().for_each(|to| chance.cluster.network.set(node, to, Fate::Held));
    let mut sent: Vec<Sent> = (0..SESSIONS)
        .map(|publisher| Sent {
            message: Message { publisher, sequence: chance.number },
            topic: 0,
            qos: 1,
            times: 1,
            acknowledged: false,
        })
        .collect();
    for (id, sent) in (1..).zip(&sent) {
        let publish = Publish::new(V5, sent.topic_name(), sent.message.payload());
        publisher.send(&publish.qos(1, id).bytes());
    }
    while let Read::Packet(packet) = publisher.read(Duration::from_millis(500)) {
        if packet.kind() == kind::PUBACK {
            let id = usize::from(packet.ack(V5).packet_id);
            sent[id - 1].acknowledged = true;
        }
    }
    chance.cluster.kill(node);
    chance.cluster.network.proxies().cut(node);
    let readers = (0..SESSIONS).map(|number| {
        let acknowledged = sent[number as usize].acknowledged;
        let received = if acknowledged { takes_one(chance, &name(number)) } else { Vec::new() };
        // The others' messages are not for it.
        let of_it = sent.iter().filter(|sent| sent.message.publisher == number).cloned().collect();
        let reader = Reader { name: name(number), granted: 1, persistent: true, received };
        checker::check(&History { sent: of_it, readers: vec![reader] })
    });
    let found = readers.flatten().any(|fault| matches!(fault, Fault::Lost { .. }));
    chance.cluster.start(&[node]);
    found
}

/// The first message that comes to a session, whatever becomes of its connections.
fn takes_one(chance: &mut Chance<'_>, name: &str) -> Vec<Received> {
    let until = Instant::now() + chance.patience;
    let mut client = chance.connect(1, name);
    while Instant::now() < until {
        match client.read(Duration::from_millis(100)) {
            Read::Packet(packet) if packet.kind() == kind::PUBLISH => {
                let publish = packet.publish(V5);
                let (topic, payload, qos) = (publish.topic, publish.payload, publish.qos);
                let (dup, packet_id) = (publish.dup, publish.packet_id);
                return vec![Received { topic, payload, qos, dup, packet_id, repeat: false }];
            }
            Read::Closed => client = chance.connect(1, name),
            Read::Packet(_) | Read::Nothing => {}
        }
    }
    Vec::new()
}

/// A node hears of everything late: what is published there right behind a SUBACK elsewhere.
fn early_suback(chance: &mut Chance<'_>) -> bool {
    let cluster = &mut *chance.cluster;
    let late = 1 + (chance.number as usize) % 3;
    let others = [late % 3 + 1, (late + 1) % 3 + 1];
    let slow = Fate::Slow(Duration::from_millis(100));
    others.into_iter().for_each(|other| cluster.network.set(other, late, slow));
    let mut prober = Prober::new(chance.number, chance.patience, Random::new(chance.random.number()));
    for _ in 0..2 {
        let _complete = prober.probe((others[0], late), &cluster.world);
    }
    cluster.network.heal();
    cluster.world.faults().iter().any(|fault| fault.starts_with("G1"))
}

/// A client's node stands still, and the client goes elsewhere; then what it had said there before arrives.
fn older_connection(chance: &mut Chance<'_>) -> bool {
    let (world, old) = (Arc::clone(&chance.cluster.world), 2);
    let (name, topic) = (format!("moved {}", chance.number), format!("moved/{}", chance.number));
    let Some((mut before, _)) = world.try_connect(old, &session(V5, &name, true)) else { return false };
    if subscribe(&mut before, (V5, old), &topic, 1, &world).is_none() {
        return false;
    }
    chance.cluster.nodes.signal(old, "STOP");
    before.send(&packets::unsubscribe(V5, 9, &[&topic], &Props::new()));
    let _client = chance.connect(1, &name);
    chance.cluster.nodes.signal(old, "CONT");
    let _end = before.read(Duration::from_secs(1));
    let mut publisher = chance.connect(1, "publisher");
    let acknowledged = probes::publish(&mut publisher, 1, (&topic, b"message"), &world);
    acknowledged && takes_one(chance, &name).is_empty()
}

/// A node stands still while a SUBSCRIBE elsewhere is answered; a publish waits in its socket when it goes on.
fn early_clock(chance: &mut Chance<'_>) -> bool {
    let (world, slow) = (Arc::clone(&chance.cluster.world), 2);
    let (name, topic) = (format!("late {}", chance.number), format!("late/{}", chance.number));
    let mut client = chance.connect(1, &name);
    let mut publisher = chance.connect(slow, "publisher");
    if !probes::publish(&mut publisher, slow, (&topic, b"before"), &world) {
        return false;
    }
    chance.cluster.nodes.signal(slow, "STOP");
    let suback = subscribe(&mut client, (V5, 1), &topic, 1, &world);
    publisher.send(&Publish::new(V5, &topic, "behind").qos(1, 77).bytes());
    chance.cluster.nodes.signal(slow, "CONT");
    let acknowledged = answer(&mut publisher, kind::PUBACK).is_some();
    suback.is_some() && acknowledged && takes_one(chance, &name).is_empty()
}

/// A word on its way to the node of a subscriber is lost, and the next one arrives before it is said again.
fn lost_word(chance: &mut Chance<'_>) -> bool {
    let (world, number) = (Arc::clone(&chance.cluster.world), chance.number);
    let subscribed = session(V5, &format!("stays {number}"), false);
    let Some((mut reader, _)) = world.try_connect(3, &subscribed) else { return false };
    let topic = format!("words/{number}");
    let mut publisher = chance.connect(2, "publisher");
    if subscribe(&mut reader, (V5, 3), &topic, 1, &world).is_none() {
        return false;
    }
    let payloads = [format!("lost {number}"), format!("next {number}")];
    let network = chance.cluster.network.proxies();
    network.lose(2, 3, payloads[0].as_bytes());
    publisher.send(&Publish::new(V5, &topic, &payloads[0]).qos(1, 71).bytes());
    let until = Instant::now() + chance.patience;
    while !network.has_lost() {
        if Instant::now() > until {
            return false;
        }
        pause(Duration::from_millis(1));
    }
    publisher.send(&Publish::new(V5, &topic, &payloads[1]).qos(1, 72).bytes());
    let acknowledged = (0..2).all(|_| answer(&mut publisher, kind::PUBACK).is_some());
    let mut came = HashSet::new();
    let until = Instant::now() + chance.patience;
    while acknowledged && came.len() < payloads.len() && Instant::now() < until {
        match reader.read(Duration::from_millis(100)) {
            Read::Packet(packet) if packet.kind() == kind::PUBLISH => {
                came.insert(packet.publish(V5).text());
            }
            Read::Packet(_) | Read::Nothing => {}
            // Whoever is not there is owed nothing.
            Read::Closed => return false,
        }
    }
    acknowledged && came.len() < payloads.len()
}
