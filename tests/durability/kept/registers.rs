//! What clients change over and over until the kill: retained messages (G10) and subscriptions (G11). Each is a register:
//! what was acknowledged last holds, or the one change after it whose answer did not come.

use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::wire::{Props, Version, kind};
use e2e_tests::{PATIENCE, Publish, QUIET, RawClient, packets, pause};

use super::{World, persistent};

/// Clients, each with a register of its own.
const CLIENTS: usize = 8;
/// How long they go on.
const TIME: Duration = Duration::from_millis(400);

/// Sends one change after another, numbered from 1, until the broker is gone; gives the last that was acknowledged.
fn change(client: &mut RawClient, change: impl Fn(u32) -> Vec<u8>) -> u32 {
    for number in 1.. {
        client.send(&change(number));
        match client.read(Duration::from_secs(60)) {
            Read::Packet(packet) => {
                assert!(matches!(packet.kind(), kind::PUBACK | kind::SUBACK | kind::UNSUBACK))
            }
            Read::Closed => return number - 1,
            Read::Nothing => panic!("no answer to change {number}"),
        }
    }
    0
}

/// Lets each client change its register until the broker is killed under them, and starts the broker again.
fn kill_during(
    world: &mut World,
    clients: Vec<RawClient>,
    packet: impl Fn(usize, u32) -> Vec<u8> + Sync,
) -> Vec<u32> {
    let packet = &packet;
    let last = std::thread::scope(|threads| {
        let start = |(index, mut client): (usize, RawClient)| {
            threads.spawn(move || change(&mut client, |number| packet(index, number)))
        };
        let threads: Vec<_> = clients.into_iter().enumerate().map(start).collect();
        pause(TIME);
        world.0.kill();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<u32>>()
    });
    world.0.restart(&[]);
    assert!(last.iter().sum::<u32>() > 0, "nothing was acknowledged");
    last
}

#[test]
fn g10_a_retained_message_is_the_last_acknowledged_or_a_newer_one() {
    let Some(mut world) = World::start() else { return };
    for round in 0..3 {
        let clients = (0..CLIENTS).map(|_| world.client()).collect();
        // Every third change deletes.
        let text = |number: u32| if number.is_multiple_of(3) { String::new() } else { number.to_string() };
        let topic = |index: usize| format!("r/{round}/{index}");
        let last = kill_during(&mut world, clients, |index, number| {
            Publish::v5(topic(index), text(number)).retain().qos(1, 1).bytes()
        });
        for (index, last) in last.into_iter().enumerate() {
            let mut client = world.client();
            client.subscribe(&topic(index), 1);
            let allowed = [if last == 0 { String::new() } else { text(last) }, text(last + 1)];
            let comes = allowed.iter().all(|text| !text.is_empty());
            let found = match client.read(if comes { PATIENCE } else { 2 * QUIET }) {
                Read::Packet(packet) => packet.publish(Version::V5).text(),
                _ => String::new(),
            };
            assert!(allowed.contains(&found), "after {last} changes: {found:?}");
        }
    }
}

/// The changes of subscriptions by threes: two filters come, and the first of them goes again.
fn subscription_change(index: usize, number: u32) -> Vec<u8> {
    let filter = |name: &str| format!("s/{index}/{}/{name}", (number - 1) / 3);
    match number % 3 {
        1 => packets::subscribe(Version::V5, 1, &[(&filter("goes"), 1)], &Props::new()),
        2 => packets::subscribe(Version::V5, 1, &[(&filter("stays"), 1)], &Props::new()),
        _ => packets::unsubscribe(Version::V5, 1, &[&filter("goes")], &Props::new()),
    }
}

/// Whether a filter is there after so many changes.
fn is_there(triple: u32, name: &str, changes: u32) -> bool {
    match name {
        "goes" => (triple * 3 + 1..triple * 3 + 3).contains(&changes),
        _ => changes >= triple * 3 + 2,
    }
}

#[test]
fn g11_subscriptions_are_as_they_were_acknowledged_last() {
    let Some(mut world) = World::start() else { return };
    let connects: Vec<_> = (0..CLIENTS).map(|index| persistent(Version::V5, &format!("c{index}"))).collect();
    let clients = connects.iter().map(|connect| world.connect(connect)).collect();
    let last = kill_during(&mut world, clients, subscription_change);
    let mut publisher = world.client();
    for (index, last) in last.into_iter().enumerate() {
        let mut client = world.resume(&connects[index]);
        for triple in (last / 3).saturating_sub(5)..=last / 3 {
            for name in ["goes", "stays"] {
                publisher.publish(&format!("s/{index}/{triple}/{name}"), name, 1);
                let allowed = [is_there(triple, name, last), is_there(triple, name, last + 1)];
                let patience = if allowed == [true; 2] { PATIENCE } else { QUIET };
                let there = matches!(client.read(patience), Read::Packet(_));
                assert!(allowed.contains(&there), "{name} of {triple} after {last} changes: {there}");
            }
        }
    }
}
