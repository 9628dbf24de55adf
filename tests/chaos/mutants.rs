//! Faults that are built into the nodes, of the binary with failpoints: each must be found by what holds a history against
//! the guarantees. Where it takes a certain moment to show, a node stands still or is held back by the proxies at that moment.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e_tests::checker::{self, Fault};
use e2e_tests::client::Read;
use e2e_tests::history::{History, Message, Reader, Received, Sent};
use e2e_tests::nodes::Number;
use e2e_tests::process::failpoints;
use e2e_tests::random::Random;
use e2e_tests::wire::{Version, kind};
use e2e_tests::{Props, Publish, RawClient, packets, pause};

use crate::probes::{self, Prober};
use crate::proxy::Fate;
use crate::run::Cluster;
use crate::subscriber::{answer, subscribe};
use crate::world::{World, session};

const V5: Version = Version::V5;
/// How often the moment may be missed.
const CHANCES: u32 = 40;
/// What was acknowledged and has not come for so long is taken for lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cluster with a fault built in is tried until the fault shows.
fn must_be_found(mutant: &str, mut chance: impl FnMut(&mut Cluster, &mut Random, u32) -> bool) {
    let Some(binary) = failpoints() else { return };
    let seed = u64::from(std::process::id());
    let mut random = Random::new(seed);
    let mut cluster = Cluster::started(seed, Some((binary, mutant)));
    for number in 1..=CHANCES {
        if chance(&mut cluster, &mut random, number) {
            println!("{mutant} was found at chance {number}");
            return;
        }
    }
    panic!("nobody noticed {mutant}");
}

fn connect(world: &World, node: Number, name: &str, random: &mut Random) -> RawClient {
    world.connect(node, &session(V5, name, true), random).0
}

