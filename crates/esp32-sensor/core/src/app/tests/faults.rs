//! What a device does about a network and brokers that fail: nothing acknowledged is sent again for ever, nothing
//! unacknowledged is forgotten, and no failure is answered in haste.

use std::string::String;
use std::vec::Vec;

use super::broker::{Acks, Door};
use super::{Device, all, celsius};
use crate::outbox::WAITING_MAX;

/// With repeats left out, in order of arrival.
fn distinct(came: Vec<String>) -> Vec<String> {
    let mut seen = Vec::new();
    for payload in came {
        if !seen.contains(&payload) {
            seen.push(payload);
        }
    }
    seen
}

/// Eight messages that nobody acknowledged fill the client library; after the next CONNECT it refuses to publish until
/// acknowledgements are read. Whoever takes that for a broken connection connects again and again and never reads them.
#[test]
fn a_full_session_is_no_broken_connection() {
    let mut device = Device::new("broker=a");
    device.pass(100);
    device.world.borrow_mut().acks = Acks::Held;
    device.pass(9_000);
    assert_eq!(device.dials(), 1);
    device.world.borrow_mut().door = Door::Open { resumed: true };
    device.world.borrow_mut().cut();
    // Connected again, and still nothing is acknowledged.
    device.pass(3_000);
    assert_eq!(device.dials(), 2, "{:?}", device.heard.0.borrow());
    device.world.borrow_mut().release();
    device.pass(3_000);
    assert_eq!(device.dials(), 2);
    assert_eq!(distinct(device.temperatures()), all(8));
    assert_eq!(device.events("dropped"), [""; 0]);
    assert!(device.world.borrow().got.iter().any(|got| got.dup));
}

/// A broker that is frozen before it acknowledges, for longer than the device has patience.
#[test]
fn a_frozen_broker_costs_a_few_attempts_and_no_reading() {
    let mut device = Device::new("broker=a");
    device.pass(2_100);
    device.world.borrow_mut().acks = Acks::Held;
    device.world.borrow_mut().pongs = false;
    device.pass(10_000);
    assert_eq!(device.events("lost"), [""; 0]);
    device.world.borrow_mut().door = Door::Mute;
    device.pass(40_000);
    assert_eq!(device.events("lost")[0], "lost cause=silent");
    let attempts = device.dials();
    assert!((3..=8).contains(&attempts), "{attempts}");
    device.world.borrow_mut().door = Door::Open { resumed: true };
    device.world.borrow_mut().acks = Acks::Reason(0);
    device.world.borrow_mut().pongs = true;
    device.pass(40_000);
    let came = distinct(device.temperatures());
    assert_eq!(came, all(i16::try_from(came.len()).unwrap()));
    assert!(came.len() >= 46, "{}", came.len());
    assert_eq!(device.events("dropped"), [""; 0]);
}

#[test]
fn connack_alone_does_not_make_the_next_attempt_earlier() {
    let mut device = Device::new("broker=a");
    device.world.borrow_mut().door = Door::Slams;
    device.pass(300_000);
    // 250 ms doubled up to 30 s, and half of that at least each time.
    assert!((12..=26).contains(&device.dials()), "{}", device.dials());
    assert!(device.events("connected").len() > 10);
}

#[test]
fn a_good_connection_makes_the_next_attempt_early_again() {
    let mut device = Device::new("broker=a");
    device.world.borrow_mut().door = Door::Unreachable;
    device.pass(100_000);
    device.world.borrow_mut().door = Door::Open { resumed: false };
    device.pass(35_000);
    let dials = device.dials();
    device.world.borrow_mut().cut();
    device.pass(260);
    assert_eq!(device.dials(), dials + 1);
}

#[test]
fn what_a_lost_session_had_on_its_way_goes_again() {
    let mut device = Device::new("broker=a");
    device.pass(100);
    device.world.borrow_mut().acks = Acks::Held;
    device.pass(5_000);
    // The broker forgot all.
    device.world.borrow_mut().acks = Acks::Reason(0);
    device.world.borrow_mut().cut();
    device.pass(2_000);
    assert_eq!(distinct(device.temperatures()), all(4));
    assert_eq!(device.events("connected"), ["connected resumed=false"; 2]);
    // A new session has no subscription.
    assert_eq!(device.world.borrow().subscriptions.len(), 2);
    assert_eq!(device.world.borrow().payloads("ESP32/STATUS").len(), 2);
    assert_eq!(device.events("acknowledged").last().unwrap(), "acknowledged total=8");
}

#[test]
fn a_resumed_session_keeps_its_subscription_and_is_online_again() {
    let mut device = Device::new("broker=a");
    device.pass(100);
    device.world.borrow_mut().door = Door::Open { resumed: true };
    device.world.borrow_mut().cut();
    device.pass(1_000);
    assert_eq!(device.world.borrow().subscriptions.len(), 1);
    assert_eq!(device.world.borrow().payloads("ESP32/STATUS").len(), 2);
    // Clean start only the first time.
    let flags: Vec<u8> = device.world.borrow().connects.iter().map(|connect| connect[7] & 2).collect();
    assert_eq!(flags, [2, 0]);
}

