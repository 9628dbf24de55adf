//! Tests of what a shard tells of its sessions.

use std::ops::Bound;

use super::*;
use crate::shard::SessionSummary;

fn names(shard: &Shard, from: Bound<&str>, most: usize) -> Vec<String> {
    shard.sessions_from(from, most).iter().map(|one| one.client.as_str().to_owned()).collect()
}

fn summary(shard: &Shard, client: &str) -> SessionSummary {
    shard.sessions_from(Bound::Included(client), 1).remove(0)
}

#[test]
fn sessions_are_told_in_order_a_part_at_a_time() {
    let mut world = World::new();
    for client in ["c", "a", "d", "b"] {
        world.connect(client, false, 100);
    }
    world.connect("transient", true, 0);
    assert_eq!(names(&world.shard, Bound::Unbounded, 3), ["a", "b", "c"]);
    assert_eq!(names(&world.shard, Bound::Excluded("b"), 3), ["c", "d"]);
    assert_eq!(names(&world.shard, Bound::Included("b"), 1), ["b"]);
    world.end("b", WillFate::Discard);
    assert_eq!(names(&world.shard, Bound::Unbounded, 9), ["a", "b", "c", "d"], "it is away");
    // It begins anew without one.
    world.connect("b", true, 0);
    assert_eq!(names(&world.shard, Bound::Unbounded, 9), ["a", "c", "d"]);
}

#[test]
fn a_session_is_told_as_it_is() {
    let mut world = World::new();
    let (connection, _) = world.connect("c", false, 100);
    world.subscribe("c", "t", RetainedWanted::Never);
    world.subscribe("c", "$share/g/t", RetainedWanted::Never);
    world.publish("t", QoS::AtLeastOnce);
    let here = summary(&world.shard, "c");
    assert_eq!((here.connection, here.absent_since()), (Some(connection), None));
    assert_eq!((here.queued, here.in_flight, here.subscriptions, here.expiry_s), (1, 1, 2, 100));
    assert!(here.queued_bytes > 0 && here.ends_at.is_none());
    let now = world.now;
    world.end("c", WillFate::Discard);
    world.publish("t", QoS::AtLeastOnce);
    let away = summary(&world.shard, "c");
    assert_eq!((away.connection, away.queued), (None, 2));
    assert_eq!((away.ends_at, away.absent_since()), (Some(now.plus_s(100)), Some(now)));
    world.connect("e", false, EXPIRY_NEVER);
    world.end("e", WillFate::Discard);
    let never = summary(&world.shard, "e");
    assert_eq!((never.ends_at, never.absent_since()), (None, None), "nobody remembers");
}

#[test]
fn subscriptions_are_told_client_by_client() {
    let mut world = World::new();
    for client in ["b", "a", "c"] {
        world.connect(client, false, 100);
        world.subscribe(client, "t", RetainedWanted::Never);
        world.subscribe(client, "u", RetainedWanted::Never);
    }
    let told = |from: Bound<&str>, most| {
        let told = world.shard.subscriptions_from(from, most);
        told.iter().map(|one| (one.client.as_str().to_owned(), one.subscriptions.len())).collect::<Vec<_>>()
    };
    let of = |client: &str| (client.to_owned(), 2);
    assert_eq!(told(Bound::Unbounded, 99), [of("a"), of("b"), of("c")]);
    assert_eq!(told(Bound::Unbounded, 4), [of("a"), of("b")]);
    assert_eq!(told(Bound::Excluded("b"), 1), [of("c")]);
    assert!(told(Bound::Excluded("c"), 1).is_empty());
}