/// The PUBACKs of a node whose words reach nobody, and which dies then.
#[test]
fn g1_finds_acknowledgements_before_other_nodes_have_a_message() {
    const SESSIONS: u32 = 12;
    must_be_found("ack-before-remote", |cluster, random, chance| {
        let (world, node) = (Arc::clone(&cluster.world), 2);
        let name = |number: u32| format!("reader {chance} {number}");
        for number in 0..SESSIONS {
            let mut client = connect(&world, 1, &name(number), random);
            let suback = subscribe(&mut client, (V5, 1), &format!("load/{number}/#"), 1, &world);
            assert!(suback.is_some(), "the cluster is well");
        }
        let mut publisher = connect(&world, node, "publisher", random);
        [1, 3].into_iter().for_each(|to| cluster.network.set(node, to, Fate::Held));
        let mut sent: Vec<Sent> = (0..SESSIONS)
            .map(|publisher| Sent {
                message: Message { publisher, sequence: chance },
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
        cluster.kill(node);
        cluster.network.cut(node);
        let readers = (0..SESSIONS).map(|number| {
            let time = if sent[number as usize].acknowledged { PATIENCE } else { Duration::ZERO };
            let received = takes_one(&world, &name(number), time, random);
            // The others' messages are not for it.
            let of_it = sent.iter().filter(|sent| sent.message.publisher == number).cloned().collect();
            let reader = Reader { name: name(number), granted: 1, persistent: true, received };
            checker::check(&History { sent: of_it, readers: vec![reader] })
        });
        let found = readers.flatten().any(|fault| matches!(fault, Fault::Lost { .. }));
        cluster.start(&[node]);
        found
    });
}

/// The first message that comes to a session within this time, whatever becomes of its connections.
fn takes_one(world: &World, name: &str, time: Duration, random: &mut Random) -> Vec<Received> {
    let until = Instant::now() + time;
    let mut client = connect(world, 1, name, random);
    while Instant::now() < until {
        match client.read(Duration::from_millis(100)) {
            Read::Packet(packet) if packet.kind() == kind::PUBLISH => {
                let publish = packet.publish(V5);
                let (topic, payload, qos) = (publish.topic, publish.payload, publish.qos);
                let (dup, packet_id) = (publish.dup, publish.packet_id);
                return vec![Received { topic, payload, qos, dup, packet_id, repeat: false }];
            }
            Read::Closed => client = connect(world, 1, name, random),
            Read::Packet(_) | Read::Nothing => {}
        }
    }
    Vec::new()
}

/// A node hears of everything late: what is published there right behind a SUBACK elsewhere.
#[test]
fn g1_finds_a_suback_that_does_not_wait_for_the_others() {
    must_be_found("suback-without-barrier", |cluster, random, chance| {
        let late = 1 + (chance as usize) % 3;
        let others = [late % 3 + 1, (late + 1) % 3 + 1];
        let slow = Fate::Slow(Duration::from_millis(100));
        others.into_iter().for_each(|other| cluster.network.set(other, late, slow));
        let mut prober = Prober::new(chance, PATIENCE, Random::new(random.number()));
        for _ in 0..2 {
            let _complete = prober.probe((others[0], late), &cluster.world);
        }
        cluster.network.heal();
        has_found(&cluster.world, "G1")
    });
}

fn has_found(world: &World, what: &str) -> bool {
    world.faults().iter().any(|fault| fault.starts_with(what))
}

/// A client's node stands still, and the client goes elsewhere; then what it had said there before arrives.
#[test]
fn g6_finds_an_older_connection_that_counts() {
    must_be_found("skip-epoch-check", |cluster, random, chance| {
        let (world, old) = (Arc::clone(&cluster.world), 2);
        let (name, topic) = (format!("moved {chance}"), format!("moved/{chance}"));
        let Some((mut before, _)) = world.try_connect(old, &session(V5, &name, true)) else { return false };
        if subscribe(&mut before, (V5, old), &topic, 1, &world).is_none() {
            return false;
        }
        cluster.nodes.signal(old, "STOP");
        before.send(&packets::unsubscribe(V5, 9, &[&topic], &Props::new()));
        let _client = connect(&world, 1, &name, random);
        cluster.nodes.signal(old, "CONT");
        let _end = before.read(Duration::from_secs(1));
        let mut publisher = connect(&world, 1, "publisher", random);
        let acknowledged = probes::publish(&mut publisher, 1, (&topic, b"message"), &world);
        acknowledged && takes_one(&world, &name, PATIENCE, random).is_empty()
    });
}

/// A node stands still while a SUBSCRIBE elsewhere is answered; a publish waits in its socket when it goes on.
#[test]
fn g1_finds_a_clock_that_is_read_before_the_match() {
    must_be_found("clock-before-match", |cluster, random, chance| {
        let (world, slow) = (Arc::clone(&cluster.world), 2);
        let (name, topic) = (format!("late {chance}"), format!("late/{chance}"));
        let mut client = connect(&world, 1, &name, random);
        let mut publisher = connect(&world, slow, "publisher", random);
        if !probes::publish(&mut publisher, slow, (&topic, b"before"), &world) {
            return false;
        }
        cluster.nodes.signal(slow, "STOP");
        let suback = subscribe(&mut client, (V5, 1), &topic, 1, &world);
        publisher.send(&Publish::new(V5, &topic, "behind").qos(1, 77).bytes());
        cluster.nodes.signal(slow, "CONT");
        let acknowledged = answer(&mut publisher, kind::PUBACK).is_some();
        suback.is_some() && acknowledged && takes_one(&world, &name, PATIENCE, random).is_empty()
    });
}

/// Connections between nodes break under publishes for a subscriber that stays where it is.
#[test]
fn g1_finds_repeats_that_are_told_by_their_numbers_alone() {
    must_be_found("skip-predecessor", |cluster, random, chance| {
        let (world, node) = (Arc::clone(&cluster.world), 3);
        let subscribed = session(V5, &format!("stays {chance}"), false);
        let (mut reader, ..) = world.connect(node, &subscribed, random);
        let filter = format!("many/{chance}");
        let since = subscribe(&mut reader, (V5, node), &filter, 1, &world);
        let over = Arc::new(AtomicBool::new(false));
        let publishers: Vec<_> = (0..3)
            .map(|number| {
                let client = connect(&world, 2, &format!("many {number}"), random);
                let (topic, over) = (filter.clone(), Arc::clone(&over));
                thread::spawn(move || acknowledged(client, (&topic, number), &over))
            })
            .collect();
        let reading = {
            let over = Arc::clone(&over);
            thread::spawn(move || payloads(reader, &over))
        };
        for _ in 0..6 {
            pause(Duration::from_millis(100 + random.below(200)));
            cluster.network.cut(node);
        }
        over.store(true, Ordering::Release);
        let sent: HashSet<String> =
            publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect();
        let Some(came) = reading.join().unwrap() else { return false };
        since.is_some() && !sent.is_subset(&came)
    });
}

/// Publishes with a few messages under way until it is over; gives what was acknowledged.
fn acknowledged(mut client: RawClient, (topic, number): (&str, u32), over: &AtomicBool) -> HashSet<String> {
    let (mut next, mut open) = (0_u16, Vec::new());
    let mut done = HashSet::new();
    loop {
        while !over.load(Ordering::Acquire) && open.len() < 10 {
            next += 1;
            let payload = format!("{number} {next}");
            client.send(&Publish::new(V5, topic, &payload).qos(1, next).bytes());
            open.push((next, payload));
        }
        if open.is_empty() {
            return done;
        }
        match client.read(PATIENCE) {
            Read::Packet(packet) if packet.kind() == kind::PUBACK => {
                let id = packet.ack(V5).packet_id;
                done.extend(open.extract_if(.., |(open, _)| *open == id).map(|(_, payload)| payload));
            }
            _ => return done,
        }
    }
}

/// What comes until it is over and nothing more comes; `None` where the connection ends.
fn payloads(mut client: RawClient, over: &AtomicBool) -> Option<HashSet<String>> {
    let mut came = HashSet::new();
    loop {
        let ends = over.load(Ordering::Acquire);
        match client.read(if ends { PATIENCE } else { Duration::from_millis(100) }) {
            Read::Packet(packet) if packet.kind() == kind::PUBLISH => {
                let publish = packet.publish(V5);
                client.send(&packets::ack(kind::PUBACK, publish.packet_id));
                came.insert(publish.text());
            }
            Read::Packet(packet) if packet.kind() == kind::DISCONNECT => return None,
            Read::Packet(_) => {}
            Read::Closed => return None,
            Read::Nothing if ends => return Some(came),
            Read::Nothing => {}
        }
    }
}
