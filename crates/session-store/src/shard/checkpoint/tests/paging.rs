//! Tests of queues that leave memory: what stays, what is read back and when, and what is removed from the store.

use super::super::*;
use super::history::{Step, World, publish, record, run, with_absent_subscriber};
use super::restore;
use crate::command::{Ack, Acks, Command, EXPIRY_NEVER, End, Push, WillFate};
use crate::effect::Effect;
use crate::ids::{ConnectionId, Millis};
use crate::limits::QueuePolicy;

fn in_memory(shard: &Shard, client: &str) -> usize {
    shard.session(client).unwrap().outbound().contents_from(0).count()
}

#[test]
fn the_queue_of_an_absent_client_leaves_memory_and_is_read_by_whoever_sends_it() {
    let mut world = with_absent_subscriber();
    run(&mut world, [publish(20, 400), publish(20, 200), Step::Relayed { items: 100 }]);
    world.checkpoint();
    let full_pages_left = in_memory(&world.shard, "a");
    assert!(full_pages_left < 40, "full pages leave at once");
    run(&mut world, [publish(1, 10)]);
    world.checkpoint();
    assert!(in_memory(&world.shard, "a") > 0, "what is still added to stays");
    run(&mut world, [Step::Relayed { items: 100 }, Step::Time { ms: 1 }]);
    world.checkpoint();
    world.checkpoint();
    assert_eq!(in_memory(&world.shard, "a"), 0);
    let mut restored = restore(&world.store, QueuePolicy::DropNewest).unwrap();
    assert_eq!(in_memory(&restored, "a"), 0, "nor does it come to memory with a restart");
    let (queued, bytes) = (restored.sizes().queued_messages, restored.sizes().queued_bytes);
    assert_eq!((queued, bytes), (world.twin.sizes().queued_messages, world.twin.sizes().queued_bytes));
    let (client, expiry_s) = (0, EXPIRY_NEVER);
    let connect = Step::Connect { client, node: 0, clean: false, expiry_s, receive_maximum: 3, will: None };
    run(&mut world, [connect]);
    assert_eq!(in_memory(&world.shard, "a"), 0, "what is sent is read by whoever sends it");
    for _ in 0..20 {
        run(&mut world, [Step::AckAll { client }]);
    }
    assert!(world.shard.session("a").unwrap().outbound().is_empty());
    world.checkpoint();
    assert!(!world.store.keys().any(|key| matches!(key[0], b'Q' | b'B')), "and its pages are gone");
}

fn found(world: &World, at: &StoredAt, of: ConnectionId) -> bool {
    match world.shard.find_stored(at, of) {
        Found::Page(start) => StoredPage::read(at, start, |key| record(&world.store, key)).unwrap().is_of(at),
        Found::Here(_) => panic!("in memory"),
        Found::Gone => false,
    }
}

/// What tells a page that is lost from one that nobody needs any more.
#[test]
fn a_message_has_to_be_in_the_store_while_its_connection_lasts_and_it_is_not_acknowledged() {
    let mut world = with_absent_subscriber();
    run(&mut world, [publish(20, 400), Step::Relayed { items: 100 }]);
    world.checkpoint();
    world.shard.leave_to_store();
    let connect = |world: &mut World, clean| {
        let input = world.connect(0, 0, (clean, EXPIRY_NEVER, 10, None));
        let mut effects = Vec::new();
        world.shard.apply(Millis(world.now), input, &mut effects);
        let pushes = effects.into_iter().filter_map(|effect| match effect {
            Effect::Push(connection, pushes) => Some((connection, pushes)),
            _ => None,
        });
        pushes.last().map(|(connection, pushes)| {
            let stored = pushes.iter().filter_map(|push| match push {
                Push::Stored { at, packet_id, .. } => Some((*at, *packet_id)),
                _ => None,
            });
            (connection, stored.collect::<Vec<_>>())
        })
    };
    let (connection, stored) = connect(&mut world, false).unwrap();
    assert_eq!(stored.len(), 10);
    let (at, packet_id) = stored[0];
    assert!(found(&world, &at, connection));
    let other = ConnectionId { number: connection.number + 1, ..connection };
    assert!(!found(&world, &at, other));
    let (client, _, epoch) = world.at(0);
    let acks = world.request(0, Command::Acks(Acks { client, epoch, acks: vec![Ack::Puback(packet_id)] }));
    world.shard.apply(Millis(world.now), acks, &mut Vec::new());
    assert!(!found(&world, &at, connection));
    assert!(found(&world, &stored[1].0, connection));
    let (client, _, epoch) = world.at(0);
    let end = End { client, epoch, will: WillFate::Keep, expiry_s: None, unsent: Vec::new() };
    let end = world.request(0, Command::End(end));
    world.shard.apply(Millis(world.now), end, &mut Vec::new());
    assert_eq!(connect(&mut world, true), None);
    assert!(!found(&world, &stored[1].0, connection));
}

