//! Wills (G9): once for each client that was connected when the node was killed, and for nobody else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::wire::{Props, Version, kind, prop};
use e2e_tests::{Connect, PATIENCE, RawClient, Will, packets};

use super::{VERSIONS, World, expiry, persistent};

/// Everything that comes to a watcher, without what is sent again, counted: so many at least, and then what comes until nothing
/// more does for a second.
fn count(watcher: &mut RawClient, least: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    while let Read::Packet(packet) =
        watcher.read(if counts.len() < least { PATIENCE } else { Duration::from_secs(1) })
    {
        if packet.kind() != kind::PUBLISH {
            continue;
        }
        let publish = packet.publish(Version::V5);
        watcher.answer(&publish);
        if !publish.dup {
            *counts.entry(publish.text()).or_default() += 1;
        }
    }
    counts
}

fn delayed(text: &str, seconds: u32) -> Will {
    Will::new("will", text).qos(1).props(Props::new().four(prop::WILL_DELAY, seconds))
}

#[test]
fn g9_wills_of_clients_that_were_connected_fire_once_after_the_restart() {
    let Some(mut world) = World::start() else { return };
    let watching = persistent(Version::V5, "watcher");
    world.absent(&watching, "will", 2);
    let mut expected = BTreeMap::new();
    let mut connected = Vec::new();
    for number in 0..30_u8 {
        let text = format!("of {number}");
        let will = Will::new("will", &text).qos(1 + number % 2);
        let version = VERSIONS[usize::from(number / 2 % 2)];
        // Of sessions that outlive their connection, and of those that end with it.
        let connect = persistent(version, &format!("c{number}")).clean(number % 3 == 0).will(will);
        connected.push(world.connect(&connect));
        expected.insert(text, 1);
    }
    world.kill_and_restart();
    assert_eq!(count(&mut world.resume(&watching), expected.len()), expected);
    world.kill_and_restart();
    assert_eq!(count(&mut world.resume(&watching), 0), BTreeMap::new(), "they were published");
}

#[test]
fn g9_no_will_after_a_disconnect_that_was_taken() {
    let Some(mut world) = World::start() else { return };
    let watching = persistent(Version::V5, "watcher");
    world.absent(&watching, "will", 1);
    for (number, version) in VERSIONS.into_iter().enumerate() {
        let will = Will::new("will", "discarded").qos(1);
        world.connect(&persistent(version, &format!("c{number}")).will(will)).disconnect();
    }
    let will = Will::new("will", "wanted").qos(1);
    let mut wants = world.connect(&Connect::v5("wants").will(will));
    wants.send(&packets::disconnect_v5(0x04, &Props::new()));
    wants.expect_closed();
    world.kill_and_restart();
    let expected = BTreeMap::from([("wanted".to_owned(), 1)]);
    assert_eq!(count(&mut world.resume(&watching), expected.len()), expected);
}

#[test]
fn g9_a_delayed_will_waits_and_a_client_that_comes_back_has_none() {
    let Some(mut world) = World::start() else { return };
    let watching = persistent(Version::V5, "watcher");
    world.absent(&watching, "will", 1);
    let connects = [("short", 6), ("back", 6), ("long", 3600)].map(|(id, seconds)| {
        let connect = Connect::v5(id).clean(false).props(expiry(3600));
        connect.will(delayed(id, seconds))
    });
    let _connected = connects.each_ref().map(|connect| world.connect(connect));
    let killed = Instant::now();
    world.kill_and_restart();
    let _back = world.resume(&connects[1]);
    let mut watcher = world.resume(&watching);
    assert_eq!(watcher.receive().text(), "short");
    assert!(killed.elapsed() >= Duration::from_secs(6), "after {:?}", killed.elapsed());
    assert_eq!(count(&mut watcher, 0), BTreeMap::new());
}

#[test]
fn g9_a_will_that_was_waiting_fires_in_its_time_across_the_downtime() {
    let Some(mut world) = World::start() else { return };
    let watching = persistent(Version::V5, "watcher");
    world.absent(&watching, "will", 1);
    let connect = Connect::v5("c").clean(false).props(expiry(3600)).will(delayed("waited", 1));
    let mut client = world.connect(&connect);
    client.send(&packets::disconnect_v5(0x04, &Props::new()));
    client.expect_closed();
    world.kill_and_restart();
    assert_eq!(world.resume(&watching).receive().text(), "waited");
    world.kill_and_restart();
    assert_eq!(count(&mut world.resume(&watching), 0), BTreeMap::new());
}

#[test]
fn a_retained_will_is_retained() {
    let Some(mut world) = World::start() else { return };
    world.absent(&persistent(Version::V5, "watcher"), "will", 1);
    let _client = world.connect(&Connect::v3("c").will(Will::new("will", "left").qos(1).retain()));
    world.kill_and_restart();
    world.resume(&persistent(Version::V5, "watcher")).receive();
    world.kill_and_restart();
    let mut late = world.client();
    late.subscribe("will", 1);
    let publish = late.receive();
    assert_eq!((publish.text(), publish.retain), ("left".to_owned(), true));
}
