//! Will Delay Interval: section 3.1.3.2.2, in the whole seconds of the standard.

use std::time::{Duration, Instant};

use e2e_tests::packets::{Connect, Will};
use e2e_tests::wire::{Props, prop};
use e2e_tests::{RawClient, pause, unique};

use crate::common::{World, expiry, persistent, topic};

fn delayed(topic: &str, seconds: u32) -> Will {
    Will::new(topic, "delayed").props(Props::new().four(prop::WILL_DELAY, seconds))
}

/// Loses a client with this CONNECT and tells after how long its will came.
#[track_caller]
fn wait_for_will(world: &World, topic: &str, connect: &Connect) -> Duration {
    let mut subscriber = world.subscriber(topic, 0);
    let client: RawClient = world.connect(connect);
    let start = Instant::now();
    client.drop_connection();
    assert_eq!(subscriber.expect_publish().text(), "delayed");
    start.elapsed()
}

#[test]
fn mqtt5_3_1_2_8_a_delayed_will_comes_after_its_delay() {
    let world = World::new();
    let topic = topic();
    let after = wait_for_will(&world, &topic, &persistent(&unique("c")).will(delayed(&topic, 2)));
    assert!(after >= Duration::from_millis(1900), "published after {after:?}");
}

#[test]
fn mqtt5_3_1_2_8_a_delayed_will_comes_when_the_session_ends_before() {
    let world = World::new();
    let topic = topic();
    let connect = Connect::v5(unique("c")).clean(false).props(expiry(1)).will(delayed(&topic, 3600));
    let after = wait_for_will(&world, &topic, &connect);
    assert!(after >= Duration::from_millis(900), "published after {after:?}");
}

#[test]
fn mqtt5_3_1_2_8_without_a_session_to_keep_the_delay_is_over_at_once() {
    let world = World::new();
    let topic = topic();
    wait_for_will(&world, &topic, &Connect::v5(unique("c")).will(delayed(&topic, 3600)));
}

#[test]
fn mqtt5_3_1_2_8_clean_start_ends_the_session_and_so_the_delay() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut subscriber = world.subscriber(&topic, 0);
    world.connect(&persistent(&id).will(delayed(&topic, 3600))).drop_connection();
    subscriber.expect_nothing();
    let _next = world.connect(&Connect::v5(&id));
    assert_eq!(subscriber.expect_publish().text(), "delayed");
}

#[test]
fn mqtt5_3_1_3_9_a_reconnect_before_the_delay_keeps_the_will_back() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut subscriber = world.subscriber(&topic, 0);
    world.connect(&persistent(&id).will(delayed(&topic, 6))).drop_connection();
    pause(Duration::from_millis(300));
    let (mut back, connack) = world.connect_ack(&persistent(&id));
    assert!(connack.session_present);
    subscriber.expect_nothing_for(Duration::from_secs(7));
    back.ping();
}

#[test]
fn mqtt5_3_1_3_9_a_takeover_before_the_delay_keeps_the_will_back() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut subscriber = world.subscriber(&topic, 0);
    let mut first = world.connect(&persistent(&id).will(delayed(&topic, 1)));
    let _second = world.connect(&persistent(&id));
    first.expect_closed();
    subscriber.expect_nothing_for(Duration::from_secs(2));
}