#[test]
fn a_page_that_is_not_what_was_written_is_refused() {
    let mut world = with_absent_subscriber();
    run(&mut world, [publish(3, 40)]);
    world.checkpoint();
    let key = world.shard.clients.get("a").unwrap().session.unwrap();
    let at = StoredAt { session: key, serial: 1 };
    let intact = |key: &[u8]| record(&world.store, key);
    assert!(StoredPage::read(&at, 0, intact).is_ok());
    assert!(StoredPage::read(&StoredAt { serial: 3, ..at }, 0, intact).is_err());
    assert!(StoredPage::read(&at, 1, intact).is_err());
    let damaged = |key: &[u8]| intact(key).map(|page| page.slice(..page.len() - 1));
    assert!(StoredPage::read(&at, 0, damaged).is_err());
}

/// What one replica's leader pushed from its store may be in the memory of the next one.
#[test]
fn a_message_that_another_replica_has_in_its_store_is_given_from_memory() {
    let mut world = with_absent_subscriber();
    run(&mut world, [publish(20, 400), Step::Relayed { items: 100 }]);
    world.checkpoint();
    let (client, expiry_s) = (0, EXPIRY_NEVER);
    run(
        &mut world,
        [Step::Connect { client, node: 0, clean: false, expiry_s, receive_maximum: 10, will: None }],
    );
    let session = world.shard.clients.get("a").unwrap().session.unwrap();
    let connection = world.shard.session("a").unwrap().connection().unwrap();
    let at = |serial| StoredAt { session, serial };
    assert!(found(&world, &at(3), connection));
    let Found::Here(mut page) = world.twin.find_stored(&at(3), connection) else { panic!("not in memory") };
    assert!(page.is_of(&at(3)) && page.is_of(&at(5)) && !page.is_of(&at(2)) && !page.is_of(&at(19)));
    assert_eq!(page.take(&at(4)).unwrap().message.body.payload().len(), 400);
    assert!(page.take(&at(3)).is_none(), "it is behind");
    assert!(matches!(world.twin.find_stored(&at(20), connection), Found::Gone));
}

/// What is dropped to make room lies behind what is in flight: its pages must not stay until that is acknowledged.
#[test]
fn pages_of_dropped_messages_are_removed_though_one_before_them_is_in_flight() {
    let mut world = World::new(QueuePolicy::DropOldest);
    let (client, expiry_s) = (0, EXPIRY_NEVER);
    let connect = Step::Connect { client, node: 0, clean: false, expiry_s, receive_maximum: 1, will: None };
    let end = Step::End { client, fate: 1, unsent: Vec::new() };
    run(&mut world, [connect, Step::Subscribe { client, filter: 0, qos: 1 }, publish(1, 40), end]);
    for _ in 0..40 {
        run(&mut world, [publish(19, 400), Step::Relayed { items: 1_000 }]);
        world.checkpoint();
    }
    let pages = world.store.keys().filter(|key| key[0] == b'Q').count();
    let bytes: usize =
        world.store.iter().filter(|(key, _)| key[0] == b'Q').map(|(_, value)| value.len()).sum();
    assert!(pages <= 30 && bytes < 3 * 40_000, "{bytes} bytes in {pages} pages");
}