#[test]
fn after_a_failure_it_is_the_next_brokers_turn() {
    let mut device = Device::new("broker=a,b:1884,c");
    device.world.borrow_mut().door = Door::Unreachable;
    device.pass(3_000);
    let dials = device.world.borrow().dials.clone();
    assert_eq!(dials[..4], ["a:1883", "b:1884", "c:1883", "a:1883"]);
    device.world.borrow_mut().door = Door::Open { resumed: false };
    device.pass(5_000);
    let good = device.world.borrow().dials.last().unwrap().clone();
    device.world.borrow_mut().cut();
    device.pass(500);
    assert_ne!(*device.world.borrow().dials.last().unwrap(), good);
}

#[test]
fn readings_are_taken_on_time_while_there_is_no_broker_and_come_later_in_order() {
    let mut device = Device::new("broker=a");
    device.world.borrow_mut().door = Door::Unreachable;
    device.pass(60_000);
    device.world.borrow_mut().door = Door::Open { resumed: false };
    device.pass(40_000);
    let came = device.temperatures();
    assert_eq!(came, all(51));
    assert_eq!(device.events("dropped"), [""; 0]);
}

#[test]
fn beyond_the_outbox_the_oldest_readings_are_dropped_and_counted() {
    let mut device = Device::new("broker=a interval_ms=500");
    device.world.borrow_mut().door = Door::Unreachable;
    // 256 readings fit; ten more come.
    device.pass(265 * 500 + 100);
    assert_eq!(device.events("dropped").last().unwrap(), "dropped total=20");
    device.world.borrow_mut().door = Door::Open { resumed: false };
    device.pass(31_000);
    let came = device.temperatures();
    let dropped: u32 =
        device.events("dropped").last().unwrap().strip_prefix("dropped total=").unwrap().parse().unwrap();
    assert_eq!(came[0], celsius(i16::try_from(dropped / 2).unwrap()));
    assert!(came.len() >= WAITING_MAX / 2);
    let taken = device.events("read").len();
    assert_eq!(came.len() + usize::try_from(dropped / 2).unwrap(), taken);
}

#[test]
fn a_hanging_dial_and_a_mute_broker_are_given_up() {
    for door in [Door::Hangs, Door::Mute] {
        let mut device = Device::new("broker=a");
        device.world.borrow_mut().door = door;
        device.pass(30_000);
        assert!((2..=6).contains(&device.dials()), "{door:?}: {}", device.dials());
        assert!(device.events("lost").iter().all(|event| event == "lost cause=silent"));
    }
}

#[test]
fn a_refused_connect_is_tried_again_with_patience() {
    let mut device = Device::new("broker=a user=u password=wrong");
    device.world.borrow_mut().door = Door::Refuses(0x86);
    device.pass(60_000);
    assert!((6..=14).contains(&device.dials()), "{}", device.dials());
    assert_eq!(device.events("lost")[0], "lost cause=refused-0x86");
}

#[test]
fn a_refused_measurement_is_sent_again_with_patience() {
    let mut device = Device::new("broker=a");
    device.pass(100);
    // Quota exceeded.
    device.world.borrow_mut().acks = Acks::Reason(0x97);
    device.pass(20_000);
    assert!((3..=10).contains(&device.dials()), "{}", device.dials());
    device.world.borrow_mut().acks = Acks::Reason(0);
    device.pass(20_000);
    assert_eq!(device.events("acknowledged").last().unwrap(), &std::format!("acknowledged total={}", 42));
    assert_eq!(distinct(device.temperatures()), all(21));
}

#[test]
fn a_refused_command_topic_does_not_stop_readings() {
    let mut device = Device::new("broker=a");
    device.world.borrow_mut().suback = 0x87;
    device.pass(4_100);
    assert_eq!(device.events("refused"), ["refused code=0x87"]);
    assert_eq!(device.temperatures(), all(3));
    assert_eq!(device.dials(), 1);
}

#[test]
fn a_broker_that_answers_pings_and_acknowledges_nothing_is_left() {
    let mut device = Device::new("broker=a,b");
    device.pass(100);
    device.world.borrow_mut().acks = Acks::Held;
    device.pass(13_000);
    assert_eq!(device.events("lost"), ["lost cause=silent"]);
    assert_eq!(device.world.borrow().dials, ["a:1883", "b:1883"]);
}

#[test]
fn patience_begins_with_what_is_waited_for() {
    let mut device = Device::new("broker=a interval_ms=60000");
    device.pass(100);
    device.world.borrow_mut().acks = Acks::Held;
    // The second reading, after a minute in which nothing was expected.
    device.pass(65_000);
    device.world.borrow_mut().release();
    device.pass(60_000);
    assert_eq!((device.temperatures(), device.dials()), (all(3), 1));
}
